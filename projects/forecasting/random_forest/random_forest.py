"""Train random forests on a dataset: one nested run for each setting, the best of them by back-test is the candidate.

Reads: a dataset (`runs:/<id>/dataset`).
Writes: nested runs with parameters and back-test scores; in the step's own run the best setting with window scores, the
    predictions behind them, the evaluated `twin`, and the `model` refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or `trees` is less than 1.
"""

from __future__ import annotations

import mlflow
import numpy as np
from sklearn.ensemble import RandomForestRegressor

from dsgo.command import main
from dsgo.errors import SettingError
from dsgo.training import Training, parser

# Each tree sees a third of the rows and splits: with 60 features and years of hourly rows, more makes the trees alike and
# slow, not better.
SHARE_OF_ROWS, SHARE_OF_FEATURES = 0.3, 0.35
SMALLEST_LEAVES = (2, 6)


def forest(trees: int, smallest_leaf: int, seed: int) -> RandomForestRegressor:
    """One setting."""
    return RandomForestRegressor(
        trees,
        min_samples_leaf=smallest_leaf,
        max_samples=SHARE_OF_ROWS,
        max_features=SHARE_OF_FEATURES,
        n_jobs=-1,
        random_state=seed,
    )


def train() -> None:
    """Back-test every setting, finish with the best."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--trees", type=int, default=40, help="trees in each forest")
    options = options.parse_args()
    if options.trees < 1:
        raise SettingError("trees", options.trees, "1 or more")
    training = Training("random_forest", options.dataset)
    tried = []
    for leaf in SMALLEST_LEAVES:
        settings = {"trees": options.trees, "smallest_leaf": leaf, "seed": options.seed}
        with mlflow.start_run(run_name=f"smallest_leaf {leaf}", nested=True):
            regressor = forest(**settings)
            backtest = training.backtest(regressor)
            mlflow.set_tags({**training.tags(), "dsgo.step": "random_forest.setting"})
            mlflow.log_params(settings)
            mlflow.log_metrics(backtest[1])
        skill = np.mean([backtest[1][f"backtest.{target}.skill"] for target in training.targets])
        tried.append((skill, settings, regressor, backtest))
    _, settings, regressor, backtest = max(tried, key=lambda each: each[0])
    print(f"best setting: {settings}", flush=True)
    training.finish(regressor, backtest, settings)


if __name__ == "__main__":
    main(train)
