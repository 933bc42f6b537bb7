"""Blend the trained models: for each target the weighted mean of their forecasts that was best on hours they had not seen.

Reads: a dataset, and the runs of the training steps on it (all of them, or those named by `candidates`).
Writes: one run with the shares, back-test and window scores, the predictions behind them, the evaluated `twin`, and the `model`
    that blends the models refitted on everything.
Fails when: there is no run to blend, or one was trained on other data or scored on other rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from mlflow.entities import Run

from dsgo import registry, tags
from dsgo.blend import BlendedForecaster, aligned, choose_pull, fit_shares, out_of_sample
from dsgo.command import main
from dsgo.errors import GateError
from dsgo.evaluation import score_predictions
from dsgo.forecaster import Forecaster
from dsgo.training import Training, parser

STEP = "ensemble"


class Blending(Training):
    """Training whose forecasters are blends of what the candidates' runs have left."""

    def __init__(self, dataset_uri: str, named: str) -> None:
        super().__init__(STEP, dataset_uri)
        runs = registry.named_candidates(self.dataset, named)
        self.runs: list[Run] = [run for run in runs if run.data.tags[tags.STEP] != STEP]
        if not self.runs:
            raise GateError("There is nothing to blend but blends.", "Name runs of training steps.")
        self.names = [run.data.tags[tags.STEP] for run in self.runs]
        parts = [registry.load_predictions(run.info.run_id, "backtest") for run in self.runs]
        self.parts = aligned(parts, self.names, self.targets)
        self.pulls = [choose_pull(self.parts, target) for target in self.targets]

    def shares(self) -> np.ndarray:
        """Share of each run in each target, shape (runs, targets), from the whole back-test."""
        fitted = [fit_shares(self.parts, t, pull) for t, pull in zip(self.targets, self.pulls, strict=True)]
        return np.column_stack(fitted)

    def backtest(self, regressor: np.ndarray) -> tuple[pd.DataFrame, dict[str, float]]:
        """The blend of the candidates' back-tests (see `dsgo.blend.out_of_sample`)."""
        predictions = out_of_sample(self.parts, self.targets, self.pulls)
        return predictions, score_predictions(predictions, self.targets, "backtest", self.full_scale)

    def fit(self, regressor: np.ndarray, table: pd.DataFrame) -> Forecaster:
        """Blend by these shares the candidates' models, or their twins where `table` ends before the window."""
        kind = "model" if len(table) == len(self.table) else "twin"
        used = np.flatnonzero(regressor.max(axis=1) > 0)
        components = [registry.load_forecaster(f"runs:/{self.runs[i].info.run_id}/{kind}") for i in used]
        return BlendedForecaster(components, regressor[used])


def train() -> None:
    """Find the shares, score, log."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--candidates", default="", help="comma-separated run ids; default: all on this dataset")
    options = options.parse_args()
    training = Blending(options.dataset, options.candidates)
    shares = training.shares()
    settings = {}
    for i, target in enumerate(training.targets):
        settings |= {
            f"{target}.{name}": round(share, 4) for name, share in zip(training.names, shares[:, i], strict=True)
        }
        settings[f"{target}.pull"] = training.pulls[i]
    print("shares: " + ", ".join(f"{name} {value:g}" for name, value in settings.items()), flush=True)
    training.finish(shares, training.backtest(shares), settings)


if __name__ == "__main__":
    main(train)
