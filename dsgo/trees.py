"""Boosted trees that answer by a few operations on arrays: as exactly as scikit-learn, and many times as fast for one row.

A row takes the leaf that no split forbids: each split that sends it to the right forbids the leaves on its left, and of what is
left the first leaf is its own (QuickScorer: Lucchese and others, "QuickScorer: a fast algorithm to rank documents with additive
ensembles of regression trees", SIGIR (2015)). So all splits of all trees are one comparison, in any order, and the forbidden
leaves are bits of one number for each tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

MOST_LEAVES = 64  # of one tree: bits of the largest integer
COMPARISONS_AT_ONCE = 1 << 19  # of an answer: what a processor keeps close by


@dataclass(frozen=True)
class Trees:
    """Boosted trees of one target, all with the same number of splits (some of them splits that no row passes).

    Attributes:
        base: what the leaves' values are added to.
        columns: the features that are asked.
        limits: sorted limits of each of them; a value is known by how many of them are below it.
        place: row of the asked feature in `columns`, shape (splits × trees,), by splits first.
        limit: place of the split's limit among those of its feature, same shape.
        left: bits of the leaves on the left, same shape.
        values: of the leaves, from left to right, shape (trees × leaves,).
    """

    base: float
    columns: np.ndarray
    limits: list[np.ndarray]
    place: np.ndarray
    limit: np.ndarray
    left: np.ndarray
    values: np.ndarray
    trees: int

    @staticmethod
    def can_be_made_of(model: object) -> bool:
        """Whether the answers would be those of this fitted model."""
        return (
            isinstance(model, HistGradientBoostingRegressor)
            and model.loss in ("squared_error", "quantile", "absolute_error")
            and not np.any(model.is_categorical_)
            and all(predictor.nodes["is_leaf"].sum() <= MOST_LEAVES for (predictor,) in model._predictors)
        )

    @classmethod
    def of(cls, model: HistGradientBoostingRegressor) -> Trees:
        """Those of a fitted model of one target, without categories and with an identity link."""
        nodes = [predictor.nodes for (predictor,) in model._predictors]
        shapes = [_splits_and_leaves(tree) for tree in nodes]
        inner = [tree[tree["is_leaf"] == 0] for tree in nodes]
        columns = np.unique(np.concatenate([tree["feature_idx"] for tree in inner]))
        everywhere = np.concatenate(inner)
        limits = [np.unique(everywhere["num_threshold"][everywhere["feature_idx"] == c]) for c in columns]
        splits = max(1, *(len(splits) for splits, _ in shapes))
        leaves = max(len(values) for _, values in shapes)
        place, left = (np.zeros((splits, len(nodes)), dtype=kind) for kind in (np.intp, _bits_for(leaves)))
        limit = np.full(
            (splits, len(nodes)), np.iinfo(np.uint8).max, dtype=np.uint8
        )  # beyond every limit: never passed
        values = np.zeros((len(nodes), leaves))
        for t, (tree, (passed, leaf_values)) in enumerate(zip(nodes, shapes, strict=True)):
            for s, (node, bits) in enumerate(passed):
                at = int(np.searchsorted(columns, tree["feature_idx"][node]))
                place[s, t], left[s, t] = at, bits
                limit[s, t] = np.searchsorted(limits[at], tree["num_threshold"][node])
            values[t, : len(leaf_values)] = leaf_values
        base = float(model._baseline_prediction.item())
        return cls(base, columns, limits, place.ravel(), limit.ravel(), left.ravel(), values.ravel(), len(nodes))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Shape (n,), of X, shape (n, features), finite."""
        known = np.empty((max(1, len(self.columns)), len(X)), dtype=np.uint8)
        for i, column in enumerate(self.columns):
            known[i] = np.searchsorted(self.limits[i], X[:, column])
        answer = np.empty(len(X))
        at_once = max(1, COMPARISONS_AT_ONCE // len(self.place))
        for start in range(0, len(X), at_once):
            answer[start : start + at_once] = self._sum(known[:, start : start + at_once])
        return answer

    def _sum(self, known: np.ndarray) -> np.ndarray:
        passed = known[self.place] > self.limit[:, None]
        forbidden = (passed * self.left[:, None]).reshape(-1, self.trees, known.shape[1])
        forbidden = np.bitwise_or.reduce(forbidden, axis=0)
        leaf = np.bitwise_count(forbidden & ~(forbidden + 1))  # how many ones are at the end: the first zero's place
        first = np.arange(0, len(self.values), len(self.values) // self.trees)
        terms = self.values.take(leaf + first[:, None])
        terms[0] += self.base
        return np.add.accumulate(terms, out=terms)[
            -1
        ]  # one after the other as scikit-learn does: the last digit depends on the order


def _bits_for(leaves: int) -> type:
    return next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if leaves <= np.iinfo(kind).bits)


def _splits_and_leaves(nodes: np.ndarray) -> tuple[list[tuple[int, int]], list[float]]:
    """Each split of a tree with the bits of the leaves on its left, and the values of the leaves from left to right."""
    splits: list[tuple[int, int]] = []
    values: list[float] = []

    def walk(node: int) -> None:
        if nodes["is_leaf"][node]:
            values.append(float(nodes["value"][node]))
            return
        first = len(values)
        walk(int(nodes["left"][node]))
        splits.append((node, (1 << len(values)) - (1 << first)))
        walk(int(nodes["right"][node]))

    walk(0)
    return splits, values
