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
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import toy_collection
from mlflow.tracking import MlflowClient
from toy_collection import Toy

from dsgo import daemon, dask_worker, probes, remains, tags
from dsgo.errors import ServiceError, StepError
from dsgo.settings import HOST, Settings

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


def halted(toy: Toy) -> tuple[subprocess.Popen, psutil.Process]:
    """A pipeline that has come to the step that halts, and that step's process; both are to be ended by the test."""
    pipe = os.open(toy.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    process = toy.start()
    return process, next_halted(pipe, process)


def next_halted(pipe: int, process: subprocess.Popen) -> psutil.Process:
    ended = os.pidfd_open(process.pid)
    ready, _, _ = select.select([pipe, ended], [], [], DEADLINE_S)
    os.close(ended)
    if pipe not in ready:
        process.kill()
        pytest.fail(f"the step was not reached: {process.communicate()[0]}")
    step = psutil.Process(int(os.read(pipe, 20)))
    os.close(pipe)
    return step


def statuses(toy: Toy, step: str) -> list[str]:
    """Of all runs of a step, the newest first."""
    experiment = MlflowClient().get_experiment_by_name(toy.folder.name)
    runs = MlflowClient().search_runs([experiment.experiment_id], f"tags.`{tags.STEP}` = '{step}'")
    return [run.info.status for run in runs]


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_both_workers_work_and_what_they_made_is_reused_here_too(
    cluster: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, _ = cluster()
    code, output = toy.run()
    assert code == 0, output
    ran = dict(re.findall(r"(\w+) \| ran on worker (tcp://\S+)", output))
    assert set(ran) == set(toy_collection.STEPS)
    assert len(set(ran.values())) == 2
    assert ran["left"] != ran["right"]
    code, output = toy.run()
    assert (code, output.count("reused run")) == (0, len(toy_collection.STEPS))
    monkeypatch.delenv("DSGO_EXECUTOR")
    toy.asks("end", "anew")
    code, output = toy.run()
    assert (code, output.count("reused run")) == (0, len(toy_collection.STEPS) - 1)
    assert "ran on worker" not in output


def test_a_failed_step_is_told_with_what_it_said_and_what_comes_after_it_is_not_run(cluster: Workers) -> None:
    toy, _ = cluster()
    assert toy.run()[0] == 0
    toy.asks("left", "fail")  # of `end`, an earlier run has had a result of `left`
    toy.asks("right", "anew")
    code, output = toy.run()
    assert code == 1
    assert "left | asked to fail" in output.replace("                ", "") and "error: Step left failed" in output
    assert len(statuses(toy, "right")) == 2
    assert len(statuses(toy, "end")) == 1


def test_a_killed_worker_takes_its_step_with_it_and_the_other_goes_on(cluster: Workers, servers: Settings) -> None:
    toy, workers = cluster(halt="left")
    process, step = halted(toy)
    own = {parent.pid for parent in step.parents()}
    (killed,) = [worker for worker in workers if worker.pid in own]
    pipe = os.open(toy.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    killed.kill()
    again = next_halted(pipe, process)
    assert daemon.wait_until(lambda: is_gone(step), DEADLINE_S)
    os.kill(again.pid, signal.SIGUSR1)
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    assert statuses(toy, "left") == ["FINISHED", "KILLED"]
    code, output = toy.run()
    assert (code, output.count("reused run")) == (0, len(toy_collection.STEPS))


def test_a_killed_pipeline_leaves_no_step_at_work(cluster: Workers, servers: Settings) -> None:
    toy, _ = cluster(halt="left")
    process, step = halted(toy)
    process.kill()
    process.stdout.close()
    process.wait()
    for orphan in remains.processes(servers, toy.folder.name):  # those that wait here for the cluster
        if "dsgo.dask_worker" not in orphan.cmdline() and orphan != step and orphan not in step.parents():
            orphan.kill()
    assert daemon.wait_until(lambda: is_gone(step), DEADLINE_S)
    assert daemon.wait_until(lambda: statuses(toy, "left") == ["KILLED"], DEADLINE_S)
    remains.end_processes(servers, toy.folder.name)


def test_without_a_scheduler_or_a_worker_nothing_is_begun(
    servers: Settings, scheduler: str, monkeypatch: pytest.MonkeyPatch, free_ports: Callable[[int], list[int]]
) -> None:
    from dsgo import executors
    from dsgo.settings import load

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
    from dsgo import flow

    toy = toy_collection.make(tmp_path / "toy_other")
    step = flow.load(toy.folder / "flow.py").steps("sample")[0]
    order = dask_worker.order(step, {}, servers, {})
    with pytest.raises(StepError, match=r"the tracking server http://127.0.0.1:5000.*make env"):
        dask_worker._run({**order, "tracking_uri": "http://127.0.0.1:5000"}, servers)
    (step.project / "step.py").write_text("# other")
    with pytest.raises(StepError, match=r"has not what the pipeline has: step.py has changed"):
        dask_worker._run(order, servers)
