"""Whole spans beside whole spans: how often noise passes for a drift, and that a drift is seen."""

from __future__ import annotations

import numpy as np
import pytest

from dsgo.spans import by_day, judge, sums

DAYS, CHANCE, TRIALS = 730, 0.02, 400


def weekly_means(daily: np.ndarray) -> np.ndarray:
    return sums(daily[:, None], 7)[:, 0] / 7


def noise(draws: np.random.Generator, alike: float) -> np.ndarray:
    """Two years and a week of days, each as much like the one before as `alike` says."""
    white = draws.standard_normal(DAYS + 107)
    days = np.empty_like(white)
    days[0] = white[0]
    for at in range(1, len(white)):
        days[at] = alike * days[at - 1] + white[at]
    return days[100:]


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_noise_is_beyond_the_limit_no_more_often_than_asked_for(alike: float) -> None:
    draws = np.random.default_rng(1)
    beyond = 0
    for _ in range(TRIALS):
        means = weekly_means(noise(draws, alike))
        beyond += judge(means[:-7], means[-1], 7, CHANCE).beyond
    assert beyond <= CHANCE * TRIALS + 3 * np.sqrt(CHANCE * TRIALS)


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_a_shift_of_many_spreads_is_beyond(alike: float) -> None:
    days = noise(np.random.default_rng(2), alike)
    means = weekly_means(days)
    days[-7:] += 8 * means.std()
    moved = judge(means[:-7], weekly_means(days)[-1], 7, CHANCE)
    assert moved.beyond and moved.measured > 4


def test_a_limit_lies_above_all_that_the_training_years_have_seen() -> None:
    usual = np.r_[np.random.default_rng(3).standard_normal(700), 20.0]
    one = judge(usual, 0.0, 1, CHANCE)
    assert one.limit > (20 - usual.mean()) / usual.std()


@pytest.mark.parametrize(
    ("usual", "newest"), [(np.zeros(500), 1.0), (np.arange(20.0), 1.0), (np.random.default_rng(0).random(500), np.nan)]
)
def test_what_cannot_be_judged_is_not(usual: np.ndarray, newest: float) -> None:
    assert judge(usual, newest, 7, CHANCE) is None


def test_days_are_counted_back_from_the_last_hour() -> None:
    seconds = 3600 * np.array([0, 1, 30, 47])  # two days that end with hour 47; nothing is missing but rows
    daily = by_day(seconds, np.column_stack([np.ones(4), [1.0, np.nan, 3.0, 4.0]]))
    assert daily.tolist() == [[2.0, 1.0], [2.0, 7.0]]
    assert sums(daily, 2).tolist() == [[4.0, 8.0]]
