"""The ledger's table on SQLite and on a real PostgreSQL: only added to, by several at once, and silent about passwords."""

from __future__ import annotations

import dataclasses
import datetime
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from dsgo import ledger
from dsgo.database import ADVISORY_LOCK
from dsgo.errors import DatabaseError, DSGoError, SettingError
from dsgo.ledger import BEGUN, DONE, FOUND, PROMOTION, REFUSAL, REPAIR, ROLLBACK, UNDONE, Entry, Evidence
from dsgo.settings import CHECKOUT, load

EVIDENCE = Evidence(
    run_id="a" * 32,
    gate_run_id="b" * 32,
    rules=({"name": "skill", "measured": np.float64(0.3), "asked": "at least 0.1", "holds": np.bool_(True)},),
    figures={"window": {"start": pd.Timestamp("2016-01-01", tz="UTC"), "rows": np.int64(4344)}, "ratio": float("nan")},
    reason="all rules hold: für „Wind“",
    data_digest="c" * 64,
    synthetic=False,
    code_version="d" * 40,
    asked_by="make run (someone@somewhere)",
)
AT_ONCE, EACH = 6, 10


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """An empty database that is the ledger's, and an engine on it."""
    home = load().home
    home.mkdir()
    if request.param == "sqlite":
        url = f"sqlite:///{home / 'dsgo.db'}"
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    else:
        server = request.getfixturevalue("postgresql")
        name = f"test_{home.name.rpartition('-')[2]}"
        with sa.create_engine(driver(server), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as outer:
            outer.exec_driver_sql(f"CREATE DATABASE {name}")
        url = server.removesuffix("postgres") + name
        monkeypatch.setenv("DSGO_DATABASE_URL", url)
        engine = sa.create_engine(driver(url), poolclass=sa.NullPool)
    return engine


def driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def entry(action: str = PROMOTION, version: int | None = 1, state: str = DONE, **other) -> Entry:
    return Entry("wind", action, state, "PROD", EVIDENCE, version, **other)


def test_a_row_comes_back_as_it_was_written(database: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    before = datetime.datetime.now(datetime.UTC)
    (number,) = ledger.append(entry(replaced=7))
    (row,) = ledger.read("wind")
    assert before <= row.time <= datetime.datetime.now(datetime.UTC) and row.time.tzinfo is datetime.UTC
    plain = dataclasses.replace(
        EVIDENCE,
        rules=[{"name": "skill", "measured": 0.3, "asked": "at least 0.1", "holds": True}],
        figures={"window": {"start": "2016-01-01T00:00:00+00:00", "rows": 4344}, "ratio": None},
    )
    assert row == Entry("wind", PROMOTION, DONE, "PROD", plain, 1, 7, None, number, row.time)
    with database.connect() as connection:  # what another program sees
        times = connection.execute(sa.text("SELECT time FROM ledger")).scalars().all()
    assert pd.to_datetime(times, utc=True)[0] == row.time


def test_entries_shows_each_change_once_the_newest_first(database: sa.Engine) -> None:
    assert ledger.entries().empty
    (begun,) = ledger.append(entry(state=BEGUN, version=None))
    ledger.append(entry(begun=begun))
    ledger.append(entry(REFUSAL), entry(ROLLBACK, 3, BEGUN, replaced=4))
    ledger.append(dataclasses.replace(entry(), collection="other"))
    shown = ledger.entries("wind")
    assert shown[["action", "state"]].values.tolist() == [[ROLLBACK, BEGUN], [REFUSAL, DONE], [PROMOTION, DONE]]
    assert shown["version"].tolist() == [3, 1, 1] and str(shown["time"].dt.tz) == "UTC"
    assert len(ledger.entries()) == 4 and len(ledger.entries(limit=2)) == 2
    assert ledger.collections() == ["other", "wind"]


CHANGES = {
    "update": "UPDATE ledger SET reason = 'better'",
    "delete": "DELETE FROM ledger",
    "replace": "INSERT OR REPLACE INTO ledger SELECT * FROM ledger",
    "upsert": "INSERT INTO ledger SELECT * FROM ledger WHERE true ON CONFLICT (id) DO UPDATE SET reason = 'better'",
    "truncate": "TRUNCATE ledger CASCADE",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_database_itself_refuses_to_change_a_row(database: sa.Engine, change: str) -> None:
    if change == {"sqlite": "truncate", "postgresql": "replace"}[database.dialect.name]:
        pytest.skip("this database has no such statement")
    ledger.append(entry(), entry(REFUSAL))
    before = ledger.read()
    with pytest.raises(sa.exc.DBAPIError, match="only added"), database.begin() as connection:
        connection.exec_driver_sql(CHANGES[change])
    assert ledger.read() == before


def test_a_change_ends_once(database: sa.Engine) -> None:
    (begun,) = ledger.append(entry(state=BEGUN))
    ledger.append(entry(begun=begun))
    with pytest.raises(DatabaseError, match=r"only added|duplicate key"):
        ledger.append(entry(REFUSAL), entry(state=UNDONE, begun=begun))
    assert [row.action for row in ledger.read()] == [PROMOTION], "all rows or none"


def _write_many(number: int, barrier) -> None:
    barrier.wait()
    for turn in range(EACH):
        ledger.append(entry(version=number * 100 + turn))


def test_writers_at_once_on_a_new_database_lose_nothing(database: sa.Engine) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(AT_ONCE)
    writers = [context.Process(target=_write_many, args=(number, barrier)) for number in range(AT_ONCE)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * AT_ONCE
    expected = sorted(number * 100 + turn for number in range(AT_ONCE) for turn in range(EACH))
    assert sorted(row.version for row in ledger.read()) == expected


def _count(file, barrier) -> None:
    barrier.wait()
    for _ in range(EACH):
        with ledger.exclusive():
            count = int(file.read_text())
            file.write_text("")  # whoever reads now fails
            file.write_text(str(count + 1))


def test_only_one_at_a_time(database: sa.Engine, tmp_path) -> None:
    file = tmp_path / "count"
    file.write_text("0")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(AT_ONCE)
    workers = [context.Process(target=_count, args=(file, barrier)) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * AT_ONCE and file.read_text() == str(AT_ONCE * EACH)


def test_postgresql_keeps_those_apart_that_have_another_home(
    postgresql: str, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("DSGO_DATABASE_URL", postgresql)
    engine = sa.create_engine(driver(postgresql), poolclass=sa.NullPool)
    free = sa.select(sa.func.pg_try_advisory_lock(ADVISORY_LOCK))
    with ledger.exclusive(), engine.connect() as other:
        assert other.execute(free).scalar() is False
    with engine.connect() as other:
        assert other.execute(free).scalar() is True


# what was done, oldest first → the versions that a rollback goes through
PATHS = {
    "nothing": ([], []),
    "promotions": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 5)], [1, 2, 5]),
    "back": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 5), (ROLLBACK, 2)], [1, 2]),
    "back twice": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 5), (ROLLBACK, 2), (ROLLBACK, 1)], [1]),
    "on from there": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 3), (ROLLBACK, 1), (PROMOTION, 4)], [1, 4]),
    "and forward again": ([(PROMOTION, 1), (PROMOTION, 2), (ROLLBACK, 1), (ROLLBACK, 2)], [1, 2]),
    "an old one promoted again": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 1)], [1, 2, 1]),
    "promoted twice": ([(PROMOTION, 1), (PROMOTION, 1)], [1]),
    "refused": ([(PROMOTION, 1), (REFUSAL, 1)], [1]),
    "found and repaired": ([(FOUND, 3), (PROMOTION, 4), (REPAIR, 4)], [3, 4]),
    "lost": ([(PROMOTION, 1), (PROMOTION, 2), (REPAIR, 1)], [1]),
    "all lost": ([(PROMOTION, 1), (REPAIR, None), (PROMOTION, 2)], [2]),
}


@pytest.mark.parametrize("case", PATHS)
def test_path_of_a_rollback(case: str) -> None:
    done, expected = PATHS[case]
    rows = [entry(action, version) for action, version in done]
    assert [row.version for row in ledger.in_production(rows)] == expected


# what was done → the versions whose runs a rollback has taken back
TAKEN = {
    "nothing rolled back": ([(PROMOTION, 1), (PROMOTION, 2)], set()),
    "back": ([(PROMOTION, 1), (PROMOTION, 2), (ROLLBACK, 1)], {2}),
    "two back": ([(PROMOTION, 1), (PROMOTION, 2), (PROMOTION, 3), (ROLLBACK, 1)], {2, 3}),
    "and forward again": ([(PROMOTION, 1), (PROMOTION, 2), (ROLLBACK, 1), (ROLLBACK, 2)], set()),
    "another one since": ([(PROMOTION, 1), (PROMOTION, 2), (ROLLBACK, 1), (PROMOTION, 3)], {2}),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_a_rollback_has_taken_back(case: str) -> None:
    done, expected = TAKEN[case]
    rows = [
        dataclasses.replace(entry(action, version), evidence=dataclasses.replace(EVIDENCE, run_id=f"run {version}"))
        for action, version in done
    ]
    assert ledger.rolled_back(rows) == {f"run {version}" for version in expected}


def test_what_is_not_done_counts_for_nothing() -> None:
    rows = [entry(version=1), entry(version=2, state=BEGUN), entry(version=3, state=UNDONE)]
    assert [row.version for row in ledger.in_production(rows)] == [1]


def test_the_same_number_in_another_registry_is_another_version() -> None:
    other = dataclasses.replace(entry(), evidence=dataclasses.replace(EVIDENCE, run_id="f" * 32))
    assert ledger.in_production([entry(), entry(version=2), other]) == [entry(), entry(version=2), other]


SECRET = "s3cret-Pa55"
WRONG_ADDRESSES = [
    f"postgresql://dsgo:{SECRET}@127.0.0.1:1/dsgo",  # nobody listens
    f"postgresql://dsgo:{SECRET}@{SECRET}@127.0.0.1:5432/dsgo",
    f"postgresql://dsgo:{SECRET}/{SECRET}@127.0.0.1:5432/dsgo",
    f"postgresql://dsgo:{SECRET}:{SECRET}",
    f"postgresql://dsgo@127.0.0.1:1/dsgo?password={SECRET}",
    f"postgresql://dsgo:{SECRET}@127.0.0.1:5432",
    f"mysql://dsgo:{SECRET}@127.0.0.1/dsgo",
    SECRET,
    "sqlite:///",
    "sqlite:////proc/none/dsgo.db",
]


@pytest.mark.parametrize("url", WRONG_ADDRESSES)
def test_a_wrong_address_is_refused_without_showing_a_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSGO_DATABASE_URL", url)
    with pytest.raises((SettingError, DatabaseError)) as caught:
        ledger.append(entry())
    shown: BaseException | None = caught.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = shown.__context__ if not shown.__suppress_context__ else shown.__cause__
    assert "DSGO_DATABASE_URL" in str(caught.value) or url.startswith("sqlite")


def test_a_refused_password_shows_in_nothing_that_the_command_prints(postgresql: str) -> None:
    host = postgresql.rpartition("@")[2]
    environment = {**os.environ, "DSGO_DATABASE_URL": f"postgresql://dsgo:{SECRET}@{host}"}
    command = [sys.executable, "-m", "dsgo", "ledger"]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "password authentication failed" in done.stderr
    assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_looking_makes_no_file() -> None:
    assert ledger.entries().empty and ledger.collections() == []
    assert not load().home.exists()


def test_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSGO_ASKED_BY", "make run")
    assert ledger.asked_by().startswith("make run (") and "@" in ledger.asked_by()
    monkeypatch.delenv("DSGO_ASKED_BY")
    monkeypatch.setattr(sys, "argv", ["/somewhere/promote.py", "--dataset"])
    assert ledger.asked_by().startswith("promote.py (")


def test_every_error_is_one_that_the_command_line_shows_as_a_sentence() -> None:
    assert issubclass(DatabaseError, DSGoError)
