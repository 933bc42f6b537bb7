"""Whatever is asked, answers stay within physical limits, in order, and do not depend on the order of the rows."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_datasets import dataset
from sklearn.linear_model import LinearRegression

from dsgo.errors import DataError
from dsgo.evaluation import plan
from dsgo.forecaster import Forecaster

DATA = dataset()
FOLDS, WINDOW = plan(DATA.table.index, DATA.info)


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    past, fold = FOLDS[-1].split(DATA.table)
    earlier = Forecaster(DATA.info, LinearRegression()).fit(past)
    predictions = fold[DATA.targets].join(earlier.forecast(fold))
    return Forecaster(DATA.info, LinearRegression()).fit(pd.concat([past, fold])).calibrate(predictions, DATA.table)


def request(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows[DATA.inputs].reset_index()
    return frame.assign(utc_timestamp=frame["utc_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


moments = st.datetimes(
    min_value=pd.Timestamp("1999-01-01").to_pydatetime(), max_value=pd.Timestamp("2045-01-01").to_pydatetime()
)
rows = st.lists(
    st.tuples(moments, st.floats(0, 35), st.floats(-45, 50), st.floats(0, 1200), st.floats(0, 800)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[0].replace(minute=0, second=0, microsecond=0),
)


def frame_of(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["utc_timestamp", *DATA.inputs])
    frame["utc_timestamp"] = [f"{moment:%Y-%m-%dT%H}:00:00Z" for moment in frame["utc_timestamp"]]
    return frame


def check_invariants(forecaster: Forecaster, frame: pd.DataFrame, answer: pd.DataFrame) -> None:
    assert list(answer.columns) == [f"{t}{end}" for t in DATA.targets for end in ("", "_p10", "_p90")]
    assert np.isfinite(answer.to_numpy()).all()
    for i, target in enumerate(DATA.targets):
        low, point, high = (answer[f"{target}{end}"] for end in ("_p10", "", "_p90"))
        assert (low <= point).all()
        assert (point <= high).all()
        assert (low >= 0).all()
        hours = pd.DatetimeIndex(pd.to_datetime(frame["utc_timestamp"]))
        most = forecaster.most[i] * forecaster.levels[i].at(hours)
        assert (high <= most + 1e-9).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, again=st.lists(st.integers(0, 29), max_size=5), seed=st.integers(0, 1000))
def test_limits_order_and_completeness_hold_whatever_comes_twice_or_in_another_order(forecaster, rows, again, seed):
    frame = frame_of(rows + [rows[i % len(rows)] for i in again])
    answer = forecaster.predict(frame)
    check_invariants(forecaster, frame, answer)
    order = np.random.default_rng(seed).permutation(len(frame))
    shuffled = forecaster.predict(frame.iloc[order])
    np.testing.assert_array_equal(shuffled.to_numpy(), answer.to_numpy()[order])
    once = forecaster.predict(frame.iloc[: len(rows)])
    np.testing.assert_array_equal(answer.to_numpy()[: len(rows)], once.to_numpy())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.sets(st.integers(0, 72), min_size=1, max_size=40), first=st.integers(0, 20_000))
def test_limits_hold_for_recorded_weather_with_any_gaps(forecaster, hours, first):
    some = DATA.table.iloc[[first + hour for hour in sorted(hours)]]
    frame = request(some)
    check_invariants(forecaster, frame, forecaster.predict(frame))


anything = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e300, -1e300, -1.0, 5e-324, -0.0])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, value=anything, column=st.sampled_from(DATA.inputs), at=st.integers(0, 29))
def test_any_finite_number_is_answered_within_the_limits_or_refused_by_name(forecaster, rows, value, column, at):
    frame = frame_of(rows)
    at %= len(frame)
    frame.loc[at, column] = value
    spec = DATA.info["columns"][column]
    slack = 0.001 * (spec["maximum"] - spec["minimum"])  # noise around the lower bound is no fault
    if spec["minimum"] - slack <= value <= spec["maximum"]:
        check_invariants(forecaster, frame, forecaster.predict(frame))
    else:
        with pytest.raises(DataError, match="is not within") as raised:
            forecaster.predict(frame)
        assert (raised.value.column, raised.value.row) == (column, at + 1)


def test_no_solar_power_at_night(forecaster):
    night = DATA.table[DATA.table.index.hour == 0].tail(100)
    assert (forecaster.predict(request(night)).filter(like="solar") == 0).all(axis=None)


def test_it_forecasts_better_than_yesterday(forecaster):
    _, window = WINDOW.split(DATA.table)
    answer = forecaster.predict(request(window)).set_index(window.index)
    for target in DATA.targets:
        yesterday = window[target].shift(24)
        assert np.nanmean((answer[target] - window[target]) ** 2) < 0.7 * np.nanmean((yesterday - window[target]) ** 2)
        inside = (answer[f"{target}_p10"] <= window[target]) & (window[target] <= answer[f"{target}_p90"])
        assert 0.65 < inside.mean() < 0.95


def test_repeated_rows_get_the_same_answer_and_contradictions_are_refused(forecaster):
    frame = request(DATA.table.iloc[5000:5010])
    twice = pd.concat([frame, frame.iloc[[3]]], ignore_index=True)
    answer = forecaster.predict(twice).to_numpy()
    np.testing.assert_array_equal(answer[3], answer[10])
    twice.loc[10, "windspeed"] += 1
    with pytest.raises(DataError, match=r"column utc_timestamp, row 11: the hour .* is already in row 4"):
        forecaster.predict(twice)


def test_the_callers_index_is_kept(forecaster):
    frame = request(DATA.table.iloc[5000:5003])
    frame.index = ["c", "a", "b"]
    assert list(forecaster.predict(frame).index) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("windspeed", "strong", "windspeed"), ("temperature", np.nan, "temperature"), ("utc_timestamp", "noon", "noon")],
)
def test_what_cannot_be_used_is_named(forecaster, column, value, words):
    frame = request(DATA.table.iloc[5000:5003]).astype(object)
    frame.loc[1, column] = value
    with pytest.raises(DataError, match=words) as raised:
        forecaster.predict(frame)
    assert raised.value.row == 2


def test_it_needs_no_training_library_to_answer(forecaster):
    again = pickle.loads(pickle.dumps(forecaster))
    frame = request(DATA.table.iloc[5000:5020])
    pd.testing.assert_frame_equal(again.predict(frame), forecaster.predict(frame))


def test_twice_the_same_fit_gives_the_same_answer():
    rows = DATA.table.iloc[:9000]
    first, second = (Forecaster(DATA.info, LinearRegression()).fit(rows).forecast(rows) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
