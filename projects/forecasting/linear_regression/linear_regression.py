"""Train a linear regression on a dataset: the plain start that every other model has to beat.

Reads: a dataset (`runs:/<id>/dataset`).
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored.
"""

from __future__ import annotations

from sklearn.linear_model import LinearRegression

from dsgo.command import main
from dsgo.training import Training, parser


def train() -> None:
    """Ordinary least squares on the forecaster's standardised features. It has no settings and nothing random."""
    options = parser(__doc__.splitlines()[0]).parse_args()
    training = Training("linear_regression", options.dataset)
    regressor = LinearRegression()
    training.finish(regressor, training.backtest(regressor), {"fit_intercept": True})


if __name__ == "__main__":
    main(train)
