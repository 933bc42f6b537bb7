"""Scores are those of the textbook, folds lie in order of time, baselines use the past only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dsgo.errors import DataError
from dsgo.evaluation import coverage, months, naive, plan, score, score_predictions

INFO = {
    "frequency": "1h",
    "window": {"months": 6},
    "backtest": {"folds": 2, "months": 6},
    "source": {"name": "some.csv"},
}


def test_folds_and_window_are_the_last_months_in_order_and_touch_each_other():
    index = pd.date_range("2013-01-01", "2016-06-30T23:00", freq="h", tz="UTC")
    folds, window = plan(index, INFO)
    edges = [(str(fold.start.date()), str(fold.end.date())) for fold in (*folds, window)]
    assert edges == [("2015-01-01", "2015-07-01"), ("2015-07-01", "2016-01-01"), ("2016-01-01", "2016-07-01")]


def test_training_rows_lie_before_test_rows():
    table = pd.DataFrame(index=pd.date_range("2013-01-01", "2016-06-30T23:00", freq="h", tz="UTC"))
    folds, window = plan(table.index, INFO)
    for fold in (*folds, window):
        train, test = fold.split(table)
        assert train.index[-1] < test.index[0]


def test_an_incomplete_month_stays_out_of_the_window():
    index = pd.date_range("2013-01-01", "2016-06-17T08:00", freq="h", tz="UTC")
    assert plan(index, INFO)[1].end == pd.Timestamp("2016-06-01", tz="UTC")


def test_too_short_a_table_is_refused_by_name():
    index = pd.date_range("2015-01-01", "2016-06-30T23:00", freq="h", tz="UTC")
    with pytest.raises(DataError, match=r"some\.csv: .*too few"):
        plan(index, INFO)


LOCAL = {
    "frequency": "30min",
    "timezone": "Australia/Melbourne",
    "months_by": "local",
    "window": {"months": 1},
    "backtest": {"folds": 4, "months": 1, "least_days": 180},
    "source": {"name": "some.csv"},
}


def half_hours(start: str, end: str) -> pd.DatetimeIndex:
    """All that start from `start` on and before `end`, local times."""
    zone = LOCAL["timezone"]
    index = pd.date_range(pd.Timestamp(start, tz=zone), pd.Timestamp(end, tz=zone), freq="30min", inclusive="left")
    return index.tz_convert("UTC")


def test_months_of_local_clocks_begin_when_they_do_there_before_and_after_a_change():
    folds, window = plan(half_hours("2013-01-01", "2014-01-01"), LOCAL)
    spans = [*folds, window]
    assert [str(span.start) for span in spans] == [
        "2013-07-31 14:00:00+00:00",
        "2013-08-31 14:00:00+00:00",
        "2013-09-30 14:00:00+00:00",
        "2013-10-31 13:00:00+00:00",  # clocks were put forward on 6 October
        "2013-11-30 13:00:00+00:00",
    ]
    assert [span.end for span in spans] == [*(span.start for span in spans[1:]), pd.Timestamp("2013-12-31T13:00Z")]
    by_utc, _ = plan(half_hours("2013-01-01", "2014-02-01"), {**LOCAL, "months_by": "UTC"})
    assert [f"{fold.start:%m-%d %H:%M}" for fold in by_utc] == [f"{month:02}-01 00:00" for month in (8, 9, 10, 11)]


def test_a_fold_is_named_by_the_months_that_it_tests():
    assert months(plan(half_hours("2013-01-01", "2014-01-01"), LOCAL)[1], LOCAL) == "2013-12"
    hours = pd.date_range("2013-01-01", "2016-06-30T23:00", freq="h", tz="UTC")
    assert months(plan(hours, INFO)[1], INFO) == "2016-01 to 2016-06"


@pytest.mark.parametrize("end", ["2014-01-31 23:30", "2014-01-01 00:30", "2014-01-02"])
def test_a_local_month_that_is_not_complete_stays_out_of_the_window(end):
    assert plan(half_hours("2013-01-01", end), LOCAL)[1].end == pd.Timestamp("2013-12-31T13:00Z")


def test_a_collection_says_how_many_days_the_first_fold_needs():
    year = half_hours("2013-01-01", "2014-01-01")  # 212 days before August
    assert plan(year, {**LOCAL, "backtest": {**LOCAL["backtest"], "least_days": 212}})
    with pytest.raises(DataError, match=r"some\.csv: .*2013-07-31 and needs 213 days of rows before it"):
        plan(year, {**LOCAL, "backtest": {**LOCAL["backtest"], "least_days": 213}})
    with pytest.raises(DataError, match=r"needs a year of rows before it"):
        plan(year, {**LOCAL, "backtest": {"folds": 4, "months": 1}})


def test_scores_by_hand():
    scores = score(np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 2.0, 3.0, 3.0]), full_scale=8.0)
    assert scores["mae"] == pytest.approx(1.0)
    assert scores["rmse"] == pytest.approx(np.sqrt(10 / 4))
    assert scores["nrmse"] == pytest.approx(np.sqrt(10 / 4) / 8)
    assert scores["bias"] == pytest.approx(-0.5)
    assert scores["r2"] == pytest.approx(1 - 10 / 14)


def test_the_naive_baseline_is_yesterday_or_the_day_before_where_yesterday_is_absent():
    index = pd.date_range("2016-01-01", periods=96, freq="h", tz="UTC")
    table = pd.DataFrame({"demand_MW": np.arange(96.0)}, index=index).drop(index[30])
    baseline = naive(table, ["demand_MW"], table.index, "24h")["demand_MW"]
    assert baseline[index[50]] == 26
    assert baseline[index[54]] == 6  # hour 30 is absent
    assert baseline[: index[23]].isna().all()


def test_skill_coverage_and_width_by_hand():
    predictions = pd.DataFrame(
        {
            "x": [1.0, 2.0, 3.0, 4.0],
            "x_forecast": [1.0, 2.0, 3.0, 5.0],
            "x_naive": [3.0, 2.0, 3.0, np.nan],
            "x_p10": [0.0, 1.0, 3.5, 3.0],
            "x_p90": [2.0, 3.0, 4.5, 3.5],
        }
    )
    metrics = score_predictions(predictions, ["x"], "window", {"x": 10.0})
    assert metrics["window.x.skill"] == 1.0  # on the three rows that have a baseline the forecast is perfect
    assert metrics["window.x.rmse"] == 0.5
    assert metrics["window.x.coverage80"] == 0.5
    assert metrics["window.x.width80"] == pytest.approx((2 + 2 + 1 + 0.5) / 4)


def test_hours_that_cannot_miss_are_not_counted_as_covered():
    recorded, low, high = np.array([0.0, 0.01, 2.0, 9.0]), np.array([0.0, 0, 1, 1]), np.array([0.0, 0, 3, 3])
    assert coverage(recorded, low, high) == 0.5
    assert np.isnan(coverage(recorded[:2], low[:2], high[:2]))
