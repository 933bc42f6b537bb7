"""The watch of data: a season is no drift, and every fault that is put in is found, and told by what it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset

from dsgo.faults import run_lengths
from dsgo.findings import DATA, FAULT, Finding
from dsgo.tables import Dataset
from dsgo.watch import training_rows, watch_clock, watch_data
from dsgo.watch_shown import name
from dsgo.watching import Watching

LIMITS = Watching(short_days=7, long_days=28, false_alarms_a_year=1.0, missing_hours=24, stale_hours=240)
TRAINED_TO = pd.Timestamp("2014-12-31 23:00", tz="UTC")
NEWEST = pd.Timedelta("7D")


def table(end: str = "2015-03-15 23:00") -> pd.DataFrame:
    return dataset().table.loc[:end].copy()


def findings(rows: pd.DataFrame, info: dict | None = None) -> dict[str, Finding]:
    """All by kind, subject and check."""
    found, _ = watch_data(Dataset(rows, info or dataset().info), TRAINED_TO, LIMITS)
    return {name(one): one for one in found}


def alarms(rows: pd.DataFrame, info: dict | None = None) -> list[str]:
    return [key for key, one in findings(rows, info).items() if one.alarm]


@pytest.mark.parametrize("end", ["2015-02-01 23:00", "2015-06-15 23:00"])
def test_a_week_of_winter_or_of_summer_is_no_drift(end: str) -> None:
    """Its mean temperature is far from that of the whole year: that alone would be an alarm."""
    rows = table(end)
    assert alarms(rows) == []
    week, year = rows["temperature"].iloc[-168:], rows["temperature"].loc["2014"]
    assert abs(week.mean() - year.mean()) > 3  # °C


def test_every_column_is_looked_at() -> None:
    found = findings(table())
    inputs = ("windspeed", "temperature", "rad_horizontal", "rad_diffuse")
    assert {f"data {column} {check}" for column in inputs for check in ("level", "spread", "shape", "relation")} <= set(
        found
    )
    assert {f"data {column} level" for column in ("solar_GW", "wind_GW")} <= set(found)
    assert {f"fault {column} {check}" for column in inputs for check in ("stuck", "jump", "unit")} <= set(found)
    assert all(one.measured is not None and one.limit is not None for one in found.values())


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [
        ("windspeed", lambda x: x * 3.6, "fault windspeed unit"),
        ("temperature", lambda x: 1.8 * x + 32, "fault temperature unit"),
        ("wind_GW", lambda x: x / 1000, "fault wind_GW unit"),
        ("temperature", lambda x: x * 0 + x.iloc[0], "fault temperature stuck"),
        ("rad_diffuse", lambda x: x * 0, "fault rad_diffuse stuck"),
        ("temperature", lambda x: x + 4, "fault temperature jump"),
        ("windspeed", lambda x: x + 6, "data windspeed level"),
        ("temperature", lambda x: x.mean() + 6 * (x - x.mean()), "data temperature spread"),
        ("wind_GW", lambda x: x * 3, "data wind_GW level"),
        ("rad_horizontal", lambda x: x * 3, "data rad_horizontal relation"),
    ],
)
def test_what_is_put_in_is_found(column: str, change, expected: str) -> None:
    rows = table()
    newest = rows.index > rows.index[-1] - NEWEST
    rows.loc[newest, column] = change(rows.loc[newest, column])
    assert expected in alarms(rows)


def test_a_unit_is_named() -> None:
    rows = table()
    rows.loc[rows.index > rows.index[-1] - NEWEST, "windspeed"] *= 3.6
    assert "look like km/h" in findings(rows)["fault windspeed unit"].text


def test_missing_hours_are_counted() -> None:
    rows = table()
    middle = (rows.index > rows.index[-1] - pd.Timedelta("4D")) & (rows.index <= rows.index[-1] - pd.Timedelta("2D"))
    found = findings(rows[~middle])["fault missing"]
    assert found.alarm and found.measured == 48 and found.limit == 24
    assert "fault missing" not in alarms(rows)


def test_days_lost_just_before_the_weather_ahead_are_missing() -> None:
    """By the week after they lie outside of the newest days, and nobody would ever hear of them."""
    rows = table()
    ahead = rows.drop(columns=["solar_GW", "wind_GW"]).iloc[-48:]
    recorded = rows.iloc[: -48 - 4 * 24]
    result, _ = watch_data(Dataset(recorded, dataset().info, ahead), TRAINED_TO, LIMITS)
    (missing,) = [one for one in result if one.check == "missing"]
    assert missing.alarm and missing.measured == 96
    assert missing.last == ahead.index[0] - pd.Timedelta("1h")


def test_zero_at_night_is_not_stuck_but_zero_by_day_is() -> None:
    assert findings(table())["fault rad_horizontal stuck"].measured == 1  # nights of 14 hours are left out
    rows = table()
    rows.loc[rows.index > rows.index[-1] - pd.Timedelta("2D"), "rad_horizontal"] = 0.0
    assert findings(rows)["fault rad_horizontal stuck"].measured >= 16


def test_run_lengths_count_equal_values_and_no_missing_ones() -> None:
    assert run_lengths(np.array([1.0, 1.0, 2.0, np.nan, np.nan, 2.0, 2.0])).tolist() == [1, 2, 1, 1, 1, 1, 2]


def test_with_one_year_of_training_only_faults_are_told() -> None:
    rows = dataset().table.loc["2014-06-01":"2015-03-15"]
    found = findings(rows)
    assert {one.kind for one in found.values()} == {FAULT}
    assert {one.check for one in found.values()} == {"missing", "stuck"}


def test_training_rows_leave_out_the_newest_span_and_what_production_has_not_seen() -> None:
    index = table().index
    assert index[training_rows(index, TRAINED_TO, 28)][-1] == TRAINED_TO
    for trained_to in (None, index[-1]):
        assert index[training_rows(index, trained_to, 28)][-1] == index[-1] - pd.Timedelta("28D")


def test_recorded_data_grow_stale_and_a_sample_does_not() -> None:
    rows = table()
    end = rows.index[-1] + pd.Timedelta("1h")
    recorded = Dataset(rows, {**dataset().info, "synthetic": False})
    fresh, old = (watch_clock(recorded, end + pd.Timedelta(hours=h), LIMITS) for h in (240, 241))
    assert not fresh.alarm and old.alarm and (fresh.measured, old.measured) == (240, 241)
    sample = watch_clock(Dataset(rows, dataset().info), end + pd.Timedelta("900D"), LIMITS)
    assert not sample.alarm and sample.measured is None and "no clock" in sample.text


def demand() -> Dataset:
    """Three years of demand and temperature every half hour, of another place, with a week's rhythm and no sun."""
    index = pd.date_range("2012-01-01", "2014-12-31 23:30", freq="30min", tz="UTC", unit="us", name="utc_timestamp")
    draws = np.random.default_rng(5)
    days = len(index) / 48
    local = index.tz_convert("Australia/Melbourne")
    weather = np.repeat(pd.Series(draws.standard_normal(int(days) + 1)).ewm(alpha=0.3).mean().to_numpy(), 48)[
        : len(index)
    ]
    noise = pd.Series(draws.standard_normal(len(index))).ewm(alpha=0.05).mean().to_numpy()
    temperature = 15 + 6 * np.cos(2 * np.pi * (local.dayofyear - 20) / 365) + 4 * weather + 2 * noise
    busy = np.where(local.dayofweek < 5, 600, 0) * ((local.hour >= 7) & (local.hour < 20))
    load = 4500 + busy + 8 * (temperature - 18) ** 2 + 150 * noise + 40 * draws.standard_normal(len(index))
    columns = {
        "demand_MW": {"role": "target", "unit": "MW", "minimum": 0, "maximum": 15000},
        "temperature": {"role": "input", "quantity": "temperature", "unit": "°C", "minimum": -20, "maximum": 55},
    }
    info = {
        **dataset().info,
        "columns": columns,
        "frequency": "30min",
        "timezone": "Australia/Melbourne",
        "location": {"latitude": -37.8, "longitude": 145.0},
    }
    info.pop("inputs_late_in_summer_time")
    return Dataset(pd.DataFrame({"demand_MW": load, "temperature": temperature}, index), info)


def test_demand_and_temperature_by_half_hours_are_watched_alike() -> None:
    whole = demand()
    calendar = {
        "workday": {"role": "calendar", "unit": "1", "minimum": 0, "maximum": 1}
    }  # stands still for weeks, and may
    whole = Dataset(whole.table.assign(workday=1.0), {**whole.info, "columns": {**whole.info["columns"], **calendar}})
    trained_to = pd.Timestamp("2013-12-31 23:30", tz="UTC")

    def found(rows: pd.DataFrame) -> list[str]:
        result, _ = watch_data(Dataset(rows, whole.info), trained_to, LIMITS)
        assert not {one.check for one in result} & {"relation"}  # there is one input only
        return [name(one) for one in result if one.alarm]

    rows = whole.table.loc[:"2014-08-10"].copy()
    assert found(rows) == []
    newest = rows.index > rows.index[-1] - pd.Timedelta("6D")
    rows.loc[newest, "demand_MW"] *= 1.2
    assert found(rows) == ["data demand_MW level"]
    rows.loc[newest, "temperature"] = rows["temperature"].iloc[-300]
    assert "fault temperature stuck" in found(rows)


def test_findings_are_of_the_kind_that_acting_goes_by() -> None:
    kinds = {one.check: one.kind for one in findings(table()).values()}
    assert {kinds[check] for check in ("level", "spread", "shape", "relation")} == {DATA}
    assert {kinds[check] for check in ("stuck", "jump", "unit", "missing")} == {FAULT}
