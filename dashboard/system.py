"""Everything that the dashboard asks of the rest of DSGo. It writes nothing and trains nothing."""

from __future__ import annotations

import contextlib
import functools
import importlib
import tempfile
import threading
from pathlib import Path
from typing import Any

import pandas as pd

from dsgo import actions, findings, ledger, predictions, services, step_logs, tags
from dsgo.collection import Collection
from dsgo.errors import NoProductionModel, RegistryError
from dsgo.rest_registry import RestRegistry
from dsgo.services import Status
from dsgo.settings import Settings

RUNS = 500  # runs looked at, newest first: of thirty or more pipelines
PIPELINES = 20
LEDGER_ROWS = 50
ACTIONS = 20


class System:
    """The registry, what runs have left, the application database and the servers of one copy of DSGo.

    Every question raises RegistryError at once where the tracking server is down: MLflow itself would try for minutes.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._first = threading.Lock()
        self._loaded = False

    def _mlflow(self, collection: str, module: str = "mlflow") -> Any:
        with contextlib.suppress(NoProductionModel):
            services.production_version(self.settings, collection)
        with self._first:
            if not self._loaded:
                # Here, because it takes seconds; and one thread at a time, down to what the first question imports: two
                # at once meet MLflow's modules half-made.
                importlib.import_module("dsgo.registry")
                importlib.import_module("mlflow.tracking").MlflowClient().search_experiments(max_results=1)
                self._loaded = True
        return importlib.import_module(module)

    def load_production(self, collection: str) -> Any:
        """`dsgo.registry.Production` of what is in Production."""
        return self._mlflow(collection, "dsgo.registry").load_production(collection)

    def leaderboard(self, collection: str) -> pd.DataFrame:
        """`dsgo.registry.leaderboard`."""
        return self._mlflow(collection, "dsgo.registry").leaderboard(collection)

    def evaluation(self, collection: str, run_id: str) -> dict[str, pd.DataFrame]:
        """The tables `regimes` and `importance` that a candidate's run has left (docs/architecture.md).

        Raises:
            RegistryError: the run has none.
        """
        mlflow = self._mlflow(collection)
        with tempfile.TemporaryDirectory(prefix="dsgo-evaluation-") as folder:
            try:
                path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="evaluation", dst_path=folder)
                return {
                    name: pd.read_csv(Path(path) / f"{name}.csv", dtype={"value": str, "group": str})
                    for name in ("regimes", "importance")
                }
            except (mlflow.exceptions.MlflowException, OSError) as error:
                raise RegistryError(f"The evaluation of run {run_id} cannot be read: {error}") from error

    def ledger(self, collection: str) -> pd.DataFrame:
        """The newest rows of the ledger (`dsgo.ledger.entries`)."""
        return ledger.entries(collection, limit=LEDGER_ROWS)

    def findings(self, collection: str) -> pd.DataFrame:
        """What the newest check has found (`dsgo.findings.newest`)."""
        return findings.newest(collection)

    def all_findings(self, collection: str) -> pd.DataFrame:
        """What all checks have found (`dsgo.findings.history`)."""
        return findings.history(collection)

    def actions(self, collection: str) -> pd.DataFrame:
        """What was decided about it, the newest first (`dsgo.actions.entries`)."""
        return actions.entries(collection, limit=ACTIONS)

    def remedy(self, collection: str) -> str:
        """What a person is asked to do now; empty if nobody is asked."""
        question = actions.open_question(ledger.read(collection), actions.read(collection))
        return actions.remedy(question) if question else ""

    def predictions(self, collection: str) -> pd.DataFrame:
        """What was last issued for each target and hour (`dsgo.predictions.newest`)."""
        return predictions.newest(collection)

    def additions(self, collection: str) -> int:
        """Grows with every prediction (`dsgo.predictions.additions`)."""
        return predictions.additions(collection)

    def pipelines(self, collection: Collection) -> list[dict[str, Any]]:
        """The newest runs of the collection's pipeline, newest first, each with the runs of its steps.

        Keys: `run_id`, `experiment_id`, `step`, `job` (of a pipeline), `status`, `start`, `end` (None while it runs),
        `synthetic` (None where it is not known), and of a pipeline `steps` and `logs`, the steps whose lines this machine has.
        A pipeline of several parts of the data is listed, as is that of each part, which has the steps.
        """
        client = self._mlflow(collection.name, "mlflow.tracking").MlflowClient()
        experiment = client.get_experiment_by_name(collection.experiment)
        if experiment is None:
            return []
        runs = client.search_runs(
            [experiment.experiment_id],
            f"tags.`{tags.COLLECTION}` = '{collection.name}'",
            max_results=RUNS,
            order_by=["attributes.start_time DESC"],
        )
        pipelines = [
            _run(run) | {"steps": [], "logs": step_logs.names(self.settings, run.info.run_id)}
            for run in runs
            if run.data.tags.get(tags.STEP) == "pipeline"
        ][:PIPELINES]
        known = {pipeline["run_id"]: pipeline for pipeline in pipelines}
        for run in reversed(runs):
            parent = known.get(run.data.tags.get("mlflow.parentRunId", ""))
            if parent is not None and run.info.run_id not in known:
                parent["steps"].append(_run(run))
        return pipelines

    def log(self, pipeline: str, step: str) -> str | None:
        """What a step of a pipeline's run has said (`dsgo.step_logs.end`); None if it has left nothing."""
        stored = functools.partial(RestRegistry(self.settings).artifact, optional=True)
        return step_logs.end(self.settings, pipeline, step, stored)

    def services(self) -> list[Status]:
        """State of every server."""
        return services.status(self.settings)


def _run(run: Any) -> dict[str, Any]:
    synthetic = run.data.tags.get(tags.SYNTHETIC)
    return {
        "run_id": run.info.run_id,
        "experiment_id": run.info.experiment_id,
        "step": run.data.tags.get(tags.STEP, "unknown"),
        "job": " ".join(filter(None, (run.data.tags.get(tags.JOB), run.data.tags.get(tags.PART)))),
        "status": run.info.status,
        "start": pd.Timestamp(run.info.start_time, unit="ms", tz="UTC"),
        "end": pd.Timestamp(run.info.end_time, unit="ms", tz="UTC") if run.info.end_time else None,
        "synthetic": None if synthetic is None else synthetic == "true",
    }
