"""Kernel ridge regression with few centres, as a scikit-learn regressor: smooth curves through many features at once.

The kernel matrix of all rows is replaced by one of `centres` rows drawn at random (Nyström's method: Williams and Seeger,
"Using the Nyström method to speed up kernel machines", NIPS 13 (2001)); features enter a second time as they are, so that
far from all centres the answer is that of a linear model. What is learned are a few hundred centres and their weights.
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


@dataclass(frozen=True)
class Kernel:
    """Shape of the curves for one target.

    Attributes:
        gamma: of exp(−gamma × squared distance of standardised features): larger is more flexible.
        alpha: penalty of the ridge regression: larger is smoother.
        scales: by group of features (`dsgo.features.group_of`): below 1 they matter less, with 0 not at all; 1 if absent.
    """

    gamma: float
    alpha: float
    scales: Mapping[str, float] = field(default_factory=dict)


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

    def fit(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> KernelRidge:
        """Train on X (n, features, standardised) and y (n, targets).

        Args:
            weights: of each row for each target, shape (n, targets), not negative; rows of weight 0 are left out.
        """
        y = np.asarray(y, dtype=float).reshape(len(X), -1)
        weights = np.ones_like(y) if weights is None else weights
        self.curves_ = [
            self._curve(kernel, X, y[:, i], weights[:, i]) for i, kernel in enumerate(self.kernels[: y.shape[1]])
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

    def _curve(self, kernel: Kernel, X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> _Curve:
        scale = np.array([kernel.scales.get(group, 1.0) for group in self.groups])
        chosen = weights > 0
        scaled = _scaled(X[chosen], scale)
        centres = min(self.centres, len(scaled))
        nystroem = Nystroem(gamma=kernel.gamma, n_components=centres, random_state=self.seed).fit(scaled)
        weight = weights[chosen] / weights[chosen].mean()
        design = np.column_stack([nystroem.transform(scaled), scaled * LINEAR_SHARE])
        ridge = Ridge(kernel.alpha).fit(design, y[chosen], sample_weight=weight)
        return _Curve(
            scale,
            kernel.gamma,
            nystroem.components_,
            nystroem.normalization_.T @ ridge.coef_[:centres],
            ridge.coef_[centres:] * LINEAR_SHARE,
            float(ridge.intercept_),
        )


@dataclass(frozen=True)
class _Curve:
    """A fitted regression of one target: the sum of `weights` × nearness to each centre, and a linear part."""

    scale: np.ndarray
    gamma: float
    centres: np.ndarray
    weights: np.ndarray
    linear: np.ndarray
    intercept: float

    def at(self, X: np.ndarray) -> np.ndarray:
        scaled = _scaled(X, self.scale)
        squares = (scaled**2).sum(axis=1)[:, None] + (self.centres**2).sum(axis=1) - 2 * scaled @ self.centres.T
        return np.exp(-self.gamma * np.maximum(squares, 0.0)) @ self.weights + scaled @ self.linear + self.intercept


def _scaled(X: np.ndarray, scale: np.ndarray) -> np.ndarray:
    used = scale != 0
    return np.clip(X[:, used], -FARTHEST, FARTHEST) * scale[used]
