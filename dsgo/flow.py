"""A pipeline's steps as Dagster assets, so that independent steps run side by side and a failed run goes on where it broke.

Dagster decides the order and how many run at once; MLflow Projects do the work. Nothing here knows of models.
"""

import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from dsgo import dagster_home, executors, step_logs, tags
from dsgo.collection import Collection
from dsgo.ingredients import Step
from dsgo.settings import Settings
from dsgo.settings import load as load_settings
from dsgo.transient import is_transient

if TYPE_CHECKING:  # MLflow takes seconds to import
    from mlflow.entities import Run

PARTITION = PARTITION_NAME_TAG  # of a run of Dagster: the part of the data that it is for
ENV_MANAGER = "local"  # the locked environment; single projects can be run in environments of their own
TRAINING, PRODUCTION, VALIDATION = "training", "production", "validation"
LEARNING = "learning"  # of a collection with parts: a training up to the gate, which has to see them in their order
JOBS = {
    TRAINING: "promote",
    PRODUCTION: "predict",
    VALIDATION: "monitor",
}  # each job ends with the step that it is there for
# Tags of a run of Dagster, by which the pipeline tells its steps what they cannot know.
PARENT, EXPERIMENT, REUSED = "dsgo.parent_run", "dsgo.experiment", "dsgo.reused"
PAUSES_S = (
    15,
    60,
)  # before a step that failed by what passes is tried again; servers and clients have tried for minutes
# One process imports these, the steps are forked from it: seconds saved for each of them.
PRELOADED = ["dsgo.flow", "dsgo.steps", "mlflow.projects", "dagster._core.storage.sqlite_storage", "alembic.command"]


class Order(dg.ConfigurableResource):
    """What a person can ask of one execution of a job, here or in the launchpad of Dagster's UI."""

    data: str = ""  # empty: the source of the setting DSGO_DATA
    level: str = "PROD"


StepsFor = Callable[..., Sequence[Step]]


@dg.configured(dg.multiprocess_executor, {"at_once": dg.Field(int, is_required=False)})
def steps_at_once(config: Mapping[str, int]) -> dict:
    """Dagster's executor of processes; `at_once` of them, or as many as one pipeline may have."""
    return {
        "max_concurrent": config.get("at_once") or executors.at_once(load_settings()),
        "start_method": {"forkserver": {"preload_modules": PRELOADED}},
    }


def definitions(
    collection: Collection,
    steps_for: StepsFor,
    jobs: Mapping[str, str] | None = None,
    parts: Sequence[str] = (),
) -> dg.Definitions:
    """Assets and jobs of one collection, and what starts them by itself (`dsgo.automation`).

    Args:
        collection: names the experiment.
        steps_for: function from the source of raw data, the level (DEV or PROD) and, if there are parts, one of them, to the
            steps, in an order in which they can run.
        jobs: name → the step that the job is there for; all that this one needs belongs to the job. None: one job
            `training` of all steps.
        parts: of the data that every job can be run for, such as years, the oldest first: Dagster's partitions.
    """
    from dsgo import automation

    steps = steps_for("sample")
    partitions = dg.StaticPartitionsDefinition(list(parts)) if parts else None
    assets = [_asset(collection, steps_for, step, len(steps) - place, partitions) for place, step in enumerate(steps)]
    selections = (
        {TRAINING: dg.AssetSelection.all()}
        if jobs is None
        else {job: dg.AssetSelection.assets([collection.name, step]).upstream() for job, step in jobs.items()}
    )
    made = {
        job: dg.define_asset_job(
            job, selection, executor_def=steps_at_once, run_tags={tags.COLLECTION: collection.name}
        )
        for job, selection in selections.items()
    }
    return dg.Definitions.merge(
        dg.Definitions(assets=assets, jobs=[*made.values()], resources={"order": Order()}, executor=steps_at_once),
        automation.definitions(collection, made, parts[-1] if parts else None),
    )


def _asset(
    collection: Collection,
    steps_for: StepsFor,
    step: Step,
    priority: int,
    partitions: dg.PartitionsDefinition | None,
) -> dg.AssetsDefinition:
    @dg.asset(
        name=step.name,
        key_prefix=collection.name,  # of several collections each has a `process_data`
        group_name=collection.name,
        op_tags={"dagster/priority": str(priority)},  # of the steps that can run, the first in the list goes first
        ins={name: dg.AssetIn(key=[collection.name, name]) for name in step.upstream},
        partitions_def=partitions,
        description=f"One MLflow run of {step.project.name}; the value is its run id.",
    )
    def run(context: dg.AssetExecutionContext, order: Order, **upstream: str) -> str:
        said = context.run.tags
        if run_id := json.loads(said.get(REUSED, "{}")).get(step.name):
            return run_id
        part = context.partition_key if partitions is not None else ""
        steps = _of_part(steps_for, order.data or source(), order.level, part)
        asked = next(each for each in steps if each.name == step.name)
        with (
            step_logs.kept(load_settings(), said[PARENT], step.name) as log,
            lines_named(label(step.name, part), log),
            on_its_own(),
        ):
            try:
                run = _run(collection, asked, upstream, said)
            except Exception as error:
                if not is_transient(error):
                    raise
                pause = PAUSES_S[min(context.retry_number, len(PAUSES_S) - 1)]
                print(f"{error} It is tried again after {pause} s.", flush=True)
                raise dg.RetryRequested(max_retries=len(PAUSES_S), seconds_to_wait=pause) from error
        context.add_output_metadata({"run_id": run.info.run_id})
        return run.info.run_id

    return run


def _run(collection: Collection, step: Step, upstream: Mapping[str, str], said: Mapping[str, str]) -> "Run":
    """Reuse a finished run after all, if the steps before came out as they had, else run the step."""
    from mlflow.tracking import MlflowClient

    from dsgo.executors import run_step
    from dsgo.reuse import decide
    from dsgo.tuned import with_settings

    client = MlflowClient()
    runs = {name: client.get_run(run_id) for name, run_id in upstream.items()}
    step = with_settings(step, runs)
    decision = decide(client, said[EXPERIMENT], collection.name, step, runs)
    if decision.run is not None:
        print(f"reused run {decision.run.info.run_id}", flush=True)
        return decision.run
    print(f"runs: {decision.in_short}", flush=True)
    run = run_step(
        step,
        runs,
        experiment_id=said[EXPERIMENT],
        collection=collection.name,
        parent=said[PARENT],
        env_manager=ENV_MANAGER,
        at_once=executors.AT_ONCE,
    )
    print(f"finished in {(run.info.end_time - run.info.start_time) / 1000:.0f} s", flush=True)
    return run


@contextmanager
def on_its_own() -> Iterator[None]:
    """Leave Ctrl-C, which a terminal sends to everybody, to the pipeline's process: that one ends the others in order."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def label(step: str, part: str = "") -> str:
    """What stands before the lines of a step, so wide that those of several stand below each other."""
    return f"{part:>9} {step:>17}" if part else f"{step:>20}"


@contextmanager
def lines_named(name: str, log: BinaryIO | None = None) -> Iterator[None]:
    """Put `name` before every line that this process and its children write meanwhile, so that parallel steps can be told apart.

    Works on the file descriptors, for what children write as well. `log` gets every line with its time.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.dup(1)
    kept = {1: terminal, 2: os.dup(2)}
    reader, writer = os.pipe()
    for number in kept:
        os.dup2(writer, number)
    os.close(writer)

    def forward() -> None:
        with os.fdopen(reader, "rb") as lines:
            for line in lines:
                if log is not None:
                    with suppress(OSError, ValueError):  # a full disk, or closed already: the step itself goes on
                        log.write(step_logs.dated(line))
                if keep(line):
                    os.write(terminal, f"{name} | ".encode() + line.rstrip(b"\n") + b"\n")

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
        thread.join(timeout=10)  # ends when the last child has closed its end
        for descriptor in kept.values():
            os.close(descriptor)


# What libraries say about themselves on every import, whatever happens.
NOISE = (
    *(b"INFO mlflow", b"WARNING mlflow.utils", b"Add type hints to the `predict`", b"color_warning(", b"oneDNN"),
    *(b"cpu_feature_guard", b"To enable the following instructions", b"absl::InitializeLog", b"cuda"),
    *("🏃".encode(), "🧪".encode()),
)


def keep(line: bytes) -> bool:
    """Whether a line says something to the person who runs the pipeline."""
    return bool(line.strip()) and not any(word in line for word in NOISE)


def load(path: Path | str):
    """A collection's `flow.py` as a module; it must have `steps` and `defs`."""
    path = Path(path)
    spec = importlib.util.spec_from_file_location(f"dsgo_flow_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job_of(path: str, job: str) -> dg.JobDefinition:
    """A job of the `flow.py` at `path`."""
    return load(path).defs.resolve_job_def(job)


def job_reference(path: Path, job: str):
    """The job in a form that Dagster's step processes can build again."""
    return dg.build_reconstructable_job("dsgo.flow", "job_of", (str(path), job), {})


def jobs_of(flow) -> list[str]:
    """Names of the jobs of a `flow.py` that `make run` does, in its order."""
    known = {job.name for job in flow.defs.resolve_all_job_defs()}
    return [job for job in JOBS if job in known]


def steps_of(flow, collection: str, job: str) -> set[str]:
    """Names of the steps of a job of a `flow.py`."""
    return {step_of(node.name, collection) for node in flow.defs.resolve_job_def(job).nodes}


def step_of(key: str, collection: str) -> str:
    """Name of the step that Dagster has under `key`."""
    return key.removeprefix(f"{collection}__")


def parts_of(flow) -> tuple[str, ...]:
    """The parts of the data that a `flow.py` runs its jobs for one by one, the oldest first; none if it has no parts."""
    return tuple(getattr(flow, "PARTS", ()))


def steps_for(flow, data: str, level: str, part: str = "") -> list[Step]:
    """The steps of a `flow.py`, of one part of the data if it has parts: of the newest where none is named."""
    parts = parts_of(flow)
    return _of_part(flow.steps, data, level, part or parts[-1] if parts else "")


def _of_part(steps: StepsFor, data: str, level: str, part: str) -> list[Step]:
    if not part:
        return list(steps(data, level))
    return [replace(step, part=part) for step in steps(data, level, part)]


def source() -> str:
    """The raw data that jobs read which nobody has told otherwise (`DSGO_DATA`)."""
    return load_settings().data


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's own state."""
    with dg.DagsterInstance.from_config(str(dagster_home.make(settings))) as instance:
        yield instance
