"""Train a random forest on a dataset.

Reads: a dataset (`runs:/<id>/dataset`), and the settings that a tune run has found, if any.
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting cannot be used.
"""

from __future__ import annotations

from sklearn.ensemble import RandomForestRegressor

from dsgo.command import main
from dsgo.training import train

SPACE = {
    "trees": {"default": 40, "low": 20, "high": 80},
    "smallest_leaf": {"default": 2, "low": 1, "high": 20, "log": True},  # rows
    # Each tree sees a part of the rows, each split a part of the features: with 60 features and years of hourly rows, more
    # makes the trees alike and slow, not better.
    "share_of_rows": {"default": 0.3, "low": 0.1, "high": 0.6},
    "share_of_features": {"default": 0.35, "low": 0.15, "high": 0.7},
}


def regressor(settings, seed):
    """One forest for all targets."""
    return RandomForestRegressor(
        settings["trees"],
        min_samples_leaf=settings["smallest_leaf"],
        max_samples=settings["share_of_rows"],
        max_features=settings["share_of_features"],
        n_jobs=-1,
        random_state=seed,
    )


if __name__ == "__main__":
    main(lambda: train(__doc__.splitlines()[0], "random_forest", SPACE, regressor))
