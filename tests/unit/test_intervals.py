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
    return forecast, error, features


def test_four_in_five_new_rows_are_inside_in_easy_and_hard_hours():
    intervals = fit_intervals(*draw(6000, 1))
    forecast, error, features = draw(6000, 2)
    low, high = intervals.around(forecast, features)
    inside = (low <= forecast + error) & (forecast + error <= high)
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    hard = features[:, 0] > 0.7
    assert inside[hard].mean() == pytest.approx(0.8, abs=0.06)
    assert inside[~hard].mean() == pytest.approx(0.8, abs=0.06)
    assert np.mean((high - low)[hard]) > 1.5 * np.mean((high - low)[~hard])


def test_the_forecast_is_inside_its_own_interval():
    forecast, error, features = draw(2000, 3)
    intervals = fit_intervals(forecast, error + 5.0, features)  # even where every error has the same sign
    low, high = intervals.around(forecast, features)
    assert (low <= forecast).all()
    assert (forecast <= high).all()


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="at least 200"):
        fit_intervals(*draw(199, 4))
