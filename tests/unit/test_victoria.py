"""Victoria's sample and process_data: years, calendar and the demand of the day before, from generated and recorded tables."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from victoria_sample import SEED, sample

from dsgo import settings, sources
from dsgo.collection import find
from dsgo.errors import DataError, SettingError
from dsgo.evaluation import plan
from dsgo.tables import Dataset, write_dataset

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = CHECKOUT / "projects" / "victoria_demand" / "process_data"
MONTH_AHEAD, DAY_AHEAD = find("victoria_demand", CHECKOUT), find("victoria_demand_day_ahead", CHECKOUT)
CALENDAR = ["workday", "holiday", "school_holiday", "year_end_break", "clock_change"]
ZONE = "Australia/Melbourne"


@pytest.fixture(scope="module")
def step() -> ModuleType:
    """The step's own file: by its path, as each collection has one of that name."""
    spec = importlib.util.spec_from_file_location("victoria_process_data", PROJECT / "process_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The sample. Not to be changed: tests share it."""
    return sample()


@pytest.fixture(scope="module")
def raw(step) -> sources.RawTable:
    return step.generated(settings.load({}))


@pytest.fixture(scope="module")
def of_2013(step, raw) -> Dataset:
    """A day ahead."""
    return step.compute(raw, DAY_AHEAD, "2013")


@pytest.mark.parametrize(
    ("wrong", "message"), [({"country": "ZZ"}, "Country ZZ not available"), ({"subdivision": "XXX"}, "subdivision XXX")]
)
def test_a_place_whose_holidays_nobody_knows_is_refused_by_file_and_key(step, wrong, message):
    dataset = MONTH_AHEAD.dataset
    collection = replace(MONTH_AHEAD, dataset={**dataset, "calendar": {**dataset["calendar"], **wrong}})
    with pytest.raises(DataError, match=rf"collection\.yaml: dataset\.calendar: .*{message}"):
        step.with_holidays(collection, 2012, 2012)


def local(dataset: Dataset) -> pd.DatetimeIndex:
    return dataset.table.index.tz_convert(ZONE)


def days_on(dataset: Dataset, column: str) -> list[str]:
    """Local days of which every half-hour has a 1 in `column`; a day that has both 0 and 1 fails."""
    by_day = dataset.table[column].groupby(local(dataset).strftime("%m-%d"))
    assert (by_day.min() == by_day.max()).all(), column
    return list(by_day.max()[by_day.max() == 1].index)


# --- the sample -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_others(table):
    assert sources.to_csv(table) == sources.to_csv(sample())
    assert sources.to_csv(table) != sources.to_csv(sample(SEED + 1))


def test_the_sample_is_laid_out_as_the_recorded_file_and_ends_with_a_month_of_temperature_only(table):
    assert list(table) == ["Time", "Demand", "Temperature", "Date", "Holiday"]
    times = pd.DatetimeIndex(pd.to_datetime(table["Time"], utc=True))
    assert table["Time"].iloc[0] == "2011-12-31T13:00:00Z"
    assert set(np.diff(times.asi8)) == {np.diff(times.asi8)[0]} and times[1] - times[0] == pd.Timedelta("30min")
    december = times.tz_convert(ZONE) >= pd.Timestamp("2014-12-01", tz=ZONE)
    assert december.sum() == 31 * 48
    np.testing.assert_array_equal(table["Demand"].isna(), december)
    assert table["Temperature"].notna().all()


def test_demand_follows_heat_and_the_week(table):
    known = table[table["Demand"].notna()]
    hot, mild = known["Temperature"] > 32, known["Temperature"].between(18, 22)
    assert known["Demand"][hot].mean() > 1.2 * known["Demand"][mild].mean()
    noon = known["Time"].str.contains("T02:00")
    weekday = pd.to_datetime(known["Date"]).dt.day_of_week
    assert known["Demand"][noon & (weekday < 5)].mean() > 1.1 * known["Demand"][noon & (weekday == 6)].mean()


# --- years ------------------------------------------------------------------------------------------------------------

INDEX = pd.date_range("2012-01-01", "2014-11-30", freq="D", tz=ZONE)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("2013", (2013, 2013)), ("2012-2013", (2012, 2013)), ("2012-2012", (2012, 2012)), ("", (2014, 2014))],
)
def test_years_are_one_or_several(step, asked, expected):
    assert step.years(asked, INDEX) == expected


@pytest.mark.parametrize("asked", ["13", "2013-", "2013-2012", "2012,2013", "all", "2012-2013-2014", " 2013"])
def test_what_is_no_year_is_refused_with_a_sentence(step, asked):
    with pytest.raises(SettingError, match=r"year.*a year such as 2013, or two such as 2012-2013"):
        step.years(asked, INDEX)


def test_a_year_that_the_table_does_not_have_is_refused_with_those_that_it_has(step, raw):
    with pytest.raises(DataError, match=r"has no demand of 2016: its rows are of 2012-01-01 to 2014-12-31\. Ask for"):
        step.compute(raw, MONTH_AHEAD, "2016")


@pytest.mark.parametrize(("arguments", "year"), [([], ""), (["--year"], ""), (["--year", "2012-2013"], "2012-2013")])
def test_an_mlproject_may_hand_over_an_empty_year(step, arguments, year):
    assert step.parse(arguments).year == year


def test_a_year_is_one_of_local_time_with_every_half_hour(of_2013):
    assert (f"{local(of_2013)[0]:%Y-%m-%d %H:%M}", f"{local(of_2013)[-1]:%Y-%m-%d %H:%M}") == (
        "2013-01-01 00:00",
        "2013-12-31 23:30",
    )
    assert len(of_2013.table) == 365 * 48
    assert of_2013.ahead is None


def test_several_years_are_the_single_ones_together(step, raw, of_2013):
    both = step.compute(raw, DAY_AHEAD, "2012-2013").table
    pd.testing.assert_frame_equal(both[both.index >= of_2013.table.index[0]], of_2013.table)
    assert local_years(both) == {2012, 2013}


def local_years(table: pd.DataFrame) -> set[int]:
    return set(table.index.tz_convert(ZONE).year)


def test_the_newest_year_has_the_next_month_as_its_outlook(step, raw):
    dataset = step.compute(raw, MONTH_AHEAD, "")
    assert local_years(dataset.table) == {2014}
    assert f"{local(dataset)[-1]:%Y-%m-%d %H:%M}" == "2014-11-30 23:30"
    december = dataset.ahead.index.tz_convert(ZONE)
    assert set(zip(december.year, december.month, strict=True)) == {(2014, 12)}
    assert len(december) == 31 * 48
    assert list(dataset.ahead) == ["temperature"]
    _, window = plan(dataset.table.index, dataset.info)
    assert f"{window.start.tz_convert(ZONE):%Y-%m-%d %H:%M}" == "2014-11-01 00:00"


def test_a_day_ahead_the_outlook_is_a_day(step, raw):
    dataset = step.compute(raw, DAY_AHEAD, "2014")
    assert len(dataset.ahead) == 48
    np.testing.assert_array_equal(dataset.ahead["demand_day_before_MW"], dataset.table["demand_MW"].iloc[-48:])
    left_out = [each for each in dataset.info["repairs"] if "demand_day_before_MW" in each["fault"]]
    assert [(each["count"], each["handling"]) for each in left_out] == [(30 * 48, "left out")]


def test_the_newest_year_is_the_newest_that_has_demand(step, raw):
    """Temperature may be known beyond the turn of the year."""
    frame = raw.frame[raw.frame["utc_timestamp"] < "2014-01-08"].copy()
    frame.loc[frame["utc_timestamp"] >= "2013-12-31T13", "demand_MW"] = np.nan
    short = sources.RawTable(frame, raw.source, raw.synthetic)
    dataset = step.compute(short, MONTH_AHEAD, "")
    assert local_years(dataset.table) == {2013}


# --- the demand of the day before ------------------------------------------------------------------------------------


def test_the_day_before_is_24_hours_earlier_also_on_the_first_day_of_a_year_and_when_clocks_change(of_2013, table):
    demand = pd.Series(table["Demand"].to_numpy(), pd.DatetimeIndex(pd.to_datetime(table["Time"], utc=True)))
    made = of_2013.table["demand_day_before_MW"]
    np.testing.assert_array_equal(made, demand.reindex(of_2013.table.index - pd.Timedelta("24h")))
    first = made[local(of_2013).strftime("%m-%d") == "01-01"]
    assert len(first) == 48 and first.notna().all()


def test_the_first_day_of_all_has_no_day_before_and_is_left_out(step, raw):
    dataset = step.compute(raw, DAY_AHEAD, "2012")
    assert f"{local(dataset)[0]:%Y-%m-%d %H:%M}" == "2012-01-02 00:00"
    (left_out,) = [each for each in dataset.info["repairs"] if each["handling"] == "left out" and each["count"] == 48]
    assert left_out["first"] == "2011-12-31T13:00:00+00:00"
    assert len(step.compute(raw, MONTH_AHEAD, "2012").table) == 366 * 48


# --- the calendar -----------------------------------------------------------------------------------------------------


def test_columns_are_those_of_the_collection_in_its_order(of_2013, step, raw):
    assert list(of_2013.table) == ["demand_MW", "temperature", "demand_day_before_MW", *CALENDAR]
    assert list(step.compute(raw, MONTH_AHEAD, "2013").table) == ["demand_MW", "temperature", *CALENDAR]
    assert set(np.unique(of_2013.table[CALENDAR])) == {0.0, 1.0}


def test_clocks_change_on_two_days_a_year(of_2013):
    assert days_on(of_2013, "clock_change") == ["04-07", "10-06"]


def test_holidays_are_those_of_victoria(of_2013):
    assert days_on(of_2013, "holiday") == [
        *("01-01", "01-28", "03-11", "03-29", "03-30", "04-01", "04-25", "06-10", "11-05"),
        *("12-25", "12-26"),
    ]


def test_school_and_break_are_those_of_the_collection(of_2013):
    breaks = [*(f"01-0{day}" for day in range(1, 7)), *(f"12-{day}" for day in range(24, 32))]
    assert days_on(of_2013, "year_end_break") == breaks
    school = set(days_on(of_2013, "school_holiday"))
    assert {"01-29", "03-29", "04-14", "06-29", "12-21"} <= school
    assert not {"01-30", "03-28", "04-15", "06-28", "12-20"} & school


def test_a_workday_is_neither_weekend_nor_holiday(of_2013):
    held = {f"2013-{day}" for day in days_on(of_2013, "holiday")}
    days = pd.date_range("2013-01-01", "2013-12-31")
    expected = [f"{day:%m-%d}" for day in days if day.day_of_week < 5 and f"{day:%Y-%m-%d}" not in held]
    assert days_on(of_2013, "workday") == expected


def test_a_model_knows_the_holidays_of_the_years_to_come(of_2013):
    years = {date.fromisoformat(day).year for day in of_2013.info["calendar"]["holidays"]}
    assert years == set(range(2012, 2024))
    assert "2014-11-04" in of_2013.info["calendar"]["holidays"]  # Melbourne Cup, of the next year
    assert "holidays" not in DAY_AHEAD.dataset["calendar"]  # the collection's own is left as it is


# --- from a file ------------------------------------------------------------------------------------------------------


def test_a_file_with_the_recorded_files_columns_comes_to_the_same_table(step, table, of_2013, tmp_path):
    path = tmp_path / "victoria.csv"
    path.write_bytes(sources.to_csv(table[["Time", "Demand", "Temperature"]]))
    raw = sources.raw_table(str(path), settings.load({}), {"sample": step.generated}, rename=step.RAW_COLUMNS)
    dataset = step.compute(raw, DAY_AHEAD, "2013")
    pd.testing.assert_frame_equal(dataset.table, of_2013.table)
    assert not dataset.synthetic
    assert dataset.info["source"]["kind"] == "file"
    again = step.compute(raw, DAY_AHEAD, "2013")
    first, second = (write_dataset(each, tmp_path / name) for each, name in ((dataset, "a"), (again, "b")))
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_a_file_without_a_temperature_is_refused_by_column(step, table, tmp_path):
    path = tmp_path / "victoria.csv"
    path.write_bytes(sources.to_csv(table[["Time", "Demand"]].iloc[:100]))
    raw = sources.raw_table(str(path), settings.load({}), {}, rename=step.RAW_COLUMNS)
    with pytest.raises(
        DataError, match=r"victoria\.csv, column Temperature: missing: Temperature; there are Time, Demand"
    ):
        step.compute(raw, DAY_AHEAD, "2012")


def test_a_fault_is_told_by_the_name_that_the_file_has_for_its_column(step, table, tmp_path):
    path = tmp_path / "victoria.csv"
    table.head(100).assign(Demand=["much", *table["Demand"].head(99)]).to_csv(path, index=False)
    raw = sources.raw_table(str(path), settings.load({}), {}, rename=step.RAW_COLUMNS)
    with pytest.raises(DataError, match=r"victoria\.csv, column Demand, row 1: line 2: 'much' is no number"):
        step.compute(raw, MONTH_AHEAD, "2012")


def test_holidays_of_the_recorded_file_are_ours_but_for_easter_saturday(step, shared_data):
    """The file's are those of the calendar of its package, which leaves out the Saturday, a public holiday in Victoria."""
    file = shared_data / "vic_elec.csv"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    recorded = pd.read_csv(file)
    raw = sources.raw_table(str(file), settings.load({}), {}, rename=step.RAW_COLUMNS)
    dataset = step.compute(raw, MONTH_AHEAD, "2012-2014")
    assert len(dataset.table) == len(recorded)
    ours = dataset.table["holiday"].to_numpy() == 1
    theirs = recorded["Holiday"].astype(str).str.upper().to_numpy() == "TRUE"
    assert set(recorded["Date"][ours & ~theirs]) == {"2012-04-07", "2013-03-30", "2014-04-19"}
    assert set(recorded["Date"][theirs & ~ours]) == set()
