"""The table of predictions on SQLite and on a real PostgreSQL: only what says something new is added, all of it or nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from dsgo import predictions
from dsgo.errors import DatabaseError, DataError
from dsgo.predictions import EARLIER_VERSION, NAIVE, PRODUCTION
from dsgo.settings import load

AT_ONCE = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """An empty database that is the application's, and an engine on it."""
    home = load().home
    home.mkdir()
    if request.param == "sqlite":
        return sa.create_engine(f"sqlite:///{home / 'dsgo.db'}", poolclass=sa.NullPool)
    server = request.getfixturevalue("postgresql").replace("postgresql://", "postgresql+psycopg://")
    name = f"predictions_{home.name.rpartition('-')[2]}"
    with sa.create_engine(server, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as outer:
        outer.exec_driver_sql(f"CREATE DATABASE {name}")
    url = server.removesuffix("postgres") + name
    monkeypatch.setenv("DSGO_DATABASE_URL", url.replace("+psycopg", ""))
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")  # times are answered in the session's zone
    return sa.create_engine(url, poolclass=sa.NullPool)


def some(start: str = "2016-07-01", hours: int = 3, **other: object) -> pd.DataFrame:
    """Forecasts of wind and solar power for some hours."""
    index = pd.date_range(start, periods=hours, freq="1h", tz="UTC", unit="us")
    rows = pd.DataFrame(
        {
            "target": np.repeat(["wind_GW", "solar_GW"], hours),
            "utc_timestamp": [*index, *index],
            "forecast": np.linspace(1, 2, 2 * hours),
            "p10": np.linspace(0, 1, 2 * hours),
            "p90": np.linspace(2, 3, 2 * hours),
            "source": PRODUCTION,
            "version": 1,
            "data_digest": "d" * 64,
            "synthetic": False,
        }
    )
    return rows.assign(**other)


def written(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM predictions").scalar()


def test_rows_come_back_as_they_were_recorded(database: sa.Engine) -> None:
    before = pd.Timestamp.now("UTC")
    rows = some().assign(utc_timestamp=some()["utc_timestamp"].dt.tz_convert("Europe/Berlin"))
    assert predictions.record("energy", rows, "r" * 32) == 6
    found = predictions.newest("energy")
    expected = some().sort_values(["target", "utc_timestamp"], ignore_index=True).astype({"version": "Int64"})
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True, check_dtype=False)
    assert list(found) == predictions.COLUMNS and str(found["utc_timestamp"].dtype) == "datetime64[us, UTC]"
    assert found["issued_at"].between(before, pd.Timestamp.now("UTC")).all() and found["issued_at"].nunique() == 1
    assert set(found["run_id"]) == {"r" * 32} and found["collection"].eq("energy").all()


def test_the_same_again_changes_nothing(database: sa.Engine) -> None:
    predictions.record("energy", some(), "first")
    before = predictions.newest("energy")
    again = some(data_digest="e" * 64)
    again["forecast"] = np.nextafter(again["forecast"], 9)  # another number of threads
    assert predictions.record("energy", again, "second") == 0
    pd.testing.assert_frame_equal(predictions.newest("energy"), before)
    assert written(database) == 6


CHANGES = {
    "source": {"source": EARLIER_VERSION},
    "version": {"version": 2},
    "naive": {"source": NAIVE, "version": None},
    "forecast": {"forecast": 1.5},
    "p10": {"p10": 0.1},
    "p90": {"p90": 4.0},
    "nothing": {"p10": 0.0, "p90": 0.0, "forecast": 0.0},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_says_something_else_is_added_and_what_was_said_is_kept(database: sa.Engine, change: str) -> None:
    predictions.record("energy", some(), "first")
    other = some().iloc[[1]].assign(**CHANGES[change])
    both = pd.concat([some().iloc[[0]], other])
    assert predictions.record("energy", both, "second") == 1
    assert predictions.record("energy", both, "third") == 0
    found = predictions.newest("energy").set_index(["target", "utc_timestamp"])
    row = found.loc[("wind_GW", other["utc_timestamp"].iloc[0])]
    for name, value in CHANGES[change].items():
        assert pd.isna(row[name]) if value is None else row[name] == value
    assert row["run_id"] == "second" and (found["run_id"] == "second").sum() == 1 and written(database) == 7
    assert predictions.record("energy", some(), "fourth") == 1, "what was said first is said anew"


def test_newest_of_a_span_and_of_one_collection(database: sa.Engine) -> None:
    predictions.record("energy", some(hours=48), "first")
    predictions.record("other", some(hours=48, forecast=9.0), "second")
    first, last = (pd.Timestamp(hour, tz="Europe/Berlin") for hour in ("2016-07-02 00:00", "2016-07-02 05:00"))
    found = predictions.newest("energy", first, last)
    expected = pd.date_range("2016-07-01 22:00", "2016-07-02 03:00", freq="1h", tz="UTC", unit="us")
    for target in ("solar_GW", "wind_GW"):
        assert found.loc[found["target"] == target, "utc_timestamp"].tolist() == expected.tolist()
    assert (found["forecast"] != 9.0).all()
    assert len(predictions.newest("energy", first)) == 2 * (48 - 22)
    assert len(predictions.newest("energy", last=first)) == 2 * 23
    assert predictions.newest("nobody's").empty


def test_before_anything_is_recorded_there_is_an_empty_table_and_no_file() -> None:
    found = predictions.newest("energy")
    assert found.empty and list(found) == predictions.COLUMNS and found["utc_timestamp"].dt.tz is not None
    assert predictions.record("energy", some().iloc[:0], "run") == 0
    assert not load().home.exists()


def test_a_forecast_that_is_none_is_refused_and_nothing_is_written(database: sa.Engine) -> None:
    bad = some()
    bad.loc[4, "p90"] = np.nan
    with pytest.raises(DataError, match=r"column solar_GW: the forecast of 2016-07-01 01:00:00\+00:00 is no number"):
        predictions.record("energy", bad, "run")
    with pytest.raises(DataError, match="comes twice"):
        predictions.record("energy", pd.concat([some(), some().iloc[[2]]]), "run")
    assert predictions.newest("energy").empty


def test_a_refusal_in_the_middle_leaves_nothing(database: sa.Engine) -> None:
    bad = some()
    bad["source"] = bad["source"].astype(object)
    bad.loc[4, "source"] = None
    with pytest.raises(DatabaseError):
        predictions.record("energy", bad, "run")
    assert predictions.newest("energy").empty


def _record(number: int, barrier) -> None:
    barrier.wait()
    rows = some(hours=500)
    for part in np.array_split(np.arange(len(rows)), 5):
        predictions.record("energy", rows.iloc[part], f"run {number}")


def test_several_at_once_on_a_new_database_add_each_row_once(database: sa.Engine) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(AT_ONCE)
    writers = [context.Process(target=_record, args=(number, barrier)) for number in range(AT_ONCE)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * AT_ONCE
    assert written(database) == 1000 and len(predictions.newest("energy")) == 1000


def _stops_before_the_commit(pipe) -> None:
    def stop(*_) -> None:
        pipe.send("rows are there, but not committed")
        signal.pause()

    sa.event.listen(sa.Engine, "commit", stop)
    predictions.record("energy", some(forecast=5.0), "killed")


def test_killed_before_the_commit_leaves_what_was_there(database: sa.Engine) -> None:
    predictions.record("energy", some(), "first")
    before = predictions.newest("energy")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    writer = context.Process(target=_stops_before_the_commit, args=(sender,))
    writer.start()
    receiver.recv()
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    pd.testing.assert_frame_equal(predictions.newest("energy"), before)
    assert predictions.record("energy", some(forecast=5.0), "second") == 6, "and whoever comes next can write"


def test_many_rows_take_as_many_statements_as_few(database: sa.Engine) -> None:
    counts = []
    for hours in (3, 3000):
        statements = []
        sa.event.listen(sa.Engine, "before_cursor_execute", lambda *said, kept=statements: kept.append(said[2]))
        assert predictions.record(f"collection of {hours}", some(hours=hours), "run") == 2 * hours
        counts.append(len([statement for statement in statements if "CREATE" not in statement]))
    assert counts[1] <= counts[0] < 10


def test_a_reader_that_comes_first_does_not_wait_for_a_writer(database: sa.Engine) -> None:
    predictions.record("energy", some(), "run")
    context = multiprocessing.get_context("spawn")  # a process that has not looked yet
    with database.connect() as connection:
        if database.dialect.name == "sqlite":
            connection.connection.dbapi_connection.isolation_level = None
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("LOCK TABLE predictions IN SHARE ROW EXCLUSIVE MODE")
        with context.Pool(1) as pool:
            assert len(pool.apply(predictions.newest, ("energy",))) == 6
