"""The block bootstrap: what it draws, and what its intervals promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgo.bootstrap import daily_sums, interval, resample


def test_days_are_local_ones_and_one_without_rows_is_empty():
    # Midnight in Berlin is 22:00 UTC in summer.
    index = pd.DatetimeIndex(["2016-06-01T21:00Z", "2016-06-01T22:00Z", "2016-06-02T21:00Z", "2016-06-04T10:00Z"])
    sums = daily_sums(np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]]), index, "Europe/Berlin")
    np.testing.assert_array_equal(sums, [[1, 10], [6, 60], [0, 0], [8, 80]])


def test_blocks_are_consecutive_days_and_the_first_follows_the_last():
    days = 10
    drawn = resample(
        np.eye(days), resamples=200, block_days=days
    )  # one block of all days: each once, wherever it starts
    np.testing.assert_array_equal(drawn, np.ones((200, days)))
    drawn = resample(np.eye(days), resamples=200, block_days=5)
    # Two blocks of five: what is drawn twice lies side by side, so the number of changes around the circle is 0 or 4 at most.
    changes = (drawn != np.roll(drawn, 1, axis=1)).sum(axis=1)
    assert changes.max() <= 4
    assert (drawn == 2).any()


@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_each_resample_has_as_many_days_and_each_day_is_drawn_alike(days, block_days, seed):
    drawn = resample(np.eye(days), resamples=400, block_days=block_days, seed=seed)
    assert (drawn.sum(axis=1) == days).all()
    assert abs(drawn.mean(axis=0) - 1).max() < 1.0
    np.testing.assert_array_equal(drawn, resample(np.eye(days), resamples=400, block_days=block_days, seed=seed))


@given(st.floats(0.1, 10), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_series_are_drawn_by_the_same_days(factor, seed):
    daily = np.random.default_rng(seed).random((30, 1))
    drawn = resample(np.hstack([daily, factor * daily]), resamples=100)
    np.testing.assert_allclose(drawn[:, 1], factor * drawn[:, 0])


def test_the_interval_holds_the_middle_of_the_resamples():
    low, high = interval(np.arange(101.0), 0.9)
    np.testing.assert_allclose([low, high], [5, 95])
    low, high = interval(np.array([[0.0, np.nan], [1.0, 3.0], [2.0, 3.0]]), 0.5)  # a resample may lack a regime
    np.testing.assert_array_equal([low, high], [[0.5, 3], [1.5, 3]])


def test_blocks_of_days_do_not_take_spells_of_weather_for_evidence():
    """Of two equal forecasters whose errors last for days, single days promote one in eight, weeks about one in twenty."""
    rng = np.random.default_rng(3)
    pairs, days = 400, 182
    spells = np.repeat(rng.normal(size=(days // 4 + 1, pairs, 2)), 4, axis=0)[:days]
    losses = np.exp(0.5 * spells)

    def rate(block_days: int) -> float:
        drawn = resample(losses.reshape(days, -1), resamples=500, block_days=block_days).reshape(500, pairs, 2)
        return float(np.mean(interval(np.log(drawn[..., 0] / drawn[..., 1]), 0.95)[1] < 0))

    assert rate(7) < 0.06 < rate(1)
