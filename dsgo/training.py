"""What all training steps share: back-test, score, refit, log. A step brings only its regressor."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cloudpickle
import mlflow
import pandas as pd
from sklearn.base import BaseEstimator

from dsgo import diagnostics, explain, step_run, tags
from dsgo.evaluation import Fold, months, naive, plan, score_predictions
from dsgo.forecaster import Forecaster
from dsgo.regimes import key_figures, score_regimes
from dsgo.served import ServedForecaster, example, requirements, signature
from dsgo.space import Space, read_settings
from dsgo.tables import Dataset, read_dataset


def parser(description: str) -> argparse.ArgumentParser:
    """The options of every training step."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--dataset", required=True, help="URI of a dataset, runs:/<run id>/dataset")
    options.add_argument("--seed", type=int, default=42, help="of everything that is random")
    return options


class Training:
    """One training step on one dataset. Use in order: `backtest`, then `finish`."""

    def __init__(self, step: str, dataset_uri: str) -> None:
        self.step, self.dataset_uri = step, dataset_uri
        self.dataset: Dataset = read_dataset(dataset_uri)
        self.table, self.info = self.dataset.table, self.dataset.info
        self.targets = self.dataset.targets
        self.folds, self.window = plan(self.table.index, self.info)
        before = self.table[self.table.index < self.window.start]
        self.full_scale = before[self.targets].max().to_dict()
        step_run.begin(step, self.dataset, dataset_uri)

    def backtest(self, regressor: BaseEstimator) -> tuple[pd.DataFrame, dict[str, float]]:
        """Forecast each fold by a model trained on what lies before it.

        Returns:
            Predictions of all folds with a column `fold`, and their metrics `backtest.<target>.…`.
        """
        parts = []
        for fold, predictions in self.by_fold(regressor):
            parts.append(predictions)
            print(f"back-test {self._months(fold)}: {self._rmse(predictions)}", flush=True)
        predictions = pd.concat(parts)
        return predictions, score_predictions(predictions, self.targets, "backtest", self.full_scale)

    def by_fold(self, regressor: BaseEstimator) -> Iterator[tuple[Fold, pd.DataFrame]]:
        """Each fold with the predictions of a model trained on what lies before it, the oldest first."""
        for fold in self.folds:
            _, predictions = self._fit_and_forecast(regressor, fold)
            yield fold, predictions.assign(fold=fold.name)

    def finish(
        self, regressor: BaseEstimator, backtest: tuple[pd.DataFrame, dict[str, float]], settings: Mapping[str, Any]
    ) -> None:
        """Score on the window a twin that has not seen it, refit on everything, log both with their evidence.

        Args:
            backtest: what `backtest` returned for this regressor: its errors calibrate the intervals.
            settings: of the regressor, logged as parameters.
        """
        past, metrics = backtest
        twin, window = self._fit_and_forecast(regressor, self.window, past)
        metrics = metrics | score_predictions(window, self.targets, "window", self.full_scale)
        print(f"window {self._months(self.window)}: {self._rmse(window)}", flush=True)
        model = self.fit(regressor, self.table).calibrate(pd.concat([past.drop(columns="fold"), window]), self.table)
        print("logging the model and its evidence", flush=True)
        mlflow.log_params(dict(settings))
        written = hashlib.sha256()  # all that later steps read: scores, predictions and both models
        for part in (self._log_evidence(past, window, metrics), self._log_evaluation(twin, past, window)):
            written.update(part)
        for name, forecaster in (("twin", twin), ("model", model)):
            self._log_model(name, forecaster)
            written.update(cloudpickle.dumps(forecaster))
        mlflow.set_tag(tags.OUTPUT_DIGEST, written.hexdigest())

    def fit(self, regressor: BaseEstimator, table: pd.DataFrame) -> Forecaster:
        """A forecaster around this regressor, trained on `table`."""
        return Forecaster(self.info, regressor).fit(table)

    def _fit_and_forecast(
        self, regressor: BaseEstimator, fold: Fold, past: pd.DataFrame | None = None
    ) -> tuple[Forecaster, pd.DataFrame]:
        train, test = fold.split(self.table)
        forecaster = self.fit(regressor, train)
        if past is not None:
            forecaster.calibrate(past, self.table)
        with_history = self.table[self.table.index < fold.end]  # the first hours look back at weather before the fold
        predictions = test[self.targets].join(forecaster.forecast(with_history).loc[test.index])
        baseline = naive(self.table, self.targets, test.index, self.info["naive"]["lag"])
        return forecaster, predictions.join(baseline.add_suffix("_naive"))

    def _months(self, fold: Fold) -> str:
        """The fold's months, then what is known of the target when it is forecast, if that is told."""
        return months(fold, self.info) + (f", {self.info['horizon']}" if "horizon" in self.info else "")

    def _rmse(self, predictions: pd.DataFrame) -> str:
        metrics = score_predictions(predictions, self.targets, "", self.full_scale)
        parts = [f"{t} RMSE {metrics[f'.{t}.rmse']:.3f}, skill {metrics[f'.{t}.skill']:.2f}" for t in self.targets]
        return "; ".join(parts)

    def _log_evidence(self, past: pd.DataFrame, window: pd.DataFrame, metrics: Mapping[str, float]) -> bytes:
        """Log and return the predictions and their metrics."""
        written = []
        with TemporaryDirectory(prefix="dsgo-predictions-") as folder:
            for name, table in (("backtest", past), ("window", window)):
                buffer = io.BytesIO()
                table.to_parquet(buffer)
                written.append(buffer.getvalue())
                (Path(folder) / f"{name}.parquet").write_bytes(buffer.getvalue())
            mlflow.log_artifacts(folder, "predictions")
        mlflow.log_metrics(dict(metrics))
        return b"".join([*written, _text(metrics)])

    def _log_evaluation(self, twin: Forecaster, past: pd.DataFrame, window: pd.DataFrame) -> bytes:
        """Where the forecasts can be trusted and what they rest on, as tables and pictures; returns the key figures."""
        scores = score_regimes({"backtest": past, "window": window}, self.table, self.info)
        subject = explain.subject(twin, self.table[self.table.index <= window.index[-1]], window.index)
        importance, contributions = explain.importance(subject), explain.contributions(subject)
        with TemporaryDirectory(prefix="dsgo-evaluation-") as folder:
            path = Path(folder)
            scores.to_csv(path / "regimes.csv", index=False)
            importance.to_csv(path / "importance.csv", index=False)
            contributions.to_csv(path / "contributions.csv", index=False)
            diagnostics.draw_importance(path / "importance.png", importance, contributions, self.table, self.info)
            diagnostics.draw_reliability(path / "reliability.png", scores, self.info)
            diagnostics.draw_residuals(path / "residuals.png", scores, self.info)
            mlflow.log_artifacts(folder, "evaluation")
        figures = key_figures(scores)
        mlflow.log_metrics(figures)
        return _text(figures)

    def _log_model(self, name: str, forecaster: Forecaster) -> None:
        logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)  # it warns that a pickle is a pickle
        mlflow.pyfunc.log_model(
            name=name,
            python_model=ServedForecaster(forecaster),
            signature=signature(forecaster),
            input_example=example(forecaster, self.table),
            pip_requirements=requirements(),
            tags={
                tags.TRAINED_FROM: forecaster.trained_from.isoformat(),
                tags.TRAINED_TO: forecaster.trained_to.isoformat(),
            },
        )


def _text(metrics: Mapping[str, float]) -> bytes:
    return json.dumps(dict(metrics), sort_keys=True, default=float).encode()


def train(
    description: str,
    step: str,
    space: Space,
    regressor: Callable[[Mapping[str, Any], int], BaseEstimator],
    kind: type[Training] = Training,
) -> None:
    """All that a training step does.

    Args:
        description: of the step, for its `--help`.
        space: its settings (see `dsgo.space`).
        regressor: makes its regressor of settings and a seed.
        kind: of training, for a step that logs more.
    """
    options = parser(description)
    options.add_argument(
        "--settings", default="", help="URI of a tune run's settings.yaml, or YAML such as 'trees: 60'"
    )
    options = options.parse_args()
    settings = read_settings(space, step, options.settings)
    training = kind(step, options.dataset)
    made = regressor(settings, options.seed)
    training.finish(made, training.backtest(made), {**settings, "seed": options.seed})
