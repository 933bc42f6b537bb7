"""Where the steps of a pipeline are run: in processes of this machine, or on the workers of a Dask cluster.

Either way Dagster decides here what runs when, with its state in `DSGO_HOME`; to a worker goes no more than one call of
`dsgo.steps.run_step` at a time, and what comes back is the id of its MLflow run. So worker and pipeline share the tracking
server, the store and the code, and neither a file system nor Dagster's database.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from dsgo import dask_worker
from dsgo.errors import ServiceError, SettingError, StepError
from dsgo.ingredients import Step
from dsgo.settings import DASK, Settings, load

if TYPE_CHECKING:  # they take seconds to import
    from distributed import Client
    from mlflow.entities import Run

AT_ONCE = 2
AT_ONCE_ON_DASK = 16  # steps of one pipeline that are handed to the cluster; each takes a process here that waits
CONNECT_S = 15
HOW = "Workers are started by: dask worker {} --nthreads 1"


def at_once(settings: Settings) -> int:
    """Steps of one pipeline that may run at the same time."""
    return AT_ONCE_ON_DASK if settings.executor == DASK else AT_ONCE


def check(settings: Settings) -> None:
    """Find out before a pipeline starts whether anybody is there to run its steps.

    Raises:
        SettingError: Dask is not installed.
        ServiceError: the scheduler does not answer, or has no worker.
    """
    if settings.executor == DASK:
        with _client(settings) as client:
            _threads(settings, client)


def run_step(step: Step, runs: Mapping[str, Run], **arguments: Any) -> Run:
    """`dsgo.steps.run_step`, here or on a worker.

    Raises:
        StepError: it failed, or the workers that ran it died.
        ServiceError: the scheduler does not answer, or has no worker.
    """
    settings = load()
    if settings.executor != DASK:
        from dsgo import steps

        return steps.run_step(step, runs, **arguments)
    from distributed import KilledWorker
    from mlflow.tracking import MlflowClient

    with _client(settings) as client:
        arguments["at_once"] = _threads(settings, client)
        order = dask_worker.order(step, runs, settings, arguments)
        try:
            answer = client.submit(dask_worker.run, order, pure=False).result()
        except KilledWorker as error:
            raise StepError(step.name, f"the workers that ran it died: {error}") from error
        except (CancelledError, OSError) as error:
            raise _gone(settings, type(error).__name__) from error
    print(answer["output"], end="", flush=True)
    print(f"ran on worker {answer['worker']}", flush=True)
    if "failure" in answer:
        raise dask_worker.error_of(answer["failure"])
    if "run_id" not in answer:
        raise StepError(step.name, f"its process on worker {answer['worker']} died; what it said is above.")
    return MlflowClient().get_run(answer["run_id"])


@contextlib.contextmanager
def _client(settings: Settings) -> Iterator[Client]:
    if importlib.util.find_spec("distributed") is None:
        raise SettingError("DSGO_EXECUTOR", DASK, "multiprocess, as Dask is not installed; or install dsgo[dask]")
    from distributed import Client

    try:
        client = Client(settings.dask_scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _gone(settings, str(error)) from error
    with client:
        yield client


def _threads(settings: Settings, client: Client) -> int:
    """Most steps that the cluster runs at once on one machine: they share its processor."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        raise ServiceError("Dask", f"the scheduler {settings.dask_scheduler} has no worker.", _how(settings))
    hosts = Counter()
    for worker in workers:
        hosts[worker["host"]] += worker["nthreads"]
    return max(hosts.values())


def _gone(settings: Settings, said: str) -> ServiceError:
    problem = f"no scheduler answers at DSGO_DASK_SCHEDULER={settings.dask_scheduler}: {said}."
    return ServiceError("Dask", problem, "Start it: dask scheduler")


def _how(settings: Settings) -> str:
    return HOW.format(settings.dask_scheduler)
