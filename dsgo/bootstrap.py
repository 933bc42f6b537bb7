"""The paired block bootstrap: how far a figure of some months could lie from where it lies, had the weather come otherwise.

Errors of neighbouring hours are alike, and so are those of neighbouring days, so whole days are drawn, and several in a row
(the circular block bootstrap: Politis and Romano, "A circular block-resampling procedure for stationary data", 1992). All
series are summed by day and drawn by the same days: what two forecasters share, the weather, then cancels in their difference.

docs/decisions/gate.md says how long the blocks are and why, and how often a forecaster that is no better passes for one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

BLOCK_DAYS = 7
RESAMPLES = 4000
SEED = 42


def daily_sums(values: np.ndarray, index: pd.DatetimeIndex, timezone: str) -> np.ndarray:
    """Sums of each local calendar day from the first to the last; a day without rows has sums of 0.

    Args:
        values: one column for each series, shape (n, series), without gaps.
        index: tz-aware hours, shape (n,).
        timezone: whose midnights divide the days.

    Returns:
        Shape (days, series).
    """
    midnights = index.tz_convert(timezone).tz_localize(None).normalize()
    days = ((midnights - midnights.min()) // pd.Timedelta("1D")).to_numpy()
    sums = np.zeros((days.max() + 1, values.shape[1]))
    np.add.at(sums, days, values)
    return sums


def resample(
    daily: np.ndarray, *, resamples: int = RESAMPLES, block_days: int = BLOCK_DAYS, seed: int = SEED
) -> np.ndarray:
    """Sums over as many days as there are, drawn in blocks of consecutive days; after the last day comes the first.

    Args:
        daily: shape (days, series).

    Returns:
        Shape (resamples, series). The same `seed` draws the same days.
    """
    return _times_drawn(len(daily), resamples, block_days, seed) @ daily


@lru_cache(maxsize=2)
def _times_drawn(days: int, resamples: int, block_days: int, seed: int) -> np.ndarray:
    """How often each resample draws each day, shape (resamples, days): a product of matrices then sums all series at once."""
    blocks = -(-days // block_days)
    starts = np.random.default_rng(seed).integers(days, size=(resamples, blocks))
    drawn = ((starts[:, :, None] + np.arange(block_days)) % days).reshape(resamples, -1)[:, :days]
    places = (drawn + days * np.arange(resamples)[:, None]).ravel()
    return np.bincount(places, minlength=resamples * days).reshape(resamples, days).astype(float)


def interval(drawn: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the middle of the resamples, shape (…,) each.

    Args:
        drawn: figures, shape (resamples, …); NaN where a resample has none.
        confidence: share of the resamples between the two.
    """
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high
