"""Features of a demand that people decide on: by their clocks, their calendar, and the temperature of the days around."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset
from victoria_sample import sample

from dsgo.collection import find
from dsgo.features import Features, group_of

HALF_HOUR = pd.Timedelta("30min")
HOLIDAYS = {"holidays": ["2012-04-25", "2012-11-06", "2012-12-25", "2012-12-26"]}
WIND_SOLAR_NAMES = """
    windspeed windspeed_lag1 windspeed_lag2 windspeed_lag3 windspeed_mean3h windspeed_mean6h windspeed_mean24h
    temperature temperature_lag1 temperature_lag2 temperature_lag3 temperature_mean3h temperature_mean6h temperature_mean24h
    rad_horizontal rad_horizontal_lag1 rad_horizontal_lag2 rad_horizontal_lag3
    rad_horizontal_mean3h rad_horizontal_mean6h rad_horizontal_mean24h
    rad_diffuse rad_diffuse_lag1 rad_diffuse_lag2 rad_diffuse_lag3 rad_diffuse_mean3h rad_diffuse_mean6h rad_diffuse_mean24h
    day_sin1 day_cos1 day_sin2 day_cos2 day_sin3 day_cos3 year_sin1 year_cos1 year_sin2 year_cos2 weekend
    sun sun_up clear_sky_W_m2 wind_cubed clear_sky_index diffuse_share utc_offset_h
    warmth_frost warmth_low24h warmth_range24h warmth_mean72h warmth_above_mean24h warmth_change12h warmth_change24h
    wind_squared wind_cubed_mean3h wind_cubed_mean6h wind_saturated wind_onward wind_onward_cubed wind_power_density
    ahead_index ahead_index_before ahead_W_m2 ahead_direct_W_m2 ahead_diffuse_W_m2 ahead_trend_W_m2 ahead_squared
    past_sky_mean24h past_sky_mean72h past_sky_index24h ahead_warm_W_m2 wind_by_radiation wind_at_night wind_by_sun
"""


def info_of(name: str, **changed: object) -> dict:
    dataset = find(name).dataset
    return {**dataset, "calendar": {**dataset["calendar"], **HOLIDAYS}, **changed}


MONTH_AHEAD, DAY_AHEAD = info_of("victoria_demand"), info_of("victoria_demand_day_ahead")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The inputs of 2012."""
    raw = sample().iloc[: 366 * 48]
    index = pd.DatetimeIndex(pd.to_datetime(raw["Time"], utc=True), name="utc_timestamp")
    inputs = pd.DataFrame({"temperature": raw["Temperature"].to_numpy()}, index=index)
    return inputs.assign(demand_day_before_MW=raw["Demand"].shift(48).bfill().to_numpy())


def columns(table: pd.DataFrame, info: dict) -> pd.DataFrame:
    features = Features(info)
    return pd.DataFrame(features.transform(table), index=table.index, columns=features.get_feature_names_out())


@pytest.fixture(scope="module")
def year(table) -> pd.DataFrame:
    return columns(table, DAY_AHEAD)


def at(local: str) -> pd.Timestamp:
    return pd.Timestamp(local, tz="Australia/Melbourne").tz_convert("UTC")


def test_nothing_is_missing_and_every_feature_belongs_to_a_group(year):
    assert np.isfinite(year.to_numpy()).all()
    groups = {name: group_of(name, DAY_AHEAD) for name in year}
    assert set(groups.values()) == {"year", "week", "day", "temperature", "calendar", "demand_day_before"}
    assert {name for name, group in groups.items() if group == "demand_day_before"} == {
        *(name for name in year if name.startswith("demand_day_before_MW")),
        *("demand_2_days_before", "demand_week_before", "demand_mean_week"),
    }


@pytest.mark.parametrize("day", ["2012-04-01", "2012-10-07"])  # clocks are put back, and forward
def test_the_time_of_day_is_that_of_local_clocks_across_a_change(year, day):
    around = year.loc[at(day) - pd.Timedelta("1D") : at(day) + pd.Timedelta("2D")]
    local = around.index.tz_convert("Australia/Melbourne")
    assert len(set(around["utc_offset_h"])) == 2
    angle = 2 * np.pi * (local.hour + local.minute / 60).to_numpy() / 24
    for k in range(1, 7):
        np.testing.assert_allclose(around[f"day_sin{k}"], np.sin(k * angle), atol=1e-9)
        np.testing.assert_allclose(around[f"day_cos{k}"], np.cos(k * angle), atol=1e-9)
    np.testing.assert_array_equal(around["weekend"], local.day_of_week >= 5)
    np.testing.assert_array_equal(around["calendar_sunday"], local.day_of_week == 6)


def test_the_calendar_is_that_of_the_local_day(year):
    cup_day = year.loc[at("2012-11-06 00:00") : at("2012-11-06 23:30"), "calendar_holiday"]
    assert len(cup_day) == 48 and cup_day.all()
    assert not year.loc[[at("2012-11-05 23:30"), at("2012-11-07 00:00")], "calendar_holiday"].any()
    assert year.loc[at("2012-11-05 12:00"), "calendar_bridge"] == 1


@pytest.mark.parametrize(("name", "days"), [("before", -1), ("same", 0), ("after", 1)])
@pytest.mark.parametrize("day", ["2012-02-10", "2012-04-01", "2012-10-07"])
def test_extremes_are_of_the_whole_local_days_around(year, table, day, name, days):
    asked = pd.Timestamp(day) + pd.Timedelta(days=days)
    own = table.loc[at(day) : at(f"{pd.Timestamp(day) + pd.Timedelta('1D')}") - HALF_HOUR]
    of = table["temperature"].loc[at(str(asked)) : at(str(asked + pd.Timedelta("1D"))) - HALF_HOUR]
    assert len(own) == {"2012-04-01": 50, "2012-10-07": 46}.get(day, 48)
    for what, expected in {"highest": of.max(), "lowest": of.min(), "mean": of.mean()}.items():
        np.testing.assert_allclose(year.loc[own.index, f"warmth_day_{name}_{what}"], expected)


def test_at_the_ends_of_a_table_and_beside_an_absent_day_the_own_day_stands_for_the_other(table):
    days = table.loc[at("2012-02-06") : at("2012-02-11") - HALF_HOUR]
    days = days[days.index.tz_convert("Australia/Melbourne").day != 9]
    made, local = columns(days, MONTH_AHEAD), days.index.tz_convert("Australia/Melbourne").day
    for day, name in ((6, "before"), (8, "after"), (10, "before"), (10, "after")):
        rows = made[local == day]
        np.testing.assert_array_equal(rows[f"warmth_day_{name}_highest"], days["temperature"][local == day].max())


def test_temperature_ahead_is_that_of_the_hour_to_come_or_the_own_where_there_is_none(year, table):
    temperature = table["temperature"].to_numpy()
    for hours in (1, 3):
        ahead = year[f"warmth_ahead{hours}h"].to_numpy()
        np.testing.assert_array_equal(ahead[: -2 * hours], temperature[2 * hours :])
        np.testing.assert_array_equal(ahead[-2 * hours :], temperature[-2 * hours :])


def test_inputs_that_are_not_known_ahead_are_not_looked_at_ahead(table):
    blind = {**DAY_AHEAD, "inputs_known_ahead": False}
    names = set(Features(blind).get_feature_names_out())
    left_out = {name for name in Features(DAY_AHEAD).get_feature_names_out() if name not in names}
    whats = ("highest", "lowest", "mean")
    days = {f"warmth_day_{day}_{what}" for day in ("same", "after") for what in whats}
    assert left_out == days | {"warmth_ahead1h", "warmth_ahead3h"}
    rows = table.iloc[: 48 * 6]
    pd.testing.assert_frame_equal(columns(rows.iloc[: 48 * 4 + 17], blind), columns(rows, blind).iloc[: 48 * 4 + 17])


def test_degrees_to_heat_and_to_cool(table):
    rows = table.iloc[:5].assign(temperature=[10.0, 16.0, 18.0, 20.0, 27.5])
    made = columns(rows, MONTH_AHEAD)
    assert list(made["warmth_heating"]) == [6, 0, 0, 0, 0]
    assert list(made["warmth_cooling"]) == [0, 0, 0, 0, 7.5]


def test_demand_is_that_of_two_days_and_of_a_week_before(year, table):
    """Inputs have it of a day before, from which the others follow; no demand that is younger is looked at."""
    known = table["demand_day_before_MW"].to_numpy()
    np.testing.assert_array_equal(year["demand_2_days_before"].iloc[48:], known[:-48])
    np.testing.assert_array_equal(year["demand_week_before"].iloc[6 * 48 :], known[: -6 * 48])
    week = pd.Series(known).rolling(7 * 48).mean().to_numpy()
    np.testing.assert_allclose(year["demand_mean_week"].iloc[7 * 48 :], week[7 * 48 :])
    changed = table.copy()
    changed.iloc[1000:, 1] += 500.0
    known_demand = [name for name in year if name.startswith("demand_")]
    earlier = columns(changed, DAY_AHEAD)[known_demand].iloc[:1000]
    pd.testing.assert_frame_equal(earlier, year[known_demand].iloc[:1000])


def test_a_month_ahead_no_demand_is_known():
    assert not [name for name in Features(MONTH_AHEAD).get_feature_names_out() if name.startswith("demand")]


@pytest.mark.parametrize("info", [MONTH_AHEAD, DAY_AHEAD], ids=["month ahead", "day ahead"])
def test_one_row_alone_has_features(table, info):
    alone = columns(table.iloc[[4000]], info)
    assert np.isfinite(alone.to_numpy()).all()
    assert alone["warmth_day_after_highest"].iloc[0] == table["temperature"].iloc[4000]


def test_a_collection_without_a_calendar_has_the_features_that_it_had():
    data = dataset("2013-01-01", "2013-02-01")
    assert list(Features(data.info).get_feature_names_out()) == WIND_SOLAR_NAMES.split()
