"""The MLflow run of a step that reads a dataset: begun and tagged in the same way by all of them."""

from __future__ import annotations

import os

import mlflow

from dsgo import tags
from dsgo.tables import Dataset


def begin(step: str, dataset: Dataset, uri: str) -> None:
    """Start the run that `mlflow run` has made for this process, or a new one named after the step, and tag it.

    Args:
        uri: of the dataset.
    """
    if mlflow.active_run() is None:
        mlflow.start_run(run_name=None if "MLFLOW_RUN_ID" in os.environ else step)
    mlflow.set_tags(tags_of(step, dataset, uri))


def tags_of(step: str, dataset: Dataset, uri: str) -> dict[str, str]:
    """Tags that say what a run of a step is about."""
    return {
        tags.COLLECTION: dataset.collection,
        tags.STEP: step,
        tags.DATA_DIGEST: dataset.sha256,
        tags.DATASET: uri,
        tags.SYNTHETIC: str(dataset.synthetic).lower(),
        tags.CODE_VERSION: tags.code_version(),
    }
