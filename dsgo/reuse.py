"""Whether a finished run can stand for a step's next run, and if not, why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from dsgo import ingredients, ledger, manifest, tags
from dsgo.errors import DatabaseError
from dsgo.ingredients import Step

GATE = "promote"  # the step


@dataclass(frozen=True)
class Decision:
    """About one step: `run` is to be reused; or there is None, and `why` gives all reasons, the first the weightiest."""

    step: Step
    run: Run | None
    why: tuple[str, ...] = ()

    @property
    def in_short(self) -> str:
        """The reasons in a few words."""
        return self.why[0] + (f", and {len(self.why) - 1} more" if len(self.why) > 1 else "")


def decide(client: MlflowClient, experiment_id: str, collection: str, step: Step, runs: Mapping[str, Run]) -> Decision:
    """Look for a finished run of the step that would come out the same now, and has all its files.

    Args:
        runs: of the steps before, by name: those that are reused or have just finished. Where one is missing, that step has
            to run first, and so has this one, unless the other's output comes out as it was.
    """
    now = ingredients.own_ingredients(step)
    waiting = tuple(name for name in step.upstream if name not in runs)
    if waiting:
        first = f"after {', '.join(waiting)}"
        return Decision(step, None, (*_changes(client, experiment_id, collection, step, now), first))
    now |= ingredients.inputs_of(step, runs)
    if step.addresses:
        return Decision(step, None, (f"what lies at {step.addresses[0]} may have changed",))
    found = finished(client, experiment_id, ingredients.hash_of(now), most=5)
    why: tuple[str, ...] = ()
    for run in found:
        why = _unusable(client, run, runs)
        if not why:
            return Decision(step, run)
    return Decision(step, None, why or _changes(client, experiment_id, collection, step, now))


def finished(client: MlflowClient, experiment_id: str, key: str, most: int) -> list[Run]:
    """Finished runs with this key, the newest first."""
    return _finished(client, experiment_id, f"tags.`{tags.STEP_KEY}` = '{key}'", most)


def _finished(client: MlflowClient, experiment_id: str, condition: str, most: int) -> list[Run]:
    """Finished runs, the newest first."""
    query = f"{condition} and attributes.status = 'FINISHED'"
    order = ["attributes.end_time DESC"]
    return client.search_runs([experiment_id], query, ViewType.ACTIVE_ONLY, max_results=most, order_by=order)


def _unusable(client: MlflowClient, run: Run, runs: Mapping[str, Run]) -> tuple[str, ...]:
    """Why a finished run with the right key cannot be reused; empty if it can."""
    run_id = run.info.run_id
    if tags.MANIFEST not in run.data.tags:
        return (f"run {run_id} ended before its files were listed",)
    if not _champion_stands(client, run):
        return (f"the champion has changed since run {run_id}",)
    if lost := _rows_lost(run):
        return (lost,)
    if damaged := manifest.damage(client, run):
        return tuple(f"{file} of run {run_id}" for file in damaged)
    # Its inputs may have been made again since, and come out the same. What refers to the old ones needs them whole.
    for old in set(run.data.tags.get(tags.INPUT_RUNS, "").split()) - {each.info.run_id for each in runs.values()}:
        try:
            input_run = client.get_run(old)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return (f"its input, run {old}, is no longer there",)
        if input_run.info.lifecycle_stage != "active":
            return (f"its input, run {old}, has been deleted",)
        if damaged := manifest.damage(client, input_run):
            return tuple(f"its input: {file} of run {old}" for file in damaged)
    return ()


def _champion_stands(client: MlflowClient, run: Run) -> bool:
    """Whether what a gate's run has left as champion, or another step has used, is champion still. Others do not care.

    Of a part of the data that others came after, it is enough that it has been and nobody has taken it back; and, for what
    comes after the gate, that the part's newest gate has left it.
    """
    left = run.data.tags.get(tags.CHAMPION)
    if left is None:
        return True
    collection = run.data.tags[tags.COLLECTION]
    try:
        champion = client.get_model_version_by_alias(collection, "champion").run_id
    except MlflowException:  # no version has the alias
        champion = ""
    if left == champion or tags.PART not in run.data.tags:
        return left == champion
    if left and left not in {entry.evidence.run_id for entry in ledger.in_production(ledger.read(collection))}:
        return False
    return run.data.tags[tags.STEP] == GATE or left == _left_by_gate(client, run)


def _left_by_gate(client: MlflowClient, run: Run) -> str | None:
    """The champion after the newest gate that could change it, of the run's part of the data; None where there was no gate."""
    wanted = {tags.STEP: GATE, tags.LEVEL: ledger.PROD} | {
        name: run.data.tags[name] for name in (tags.COLLECTION, tags.PART)
    }
    condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    newest = _finished(client, run.info.experiment_id, condition, most=1)
    return newest[0].data.tags.get(tags.CHAMPION) if newest else None


def _rows_lost(run: Run) -> str:
    """In words, why the table of predictions is not as far as a run of `predict` has left it; empty if it is."""
    if tags.RECORDED not in run.data.tags:
        return ""
    from dsgo import predictions

    try:
        there = predictions.additions(run.data.tags[tags.COLLECTION])
    except DatabaseError as error:
        return error.problem
    lost = there < int(run.data.tags[tags.RECORDED])
    return f"the database has lost predictions since run {run.info.run_id}" if lost else ""


def _changes(
    client: MlflowClient, experiment_id: str, collection: str, step: Step, now: ingredients.Ingredients
) -> tuple[str, ...]:
    """What has changed since the newest finished run of the step."""
    condition = f"tags.`{tags.STEP}` = '{step.name}' and tags.`{tags.COLLECTION}` = '{collection}'"
    if step.part:
        condition += f" and tags.`{tags.PART}` = '{step.part}'"
    newest = _finished(client, experiment_id, f"{condition} and tags.`{tags.MANIFEST}` != ''", most=1)
    if not newest:
        return ("no finished run yet",)
    then = manifest.read_record(newest[0]).get("ingredients")
    if then is None:
        return (f"{manifest.RECORD} of run {newest[0].info.run_id} is missing, so it cannot be told what has changed",)
    return tuple(ingredients.changes(then, now))
