"""The runs in MLflow of a pipeline itself: each begins and ends with the part of the data that it is for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from dsgo import flow, remains, tags

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
ABOVE = "mlflow.parentRunId"


class PipelineRuns:
    """Begin a run for each part, and for several parts one above them.

    Args:
        collection: its name.
        about: tags of every run; they name the job.
        several: whether there is more than one part.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, collection: str, about: Mapping[str, str], several: bool
    ) -> None:
        self._client, self._experiment_id, self._collection = client, experiment_id, collection
        self._about, self._lock = dict(about), threading.Lock()
        self._open: list[str] = []
        self.stopped = threading.Event()
        """To be set before the steps of a pipeline that is to stop are ended: then they have not failed, and no run ends so."""
        self.first = ""
        """Id of the run above all, or of the only one; empty before it has begun."""
        if several:
            self._about[ABOVE] = self._create("", about)

    def begin(self, part: str, reused: Mapping[str, str]) -> dict[str, str]:
        """Begin the run of a part; return the tags that tell Dagster's run of it.

        Args:
            part: of the data; empty where there are none.
            reused: step → id of the run that stands for it.
        """
        run_id = self._create(part, {**self._about, **({tags.PART: part} if part else {})})
        return {
            tags.COLLECTION: self._collection,
            flow.PARENT: run_id,
            flow.EXPERIMENT: self._experiment_id,
            flow.REUSED: json.dumps(dict(reused)),
            **({flow.PARTITION: part} if part else {}),
        }

    def end(self, run_id: str, failed: Sequence[str]) -> None:
        """End a run; `failed` has what has failed in it. Where the pipeline has been stopped, it stays open."""
        if self.stopped.is_set():
            return
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")
        with self._lock:
            self._open.remove(run_id)

    def end_all(self, failed: Sequence[str]) -> None:
        """End those that are open."""
        for run_id in list(self._open):
            self.end(run_id, failed)

    def mark_killed(self) -> None:
        """Mark those that are open; their steps have been ended. Where the server does not answer, the next pipeline does it."""
        os.environ[RETRIES] = "1"  # not minutes, when all is to end
        try:
            for run_id in list(self._open):
                self._client.set_terminated(run_id, "KILLED")
            remains.end_runs(self._client, self._experiment_id)
        except MlflowException as error:
            print(f"The runs could not be marked as killed; the next pipeline does it. {error}", flush=True)
        finally:
            del os.environ[RETRIES]

    def _create(self, part: str, about: Mapping[str, str]) -> str:
        name = " ".join(filter(None, (about[tags.JOB], self._collection, part)))
        run_id = self._client.create_run(self._experiment_id, run_name=name, tags=dict(about)).info.run_id
        with self._lock:
            self._open.append(run_id)
            self.first = self.first or run_id
        return run_id
