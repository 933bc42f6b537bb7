"""The level follows growth that the inputs do not explain, and continues it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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
