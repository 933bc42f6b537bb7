"""Train a linear regression on a dataset: the plain start that every other model has to beat.

Reads: a dataset (`runs:/<id>/dataset`), and the settings that a tune run has found, if any.
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting cannot be used.
"""

from __future__ import annotations

from sklearn.linear_model import Ridge

from dsgo.command import main
from dsgo.training import train

SPACE = {
    # On squared coefficients: the default is so little that it only tells apart features which say the same.
    "penalty": {"default": 0.01, "low": 0.01, "high": 10_000.0, "log": True},
}


def regressor(settings, seed):
    """Least squares on the forecaster's standardised features. It has nothing random."""
    return Ridge(settings["penalty"])


if __name__ == "__main__":
    main(lambda: train(__doc__.splitlines()[0], "linear_regression", SPACE, regressor))
