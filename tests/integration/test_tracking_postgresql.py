"""The tracking server and registry in PostgreSQL, beside the same FTP store: training, Production, what is kept, no password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import deletions
import mlflow
import psutil
import pytest
import sqlalchemy as sa
import toy_collection
from candidates import Candidates, make_candidates
from mlflow.tracking import MlflowClient

from dsgo import backup, flow, pipeline, promotion, registry, restore, services
from dsgo.errors import BackupError
from dsgo.settings import Settings, load, prepare

DATABASE = "tracking"
DELETING = {
    "runs": "run_uuid = '{was}'",
    "logged_models": "source_run_id = '{is}'",
    "model_versions": "name = '{name}'",
    "model_version_tags": "name = '{name}' AND key = 'dsgo.promoted'",
    "registered_models": "name = '{name}'",
    "experiments": "experiment_id = {experiment}",
}


@pytest.fixture(scope="module")
def copy(new_settings: Callable[[], Settings], postgresql: str) -> Settings:
    """A copy whose `.env` names a database of its own."""
    with _engine(postgresql).connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
    settings = prepare(new_settings())
    with settings.env_file.open("a") as file:
        file.write(f"DSGO_TRACKING_DATABASE_URL={postgresql.removesuffix('postgres')}{DATABASE}\n")
    return services.up(settings)


@pytest.fixture(autouse=True)
def environment(copy: Settings, own_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in copy.child_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def engine(postgresql: str) -> sa.Engine:
    return _engine(postgresql.removesuffix("postgres") + DATABASE)


def _engine(url: str) -> sa.Engine:
    driver = url.replace("postgresql://", "postgresql+psycopg://")
    return sa.create_engine(driver, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")


@pytest.fixture(scope="module")
def candidates(copy: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Candidates]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in copy.child_environment().items():
            patch.setenv(name, value)
        yield make_candidates(tmp_path_factory.mktemp("model"), 3)


@pytest.fixture(scope="module")
def kept(candidates: Candidates, copy: Settings) -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in copy.child_environment().items():
            patch.setenv(name, value)
        yield deletions.two_in_production("kept", candidates)


def test_a_pipeline_runs_and_is_reused(copy: Settings, tmp_path: Path) -> None:
    toy = toy_collection.make(tmp_path / "toy_postgresql")
    code, output = toy.run()
    assert code == 0, output
    plan = pipeline.plan(flow.load(toy.folder / "flow.py").steps("sample"), toy.collection)
    assert [each.why for each in plan] == [()] * len(toy_collection.STEPS)
    assert not copy.tracking_database.exists()


def test_a_rollback_brings_the_version_before_back(kept: dict[str, str]) -> None:
    assert registry.load_production(kept["name"]).version == 2
    promotion.rollback(kept["name"], asked_by="a test")
    champion = registry.load_production(kept["name"])
    assert champion.version == 1
    assert mlflow.pyfunc.load_model(champion.model_uri).predict([[0.0]]) == 0
    promotion.rollback(kept["name"], to_version=2, asked_by="a test")
    assert promotion.repair(kept["name"]) == []


@pytest.mark.parametrize("request_name", deletions.REQUESTS)
def test_the_server_refuses_to_delete_what_is_or_was_in_production(
    request_name: str, kept: dict[str, str], copy: Settings
) -> None:
    deletions.refused(copy, kept, request_name)


@pytest.mark.parametrize("table", DELETING)
def test_who_opens_the_database_is_refused_too(table: str, kept: dict[str, str], engine: sa.Engine) -> None:
    with engine.connect() as connection:
        for statement in (f"DELETE FROM {table} WHERE {DELETING[table].format(**kept)}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(sa.exc.DBAPIError, match="is or was in Production"):
                connection.exec_driver_sql(statement)


def test_what_was_never_in_production_goes_and_a_new_server_still_refuses(
    kept: dict[str, str], candidates: Candidates, copy: Settings, engine: sa.Engine
) -> None:
    client = MlflowClient()
    client.delete_run(candidates.runs[2])
    with engine.connect() as connection:
        before = _triggers(connection)
        assert len(before) >= len(DELETING)
    services.restart(copy, "tracking")
    with engine.connect() as connection:
        assert _triggers(connection) == before
    deletions.refused(copy, kept, "run that was")
    client.restore_run(candidates.runs[2])
    client.create_model_version(kept["name"], f"runs:/{candidates.runs[2]}/model", candidates.runs[2])
    client.delete_model_version(kept["name"], "3")


def _triggers(connection: sa.Connection) -> list[str]:
    query = "SELECT tgname FROM pg_trigger WHERE starts_with(tgname, 'dsgo_kept_') ORDER BY 1"
    return list(connection.exec_driver_sql(query).scalars())


def test_the_password_is_in_env_alone(kept: dict[str, str], copy: Settings, postgresql: str, engine: sa.Engine) -> None:
    password = urlsplit(postgresql).password
    holding = {path for path in copy.home.rglob("*") if path.is_file() and password.encode() in path.read_bytes()}
    assert holding == {copy.env_file}
    processes = [psutil.Process(services.status(copy)[1].pid), *psutil.process_iter()]
    for process in processes:
        try:
            assert password not in " ".join(process.cmdline())
        except psutil.Error:
            continue
    assert password not in " ".join(f"{name}={value}" for name, value in processes[0].environ().items())
    assert password not in repr(load())
    with engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            rows = connection.exec_driver_sql(f'SELECT CAST(t AS text) FROM "{table}" t').scalars()
            assert not [row for row in rows if password in row], table


def test_a_backup_says_what_it_does_not_hold_and_fits_no_copy_on_sqlite(
    kept: dict[str, str], copy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    copy.tracking_database.write_text("of a time before PostgreSQL")
    file = backup.backup(copy, tmp_path, said.append)
    copy.tracking_database.unlink()
    assert "DSGO_TRACKING_DATABASE_URL" in said[-1] and "pg_dump" in said[-1]
    names = subprocess.run(["tar", "tf", file], capture_output=True, text=True, check=True).stdout
    assert "mlflow.db" not in names and "ftp/artifacts/" in names
    other = load({"DSGO_HOME": str(tmp_path / "other"), "DSGO_FTP_PORT": str(copy.ftp_port)})
    with pytest.raises(BackupError, match=r"in PostgreSQL, this one has it in SQLite.*DSGO_TRACKING_DATABASE_URL"):
        restore.restore(other, file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace(":" + urlsplit(url).password, ":wrong-pw"), "password authentication failed"),
        (lambda url: url.replace(str(urlsplit(url).port), "1"), "refused"),
        (lambda url: url.rpartition("/")[0], "DSGO_TRACKING_DATABASE_URL"),
        (lambda url: url.replace("postgresql:", "mysql:"), "DSGO_TRACKING_DATABASE_URL"),
    ],
    ids=["password", "nobody there", "no database", "another kind"],
)
def test_a_wrong_address_is_named_without_its_password(
    change: Callable[[str], str], said: str, postgresql: str, tmp_path: Path, free_ports: Callable
) -> None:
    url = change(postgresql)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DSGO_")},
        "DSGO_HOME": str(tmp_path / "home"),
        "DSGO_TRACKING_PORT": str(free_ports(1)[0]),
        "DSGO_TRACKING_DATABASE_URL": url,
        "PYTHONPATH": str(load().checkout),
    }
    command = [sys.executable, load().checkout / "server" / "tracking.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr and "DSGO_TRACKING_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert urlsplit(url).password not in done.stdout + done.stderr
