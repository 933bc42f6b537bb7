"""The level follows growth that the inputs do not explain, and continues it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset
from sklearn.linear_model import LinearRegression

from dsgo.forecaster import Forecaster
from dsgo.level import LONGEST_DRIFT_DAYS, fit_level


@pytest.fixture(scope="module")
def hours():
    index = pd.date_range("2013-01-01", periods=24 * 730, freq="h", tz="UTC")
    draws = np.random.default_rng(1)
    wind = draws.gamma(4.0, 2.0, len(index))
    return index, wind, draws.normal(0, 0.5, len(index))


def years(index):
    return ((index - index[0]).total_seconds() / 86_400 / 365).to_numpy()


def test_steady_growth_is_found_and_continued(hours):
    index, wind, noise = hours
    growth = 1 + 0.3 * years(index)
    level = fit_level(index, growth * (5 + wind + noise), wind[:, None])
    half_a_year_on = index[[-1]] + pd.Timedelta("182D")
    now, later = level.at(index[[-1]])[0], level.at(half_a_year_on)[0]
    assert now / level.at(index[[0]])[0] == pytest.approx(1.6, rel=0.04)
    assert later / now == pytest.approx((1 + 0.3 * (2 + 182 / 365)) / 1.6, rel=0.03)


def test_without_growth_the_level_stays_at_one(hours):
    index, wind, noise = hours
    level = fit_level(index, 5 + wind + noise, wind[:, None])
    assert level.at(index) == pytest.approx(1.0, abs=0.03)
    assert level.at(index[[-1]] + pd.Timedelta("182D"))[0] == pytest.approx(1.0, abs=0.03)


def test_a_step_is_followed(hours):
    index, wind, noise = hours
    step = np.where(years(index) < 1.5, 1.0, 1.4)
    level = fit_level(index, step * (5 + wind + noise), wind[:, None])
    before, after = level.at(index[[24 * 400, 24 * 700]])
    assert after / before == pytest.approx(1.4, rel=0.05)


def test_growth_is_not_continued_for_ever(hours):
    index, wind, noise = hours
    level = fit_level(index, (1 + 0.3 * years(index)) * (5 + wind + noise), wind[:, None])
    last = index[-1:] + pd.Timedelta(days=LONGEST_DRIFT_DAYS)
    assert level.at(last + pd.Timedelta("2000D"))[0] == pytest.approx(level.at(last)[0], rel=0.01)


def test_too_short_a_record_has_no_growth(hours):
    index, wind, noise = hours
    short = slice(0, 24 * 100)
    level = fit_level(index[short], ((1 + years(index)) * (5 + wind + noise))[short], wind[short, None])
    assert (level.at(index) == 1.0).all()


def test_where_a_collection_says_so_the_level_is_one_at_all_times():
    """Of a target that grows by a third a year: the level of a collection that says nothing follows it."""
    data = dataset("2013-01-01", "2014-07-01")
    growth = 1 + years(data.table.index) / 3
    table = data.table.assign(**{target: data.table[target] * growth for target in data.targets})
    later = table.index[[0, 5000, -1]].append(table.index[[-1]] + pd.Timedelta("400D"))
    levels = {}
    for level in ("constant", "growing"):
        forecaster = Forecaster({**data.info, "level": level}, LinearRegression()).fit(table)
        forecast = forecaster.forecast(table.iloc[:1][data.inputs].set_axis(later[-1:]))
        levels[level] = [*forecaster.levels[0].at(later), forecast["solar_GW_level"].iloc[0]]
    assert levels["constant"] == [1.0] * 5
    assert levels["growing"][2] > 1.2 * levels["growing"][0]
