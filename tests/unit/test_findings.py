"""The table of findings on SQLite and on a real PostgreSQL: a check is there once, however often it is made."""

from __future__ import annotations

import dataclasses
import datetime
import multiprocessing

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from dsgo import findings
from dsgo.findings import DATA, FAULT, MODEL, STALE, Checked, Finding
from dsgo.settings import load

CHECKED = Checked("wind", "a" * 32, "c" * 64, synthetic=False, version=3)
FIRST, LAST = pd.Timestamp("2016-05-02", tz="UTC"), pd.Timestamp("2016-05-29 23:00", tz="Europe/Berlin")
LEVEL = Finding(DATA, "windspeed", "level", FIRST, LAST, np.float64(1.25), 1.0, np.bool_(True), "wind: 1 m/s „more“")
STUCK = Finding(FAULT, "temperature", "stuck", FIRST, LAST, 3, 12.5, False, "at most 3 hours with the same value")
ERROR = Finding(MODEL, "wind_GW", "error", FIRST, LAST, float("nan"), None, False, "no hours yet", estimate=True)
RECORDED = dataclasses.replace(ERROR, estimate=False, text="recorded")
AT_ONCE = 4


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty database, to be used by `findings`."""
    home = load().home
    home.mkdir()
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        name = f"findings_{home.name.rpartition('-')[2]}"
        driver = server.replace("postgresql://", "postgresql+psycopg://")
        with sa.create_engine(driver, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as outer:
            outer.exec_driver_sql(f"CREATE DATABASE {name}")
        monkeypatch.setenv("DSGO_DATABASE_URL", server.removesuffix("postgres") + name)


def test_before_any_check_there_are_none_and_no_file_is_made() -> None:
    assert findings.newest("wind").empty and list(findings.newest("wind")) == findings.COLUMNS
    assert not load().home.exists()


def test_findings_come_back_as_they_were_written(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    before = datetime.datetime.now(datetime.UTC)
    findings.record(CHECKED, [LEVEL, STUCK, ERROR, RECORDED])
    table = findings.newest("wind")
    assert list(table) == findings.COLUMNS and table["time"].nunique() == 1
    assert before <= table["time"][0] <= pd.Timestamp.now("UTC")
    for row, finding in zip(table.to_dict("records"), (LEVEL, STUCK, ERROR, RECORDED), strict=True):
        assert {name: row[name] for name in dataclasses.asdict(CHECKED)} == dataclasses.asdict(CHECKED)
        expected = {name: None if value != value else value for name, value in dataclasses.asdict(finding).items()}
        assert {name: None if pd.isna(row[name]) else row[name] for name in expected} == expected
    assert str(table["last"].dt.tz) == "UTC" and table["alarm"].dtype == bool and table["measured"].dtype == float


def test_a_repeated_check_takes_the_place_of_the_one_before(database: None) -> None:
    findings.record(CHECKED, [LEVEL, STUCK])
    findings.record(dataclasses.replace(CHECKED, run_id="b" * 32), [dataclasses.replace(STUCK, alarm=True)])
    table = findings.history("wind")
    assert list(table["check"]) == ["stuck"] and table["alarm"].all() and set(table["run_id"]) == {"b" * 32}


def test_without_a_version_a_check_is_there_once_too(database: None) -> None:
    nothing = dataclasses.replace(CHECKED, version=None)
    for _ in range(2):
        findings.record(nothing, [LEVEL])
    findings.record(CHECKED, [LEVEL])
    assert list(findings.history("wind")["version"].fillna(-1)) == [-1, 3]


def test_the_newest_check_is_the_last_one_made(database: None) -> None:
    """Also where an old table comes again, and beside other collections."""
    older, newer = CHECKED, dataclasses.replace(CHECKED, data_digest="d" * 64)
    for checked in (older, newer, older):
        findings.record(checked, [LEVEL, STUCK])
    findings.record(dataclasses.replace(newer, collection="demand"), [ERROR])
    assert set(findings.newest("wind")["data_digest"]) == {older.data_digest} and len(findings.newest("wind")) == 2
    assert len(findings.history("wind")) == 4
    assert list(findings.newest("demand")["check"]) == ["error"]


def test_of_many_that_record_the_same_at_once_one_remains(database: None) -> None:
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        pool.map(_record_unversioned, range(AT_ONCE))
    table = findings.history("wind")
    assert len(table) == 2 and table["run_id"].nunique() == 1


def _record_unversioned(number: int) -> None:
    checked = dataclasses.replace(CHECKED, run_id=f"{number}" * 32, version=None)
    findings.record(checked, [LEVEL, dataclasses.replace(LEVEL, kind=STALE, subject="", check="stale")])
