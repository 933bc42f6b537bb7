"""Prediction intervals: conformal, from errors on rows that the regressor had not seen, wider where the hour is harder.

Each error is divided by the size that is usual for its kind of hour; the 10 % and 90 % quantiles of these scaled errors,
taken apart for low, middle and high forecasts, times the usual size give the interval (split conformal prediction with
normalised residuals, Lei and others, J. Am. Stat. Assoc. 113 (2018) 1094-1111, section 5.2; apart by kind of row: Mondrian
conformal predictors, Vovk and others, "Algorithmic Learning in a Random World" (2005), section 4.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge

LOWER, UPPER = 0.10, 0.90
GROUPS = 3  # low, middle and high forecasts
FEWEST_ROWS = 200  # a group with fewer says nothing of its tails
RIDGE = 10.0
SMALLEST = 1e-3  # errors below this share of the target's scale count as equal: the logarithm would make much of them


@dataclass(frozen=True)
class Intervals:
    """Interval of one target around forecasts that are divided by level and scale.

    Attributes:
        edges: forecasts at which the groups meet, shape (groups − 1,).
        lower, upper: quantiles of the scaled errors in each group, shape (groups,).
        size: linear model of the logarithm of an error's usual size.
        seen: least and largest logarithm that is believed: no hour is easier or harder than those of the calibration.
    """

    edges: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    size: Ridge
    seen: tuple[float, float]

    def around(self, forecast: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """10 % and 90 % bounds. `forecast` (n,) and `features` (n, k, standardised) as in `fit_intervals`."""
        usual = _usual_size(self.size, self.seen, _describe(forecast, features))
        group = np.searchsorted(self.edges, forecast)
        return forecast + np.minimum(self.lower[group], 0.0) * usual, forecast + np.maximum(
            self.upper[group], 0.0
        ) * usual


def fit_intervals(forecast: np.ndarray, error: np.ndarray, features: np.ndarray) -> Intervals:
    """Calibrate on forecasts made without having seen the rows.

    Args:
        forecast: out-of-sample forecasts divided by level and scale, shape (n,).
        error: recorded − forecast on the same scale, shape (n,).
        features: standardised features, shape (n, k).

    Raises:
        ValueError: fewer than 200 rows.
    """
    if len(forecast) < FEWEST_ROWS:
        raise ValueError(f"intervals need at least {FEWEST_ROWS} out-of-sample rows, not {len(forecast)}")
    described = _describe(forecast, features)
    size = Ridge(RIDGE).fit(described, np.log(np.abs(error) + SMALLEST))
    seen = tuple(np.quantile(size.predict(described), [0.01, 0.99]))
    scaled = error / _usual_size(size, seen, described)
    edges = np.quantile(forecast, np.arange(1, GROUPS) / GROUPS)
    group = np.searchsorted(edges, forecast)
    lower, upper = np.empty(GROUPS), np.empty(GROUPS)
    for g in range(GROUPS):
        chosen = scaled[group == g] if np.sum(group == g) >= FEWEST_ROWS else scaled
        lower[g], upper[g] = _conformal(chosen, LOWER), _conformal(chosen, UPPER)
    return Intervals(edges, lower, upper, size, seen)


def _conformal(scaled: np.ndarray, share: float) -> float:
    """Quantile with the finite-sample step outwards that makes coverage hold for exchangeable rows."""
    n = len(scaled)
    rank = np.floor((n + 1) * share) if share < 0.5 else np.ceil((n + 1) * share)
    return float(np.sort(scaled)[int(np.clip(rank, 1, n)) - 1])


def _describe(forecast: np.ndarray, features: np.ndarray) -> np.ndarray:
    at_least_0 = np.maximum(forecast, 0.0)
    return np.column_stack([features, np.sqrt(at_least_0), at_least_0, at_least_0**2])


def _usual_size(size: Ridge, seen: tuple[float, float], described: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(size.predict(described), *seen))
