"""The same pipelines on a Dask cluster of two worker processes, which share the servers: run, reused, killed."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import toy_collection
from mlflow.tracking import MlflowClient
from toy_collection import Toy

from dsgo import daemon, dask_worker, executors, flow, pipeline, probes, tags
from dsgo.errors import ServiceError, StepError
from dsgo.settings import HOST, Settings, load

COUNTER = itertools.count()
DEADLINE_S = 240  # of anything on a machine that has other work too
DASK = [sys.executable, "-m", "dask"]

Workers = Callable[..., tuple[Toy, list[subprocess.Popen]]]


@pytest.fixture(scope="module")
def scheduler(free_ports: Callable[[int], list[int]]) -> Iterator[str]:
    """Address of a scheduler on the loopback."""
    (port,) = free_ports(1)
    with started("scheduler", "--host", HOST, "--port", str(port), "--no-dashboard", "--no-show"):
        assert daemon.wait_until(lambda: probes.is_taken(port), DEADLINE_S)
        yield f"tcp://{HOST}:{port}"


@contextlib.contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    path = {"PYTHONPATH": str(toy_collection.CHECKOUT)}
    with subprocess.Popen([*DASK, *arguments], env={**os.environ, **path, **environment}, **quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def cluster(
    servers: Settings, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Toy, list[subprocess.Popen]]]]:
    """Function: a toy collection and two workers, which halt in the step `halt`, if any, until they get SIGUSR1."""
    monkeypatch.setenv("DSGO_EXECUTOR", "dask")
    monkeypatch.setenv("DSGO_DASK_SCHEDULER", scheduler)
    with contextlib.ExitStack() as stack:

        def make(halt: str = "") -> tuple[Toy, list[subprocess.Popen]]:
            toy = toy_collection.make(tmp_path / f"toy_dask_{next(COUNTER)}")
            if halt:
                os.mkfifo(toy.folder / "pipe")
            pipe = {f"TOY_{halt}": str(toy.folder / "pipe")} if halt else {}
            options = ("--host", HOST, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", tmp_path)
            workers = [stack.enter_context(started("worker", scheduler, *options, **pipe)) for _ in range(2)]
            assert daemon.wait_until(lambda: count(scheduler) == 2, DEADLINE_S)
            stack.callback(lambda: daemon.wait_until(lambda: count(scheduler) == 0, DEADLINE_S))
            stack.callback(lambda: [worker.terminate() for worker in workers])
            return toy, workers

        yield make


def count(scheduler: str) -> int:
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])


class Asked(threading.Thread):
    """The first step of a toy collection, asked of the cluster as the pipeline asks for it."""

    def __init__(self, toy: Toy) -> None:
        super().__init__(daemon=True)
        self.toy, self.run_id, self.error = toy, "", None
        self.start()

    def run(self) -> None:
        experiment = pipeline.experiment_of(MlflowClient(), self.toy.collection)
        facts = {"collection": self.toy.folder.name, "parent": "", "env_manager": "local", "at_once": 1}
        step = flow.load(self.toy.folder / "flow.py").steps("sample")[0]
        try:
            self.run_id = executors.run_step(step, {}, experiment_id=experiment, **facts).info.run_id
        except StepError as error:
            self.error = error


# Asks for the step and waits, until it is killed.
ASKING = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/integration")
import toy_collection
from test_dask import Asked
Asked(toy_collection.Toy(Path(sys.argv[1]))).join()
"""


def next_halted(toy: Toy) -> psutil.Process:
    """The process of the step that halts, once it does."""
    pipe = os.open(toy.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ready, _, _ = select.select([pipe], [], [], DEADLINE_S)
    assert ready, "the step was not reached"
    step = psutil.Process(int(os.read(pipe, 20)))
    os.close(pipe)
    return step


def runs_of(toy: Toy) -> list:
    """All runs of the first step, the newest first."""
    experiment = MlflowClient().get_experiment_by_name(toy.folder.name)
    return MlflowClient().search_runs([experiment.experiment_id], f"tags.`{tags.STEP}` = 'source'")


def statuses(toy: Toy) -> list[str]:
    return [run.info.status for run in runs_of(toy)]


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_pipeline_is_run_by_both_workers_and_reused(cluster: Workers) -> None:
    toy, _ = cluster()
    code, output = toy.run()
    assert code == 0, output
    ran = dict(re.findall(r"(\w+) \| ran on worker (tcp://\S+)", output))
    assert set(ran) == set(toy_collection.STEPS)
    assert ran["left"] != ran["right"]
    plan = pipeline.plan(flow.load(toy.folder / "flow.py").steps("sample"), toy.collection)
    assert [each.why for each in plan] == [()] * len(toy_collection.STEPS)


def test_a_failed_step_is_told_with_what_it_said(cluster: Workers, capfd: pytest.CaptureFixture) -> None:
    toy, _ = cluster()
    toy.asks("source", "fail")
    asked = Asked(toy)
    asked.join(DEADLINE_S)
    (run_id,) = [run.info.run_id for run in runs_of(toy)]
    assert str(asked.error) == f"Step source: failed; what it said is above. Its run is {run_id}."
    assert asked.error.step == "source"
    assert "asked to fail" in capfd.readouterr().out
    assert statuses(toy) == ["FAILED"]


def test_a_killed_worker_takes_its_step_with_it_and_the_other_goes_on(cluster: Workers) -> None:
    toy, workers = cluster(halt="source")
    asked = Asked(toy)
    step = next_halted(toy)
    above = {parent.pid for parent in step.parents()}
    (worker,) = [worker for worker in workers if worker.pid in above]
    worker.kill()
    again = next_halted(toy)
    assert daemon.wait_until(lambda: is_gone(step), DEADLINE_S)
    os.kill(again.pid, signal.SIGUSR1)
    asked.join(DEADLINE_S)
    assert asked.error is None
    assert statuses(toy) == ["FINISHED", "KILLED"]
    assert runs_of(toy)[0].info.run_id == asked.run_id
    assert tags.MANIFEST not in runs_of(toy)[1].data.tags  # nothing will reuse it


def test_a_step_that_nobody_waits_for_any_more_is_ended(cluster: Workers) -> None:
    toy, _ = cluster(halt="source")
    path = {"PYTHONPATH": os.pathsep.join([str(toy_collection.CHECKOUT), str(toy_collection.CHECKOUT / "tests")])}
    command = [sys.executable, "-c", ASKING, str(toy.folder)]
    with subprocess.Popen(command, env={**os.environ, **path}, cwd=toy_collection.CHECKOUT) as asking:
        step = next_halted(toy)
        asking.kill()
    assert daemon.wait_until(lambda: is_gone(step), DEADLINE_S)
    assert daemon.wait_until(lambda: statuses(toy) == ["KILLED"], DEADLINE_S)


def test_without_a_scheduler_or_a_worker_nothing_is_begun(
    servers: Settings, scheduler: str, monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]]
) -> None:
    monkeypatch.setenv("DSGO_EXECUTOR", "dask")
    monkeypatch.setenv("DSGO_DASK_SCHEDULER", scheduler)
    with pytest.raises(ServiceError, match="has no worker"):
        executors.check(load())
    monkeypatch.setattr(executors, "CONNECT_S", 1)
    monkeypatch.setenv("DSGO_DASK_SCHEDULER", f"tcp://{HOST}:{free_ports(1)[0]}")
    with pytest.raises(ServiceError, match="no scheduler answers at DSGO_DASK_SCHEDULER"):
        executors.check(load())


def test_a_worker_of_another_copy_or_with_other_code_is_refused_by_what_differs(
    servers: Settings, tmp_path: Path
) -> None:
    toy = toy_collection.make(tmp_path / "toy_other")
    step = flow.load(toy.folder / "flow.py").steps("sample")[0]
    order = dask_worker.order(step, {}, servers, {})
    with pytest.raises(StepError, match=r"the pipeline http://127.0.0.1:5000.*make env"):
        dask_worker._run({**order, "tracking_uri": "http://127.0.0.1:5000"}, servers)
    (step.project / "step.py").write_text("# other")
    with pytest.raises(StepError, match=r"has not what the pipeline has: step.py has changed"):
        dask_worker._run(order, servers)
