"""A pipeline's steps as Dagster assets, so that independent steps run side by side and a failed run goes on where it broke.

Dagster decides the order and how many run at once; MLflow Projects do the work. Nothing here knows of models.
"""

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dsgo import executors
from dsgo.collection import Collection
from dsgo.ingredients import Step
from dsgo.settings import Settings
from dsgo.settings import load as load_settings

if TYPE_CHECKING:  # MLflow takes seconds to import
    from mlflow.entities import Run

ENV_MANAGER = "local"  # the locked environment; single projects can be run in environments of their own
JOB = "training"
# One process imports these, the steps are forked from it: seconds saved for each of them.
PRELOADED = ["dsgo.flow", "dsgo.steps", "mlflow.projects", "dagster._core.storage.sqlite_storage", "alembic.command"]


class Order(dg.ConfigurableResource):
    """What one execution of a pipeline is asked to do."""

    data: str = "sample"
    level: str = "PROD"
    parent_run_id: str = ""
    experiment_id: str = ""
    done: dict[str, str] = {}  # noqa: RUF012 - step → run to reuse; a pydantic field


StepsFor = Callable[..., Sequence[Step]]


def definitions(collection: Collection, steps_for: StepsFor) -> dg.Definitions:
    """Assets and the job `training` of one collection.

    Args:
        collection: names the experiment.
        steps_for: function from the source of raw data and the level (DEV or PROD) to the steps, in an order in which
            they can run.
    """
    steps = steps_for("sample")
    assets = [_asset(collection, steps_for, step, len(steps) - place) for place, step in enumerate(steps)]
    executor = dg.multiprocess_executor.configured(
        {
            "max_concurrent": executors.at_once(load_settings()),
            "start_method": {"forkserver": {"preload_modules": PRELOADED}},
        }
    )
    job = dg.define_asset_job(JOB, selection=dg.AssetSelection.all(), executor_def=executor)
    return dg.Definitions(assets=assets, jobs=[job], resources={"order": Order()})


def _asset(collection: Collection, steps_for: StepsFor, step: Step, priority: int) -> dg.AssetsDefinition:
    @dg.asset(
        name=step.name,
        group_name=collection.name,
        op_tags={"dagster/priority": str(priority)},  # of the steps that can run, the first in the list goes first
        ins={name: dg.AssetIn(key=name) for name in step.upstream},
        description=f"One MLflow run of {step.project.name}; the value is its run id.",
    )
    def run(context: dg.AssetExecutionContext, order: Order, **upstream: str) -> str:
        if step.name in order.done:
            return order.done[step.name]
        with lines_named(step.name), on_its_own():
            run = _run(
                collection,
                next(each for each in steps_for(order.data, order.level) if each.name == step.name),
                upstream,
                order,
            )
        context.add_output_metadata({"run_id": run.info.run_id})
        return run.info.run_id

    return run


def _run(collection: Collection, step: Step, upstream: Mapping[str, str], order: Order) -> "Run":
    """Reuse a finished run after all, if the steps before came out as they had, else run the step."""
    from mlflow.tracking import MlflowClient

    from dsgo.executors import run_step
    from dsgo.reuse import decide
    from dsgo.tuned import with_settings

    client = MlflowClient()
    runs = {name: client.get_run(run_id) for name, run_id in upstream.items()}
    step = with_settings(step, runs)
    decision = decide(client, order.experiment_id, collection.name, step, runs)
    if decision.run is not None:
        print(f"reused run {decision.run.info.run_id}", flush=True)
        return decision.run
    print(f"runs: {decision.in_short}", flush=True)
    run = run_step(
        step,
        runs,
        experiment_id=order.experiment_id,
        collection=collection.name,
        parent=order.parent_run_id,
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


@contextmanager
def lines_named(name: str) -> Iterator[None]:
    """Put `name` before every line that this process and its children write meanwhile, so that parallel steps can be told apart.

    Works on the file descriptors, for what children write as well.
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
                if keep(line):
                    os.write(terminal, f"{name:>20} | ".encode() + line.rstrip(b"\n") + b"\n")

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


def job_of(path: str) -> dg.JobDefinition:
    """The job of the `flow.py` at `path`."""
    return load(path).defs.resolve_job_def(JOB)


def job_reference(path: Path):
    """The job in a form that Dagster's step processes can build again."""
    return dg.build_reconstructable_job("dsgo.flow", "job_of", (str(path),), {})


# What steps print is shown as it comes. To keep it as well Dagster would start four processes more for each step, which
# answer Ctrl-C with tracebacks of their own.
DAGSTER_YAML = """\
telemetry:
  enabled: false
python_logs:
  python_log_level: CRITICAL
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's own state, in this copy's folder."""
    home = settings.home / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
