"""Features look backwards only, and make do with what rows there are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_datasets import dataset

from dsgo.features import Features, group_of
from dsgo.sun import sine_of_elevation


@pytest.fixture(scope="module")
def week():
    data = dataset("2013-01-01", "2013-02-01")
    return Features(data.info), data.table.iloc[100:268][data.inputs]


def column(features: Features, table: pd.DataFrame, name: str) -> np.ndarray:
    return features.transform(table)[:, list(features.get_feature_names_out()).index(name)]


def test_names_fit_the_matrix_and_nothing_is_missing(week):
    features, table = week
    matrix = features.transform(table)
    assert matrix.shape == (len(table), len(features.get_feature_names_out()))
    assert np.isfinite(matrix).all()


def test_a_lag_is_the_value_of_that_hour_and_a_mean_that_of_the_last_hours(week):
    features, table = week
    assert column(features, table, "windspeed_lag2")[10] == table["windspeed"].iloc[8]
    assert column(features, table, "windspeed_mean6h")[10] == pytest.approx(table["windspeed"].iloc[5:11].mean())


def test_an_absent_hour_is_not_taken_for_the_one_before_it(week):
    features, table = week
    holed = table.drop(table.index[9])
    assert column(features, holed, "windspeed_lag1")[9] == table["windspeed"].iloc[10]  # the row's own value
    assert column(features, holed, "windspeed_lag2")[9] == table["windspeed"].iloc[8]
    expected = table["windspeed"].iloc[[8, 10]].mean()
    assert column(features, holed, "windspeed_mean3h")[9] == pytest.approx(expected)


def test_later_rows_change_nothing(week):
    features, table = week
    np.testing.assert_allclose(features.transform(table.iloc[:50]), features.transform(table)[:50])


def test_rows_before_all_windows_change_not_a_bit(week):
    """Trees may split anywhere, also between two numbers that differ in their last digits."""
    features, _ = week
    table = dataset("2013-01-01", "2013-06-01").table
    np.testing.assert_array_equal(features.transform(table.iloc[1000:1400])[100:], features.transform(table)[1100:1400])


def test_one_row_alone_has_features(week):
    features, table = week
    alone = features.transform(table.iloc[[30]])
    assert np.isfinite(alone).all()
    assert column(features, table.iloc[[30]], "temperature_mean24h")[0] == table["temperature"].iloc[30]


def test_clocks_say_by_how_much_they_are_ahead_of_utc(week):
    features, table = week
    hours = pd.DatetimeIndex(["2014-03-30T00:00Z", "2014-03-30T01:00Z", "2014-10-26T00:00Z", "2014-10-26T01:00Z"])
    rows = table.iloc[:4].set_axis(hours)
    assert list(column(features, rows, "utc_offset_h")) == [1, 2, 2, 1]


def test_radiation_labelled_late_in_summer_time_is_brought_to_its_hour(week):
    """A sky half covered all day: the index times the clear sky of the row is what falls, an hour before the label."""
    features, _ = week
    day = pd.date_range("2014-06-21T00:00Z", periods=24, freq="h")
    clear = column(features, _sky(day, np.zeros(24)), "clear_sky_W_m2")
    half = column(features, _sky(day, 0.5 * np.roll(clear, 1)), "ahead_W_m2")
    risen = (clear > 20) & (np.roll(clear, 1) > 20)
    assert half[risen] == pytest.approx(0.5 * clear[risen], rel=0.02)
    punctual = Features({**features.info, "inputs_late_in_summer_time": False})
    assert column(punctual, _sky(day, 0.5 * clear), "ahead_W_m2")[risen] == pytest.approx(0.5 * clear[risen], rel=0.02)


def _sky(day: pd.DatetimeIndex, total: np.ndarray) -> pd.DataFrame:
    values = {"windspeed": 4.0, "temperature": 20.0, "rad_horizontal": total / 2, "rad_diffuse": total / 2}
    return pd.DataFrame(values, index=day)


def test_inputs_without_a_quantity_have_plain_features_only(week):
    features, table = week
    bare = {k: {a: b for a, b in v.items() if a != "quantity"} for k, v in features.info["columns"].items()}
    plain = Features({**features.info, "columns": bare})
    names = list(plain.get_feature_names_out())
    assert plain.transform(table).shape == (len(table), len(names))
    assert names[plain.plain :] == ["utc_offset_h"]
    assert group_of("windspeed_mean3h", plain.info) == "windspeed"


def test_every_feature_belongs_to_a_group(week):
    features, _ = week
    groups = {name: group_of(name, features.info) for name in features.get_feature_names_out()}
    expected = {
        "windspeed_lag1": "wind_speed",
        "rad_diffuse": "sky",
        "rad_diffuse_lag1": "sky_past",
        "year_sin1": "year",
    }
    assert groups | expected == groups
    kinds = {"year", "week", "day", "sky", "sky_past", "ahead", "wind_speed", "temperature"}
    assert set(groups.values()) == kinds


@settings(max_examples=40, deadline=None)
@given(
    hours=st.lists(st.integers(0, 200_000), min_size=1, max_size=30, unique=True),
    values=st.tuples(st.floats(0, 35), st.floats(-45, 50), st.floats(0, 1200), st.floats(0, 800)),
)
def test_any_finite_input_gives_finite_features_that_later_rows_do_not_change(week, hours, values):
    features, table = week
    index = pd.DatetimeIndex(pd.Timestamp("2000-01-01", tz="UTC") + pd.to_timedelta(sorted(hours), unit="h"))
    rows = pd.DataFrame([values] * len(index), index=index, columns=table.columns)
    matrix = features.transform(rows)
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(features.transform(rows.iloc[: len(rows) // 2 + 1]), matrix[: len(rows) // 2 + 1])


def test_the_lowest_and_the_range_are_those_of_the_last_24_hours(week):
    features, table = week
    last = table["temperature"].rolling(24, min_periods=1)
    np.testing.assert_allclose(column(features, table, "warmth_low24h"), last.min())
    np.testing.assert_allclose(column(features, table, "warmth_range24h"), last.max() - last.min(), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.dictionaries(st.integers(0, 200), st.tuples(*[st.floats(0, 30)] * 4), min_size=1, max_size=60),
    start=st.datetimes(pd.Timestamp("1990-01-01").to_pydatetime(), pd.Timestamp("2050-01-01").to_pydatetime()),
)
def test_windows_over_any_gaps_are_those_counted_row_by_row(week, rows, start):
    features, table = week
    first = pd.Timestamp(start, tz="UTC").floor("h")
    index = pd.DatetimeIndex([first + pd.Timedelta(hours=hour) for hour in sorted(rows)])
    given_rows = pd.DataFrame([rows[hour] for hour in sorted(rows)], index=index, columns=table.columns)
    names = list(features.get_feature_names_out())
    matrix = features.transform(given_rows)
    for at, hour in enumerate(sorted(rows)):
        found = dict(zip(names, matrix[at], strict=True))
        for place, name in enumerate(table.columns):
            own = rows[hour][place]
            for lag in (1, 2, 3):
                assert found[f"{name}_lag{lag}"] == rows.get(hour - lag, rows[hour])[place]
            for span in (3, 6, 24):
                window = [rows[h][place] for h in range(hour - span + 1, hour + 1) if h in rows]
                assert found[f"{name}_mean{span}h"] == pytest.approx(np.mean(window), abs=1e-9)
            if name == "temperature":
                last = [rows[h][place] for h in range(hour - 23, hour + 1) if h in rows]
                assert found["warmth_low24h"] == min(last)
                assert found["warmth_range24h"] == pytest.approx(max(last) - min(last), abs=1e-12)
                assert found["warmth_change12h"] == own - rows.get(hour - 12, rows[hour])[place]
            if name == "windspeed":
                window = [rows[h][place] ** 3 for h in range(hour - 2, hour + 1) if h in rows]
                assert found["wind_cubed_mean3h"] == pytest.approx(np.mean(window), abs=1e-8)
        assert found["sun"] == pytest.approx(features_sine(features, index[at]), abs=1e-12)
        assert found["utc_offset_h"] == index[at].tz_convert("Europe/Berlin").utcoffset() / pd.Timedelta(hours=1)
        assert found["weekend"] == (index[at].tz_convert("Europe/Berlin").weekday() >= 5)


def features_sine(features: Features, time: pd.Timestamp) -> float:
    place = features.info["location"]
    return sine_of_elevation(pd.DatetimeIndex([time]), place["latitude"], place["longitude"])[0]
