"""Train kernel ridge regressions on a dataset: each target gets the kernel of a few that its back-test likes best.

Reads: a dataset (`runs:/<id>/dataset`).
Writes: one run with back-test scores of every kernel and of the chosen ones, window scores, the predictions behind them,
    the evaluated `twin`, and the `model` refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or `centres` is less than 1.
"""

from __future__ import annotations

import mlflow
import pandas as pd

from dsgo.command import main
from dsgo.errors import SettingError
from dsgo.evaluation import score_predictions
from dsgo.features import Features, group_of
from dsgo.kernel_ridge import Drift, Kernel, KernelRidge
from dsgo.training import Training, parser

# What a target may follow. Season and time of day matter less than the weather that comes with them, in the first three.
AIR = {"temperature": 0.6, "sky": 1.7, "day": 0.6, "year": 0.6, "week": 0}
CHANGE = Drift(0.5, 6.0, {"wind_speed": 1.0, "day": 0.6, "sky": 0.6, "temperature": 0.4})
OF_WEATHER = {
    "sky": Kernel(
        0.003, 0.1, {"wind_speed": 0.6, "temperature": 1.7, "sky_past": 1.7, "day": 0.6, "year": 0.6, "week": 0}
    ),
    "air": Kernel(0.01, 3.0, AIR),
    "changing_air": Kernel(0.01, 3.0, AIR, CHANGE),  # as a growing fleet answers it from year to year
    "clock": Kernel(0.005, 1.0),
}
# Of what people decide on, in a collection with a calendar: day by day, not by the season, which comes with temperature and sun.
OF_PEOPLE = {
    "habit": Kernel(0.003, 0.1, {"year": 0}),
    "broad_habit": Kernel(0.0015, 0.03, {"year": 0}),
}


def train() -> None:
    """Back-test every kernel, finish with the best for each target."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--centres", type=int, default=600, help="rows that nearness is measured to")
    options = options.parse_args()
    if options.centres < 1:
        raise SettingError("centres", options.centres, "1 or more")
    training = Training("kernel_ridge", options.dataset)
    groups = [group_of(name, training.info) for name in Features(training.info).get_feature_names_out()]
    kernels = OF_PEOPLE if "calendar" in training.info else OF_WEATHER
    tried = {}
    for name, kernel in kernels.items():
        print(f"kernel {name}", flush=True)
        tried[name] = training.backtest(
            KernelRidge([kernel] * len(training.targets), groups, options.centres, options.seed)
        )
    chosen = {t: min(kernels, key=lambda name, t=t: tried[name][1][f"backtest.{t}.rmse"]) for t in training.targets}
    print(f"best kernels: {chosen}", flush=True)
    for name, (_, scores) in tried.items():
        mlflow.log_metrics({f"{name}.{t}.rmse": scores[f"backtest.{t}.rmse"] for t in training.targets})
    regressor = KernelRidge([kernels[name] for name in chosen.values()], groups, options.centres, options.seed)
    settings = {"centres": options.centres, "seed": options.seed} | {f"kernel.{t}": name for t, name in chosen.items()}
    training.finish(regressor, combined(training, tried, chosen), settings)


def combined(training: Training, tried: dict, chosen: dict[str, str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """The back-test of the chosen kernels: targets are learned apart, so each one's columns are those it would have again."""
    predictions = tried[next(iter(tried))][0].copy()
    for target, name in chosen.items():
        own = [column for column in predictions.columns if column == target or column.startswith(f"{target}_")]
        predictions[own] = tried[name][0][own]
    return predictions, score_predictions(predictions, training.targets, "backtest", training.full_scale)


if __name__ == "__main__":
    main(train)
