"""Searches for settings as the pipeline sees them: start them on the newest dataset, find what they have found."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence

import mlflow
import pandas as pd
import yaml
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.tracking import MlflowClient

from dsgo import space, tags
from dsgo.collection import Collection
from dsgo.errors import DSGoError, StepError
from dsgo.evaluation import plan
from dsgo.ingredients import Step
from dsgo.steps import end_run, thread_limits
from dsgo.tables import INFO_FILE

ENTRY_POINT = "tune"


def tunable(step: Step) -> bool:
    """Whether the step's project has the entry point `tune`."""
    project = yaml.safe_load((step.project / "MLproject").read_text(encoding="utf-8"))
    return ENTRY_POINT in project["entry_points"]


def with_settings(step: Step, runs: Mapping[str, Run]) -> Step:
    """The step with the settings that the newest search has found for it; as it is where there is none.

    A search counts if it was of this step's present search space, on data of the same kind (recorded or synthetic), and scored
    nothing but hours before the window of the dataset that the step is to learn from: otherwise its choice would have seen the
    hours that the gate judges by.

    Args:
        runs: finished runs of the steps before it, by name.
    """
    if not tunable(step):
        return step
    dataset = runs[step.inputs["dataset"]]
    name = step.project.name
    searches = MlflowClient().search_runs(
        [dataset.info.experiment_id],
        f"tags.`{tags.STEP}` = '{name}.{ENTRY_POINT}' and attributes.status = 'FINISHED' "
        f"and tags.`{tags.COLLECTION}` = '{dataset.data.tags[tags.COLLECTION]}' "
        f"and tags.`{tags.SYNTHETIC}` = '{dataset.data.tags[tags.SYNTHETIC]}' "
        f"and tags.`{tags.SEARCH_SPACE}` = '{space.digest(space.read_space(step.project / f'{name}.py'))}'",
        order_by=["attributes.start_time DESC"],
    )
    if not searches:
        return step
    start = _window_start(dataset)
    searches = [run for run in searches if pd.Timestamp(run.data.tags[tags.SCORED_TO]) <= start]
    if not searches:
        return step
    found = searches[0].data.tags[tags.OUTPUT_DIGEST]
    # Of searches that agree the first: the step's key stays, and nothing trains again for the same settings.
    agreeing = list(itertools.takewhile(lambda run: run.data.tags[tags.OUTPUT_DIGEST] == found, searches))
    uri = f"runs:/{agreeing[-1].info.run_id}/{space.SETTINGS_FILE}"
    return dataclasses.replace(step, parameters={**step.parameters, "settings": uri})


def _window_start(dataset: Run) -> pd.Timestamp:
    info = yaml.safe_load(mlflow.artifacts.load_text(f"runs:/{dataset.info.run_id}/dataset/{INFO_FILE}"))
    _, window = plan(pd.DatetimeIndex([info["period"]["start"], info["period"]["end"]]), info)
    return window.start


def tune(collection: Collection, only: Sequence[str], parameters: Mapping[str, str]) -> None:
    """Search for settings of the collection's training steps, one `mlflow run -e tune` after the other.

    Args:
        only: names of steps; empty for all that can be tuned.
        parameters: of the entry point, without `dataset`.

    Raises:
        DSGoError: there is no dataset yet, or no such step.
        StepError: a search failed.
    """
    from dsgo import flow

    steps = {
        step.name: step for step in flow.load(collection.path.with_name("flow.py")).steps("sample") if tunable(step)
    }
    for name in only:
        if name not in steps:
            raise DSGoError(f"There is no step {name!r} to tune.", f"Steps that can be tuned: {', '.join(steps)}.")
    dataset = _newest_dataset(collection)
    os.environ.update(thread_limits(at_once=1))
    for name in only or steps:
        _search(steps[name], collection, {"dataset": f"runs:/{dataset.info.run_id}/dataset", **parameters})
    print(f"`make run COLLECTION={collection.name}` with the same DATA trains with what was found.", flush=True)


def _search(step: Step, collection: Collection, parameters: Mapping[str, str]) -> None:
    from dsgo import flow

    client = MlflowClient()
    experiment_id = client.get_experiment_by_name(collection.experiment).experiment_id
    run = client.create_run(experiment_id, run_name=f"{step.name}.{ENTRY_POINT}")
    try:
        with flow.lines_named(flow.label(step.name)):
            mlflow.projects.run(
                str(step.project),
                ENTRY_POINT,
                parameters=dict(parameters),
                experiment_id=experiment_id,
                run_id=run.info.run_id,
                env_manager=flow.ENV_MANAGER,
            )
    except (ExecutionException, MlflowException) as error:
        end_run(client, run.info.run_id, "FAILED")
        raise StepError(
            f"{step.name}.{ENTRY_POINT}", "failed; what it said is above.", "Run it again: finished trials count."
        ) from error


def _newest_dataset(collection: Collection) -> Run:
    client = MlflowClient()
    experiment = client.get_experiment_by_name(collection.experiment)
    found = experiment and client.search_runs(
        [experiment.experiment_id],
        f"tags.`{tags.STEP}` = 'process_data' and tags.`{tags.COLLECTION}` = '{collection.name}' "
        "and attributes.status = 'FINISHED'",
        max_results=1,
        order_by=["attributes.end_time DESC"],
    )
    if not found:
        raise DSGoError(
            f"The collection {collection.name!r} has no dataset yet.",
            f"Make one: make run COLLECTION={collection.name}",
        )
    return found[0]
