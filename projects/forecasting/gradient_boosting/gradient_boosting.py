"""Train gradient-boosted trees on a dataset.

Reads: a dataset (`runs:/<id>/dataset`).
Writes: one run with back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting is out of its range.
"""

from __future__ import annotations

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor

from dsgo.command import main
from dsgo.errors import SettingError
from dsgo.training import Training, parser


def train() -> None:
    """One boosted ensemble for each target."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--iterations", type=int, default=200, help="trees for each target")
    options.add_argument("--learning-rate", type=float, default=0.06, help="share of each tree that is added, 0..1")
    options = options.parse_args()
    if options.iterations < 1:
        raise SettingError("iterations", options.iterations, "1 or more")
    if not 0 < options.learning_rate <= 1:
        raise SettingError("learning_rate", options.learning_rate, "more than 0 and at most 1")
    training = Training("gradient_boosting", options.dataset)
    settings = {
        "max_iter": options.iterations,
        "learning_rate": options.learning_rate,
        "max_leaf_nodes": 8,
        "min_samples_leaf": 100,
        "l2_regularization": 5.0,
        "max_features": 0.3,
        "random_state": options.seed,
    }
    regressor = MultiOutputRegressor(HistGradientBoostingRegressor(early_stopping=False, **settings))
    training.finish(regressor, training.backtest(regressor), settings)


if __name__ == "__main__":
    main(train)
