"""The servers, started, killed and stopped for real."""

from __future__ import annotations

import contextlib
import dataclasses
import ftplib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dsgo import daemon, probes, services
from dsgo.errors import NoProductionModel, ServiceError, SettingError
from dsgo.settings import HOST, Settings

RECOVERY = 90.0  # seconds; a killed tracking server is ready again after about 10 on a quiet machine

NewSettings = Callable[..., Settings]


@pytest.fixture(scope="module")
def copy(new_settings: NewSettings) -> Settings:
    """A copy with both base servers running, apart from the one that other modules use."""
    return services.up(new_settings())


@pytest.fixture
def ftp_copy(new_settings: NewSettings) -> Iterator[Settings]:
    """A copy with nothing running, for tests that the quick FTP server is enough for."""
    settings = new_settings()
    yield settings
    services.down(settings)


def row(settings: Settings, name: str) -> services.Status:
    return next(status for status in services.status(settings) if status.name == name)


def dsgo(settings: Settings, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dsgo", *arguments],
        env={**os.environ, **settings.child_environment(), "PYTHONPATH": str(settings.checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def request(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, object]:
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json", **headers}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text


def listing(settings: Settings) -> list[str]:
    with ftplib.FTP() as client:
        client.connect(HOST, settings.ftp_port, timeout=10)
        client.login(settings.ftp_user, settings.ftp_password)
        return client.nlst()


# --- up ---------------------------------------------------------------------------------------------------------------


def test_both_servers_work(copy: Settings) -> None:
    assert listing(copy) == ["artifacts"]
    status, answer = request(copy.tracking_port, "POST", "/api/2.0/mlflow/experiments/create", {"name": "one"})
    assert status == 200
    _, answer = request(
        copy.tracking_port, "GET", f"/api/2.0/mlflow/experiments/get?experiment_id={answer['experiment_id']}"
    )
    assert answer["experiment"]["artifact_location"].startswith(copy.artifact_root + "/")


def test_database_has_write_ahead_log(copy: Settings) -> None:
    with contextlib.closing(sqlite3.connect(copy.tracking_database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_tracking_refuses_foreign_hosts_and_origins(copy: Settings) -> None:
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert request(copy.tracking_port, "GET", path)[0] == 200
    assert request(copy.tracking_port, "GET", path, Host="rebound.example")[0] == 403
    create = ("POST", "/api/2.0/mlflow/experiments/create", {"name": "foreign"})
    assert request(copy.tracking_port, *create, Origin="http://evil.example")[0] == 403


def test_tracking_serves_no_artifacts(copy: Settings) -> None:
    assert request(copy.tracking_port, "GET", "/api/2.0/mlflow-artifacts/artifacts")[0] >= 400


def test_servers_listen_on_the_loopback_only(copy: Settings) -> None:
    addresses = {
        connection.laddr.ip
        for found in daemon.processes(copy).values()
        for process in found
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {HOST}


def test_up_leaves_running_servers_alone(copy: Settings) -> None:
    before = [row(copy, name).pid for name in ("ftp", "tracking")]
    services.up(copy)
    assert [row(copy, name).pid for name in ("ftp", "tracking")] == before


def test_concurrent_ups_start_one_of_each(ftp_copy: Settings) -> None:
    runs = [dsgo(ftp_copy, "up", "ftp") for _ in range(3)]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert {name: len(found) for name, found in daemon.processes(ftp_copy).items()} == {"supervisord": 1, "ftp": 1}


def test_taken_port_is_named_before_anything_starts(ftp_copy: Settings) -> None:
    with socket.create_server((HOST, ftp_copy.ftp_port)), pytest.raises(ServiceError) as refusal:
        services.up(ftp_copy, ("ftp",))
    for fact in (f"port {ftp_copy.ftp_port} ", f"(pid {os.getpid()})", "DSGO_FTP_PORT"):
        assert fact in str(refusal.value)
    assert daemon.processes(ftp_copy) == {}
    services.up(ftp_copy, ("ftp",))


def test_server_that_cannot_start_is_reported_with_its_log_and_not_left(new_settings: NewSettings) -> None:
    settings = new_settings()
    settings.home.mkdir(exist_ok=True)
    settings.tracking_database.write_text("this is no database, and long enough to be looked at " * 100)
    with pytest.raises(ServiceError, match="file is not a database"):
        services.up(settings)
    assert "tracking" not in daemon.processes(settings)
    assert row(settings, "tracking").state == "down"


def test_changed_port_moves_the_server(ftp_copy: Settings, free_ports: Callable[[int], list[int]]) -> None:
    services.up(ftp_copy, ("ftp",))
    moved = services.up(dataclasses.replace(ftp_copy, ftp_port=free_ports(1)[0]), ("ftp",))
    assert listing(moved) == ["artifacts"]
    assert not probes.is_taken(ftp_copy.ftp_port)


@pytest.mark.parametrize("name", ["deep " + "x" * 180, "100% #1; a 'b' \"c\""])
def test_home_may_be_long_and_odd(new_settings: NewSettings, tmp_path: Path, name: str) -> None:
    settings = services.up(new_settings(tmp_path / name), ("ftp",))
    assert listing(settings) == ["artifacts"]
    control = Path(daemon.started_with(settings)["DSGO_CONTROL_SOCKET"])
    assert control.parent.stat().st_mode & 0o777 == 0o700
    services.down(settings)
    assert row(settings, "ftp").state == "down"
    assert not control.exists()
    assert control.parent == daemon.folder(settings) or not control.parent.exists()


def test_unknown_service_is_refused(ftp_copy: Settings) -> None:
    with pytest.raises(ServiceError, match="There are ftp, tracking, serve, dashboard"):
        services.up(ftp_copy, ("ftpd",))


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ftp", "tracking"])
def test_killed_server_comes_back(copy: Settings, name: str) -> None:
    killed = row(copy, name).pid
    os.kill(killed, signal.SIGKILL)
    assert daemon.wait_until(lambda: row(copy, name).state == "up" and row(copy, name).pid != killed, RECOVERY)


def test_server_killed_again_and_again_comes_back(ftp_copy: Settings) -> None:
    """Each time before it has lasted long enough to count as started."""
    services.up(ftp_copy, ("ftp",))
    killed: list[int | None] = [None]
    for _ in range(6):
        assert daemon.wait_until(lambda: row(ftp_copy, "ftp").pid not in killed, RECOVERY)
        killed.append(row(ftp_copy, "ftp").pid)
        os.kill(killed[-1], signal.SIGKILL)
    assert daemon.wait_until(lambda: row(ftp_copy, "ftp").state == "up", RECOVERY)


def test_tracking_runs_alone_and_survives_a_kill_while_it_makes_its_database(new_settings: NewSettings) -> None:
    settings = new_settings()
    part = settings.tracking_database.with_suffix(".part")

    @contextlib.contextmanager
    def alone() -> Iterator[subprocess.Popen]:
        environment = {**os.environ, **settings.child_environment(), "PYTHONPATH": str(settings.checkout)}
        with subprocess.Popen(
            [sys.executable, settings.checkout / "server" / "tracking.py"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    with alone() as process:
        assert daemon.wait_until(lambda: part.exists() and part.stat().st_size > 0, RECOVERY)
        process.kill()
    assert not settings.tracking_database.exists()
    with alone() as process:
        assert daemon.wait_until(lambda: services.SERVICES["tracking"].ready(settings.tracking_port), RECOVERY)
        process.terminate()
        process.wait(120)
    assert not list(settings.home.glob("mlflow.part*"))
    assert not probes.is_taken(settings.tracking_port)


def test_up_takes_over_from_a_killed_supervisord(ftp_copy: Settings) -> None:
    services.up(ftp_copy, ("ftp",))
    orphan = row(ftp_copy, "ftp").pid
    os.kill(daemon.processes(ftp_copy)["supervisord"][0].pid, signal.SIGKILL)
    assert daemon.wait_until(lambda: row(ftp_copy, "ftp").state == "orphaned", RECOVERY)
    services.up(ftp_copy, ("ftp",))
    assert row(ftp_copy, "ftp").state == "up"
    assert row(ftp_copy, "ftp").pid != orphan


# --- down -------------------------------------------------------------------------------------------------------------


def test_down_after_a_killed_supervisord_leaves_nothing(ftp_copy: Settings) -> None:
    services.up(ftp_copy, ("ftp",))
    os.kill(daemon.processes(ftp_copy)["supervisord"][0].pid, signal.SIGKILL)
    services.down(ftp_copy)
    assert daemon.processes(ftp_copy) == {}
    assert not probes.is_taken(ftp_copy.ftp_port)


def test_down_spares_other_copies_and_shells(copy: Settings, ftp_copy: Settings, servers: Settings) -> None:
    """A shell with this copy's settings is no server, nor is anything of another copy."""
    services.up(ftp_copy, ("ftp",))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env={**os.environ, **ftp_copy.child_environment()}) as shell:
        services.down(ftp_copy)
        assert shell.poll() is None
        shell.stdin.close()
    assert row(ftp_copy, "ftp").state == "down"
    assert [row(other, name).state for other in (copy, servers) for name in ("ftp", "tracking")] == ["up"] * 4


def test_down_of_a_copy_that_never_ran_makes_nothing(tmp_path: Path, new_settings: NewSettings) -> None:
    services.down(new_settings(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


# --- serve ------------------------------------------------------------------------------------------------------------


def test_serve_wants_a_known_collection_with_a_production_model(copy: Settings) -> None:
    with pytest.raises(SettingError, match="wind_solar"):
        services.serve(copy, "no_such_collection")
    with pytest.raises(NoProductionModel, match="make run COLLECTION=wind_solar"):
        services.serve(copy, "wind_solar")
    assert row(copy, "serve").state == "down"


def test_serve_follows_production(servers: Settings) -> None:
    import mlflow
    import pandas as pd

    class Times(mlflow.pyfunc.PythonModel):
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
            return model_input * self.factor

    experiment = mlflow.create_experiment("serve")

    def promote(factor: int) -> str:
        with mlflow.start_run(experiment_id=experiment):
            model = mlflow.pyfunc.log_model(name="model", python_model=Times(factor), pip_requirements=["mlflow"])
        version = mlflow.register_model(model.model_uri, "wind_solar").version
        client = mlflow.MlflowClient()
        client.transition_model_version_stage("wind_solar", version, "Production", archive_existing_versions=True)
        return str(version)

    def predicted() -> float:
        body = {"dataframe_records": [{"x": 7.0}]}
        status, answer = request(servers.serve_port, "POST", "/invocations", body)
        assert status == 200, answer
        return answer["predictions"][0]["x"]

    first = promote(2)
    assert services.serve(servers) == first
    assert predicted() == 14.0
    assert row(servers, "serve").detail == f"wind_solar version {first}"
    pid = row(servers, "serve").pid
    assert services.serve(servers) == first
    assert row(servers, "serve").pid == pid  # nothing has changed: not restarted

    second = promote(3)
    assert services.serve(servers) == second
    assert predicted() == 21.0
    assert row(servers, "serve").detail == f"wind_solar version {second}"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_password_is_in_no_file_but_env_and_in_no_command_line(copy: Settings) -> None:
    secret = copy.ftp_password.encode()
    assert len(secret) >= 24
    assert copy.env_file.stat().st_mode & 0o777 == 0o600
    listing(copy)  # a login, for the log
    files = [file for file in copy.home.rglob("*") if file.is_file()]
    assert {copy.env_file} == {file for file in files if secret in file.read_bytes()}
    assert {"ftp.log", "tracking.log", "supervisord.log", "mlflow.db"} <= {file.name for file in files}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            assert secret.decode() not in " ".join(process.cmdline())


def test_state_is_readable_by_its_owner_only(copy: Settings) -> None:
    for file in (copy.tracking_database, copy.logs / "tracking.log", copy.logs / "ftp.log"):
        assert file.stat().st_mode & 0o077 == 0, file


# --- the command ------------------------------------------------------------------------------------------------------


def test_status_command(copy: Settings) -> None:
    run = dsgo(copy, "status")
    table = run.communicate(timeout=300)[0].splitlines()
    assert [line.split()[:2] for line in table] == [
        ["service", "state"],
        ["ftp", "up"],
        ["tracking", "up"],
        ["serve", "down"],
        ["dashboard", "down"],
    ]
    assert len({line.index(word) for line, word in zip(table, ["state", "up", "up", "down", "down"], strict=True)}) == 1
    assert run.returncode == 1  # not all are up


def test_restart_gives_a_new_process(ftp_copy: Settings) -> None:
    services.up(ftp_copy, ("ftp",))
    before = row(ftp_copy, "ftp").pid
    services.restart(ftp_copy, "ftp")
    assert row(ftp_copy, "ftp").state == "up"
    assert row(ftp_copy, "ftp").pid != before
