"""Pipelines that fail, are killed or stopped, and artifacts that are damaged: with real servers and processes, on tiny steps."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import toy_collection
from mlflow.tracking import MlflowClient
from toy_collection import Toy

from dsgo import flow, manifest, pipeline, remains, reuse, step_logs, tags
from dsgo.rest_registry import RestRegistry
from dsgo.settings import Settings

COUNTER = itertools.count()
DEADLINE_S = 240  # of a whole pipeline on a machine that has other work too


@pytest.fixture
def toy(servers: Settings, tmp_path: Path) -> Iterator[Toy]:
    """A toy collection of this test's own."""
    toy = toy_collection.make(tmp_path / f"toy_{next(COUNTER)}")
    yield toy
    assert _processes(servers, toy) == []


@pytest.fixture(scope="module")
def finished(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toy]:
    """A toy collection whose pipeline has run once; shared, so a test counts from what it finds and leaves all steps whole."""
    toy = toy_collection.make(tmp_path_factory.mktemp("finished") / f"toy_{next(COUNTER)}")
    code, output = toy.run()
    assert code == 0, output
    yield toy
    assert _processes(servers, toy) == []


def _processes(servers: Settings, toy: Toy) -> list[psutil.Process]:
    return remains.processes(servers, toy.folder.name)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output


def start_and_wait_in(toy: Toy, *steps: str) -> tuple[subprocess.Popen, list[int]]:
    """A pipeline whose `steps` are half-way, with their process ids; it is to be ended by the test."""
    pipes = {}
    for step in steps:
        path = toy.folder / f"{step}.pipe"
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        pipes[step] = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    process = toy.start(**{f"TOY_{step}": str(toy.folder / f"{step}.pipe") for step in steps})
    ended = os.pidfd_open(process.pid)
    found = []
    for pipe in pipes.values():
        ready, _, _ = select.select([pipe, ended], [], [], DEADLINE_S)
        if pipe not in ready:
            process.kill()
            pytest.fail(f"the step was not reached: {process.communicate()[0]}")
        found.append(int(os.read(pipe, 20)))
    for descriptor in (ended, *pipes.values()):
        os.close(descriptor)
    return process, found


def runs_of(toy: Toy, step: str) -> list:
    """All runs of a step, the newest first."""
    experiment = MlflowClient().get_experiment_by_name(toy.folder.name)
    return MlflowClient().search_runs([experiment.experiment_id], f"tags.`{tags.STEP}` = '{step}'")


def statuses(toy: Toy) -> dict[str, list[str]]:
    return {
        step: [run.info.status for run in runs_of(toy, step)]
        for step in ("pipeline", *toy_collection.STEPS)
        if runs_of(toy, step)
    }


def file_of(servers: Settings, run, path: str) -> Path:
    return servers.ftp_root / run.info.artifact_uri.split("/", 3)[3] / path


def test_what_a_killed_pipeline_has_left_is_ended_and_the_next_goes_on_where_it_was(toy, servers):
    process, steps = start_and_wait_in(toy, "left")
    process.kill()
    process.wait()  # its output stays open: the orphans have it
    process.stdout.close()
    assert is_running(steps[0])
    assert statuses(toy)["pipeline"] == ["RUNNING"]
    killed = runs_of(toy, "pipeline")[0].info.run_id
    assert "runs: no finished run yet" in step_logs.path(servers, killed, "left").read_text()
    code, output = toy.run()
    assert code == 0, output
    assert "ended what a killed pipeline had left running" in output
    assert "source | reused run" in output
    assert not is_running(steps[0])
    found = statuses(toy)
    assert found["pipeline"] == ["FINISHED", "KILLED"]
    assert found["left"] == ["FINISHED", "KILLED"]
    assert found["source"] == ["FINISHED"]
    assert found["end"] == ["FINISHED"]


def is_running(pid: int) -> bool:
    """Whether the process works on; one that has ended may wait for its new parent to take note."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_all", [False, True], ids=["alone", "all"])
def test_a_stopped_pipeline_starts_no_further_step_ends_its_own_and_goes_on_later(toy, servers, sent, to_all):
    """As a terminal sends Ctrl-C to all processes, and `kill` to one."""
    if to_all and sent == signal.SIGTERM:
        pytest.skip("nobody sends SIGTERM to all")
    process, steps = start_and_wait_in(toy, "left")
    (os.killpg if to_all else os.kill)(process.pid, sent)
    code, output = finish(process)
    assert code == 130, output
    assert "Traceback" not in output
    assert not is_running(steps[0])
    assert _processes(servers, toy) == []
    found = statuses(toy)
    assert found["pipeline"] == ["KILLED"]
    assert found["left"] == ["KILLED"]
    assert "end" not in found
    assert "RUNNING" not in found.get("right", [])
    code, output = toy.run()
    assert code == 0, output
    assert "source | reused run" in output
    assert statuses(toy)["end"] == ["FINISHED"]


def test_a_killed_step_fails_leaves_no_result_that_counts_and_runs_again(toy):
    process, steps = start_and_wait_in(toy, "left")
    os.kill(steps[0], signal.SIGKILL)
    code, output = finish(process)
    assert code == 1
    assert "error: Step left" in output
    found = statuses(toy)
    assert found["pipeline"] == ["FAILED"]
    assert found["left"] == ["FAILED"]
    assert found["right"] == ["FINISHED"]  # it does not depend on the other
    assert tags.MANIFEST not in runs_of(toy, "left")[0].data.tags
    code, output = toy.run()
    assert code == 0, output
    assert "right | reused run" in output
    assert statuses(toy)["left"] == ["FINISHED", "FAILED"]


def test_a_killed_worker_takes_its_step_with_it(toy, servers):
    """The worker is the step's parent: alone the step would end its run as finished, with nobody to look at it."""
    process, steps = start_and_wait_in(toy, "left")
    worker = psutil.Process(steps[0]).parent()
    if worker.name() == "bash":
        worker = worker.parent()
    worker.kill()
    code, output = finish(process)
    assert code == 1, output
    assert not is_running(steps[0])
    assert statuses(toy)["left"] == ["KILLED"]


def test_a_failed_pipeline_goes_on_at_the_step_that_failed(toy, servers):
    toy.asks("left", "fail")
    code, output = toy.run()
    assert code == 1
    assert "asked to fail" in output
    failed = runs_of(toy, "pipeline")[0].info.run_id
    log = step_logs.path(servers, failed, "left")
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ asked to fail$", log.read_text(), re.MULTILINE)
    assert f"Its run is {runs_of(toy, 'left')[0].info.run_id}." in log.read_text(), "the error itself"
    assert RestRegistry(servers).artifact(failed, "log/left.log") == log.read_bytes(), "also where this file is not"
    assert sorted(step_logs.names(servers, failed)) == ["left", "right", "source"]
    toy.asks("left", "mended")
    code, output = toy.run()
    assert code == 0, output
    assert [len(runs_of(toy, step)) for step in toy_collection.STEPS] == [1, 2, 1, 1]
    code, output = toy.run()
    assert output.count("reused run") == len(toy_collection.STEPS)
    assert len(runs_of(toy, "pipeline")) == 2


def test_damage_of_any_kind_is_noticed_by_content_and_the_step_runs_again(finished, servers):
    toy = finished
    client = MlflowClient()
    before = {step: len(runs_of(toy, step)) for step in toy_collection.STEPS}
    (run,) = runs_of(toy, "left")
    file = file_of(servers, run, "left/second.txt")
    text, times = file.read_text(), file.stat()

    def why() -> tuple[str, ...]:
        return next(each for each in _plan(toy) if each.step.name == "left").why

    assert why() == ()
    file.write_text(text[::-1])  # same size
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert why() == (f"left/second.txt (damaged) of run {run.info.run_id}",)
    file.unlink()
    assert why() == (f"left/second.txt (missing) of run {run.info.run_id}",)
    file_of(servers, run, manifest.RECORD).write_text("{}")
    assert "which names them" in why()[0]
    file.write_text(text)
    assert why() == ()  # the record only explains
    client.delete_run(run.info.run_id)
    assert why() == ("no finished run yet",)
    client.restore_run(run.info.run_id)
    file.write_text("cut")
    code, output = toy.run()
    assert code == 0, output
    assert "source | reused run" in output
    assert "right | reused run" in output
    assert len(runs_of(toy, "left")) == before["left"] + 1
    assert f"run {run.info.run_id} is whole again" not in output  # what its files were is lost with its record
    assert len(runs_of(toy, "end")) == before["end"] + 1  # its run refers to the damaged one


def test_a_damaged_run_gets_its_files_back_and_what_refers_to_it_stands(finished, servers):
    toy = finished
    run = runs_of(toy, "left")[0]
    file = file_of(servers, run, "left/second.txt")
    file.unlink()
    code, output = toy.run()
    assert code == 0, output
    assert f"run {run.info.run_id} is whole again" in output
    assert file.read_text() == "left"
    assert "end | reused run" in output


def _plan(toy: Toy) -> list[reuse.Decision]:
    return pipeline.plan(flow.load(toy.folder / "flow.py").steps("sample"), toy.collection)


def test_a_step_whose_code_changes_while_it_runs_is_not_reused(finished):
    toy = finished
    toy.asks("end", "changing")  # the others are reused
    process, steps = start_and_wait_in(toy, "end")
    step = toy.folder / "end" / "step.py"
    step.write_text(step.read_text() + "\n# changed\n")
    os.kill(steps[0], signal.SIGUSR1)
    code, output = finish(process)
    assert code == 0, output
    assert "will run again next time, for something changed while it ran: step.py has changed" in output
    assert [each.run is None for each in _plan(toy)] == [False, False, False, True]
    step.write_text(step.read_text().replace("\n# changed\n", ""))
    assert [each.run is None for each in _plan(toy)] == [False, False, False, True]


def test_a_second_pipeline_is_refused_while_one_runs(toy):
    process, _ = start_and_wait_in(toy, "source")
    code, output = toy.run()
    assert code == 1
    assert "is running already" in output
    assert f"(process {process.pid})" in output
    process.terminate()
    assert finish(process)[0] == 130


def test_runs_of_others_are_left_alone(finished, servers):
    toy = finished
    client = MlflowClient()
    experiment = client.get_experiment_by_name(toy.folder.name).experiment_id
    by_hand = client.create_run(experiment)
    elsewhere = client.create_run(experiment, tags={tags.PROCESS: "another-host 1 2 3"})
    toy.asks("end", "anew")  # the others are reused
    assert toy.run()[0] == 0
    assert runs_of(toy, "end")[0].data.tags[tags.OUTPUT_DIGEST] == "anew"
    for run in (by_hand, elsewhere):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"


def test_an_experiment_that_another_process_makes_at_the_same_time_is_used(toy, servers):
    class Late(MlflowClient):
        """Looks for the experiment before the other has made it."""

        looked = False

        def get_experiment_by_name(self, name):
            if not self.looked:
                self.looked = True
                MlflowClient().create_experiment(name)
                return None
            return super().get_experiment_by_name(name)

    made = pipeline.experiment_of(Late(), toy.collection)
    assert made == MlflowClient().get_experiment_by_name(toy.folder.name).experiment_id
    MlflowClient().delete_experiment(made)
    with pytest.raises(pipeline.DSGoError, match="has been deleted"):
        pipeline.experiment_of(MlflowClient(), toy.collection)
