"""The model registry as everything that shows or uses models reads it: what is in Production, and the leaderboard.

`dsgo.promotion` is what changes it.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow.entities import ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from dsgo import production, tags
from dsgo.errors import GateError, NoProductionModel
from dsgo.tables import Dataset, read_dataset

if TYPE_CHECKING:  # imported only when a model is loaded: it brings scikit-learn and SciPy, seconds for every reader
    from dsgo.forecaster import Forecaster

STAGE, ALIAS = "Production", "champion"  # a version in Production has both: see `dsgo.promotion`
CHALLENGER = "challenger"  # alias of a version that could be promoted, but for the level
LEADERBOARD = ["model", "run_id", "experiment_id", "version", "stage"]  # and metrics


class Production(production.Production):
    """What is in Production, through MLflow."""

    @property
    def forecaster(self) -> Forecaster:
        """The model itself."""
        return load_forecaster(self.model_uri)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecasts of `utc_timestamp` and inputs (see `Forecaster.predict`)."""
        return self.forecaster.predict(frame)

    def window(self) -> pd.DataFrame:
        """Out-of-sample predictions of the evaluated twin on the last window, with what was recorded."""
        return load_predictions(self.run_id, "window")

    def _dataset(self, uri: str) -> Dataset:
        return _dataset(uri)


def load_production(collection: str) -> Production:
    """What is in Production now.

    Raises:
        NoProductionModel: nothing is.
    """
    client = MlflowClient()
    try:
        version = client.get_model_version_by_alias(collection, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise NoProductionModel(collection) from error
        raise
    return _production(client, version)


def load_version(collection: str, version: int) -> Production:
    """A version that was in Production, as if it were there now.

    Raises:
        MlflowException: there is no such version, or its run is gone.
    """
    client = MlflowClient()
    return _production(client, client.get_model_version(collection, str(version)))


def _production(client: MlflowClient, version: ModelVersion) -> Production:
    run = client.get_run(version.run_id)
    return Production(
        **production.facts(version.name, version.version, version.last_updated_timestamp, version.tags),
        run_id=version.run_id,
        newest_uri=_newest_uri(client, version, run.info.experiment_id),
        scores=dict(run.data.metrics),
    )


def _newest_uri(client: MlflowClient, version: ModelVersion, experiment_id: str) -> str:
    """Address of the newest dataset of the same kind of data; of the version's own if none is found."""
    condition = tags.made_datasets(version.name, version.tags[tags.SYNTHETIC])
    found = client.search_runs([experiment_id], condition, max_results=1, order_by=["attributes.end_time DESC"])
    return f"runs:/{found[0].info.run_id}/dataset" if found else version.tags[tags.DATASET]


@functools.lru_cache(maxsize=4)
def load_forecaster(model_uri: str) -> Forecaster:
    """The forecaster behind `models:/<name>/<version>` or `runs:/<run id>/twin`; neither ever changes, so it is kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of differing patch versions of packages that are not used here
        return mlflow.pyfunc.load_model(model_uri).unwrap_python_model().forecaster


@functools.lru_cache(maxsize=8)
def load_predictions(run_id: str, name: str) -> pd.DataFrame:
    """Predictions that a training run has left as evidence: `window` or `backtest`."""
    with tempfile.TemporaryDirectory(prefix="dsgo-predictions-") as folder:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=f"predictions/{name}.parquet", dst_path=folder
        )
        return pd.read_parquet(Path(path))


@functools.lru_cache(maxsize=4)
def _dataset(uri: str) -> Dataset:
    return read_dataset(uri)


def candidates(collection: str, data_digest: str, experiment: str) -> list:
    """Finished training runs on one dataset, the newest of each step; their `data` has metrics and tags."""
    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = client.search_runs(
        [found.experiment_id],
        f"tags.`{tags.COLLECTION}` = '{collection}' and tags.`{tags.DATA_DIGEST}` = '{data_digest}' "
        "and attributes.status = 'FINISHED'",
        ViewType.ACTIVE_ONLY,
        max_results=1000,
        order_by=["attributes.start_time DESC"],
    )
    newest = {}
    for run in runs:
        if any(name.startswith("window.") for name in run.data.metrics):
            newest.setdefault(run.data.tags[tags.STEP], run)
    return list(newest.values())


def named_candidates(dataset: Dataset, named: str) -> list:
    """Training runs for a step that compares or blends them.

    Args:
        named: comma-separated run ids; empty for every step's newest finished run on this dataset in the active experiment.

    Raises:
        GateError: there is none, or one was trained on other data.
    """
    client = MlflowClient()
    if named:
        runs = [client.get_run(run_id.strip()) for run_id in named.split(",")]
        for run in runs:
            if run.data.tags.get(tags.DATA_DIGEST) != dataset.sha256:
                raise GateError(f"Run {run.info.run_id} was trained on other data.", "Name runs on the same dataset.")
    else:
        experiment = client.get_experiment(mlflow.active_run().info.experiment_id)
        runs = candidates(dataset.collection, dataset.sha256, experiment.name)
    if not runs:
        raise GateError("No candidate has been trained on this dataset.", "Run a training step on it first.")
    return runs


def leaderboard(collection: str) -> pd.DataFrame:
    """Candidates on the newest dataset and the naive baseline, the best by back-test first.

    Returns:
        Columns `model`, `run_id`, `experiment_id`, `version`, `stage` (empty for what is not registered) and metric names such as
        `backtest.solar_GW.rmse`. Empty where nothing has been trained yet.
    """
    from dsgo.collection import find

    client = MlflowClient()
    experiment = client.get_experiment_by_name(find(collection).experiment)
    if experiment is None:
        return pd.DataFrame(columns=LEADERBOARD)
    newest = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{tags.COLLECTION}` = '{collection}' and tags.`{tags.STEP}` = 'promote' and attributes.status = 'FINISHED'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    if not newest:
        return pd.DataFrame(columns=LEADERBOARD)
    runs = candidates(collection, newest[0].data.tags[tags.DATA_DIGEST], experiment.name)
    if not runs:
        return pd.DataFrame(columns=LEADERBOARD)
    those = ", ".join(f"'{run.info.run_id}'" for run in runs)  # not all versions that there ever were
    found = client.search_model_versions(f"name = '{collection}' and run_id IN ({those})")
    return leaderboard_table(runs, {version.run_id: version for version in found})


def leaderboard_table(runs: list, versions: Mapping[str, ModelVersion]) -> pd.DataFrame:
    """The leaderboard of these training runs; `versions` by run id."""
    rows = []
    for run in runs:
        version = versions.get(run.info.run_id)
        row = {"model": run.data.tags[tags.STEP], "run_id": run.info.run_id, "experiment_id": run.info.experiment_id}
        row |= {"version": version.version if version else "", "stage": _stage(version)}
        rows.append(row | {k: v for k, v in run.data.metrics.items() if k.startswith(("backtest.", "window."))})
    if not rows:
        return pd.DataFrame(columns=LEADERBOARD)
    table = pd.DataFrame(rows)
    skills = table.filter(regex=r"^backtest\..*\.skill$")
    table = table.assign(_skill=skills.mean(axis=1)).sort_values("_skill", ascending=False).drop(columns="_skill")
    return pd.concat([table, pd.DataFrame([_naive_row(table)])], ignore_index=True)


def _stage(version: ModelVersion | None) -> str:
    return "" if version is None or version.current_stage == "None" else version.current_stage


def _naive_row(table: pd.DataFrame) -> dict:
    """The naive baseline's row: its rmse is in every run, on the same rows; its skill is 0 by definition."""
    row = {"model": "naive", "run_id": "", "experiment_id": "", "version": "", "stage": ""}
    for column in table.filter(regex=r"\.naive_rmse$"):
        prefix = column.removesuffix(".naive_rmse")
        row |= {f"{prefix}.rmse": table[column].iloc[0], f"{prefix}.skill": 0.0}
    return row
