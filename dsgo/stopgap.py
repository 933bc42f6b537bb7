"""Predictions although the new data were refused: the step `predict` on the newest dataset that is good.

What it knows weather of, Production forecasts; the hours after that, the naive baseline (`dsgo.fallback`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from dsgo import executors, flow, registry, tags
from dsgo.ingredients import Step

REFUSED = "refused"  # the parameter of `predict` that says why there are no newer data


def step_left(steps: Sequence[Step], job: str, failed: Sequence[str]) -> Step | None:
    """The step that makes the predictions, if this job is there for them and has not come to it for want of a dataset.

    Args:
        steps: of the job, those that were asked for.
        failed: names of those that have failed.
    """
    wanted = flow.JOBS[flow.PRODUCTION] if job == flow.PRODUCTION else ""
    return next((step for step in steps if step.name == wanted and step.inputs["dataset"] in failed), None)


def predict(step: Step, collection: str, said: Mapping[str, str]) -> None:
    """Run the step on the newest dataset of the kind that Production has learned from.

    Args:
        said: tags of the pipeline: its run, whose child this run becomes too, and its experiment.

    Raises:
        NoProductionModel: nothing has been in Production yet, so nobody waits for predictions.
        StepError: the step failed.
    """
    client, source = MlflowClient(), step.inputs["dataset"]
    newest = registry.load_production(collection).newest_uri
    run = client.get_run(newest.removeprefix("runs:/").partition("/")[0])
    with flow.lines_named(flow.label(step.name, step.part)):
        print(f"goes on with the newest dataset that is good, run {run.info.run_id}", flush=True)
        executors.run_step(
            replace(step, parameters={**step.parameters, REFUSED: _reason(client, source, said)}),
            {source: run},
            experiment_id=said[flow.EXPERIMENT],
            collection=collection,
            parent=said[flow.PARENT],
            env_manager=flow.ENV_MANAGER,
            at_once=executors.AT_ONCE,
        )


def _reason(client: MlflowClient, source: str, said: Mapping[str, str]) -> str:
    """What the step that makes the dataset said when it failed, after its name: a parameter that begins with a path is a file."""
    runs = client.search_runs(
        [said[flow.EXPERIMENT]],
        f"tags.`mlflow.parentRunId` = '{said[flow.PARENT]}' and tags.`{tags.STEP}` = '{source}'",
        ViewType.ACTIVE_ONLY,
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    return f"{source}: {(runs and runs[0].data.tags.get(tags.NOTE)) or 'failed and gave no reason.'}"
