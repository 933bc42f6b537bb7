"""Is the newest span like the spans of the training years? For any figure of a span, such as a mean.

Neighbouring hours and days are alike, so what counts is how much whole spans differ from each other, and how many of them are
as good as independent: a test that takes hours for independent would find a drift every week.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from dsgo.sun import DAY_S

HEADROOM = 1.1  # over the largest deviation of the training years: a longer time brings larger ones
FEWEST = 5  # independent spans; with less nobody knows what is usual
MOST_ALIKE = 0.6  # correlation of spans that follow each other; two years tell it too badly to believe more


@dataclass(frozen=True)
class Judged:
    """A figure of the newest span beside those of the training years, in usual deviations of such spans.

    Attributes:
        measured: how far it is from their mean; negative below.
        limit: how far it may be, either way.
    """

    measured: float
    limit: float

    @property
    def beyond(self) -> bool:
        """Whether it is out of range."""
        return abs(self.measured) > self.limit


def by_day(seconds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of each 24 hours, counted back from the last hour, so that the newest span ends with it.

    Args:
        seconds: starts of hours after 1970, sorted, shape (n,).
        values: one column for each series, shape (n, series); NaN counts as 0.

    Returns:
        Shape (days, series), the oldest first; a day without rows has sums of 0.
    """
    ago = (seconds[-1] - seconds) // DAY_S
    day, days = ago[0] - ago, int(ago[0]) + 1
    return np.column_stack([np.bincount(day, series, days) for series in np.nan_to_num(values).T])


def sums(daily: np.ndarray, days: int) -> np.ndarray:
    """Sums over every span of `days` consecutive days.

    Args:
        daily: shape (all days, series).

    Returns:
        Shape (all days − days + 1, series).
    """
    total = np.vstack([np.zeros((1, daily.shape[1])), np.cumsum(daily, axis=0)])
    return total[days:] - total[:-days]


def judge(usual: np.ndarray, newest: float, days: int, chance: float) -> Judged | None:
    """Compare a figure of the newest span with those of all spans of the training years.

    Args:
        usual: one for each day that a span ends on, in order; NaN where a span has too little data.
        newest: of the span in question.
        days: length of the span.
        chance: of being beyond the limit while nothing has changed.

    Returns:
        None where there is too little to compare.
    """
    known = usual[np.isfinite(usual)]
    independent = len(known) / days * _thinned(usual, days)
    if independent < FEWEST or not np.isfinite(newest):
        return None
    centre, scale = known.mean(), known.std()
    if scale == 0:
        return None
    spread = np.sqrt(1 + 1 / independent)  # the mean of the training years is not known exactly either
    limit = spread * float(stdtrit(independent - 1, 1 - chance / 2))
    largest = float(np.abs(known - centre).max() / scale)
    return Judged(float((newest - centre) / scale), max(limit, HEADROOM * largest))


def judge_long(
    usual: np.ndarray, newest: float, days: int, short: np.ndarray, short_days: int, growth: float, chance: float
) -> Judged | None:
    """The same for a span so long that the training years, or the test of a model, hold few: it stands on shorter ones.

    Args:
        usual, newest, days, chance: as for `judge`.
        short, short_days: the same figure of shorter spans, and their length.
        growth: by what factor the figure's spread would differ from that of the shorter ones if these were independent.
    """
    known, shorter = usual[np.isfinite(usual)], short[np.isfinite(short)]
    share = _thinned(short, short_days)
    independent = len(shorter) / short_days * share
    if independent < FEWEST or not len(known) or not np.isfinite(newest):
        return None
    scale = max(float(shorter.std()) * growth / np.sqrt(share), float(known.std()))
    if scale == 0:
        return None
    limit = np.sqrt(1 + days / len(shorter)) * float(stdtrit(independent - 1, 1 - chance / 2))
    largest = float(np.abs(known - known.mean()).max() / scale)
    return Judged(float((newest - known.mean()) / scale), max(limit, HEADROOM * largest))


def _thinned(usual: np.ndarray, days: int) -> float:
    """By what share spans that follow each other count less than independent ones, from how alike they are."""
    one, next_one = usual[:-days], usual[days:]
    both = np.isfinite(one) & np.isfinite(next_one)
    if both.sum() < 2 * days:
        return 1.0
    with np.errstate(invalid="ignore"):
        alike = np.nan_to_num(np.corrcoef(one[both], next_one[both])[0, 1])
    alike = float(np.clip(alike, 0.0, MOST_ALIKE))
    return (1 - alike) / (1 + alike)
