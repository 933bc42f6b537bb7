"""One step on a worker of a Dask cluster: `run` in the worker, which starts `main` in a process of its own.

A process of its own, since steps print, set environment variables and import what takes gigabytes. It ends with its worker,
and when nobody waits for its result any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsgo import errors, ingredients, remains, tags
from dsgo.ingredients import Step
from dsgo.settings import CHECKOUT, Settings, activate, load

if TYPE_CHECKING:
    import psutil
    from mlflow.entities import Run

LOOK_AGAIN_S = 0.5


def order(step: Step, runs: Mapping[str, Run], settings: Settings, arguments: Mapping[str, Any]) -> dict:
    """What a worker needs to know. Files in the checkout are named from there: a worker's may lie elsewhere."""
    paths = {"project": _named(step.project), "reads": [_named(path) for path in step.reads]}
    return {
        "step": {**dataclasses.asdict(step), **paths},
        "runs": {name: run.info.run_id for name, run in runs.items()},
        "made_of": ingredients.own_ingredients(step),
        "tracking_uri": settings.tracking_uri,
        "arguments": dict(arguments),
    }


def run(order: dict) -> dict:
    """In the worker: start the step's process, wait for it.

    Returns:
        `worker`, `output`, and `run_id` or `failure`; neither if the process died.
    """
    from distributed import get_worker

    worker = get_worker()
    task = worker.get_current_task()
    with tempfile.TemporaryDirectory(prefix="dsgo-step-") as folder:
        output, answer = Path(folder, "output"), Path(folder, "answer.json")
        with (
            output.open("wb") as file,
            subprocess.Popen(
                [sys.executable, "-m", "dsgo.dask_worker", answer],
                env={**os.environ, remains.MARK: order["arguments"]["collection"]},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
            ) as process,
        ):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_AGAIN_S)
                if worker.state.tasks[task].state == "cancelled":  # nobody waits any more
                    process.stdin.close()
        said = {"worker": worker.address, "output": output.read_text(errors="replace")}
        return said | (json.loads(answer.read_text()) if answer.exists() else {})


def main() -> None:
    """The step's process. Reads the order from its standard input, which stays open for as long as the worker wants it."""
    order = json.loads(sys.stdin.readline())
    lifeline = os.dup(0)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)  # the step reads nothing
    os.set_inheritable(lifeline, False)
    settings = load()
    activate(settings)
    threading.Thread(target=_end_with_worker, args=(lifeline, order), daemon=True).start()
    try:
        said = {"run_id": _run(order, settings)}
    except errors.DSGoError as error:
        said = {"failure": {"kind": type(error).__name__, "said": str(error), "facts": vars(error)}}
    part = Path(sys.argv[1]).with_suffix(".part")
    part.write_text(json.dumps(said))
    part.replace(sys.argv[1])


def error_of(failure: Mapping[str, Any]) -> errors.DSGoError:
    """The error that `main` has met."""
    kind = getattr(errors, failure["kind"])
    error = kind.__new__(kind, failure["said"])
    vars(error).update(failure["facts"])
    return error


def _run(order: Mapping[str, Any], settings: Settings) -> str:
    """Run the step; return the id of its run.

    Raises:
        StepError: it failed, or this worker belongs to another copy of DSGo, or has other code.
    """
    step = _step(order["step"])
    if settings.tracking_uri != order["tracking_uri"]:
        raise errors.StepError(
            step.name,
            f"the worker uses the tracking server {settings.tracking_uri}, the pipeline {order['tracking_uri']}.",
            "Start workers with the environment that `make env` prints.",
        )
    own = json.loads(json.dumps(ingredients.own_ingredients(step)))
    if changed := ingredients.changes(order["made_of"], own):
        raise errors.StepError(
            step.name,
            f"the worker has not what the pipeline has: {', '.join(changed)}",
            "Give both the same commit and packages.",
        )
    from mlflow.tracking import MlflowClient

    from dsgo.steps import run_step

    client = MlflowClient()
    runs = {name: client.get_run(run_id) for name, run_id in order["runs"].items()}
    return run_step(step, runs, **order["arguments"]).info.run_id


def _end_with_worker(lifeline: int, order: Mapping[str, Any]) -> None:
    """When the worker has died or wants no more, mark the step's run as killed, and end all that it has started."""
    import psutil

    while os.read(lifeline, 1):
        pass
    own = psutil.Process()
    # Killed at once, the step would be marked as failed by who waits for it, before this comes to mark it.
    children = own.children(recursive=True)
    _to_all(children, psutil.Process.suspend)
    try:
        from mlflow.tracking import MlflowClient

        client, experiment = MlflowClient(), order["arguments"]["experiment_id"]
        mine = f"attributes.status = 'RUNNING' and tags.`{tags.PROCESS}` = '{remains.identity()}'"
        for left in client.search_runs([experiment], mine):
            client.set_terminated(left.info.run_id, "KILLED")
    finally:
        _to_all([*children, *own.children(recursive=True)], psutil.Process.kill)
        own.kill()


def _to_all(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            do(process)


def _named(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix() if path.is_relative_to(CHECKOUT) else str(path)


def _step(said: Mapping[str, Any]) -> Step:
    inputs = {name: up if isinstance(up, str) else tuple(up) for name, up in said["inputs"].items()}
    places = {"project": CHECKOUT / said["project"], "reads": tuple(CHECKOUT / path for path in said["reads"])}
    return Step(**{**said, "inputs": inputs, **places})


if __name__ == "__main__":
    main()
