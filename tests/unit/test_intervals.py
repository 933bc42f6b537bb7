"""Intervals cover what they promise, and are wider where errors are larger."""

from __future__ import annotations

import numpy as np
import pytest

from dsgo.intervals import fit_intervals


def draw(rows: int, seed: int):
    draws = np.random.default_rng(seed)
    features = draws.normal(size=(rows, 3))
    forecast = draws.gamma(2.0, 1.0, rows)
    error = draws.normal(size=rows) * (0.1 + 0.3 * forecast) * np.exp(0.5 * features[:, 0])
    return forecast, error, features, np.arange(rows) // 168


def test_four_in_five_new_rows_are_inside_in_easy_and_hard_hours():
    intervals = fit_intervals(*draw(6000, 1))
    forecast, error, features, _ = draw(6000, 2)
    low, high = intervals.around(forecast, features)
    inside = (low <= forecast + error) & (forecast + error <= high)
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    hard = features[:, 0] > 0.7
    assert inside[hard].mean() == pytest.approx(0.8, abs=0.06)
    assert inside[~hard].mean() == pytest.approx(0.8, abs=0.06)
    assert np.mean((high - low)[hard]) > 1.5 * np.mean((high - low)[~hard])


def test_errors_of_a_week_that_are_alike_do_not_make_intervals_too_narrow():
    """Rows of a week share size and features: trees that know the week learn its errors by heart."""
    weeks, rows = np.arange(100 * 84) // 84, np.arange(100 * 84)
    forecast, inside = np.ones(4000), {"by week": [], "by row": []}
    for seed in range(2):
        draws = np.random.default_rng(seed)
        size, features = np.exp(draws.normal(size=100))[weeks], draws.normal(size=(100, 3))[weeks]
        new_size, new_features = np.exp(draws.normal(size=4000)), draws.normal(size=(4000, 3))
        for name, groups in (("by week", weeks), ("by row", rows)):
            low, high = fit_intervals(np.ones(len(rows)), size, features, groups).around(forecast, new_features)
            inside[name].append(np.mean(new_size <= (high - low) / 2))
    assert np.mean(inside["by week"]) > np.mean(inside["by row"]) + 0.04
    assert np.mean(inside["by week"]) == pytest.approx(0.8, abs=0.05)


def test_the_interval_lies_evenly_around_the_forecast_and_never_vanishes():
    forecast, error, features, weeks = draw(2000, 3)
    for errors in (error + 5.0, np.zeros(len(error))):  # where every error has the same sign, where there is none
        low, high = fit_intervals(forecast, errors, features, weeks).around(forecast, features)
        assert (low < forecast).all()
        np.testing.assert_allclose(forecast - low, high - forecast)


def test_too_few_rows_or_weeks_are_refused():
    with pytest.raises(ValueError, match="at least 500 out-of-sample rows of 5 weeks, not 499 of 3"):
        fit_intervals(*draw(499, 4))
    with pytest.raises(ValueError, match="not 600 of 4"):
        fit_intervals(*draw(600, 4))
