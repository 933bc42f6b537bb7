"""Prediction intervals: conformal, from errors on rows that the regressor had not seen, wider where the hour is harder.

Boosted trees learn how large errors are: the 80 % quantile of their absolute value, by the forecast and what tells an hour's
difficulty. A factor then makes four in five of the calibration's rows lie inside. For it the size of each error is told by
trees that have not seen its week: errors of one week are alike, and trees that know them promise too much (conformalised
quantile regression: Romano, Patterson and Candès, NeurIPS 32 (2019); on cross-fitted residuals: Barber and others,
"Predictive inference with the jackknife+", Annals of Statistics 49 (2021)).

The interval lies evenly around the forecast. Lower and upper quantiles of their own follow the bias of the calibration's
half-years, which the next half-year does not share; on the folds they were no narrower.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import ThreadpoolController

from dsgo.trees import Trees

COVERAGE = 0.80
PARTS = 5  # of the weeks, for cross-fitting
FEWEST_ROWS = 500  # with fewer, the trees have no two leaves
SMALLEST = 1e-3  # of a half-width, as a share of the target's scale: no forecast of an open hour is certain
_THREADS = ThreadpoolController()  # looking for the libraries takes as long as many answers: it is done once
TREES = {"max_iter": 60, "learning_rate": 0.08, "max_depth": 3, "min_samples_leaf": 200, "early_stopping": False}


@dataclass(frozen=True)
class Intervals:
    """Interval of one target around forecasts that are divided by level and scale.

    Attributes:
        size: tells the 80 % quantile of an error's absolute value.
        factor: of the half-width, about 1.
    """

    size: Trees
    factor: float

    def around(self, forecast: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """10 % and 90 % bounds. `forecast` (n,) and `features` (n, k) as in `fit_intervals`."""
        half = np.maximum(self.factor * self.size.predict(np.column_stack([forecast, features])), SMALLEST)
        return forecast - half, forecast + half


def fit_intervals(forecast: np.ndarray, error: np.ndarray, features: np.ndarray, weeks: np.ndarray) -> Intervals:
    """Calibrate on forecasts made without having seen the rows.

    Args:
        forecast: out-of-sample forecasts divided by level and scale, shape (n,).
        error: recorded − forecast on the same scale, shape (n,).
        features: what tells how difficult an hour is, shape (n, k).
        weeks: number of each row's week, shape (n,).

    Raises:
        ValueError: fewer than 500 rows, or of fewer than five weeks.
    """
    numbers = np.unique(weeks)
    if len(forecast) < FEWEST_ROWS or len(numbers) < PARTS:
        raise ValueError(
            f"intervals need at least {FEWEST_ROWS} out-of-sample rows of {PARTS} weeks, not {len(forecast)} of {len(numbers)}"
        )
    described, size = np.column_stack([forecast, features]), np.abs(error)
    part = np.searchsorted(numbers, weeks) % PARTS
    told = np.empty(len(size))
    with _one_thread():
        for p in range(PARTS):
            told[part == p] = _trees().fit(described[part != p], size[part != p]).predict(described[part == p])
        trees = _trees().fit(described, size)
    return Intervals(Trees.of(trees), _conformal(size / np.maximum(told, SMALLEST)))


def _one_thread() -> AbstractContextManager:
    """No parallel loops inside: a tree is grown in less time than a busy machine's threads need to meet."""
    return _THREADS.limit(limits=1, user_api="openmp")


def _trees() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss="quantile", quantile=COVERAGE, random_state=0, **TREES)


def _conformal(scaled: np.ndarray) -> float:
    """Quantile with the finite-sample step outwards that makes coverage hold for exchangeable rows."""
    rank = np.ceil((len(scaled) + 1) * COVERAGE)
    return float(np.sort(scaled)[int(min(rank, len(scaled))) - 1])
