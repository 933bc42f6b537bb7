"""Kernel ridge regression with few centres, as a scikit-learn regressor: smooth curves through many features at once.

The kernel matrix of all rows is replaced by one of `centres` rows drawn at random (Nyström's method: Williams and Seeger,
"Using the Nyström method to speed up kernel machines", NIPS 13 (2001)); features enter a second time as they are, so that
far from all centres the answer is that of a linear model. What is learned are a few hundred centres and their weights.

What the weather does to a fleet changes as the fleet does, and not in proportion: newer turbines reach full power in less wind,
a source begins to count others. A kernel with a `Drift` adds a second sum of nearnesses in which a row's age counts too (the sum
and the product of kernels: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), section 4.2.4): the curves
of each moment are those of the rows around it, drawn towards what all years share. It need not be told when anything broke.
Every answer is that of the moment at which training ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge

FARTHEST = 6.0  # standard deviations: what is beyond was never seen, and a product of features must not run away
LINEAR_SHARE = 0.1  # scale of the features that enter as they are: penalised a hundred times as much as the kernel's
ROWS_AT_ONCE = 4096  # of an answer: 20 MB with 600 centres
DRIFT_CENTRES = 3  # one centre of what drifts for so many of the rest: it looks at fewer features


@dataclass(frozen=True)
class Drift:
    """What of the curves changes with time, and how fast.

    Attributes:
        share: its variance, as a share of that of the curves that all years have in common.
        pace: how far apart a year moves two rows that are alike, in standard deviations of a feature.
        scales: by group of features, as in `Kernel`, but 0 if absent: the fewer, the sooner a change is learned.
    """

    share: float
    pace: float
    scales: Mapping[str, float]


@dataclass(frozen=True)
class Kernel:
    """Shape of the curves for one target.

    Attributes:
        gamma: of exp(−gamma × squared distance of standardised features): larger is more flexible.
        alpha: penalty of the ridge regression: larger is smoother.
        scales: by group of features (`dsgo.features.group_of`): below 1 they matter less, with 0 not at all; 1 if absent.
        drift: of the curves through the years, if any.
    """

    gamma: float
    alpha: float
    scales: Mapping[str, float] = field(default_factory=dict)
    drift: Drift | None = None


class KernelRidge(RegressorMixin, BaseEstimator):
    """One kernel ridge regression for each target.

    Args:
        kernels: one for each target.
        groups: the group of each feature, shape (features,).
        centres: rows to measure distances from.
        seed: of the choice of centres.
    """

    def __init__(self, kernels: Sequence[Kernel], groups: Sequence[str], centres: int = 600, seed: int = 0) -> None:
        self.kernels = kernels
        self.groups = groups
        self.centres = centres
        self.seed = seed

    def fit(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, ages: np.ndarray | None = None
    ) -> KernelRidge:
        """Train on X (n, features, standardised) and y (n, targets).

        Args:
            weights: of each row for each target, shape (n, targets), not negative; rows of weight 0 are left out.
            ages: years from each row to the end of the training, shape (n,); without them nothing drifts.
        """
        y = np.asarray(y, dtype=float).reshape(len(X), -1)
        weights = np.ones_like(y) if weights is None else weights
        ages = np.zeros(len(X)) if ages is None else ages
        self.curves_ = [
            self._curve(kernel, X, y[:, i], weights[:, i], ages) for i, kernel in enumerate(self.kernels[: y.shape[1]])
        ]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Shape (n, targets). Memory does not grow with n beyond the answer's."""
        X = np.asarray(X, dtype=float)
        answer = np.empty((len(X), len(self.curves_)))
        for start in range(0, len(X), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            for i, curve in enumerate(self.curves_):
                answer[rows, i] = curve.at(X[rows])
        return answer

    def _curve(self, kernel: Kernel, X: np.ndarray, y: np.ndarray, weights: np.ndarray, ages: np.ndarray) -> _Curve:
        chosen = weights > 0
        X, y, ages, weight = (values[chosen] for values in (X, y, ages, weights / weights[chosen].mean()))
        lasting = Drift(1.0, 0.0, {group: kernel.scales.get(group, 1.0) for group in self.groups})
        parts = [self._part(lasting, self.centres, kernel.gamma, X, ages)]
        if kernel.drift is not None:
            fewer = max(1, self.centres // DRIFT_CENTRES)
            parts.append(self._part(kernel.drift, fewer, kernel.gamma, X, ages))
        linear = _scaled(X, parts[0].scale) * LINEAR_SHARE
        columns = [linear, *(part.columns for part in parts)]
        ridge = Ridge(kernel.alpha).fit(np.column_stack(columns), y, sample_weight=weight)
        slopes, *coefficients = np.split(ridge.coef_, np.cumsum([part.shape[1] for part in columns])[:-1])
        sums = [_Sum(p.scale, kernel.gamma, p.centres, p.map @ c) for p, c in zip(parts, coefficients, strict=True)]
        return _Curve(sums, slopes * LINEAR_SHARE, float(ridge.intercept_))

    def _part(self, drift: Drift, centres: int, gamma: float, X: np.ndarray, ages: np.ndarray) -> _Part:
        scale = np.array([drift.scales.get(group, 0.0) for group in self.groups])
        aged = np.column_stack([_scaled(X, scale), drift.pace * ages])
        nystroem = Nystroem(gamma=gamma, n_components=min(centres, len(X)), random_state=self.seed).fit(aged)
        size = np.sqrt(drift.share)
        near_the_end = np.exp(-gamma * nystroem.components_[:, -1] ** 2)  # of each centre to a row of age 0
        return _Part(
            scale,
            nystroem.components_[:, :-1],
            size * nystroem.transform(aged),
            size * near_the_end[:, None] * nystroem.normalization_.T,
        )


@dataclass(frozen=True)
class _Part:
    """What enters the ridge regression for one sum of nearnesses.

    Attributes:
        scale: of the features.
        centres: scaled, without their age.
        columns: of the training rows, at their age.
        map: from the columns' coefficients to the centres' weights in answers, which are of age 0.
    """

    scale: np.ndarray
    centres: np.ndarray
    columns: np.ndarray
    map: np.ndarray


@dataclass(frozen=True)
class _Sum:
    """Sum of `weights` × nearness to each centre."""

    scale: np.ndarray
    gamma: float
    centres: np.ndarray
    weights: np.ndarray

    def at(self, X: np.ndarray) -> np.ndarray:
        scaled = _scaled(X, self.scale)
        squares = (scaled**2).sum(axis=1)[:, None] + (self.centres**2).sum(axis=1) - 2 * scaled @ self.centres.T
        return np.exp(-self.gamma * np.maximum(squares, 0.0)) @ self.weights


@dataclass(frozen=True)
class _Curve:
    """A fitted regression of one target: sums of nearness, the lasting one first, and a linear part of its features."""

    sums: Sequence[_Sum]
    linear: np.ndarray
    intercept: float

    def at(self, X: np.ndarray) -> np.ndarray:
        near = sum(part.at(X) for part in self.sums)
        return near + _scaled(X, self.sums[0].scale) @ self.linear + self.intercept


def _scaled(X: np.ndarray, scale: np.ndarray) -> np.ndarray:
    used = scale != 0
    return np.clip(X[:, used], -FARTHEST, FARTHEST) * scale[used]
