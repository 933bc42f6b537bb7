"""One MLflow Project as one step of a pipeline: `mlflow run`, with the tags and the record by which it can be reused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.tracking import MlflowClient

from dsgo import failure, ingredients, manifest, remains, reuse, tags
from dsgo.errors import StepError
from dsgo.ingredients import Step
from dsgo.settings import FAILURE_FILE
from dsgo.transient import is_transient


def arguments(step: Step, runs: Mapping[str, Run]) -> dict[str, str]:
    """Parameters for `mlflow run`: plain ones, URIs of datasets, ids of runs."""
    values = dict(step.parameters)
    for name, source in step.inputs.items():
        if isinstance(source, str):
            values[name] = f"runs:/{runs[source].info.run_id}/dataset"
        else:
            values[name] = ",".join(runs[up].info.run_id for up in source)
    return values


def run_step(
    step: Step,
    runs: Mapping[str, Run],
    *,
    experiment_id: str,
    collection: str,
    parent: str,
    env_manager: str,
    at_once: int,
) -> Run:
    """Run the project as a child of the pipeline's run, and note what it has written.

    Args:
        at_once: steps that may run at the same time; they share the processor.

    Raises:
        StepError: it failed.
    """
    client = MlflowClient()
    own = ingredients.own_ingredients(step)
    made_of = own | ingredients.inputs_of(step, runs)
    run = client.create_run(
        experiment_id,
        run_name=" ".join(filter(None, (step.name, step.part))),
        tags={
            "mlflow.parentRunId": parent,
            tags.COLLECTION: collection,
            tags.STEP: step.name,
            tags.STEP_KEY: ingredients.hash_of(made_of),
            tags.INPUT_RUNS: " ".join(runs[name].info.run_id for name in step.upstream),
            tags.CODE_VERSION: tags.code_version(step.project),
            tags.PROCESS: remains.identity(),
            **({tags.PART: step.part} if step.part else {}),
        },
    )
    run_id = run.info.run_id
    os.environ.update(thread_limits(at_once))
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "failure.json")
        os.environ[FAILURE_FILE] = str(noted)
        try:
            mlflow.projects.run(
                str(step.project),
                parameters=arguments(step, runs),
                experiment_id=experiment_id,
                run_id=run_id,
                env_manager=env_manager,
            )
        except (ExecutionException, MlflowException) as error:
            failed = failure.told(noted)
            end_run(client, run_id, "FAILED", failed.said)
            raise StepError(
                step.name,
                "failed; what it said is above.",
                f"Its run is {run_id}.",
                transient=failed.transient or is_transient(error),
            ) from error
        finally:
            del os.environ[FAILURE_FILE]
    if changed := ingredients.changes(own, ingredients.own_ingredients(step)):
        # Nobody can tell which of the two it was made of, so it counts for this pipeline and is not noted for reuse.
        print(f"will run again next time, for something changed while it ran: {', '.join(changed)}", flush=True)
    else:
        manifest.note(client, run_id, made_of)
        _mend_earlier(client, client.get_run(run_id))
    return client.get_run(run_id)


def _mend_earlier(client: MlflowClient, run: Run) -> None:
    """Let earlier runs with the same key, if files of theirs were lost, have them back from this one."""
    for other in reuse.finished(client, run.info.experiment_id, run.data.tags[tags.STEP_KEY], most=5):
        if other.info.run_id == run.info.run_id or tags.MANIFEST not in other.data.tags:
            continue
        if manifest.damage(client, other):
            mended = manifest.mend(client, other, run.info.run_id)
            print(f"run {other.info.run_id} {'is whole again' if mended else 'stays damaged'}", flush=True)


def thread_limits(at_once: int) -> dict[str, str]:
    """Environment that gives a step its share of the processor; steps that each take all of it wait for each other."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return dict.fromkeys((*names, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)


def end_run(client: MlflowClient, run_id: str, status: str, why: str = "") -> None:
    """A run whose process died keeps the status RUNNING unless somebody ends it.

    Args:
        why: for the run's description.
    """
    try:
        if why:
            client.set_tag(run_id, tags.NOTE, why)
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, status)
    except MlflowException as error:
        print(f"the run {run_id} could not be marked as {status.lower()}: {error}", flush=True)
