"""Several forecasters as one: for each target a weighted mean, with intervals of its own.

The weights are shares, not negative, with the sum 1 (stacking: Breiman, Machine Learning 24 (1996) 49-64; non-negative least
squares: Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23), found on forecasts of hours that the forecasters
had not seen, and drawn towards equal shares as far as that has helped on hours that followed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from dsgo.errors import DataError
from dsgo.forecaster import FORECAST, Forecaster
from dsgo.hours import Hours

PULLS = (
    0.0,
    0.03,
    0.1,
    0.3,
    1.0,
    100.0,
)  # towards equal shares, in units of the errors' variance; the last leaves them equal
SMALLEST_SHARE = 0.05  # a forecaster with less is left out: it would cost more in serving than it brings
SUM_WEIGHT = 1e3  # of the equation that the shares sum to 1, beside equations whose size is the errors'


class BlendedForecaster(Forecaster):
    """A forecaster that asks others.

    Args:
        components: forecasters of the same targets, fitted on the same rows.
        weights: share of each component in each target, shape (components, targets); columns sum to 1.
    """

    def __init__(self, components: Sequence[Forecaster], weights: np.ndarray) -> None:
        used = np.flatnonzero(weights.max(axis=1) > 0)
        self.components = [copy.copy(components[i]) for i in used]
        for component in self.components:
            component.intervals = {}  # the blend has its own
        self.weights = weights[used]
        # Levels, scales and limits are the first's: they come from the rows, not from the regressor.
        vars(self).update(vars(self.components[0]))
        self.regressor = None
        self.intervals = {}

    def _points(self, features: np.ndarray, hours: Hours, levels: np.ndarray) -> np.ndarray:
        """The weighted mean of the components' forecasts."""
        parts = [component._points(features, hours, levels) for component in self.components]
        return sum(part * shares for part, shares in zip(parts, self.weights, strict=True))


def aligned(parts: Sequence[pd.DataFrame], names: Sequence[str], targets: Sequence[str]) -> list[pd.DataFrame]:
    """Tables of back-test predictions, once it is sure that they are of the same hours, folds and recorded values.

    Raises:
        DataError: they are not; names the first that differs.
    """
    same = ["fold", *targets]
    for part, name in zip(parts, names, strict=True):
        if not part[same].equals(parts[0][same]):
            raise DataError(name, f"its back-test is not of the same rows as that of {names[0]}.", "Train both again.")
    return list(parts)


def choose_pull(parts: Sequence[pd.DataFrame], target: str) -> float:
    """How far to draw the shares towards equal ones: what was best on each fold, with shares of the folds before it."""
    folds = list(parts[0]["fold"].unique())
    if len(folds) < 2:
        return PULLS[-1]  # nothing to check a choice with
    squares = []
    for pull in PULLS:
        errors = []
        for number in range(1, len(folds)):
            shares = fit_shares(_of(parts, folds[:number]), target, pull)
            check = _of(parts, folds[number : number + 1])
            errors.append(check[0][target].to_numpy() - _forecasts(check, target) @ shares)
        squares.append(np.mean(np.concatenate(errors) ** 2))
    best = min(squares)
    # Of pulls that are as good, the strongest: equal shares have no error of estimation.
    return max(pull for pull, square in zip(PULLS, squares, strict=True) if square <= best * (1 + 1e-9))


def fit_shares(parts: Sequence[pd.DataFrame], target: str, pull: float) -> np.ndarray:
    """Shares of the components in one target, shape (components,): not negative, sum 1, none below `SMALLEST_SHARE`.

    Minimises the mean square of (recorded − blend) / level, plus `pull` × its value for equal shares × the squared distance from
    equal shares, times the number of components.

    Args:
        parts: one table of out-of-sample predictions for each component, same rows (`T`, `T_forecast`, `T_level`).
    """
    count = len(parts)
    level = parts[0][f"{target}_level"].to_numpy()
    recorded = parts[0][target].to_numpy() / level
    forecasts = _forecasts(parts, target) / level[:, None]
    equal = np.full(count, 1 / count)
    unit = np.sqrt(np.mean((recorded - forecasts @ equal) ** 2)) or 1.0
    # As shares sum to 1, the blend's error is the same blend of the components' errors: so the equations have no large numbers.
    errors = (recorded[:, None] - forecasts) / (unit * np.sqrt(len(recorded)))
    _, triangle = np.linalg.qr(errors)  # the same sums of squares in as many rows as there are components
    left = np.vstack([triangle, np.sqrt(pull * count) * np.eye(count), np.full((1, count), SUM_WEIGHT)])
    right = np.concatenate([np.zeros(len(triangle)), np.sqrt(pull * count) * equal, [SUM_WEIGHT]])
    shares, _ = nnls(left, right)
    shares = np.where(shares < SMALLEST_SHARE * shares.sum(), 0.0, shares)
    return shares / shares.sum()


def out_of_sample(parts: Sequence[pd.DataFrame], targets: Sequence[str], pulls: Sequence[float]) -> pd.DataFrame:
    """The blend's back-test: each fold by shares of the other folds, so that no share is scored on rows that it was fitted on.

    The forecasts are of models that saw earlier rows only; of the later folds the first one's blend knows these few shares,
    nothing else. With a single fold there are no others: equal shares.
    """
    blended = parts[0].copy()
    folds = list(blended["fold"].unique())
    for fold in folds:
        rows = (blended["fold"] == fold).to_numpy()
        now, others = _of(parts, [fold]), _of(parts, [other for other in folds if other != fold])
        for target, pull in zip(targets, pulls, strict=True):
            equal = np.full(len(parts), 1 / len(parts))
            shares = fit_shares(others, target, pull) if len(folds) > 1 else equal
            blended.loc[rows, f"{target}_{FORECAST}"] = _forecasts(now, target) @ shares
    return blended


def _of(parts: Sequence[pd.DataFrame], folds: Sequence[str]) -> list[pd.DataFrame]:
    return [part[part["fold"].isin(folds)] for part in parts]


def _forecasts(parts: Sequence[pd.DataFrame], target: str) -> np.ndarray:
    return np.column_stack([part[f"{target}_{FORECAST}"] for part in parts])
