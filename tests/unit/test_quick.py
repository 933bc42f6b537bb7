"""What answers in place of a fitted regressor gives its answers to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor

from dsgo.quick import Linear, TreesOfTargets, quick
from dsgo.trees import MOST_LEAVES, Trees


def drawn(rows: int = 400, features: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    X = draws.normal(size=(rows, features)).round(1)  # many values come several times
    return X, np.column_stack([np.sin(3 * X[:, 0]) * X[:, 1] + draws.normal(size=rows), X[:, 2] ** 2])


@settings(max_examples=25, deadline=None)
@given(
    leaves=st.sampled_from([2, 3, 8, 9, 16, 17, 33, MOST_LEAVES]),
    trees=st.integers(1, 30),
    loss=st.sampled_from(["squared_error", "quantile"]),
    seed=st.integers(0, 1000),
)
def test_trees_of_any_size_answer_as_those_of_scikit_learn(leaves, trees, loss, seed):
    X, y = drawn(seed=seed)
    model = HistGradientBoostingRegressor(
        loss=loss,
        quantile=0.8 if loss == "quantile" else None,
        max_iter=trees,
        max_leaf_nodes=leaves,
        min_samples_leaf=2,
        early_stopping=False,
    ).fit(X, y[:, 0])
    ours = Trees.of(model)
    at_limits = np.array([node["num_threshold"] for (tree,) in model._predictors for node in tree.nodes])
    asked = np.random.default_rng(seed).choice(
        np.concatenate([at_limits, [-1e300, 1e300, 0.0]]), size=(300, X.shape[1])
    )
    for rows in (X, asked, asked[:1], np.nextafter(asked, np.inf), asked[:0]):
        expected = model.predict(rows) if len(rows) else np.empty(0)
        np.testing.assert_array_equal(ours.predict(rows), expected)


def test_trees_that_never_split_answer_too():
    X, y = drawn(10)
    model = HistGradientBoostingRegressor(max_iter=3, early_stopping=False).fit(X, y[:, 0])  # leaves of 20 rows
    np.testing.assert_array_equal(Trees.of(model).predict(X), model.predict(X))


def test_more_rows_than_are_answered_at_once():
    X, y = drawn(3000)
    model = HistGradientBoostingRegressor(max_iter=60, early_stopping=False).fit(X, y[:, 0])
    many = np.tile(X, (12, 1))
    np.testing.assert_array_equal(Trees.of(model).predict(many), model.predict(many))


@pytest.mark.parametrize(
    ("regressor", "kind"),
    [
        (LinearRegression(), Linear),
        (Ridge(0.1), Linear),
        (MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=5)), TreesOfTargets),
        (MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=99, min_samples_leaf=1)), None),
        (RandomForestRegressor(3), None),
    ],
)
@pytest.mark.parametrize("targets", [1, 2])
def test_each_regressor_has_its_own_answers(regressor, kind, targets):
    X, y = drawn()
    fitted = regressor.fit(X, y[:, :targets])
    ours = quick(fitted)
    assert ours is fitted if kind is None else isinstance(ours, kind)
    for rows in (X, X[:1]):
        expected = np.asarray(fitted.predict(rows)).reshape(len(rows), -1)
        np.testing.assert_allclose(np.asarray(ours.predict(rows)).reshape(len(rows), -1), expected, rtol=1e-13)
