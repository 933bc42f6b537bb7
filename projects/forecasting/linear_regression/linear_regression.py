"""Train a linear regression on a dataset: the plain start that every other model has to beat.

Reads: a dataset (`runs:/<id>/dataset`), and the settings that a tune run has found, if any.
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting cannot be used.
"""

from __future__ import annotations

from sklearn.linear_model import LinearRegression, Ridge

from dsgo.command import main
from dsgo.training import train

SPACE = {
    "penalty": {"default": 0.0, "choices": [0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0]},  # on squared coefficients
}


def regressor(settings, seed):
    """Least squares on the forecaster's standardised features. It has nothing random."""
    return Ridge(settings["penalty"]) if settings["penalty"] else LinearRegression()


if __name__ == "__main__":
    main(lambda: train(__doc__.splitlines()[0], "linear_regression", SPACE, regressor))
