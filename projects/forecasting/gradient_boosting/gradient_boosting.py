"""Train gradient-boosted trees on a dataset.

Reads: a dataset (`runs:/<id>/dataset`), and the settings that a tune run has found, if any.
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting cannot be used.
"""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor

from dsgo.command import main
from dsgo.training import train

SPACE = {
    "max_iter": {"default": 200, "low": 50, "high": 600, "log": True},  # trees for each target
    "learning_rate": {"default": 0.06, "low": 0.02, "high": 0.3, "log": True},  # share of each tree that is added
    "max_leaf_nodes": {"default": 8, "low": 4, "high": 63, "log": True},
    "min_samples_leaf": {"default": 100, "low": 10, "high": 300, "log": True},  # rows
    "l2_regularization": {"default": 5.0, "low": 0.1, "high": 100.0, "log": True},
    "max_features": {"default": 0.3, "low": 0.15, "high": 1.0},  # share of the features that each split may use
}


def regressor(settings, seed):
    """One boosted ensemble for each target."""
    return MultiOutputRegressor(HistGradientBoostingRegressor(early_stopping=False, random_state=seed, **settings))


if __name__ == "__main__":
    main(lambda: train(__doc__.splitlines()[0], "gradient_boosting", SPACE, regressor))
