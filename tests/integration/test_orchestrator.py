"""What Dagster starts: by its UI, a schedule, the sensor. A real daemon and web server, on a collection of tiny steps."""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
import toy_collection
from dagster_graphql import DagsterGraphQLClient
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from toy_collection import Toy

from dsgo import actions, automation, daemon, findings, flow, launcher, probes, remains, services, tags
from dsgo.settings import HOST, Settings

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using variable_values:DeprecationWarning"
)  # Dagster's client of its own

DEADLINE_S = 240  # on a machine that has other work too
CHECKOUT = Path(__file__).resolve().parents[2]
BY_CLOCK = "defs = definitions(load(HERE / 'collection.yaml'), steps, {'training': 'end', 'production': 'left'})"

SCHEDULE = """query($selector: ScheduleSelector!) {
  scheduleOrError(scheduleSelector: $selector) { ... on Schedule { scheduleState { id status } } }
}"""
STOP = """mutation($id: String!) {
  stopRunningSchedule(id: $id) { ... on ScheduleStateResult { scheduleState { status } } }
}"""


@pytest.fixture(scope="module")
def toys(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Toy]:
    """`asked` does what the tests ask for, `clock` predicts every minute."""
    folder = tmp_path_factory.mktemp("collections")
    made = {name: toy_collection.make(folder / f"{name}_toy") for name in ("asked", "clock")}
    for name, toy in made.items():
        file = toy.folder / "collection.yaml"
        predictions = "* * * * *" if name == "clock" else "never"
        text = file.read_text().replace('report: "0 7 * * 1"', "report: never")
        file.write_text(text.replace('production: "15 6 * * *"', f'production: "{predictions}"'))
    file = made["clock"].folder / "flow.py"
    file.write_text(file.read_text().replace(toy_collection.FLOW.strip().splitlines()[-1], BY_CLOCK))
    return made


@pytest.fixture(scope="module")
def client(
    servers: Settings, toys: dict[str, Toy], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagsterGraphQLClient]:
    """What the UI's pages ask, of a running orchestrator."""
    workspace = tmp_path_factory.mktemp("workspace") / "workspace.yaml"
    locations = [
        f"  - python_file: {{relative_path: {toy.folder / 'flow.py'}, attribute: defs, location_name: {name}}}\n"
        for name, toy in toys.items()
    ]
    workspace.write_text("load_from:\n" + "".join(locations))
    with orchestrator(workspace):
        answers = probes.http_answers("/server_info")
        assert daemon.wait_until(lambda: answers(servers.orchestrator_port), DEADLINE_S)
        yield DagsterGraphQLClient(HOST, port_number=servers.orchestrator_port)


@contextlib.contextmanager
def orchestrator(workspace: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, CHECKOUT / "server" / "orchestrator.py", workspace],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "DSGO_SERVICE": "orchestrator"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(DEADLINE_S)


def launch(client: DagsterGraphQLClient, job: str = "training", **given: object) -> str:
    """Dagster's id of a new run."""
    return client.submit_job_execution(job, repository_location_name="asked", repository_name="__repository__", **given)


def until(servers: Settings, run_id: str, *wanted: str) -> str:
    """The status of Dagster's run, once it is one of these; the pipeline's run in MLflow has ended too."""
    with flow.dagster_instance(servers) as instance:

        def status() -> str:
            return instance.get_run_by_id(run_id).status.value

        assert daemon.wait_until(lambda: status() in (wanted or ENDED), DEADLINE_S), status()
        if not wanted:
            worker = instance.get_run_by_id(run_id).tags[launcher.WORKER]
            assert daemon.wait_until(lambda: remains.is_gone(worker), DEADLINE_S)
        return status()


def runs_of(toy: Toy, step: str) -> list:
    """All runs of a step, the newest first."""
    experiment = MlflowClient().get_experiment_by_name(toy.folder.name)
    return MlflowClient().search_runs([experiment.experiment_id], f"tags.`{tags.STEP}` = '{step}'")


ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def said(servers: Settings) -> str:
    return (servers.logs / "asked_toy.training.log").read_text()


def test_the_clock_starts_a_job(client, toys, servers):
    """The first test: the schedule is on since the orchestrator runs. Then it is switched off, as in the UI."""
    with flow.dagster_instance(servers) as instance:
        by_clock = dg.RunsFilter(
            tags={"dagster/schedule_name": "production_schedule"}, statuses=[dg.DagsterRunStatus.SUCCESS]
        )
        assert daemon.wait_until(lambda: instance.get_runs_count(by_clock), DEADLINE_S)
    clock = {"repositoryLocationName": "clock", "repositoryName": "__repository__"}
    asked = client._execute(SCHEDULE, {"selector": {**clock, "scheduleName": "production_schedule"}})
    state = asked["scheduleOrError"]["scheduleState"]
    assert state["status"] == "RUNNING"
    stopped = client._execute(STOP, {"id": state["id"]})
    assert stopped["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED"

    def parent() -> Run:
        return runs_of(toys["clock"], "pipeline")[-1]

    assert daemon.wait_until(lambda: parent().info.status != "RUNNING", DEADLINE_S)  # Dagster's ends a moment before
    assert (parent().info.status, parent().data.tags[tags.JOB]) == ("FINISHED", "production")
    assert len(runs_of(toys["clock"], "left")) == 1
    assert runs_of(toys["clock"], "end") == []


def test_a_job_that_the_ui_starts_has_its_own_run_and_the_next_reuses_its_steps(client, toys, servers):
    first = launch(client)
    assert until(servers, first) == "SUCCESS", said(servers)
    (parent,) = runs_of(toys["asked"], "pipeline")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[tags.JOB] == "training"
    for name in toy_collection.STEPS:
        (run,) = runs_of(toys["asked"], name)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert until(servers, launch(client)) == "SUCCESS"
    assert len(runs_of(toys["asked"], "pipeline")) == len(runs_of(toys["asked"], "end")) == 1


@pytest.fixture
def stopped_in_left(client, toys) -> Iterator[Callable[[], int]]:
    """Function: waits until the step `left` is half-way; gives its process id. It stays there until it is told to go on."""
    pipe = toys["asked"].folder / "pipe"
    os.mkfifo(pipe)
    toys["asked"].asks("left", str(pipe))
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def reached() -> int:
        ready, _, _ = select.select([descriptor], [], [], DEADLINE_S)
        assert ready
        return int(os.read(descriptor, 20))

    yield reached
    os.close(descriptor)
    pipe.unlink()
    toys["asked"].asks("left", "left")


def test_a_job_that_is_terminated_leaves_nothing_at_work_and_says_so(client, toys, servers, stopped_in_left):
    run_id = launch(client)
    step = stopped_in_left()
    client.terminate_run(run_id)
    assert until(servers, run_id) == "CANCELED", said(servers)
    assert not is_running(step)
    assert [runs_of(toys["asked"], name)[0].info.status for name in ("pipeline", "left")] == ["KILLED", "KILLED"]


def test_a_killed_job_is_noticed_and_what_it_left_is_ended_by_the_next(client, toys, servers, stopped_in_left):
    run_id = launch(client)
    step = stopped_in_left()
    with flow.dagster_instance(servers) as instance:
        worker = int(instance.get_run_by_id(run_id).tags[launcher.WORKER].split()[-2])
    os.kill(worker, signal.SIGKILL)
    assert until(servers, run_id) == "FAILURE"
    assert is_running(step)
    toys["asked"].asks("left", "left")
    assert until(servers, launch(client)) == "SUCCESS", said(servers)
    assert not is_running(step)
    assert "ended what a killed pipeline had left running" in said(servers)
    assert [run.info.status for run in runs_of(toys["asked"], "pipeline")][1] == "KILLED"


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_job_waits_for_a_pipeline_that_a_person_has_started(client, toys, servers, stopped_in_left):
    by_hand = toys["asked"].start()
    step = stopped_in_left()
    run_id = launch(client)
    assert daemon.wait_until(
        lambda: f"is running already in {servers.home} (process {by_hand.pid})" in said(servers), DEADLINE_S
    )
    code, output = toys["asked"].run()
    assert code == 1
    assert "is running already" in output  # a person is told at once
    assert until(servers, run_id, "STARTING", *ENDED) == "STARTING"
    os.kill(step, signal.SIGUSR1)
    assert until(servers, run_id) == "SUCCESS", said(servers)
    assert by_hand.communicate()[1] is None
    assert by_hand.returncode == 0


def test_a_failed_step_fails_the_job_with_its_reason(client, toys, servers):
    toys["asked"].asks("right", "fail")
    try:
        assert until(servers, launch(client)) == "FAILURE"
    finally:
        toys["asked"].asks("right", "right")
    assert runs_of(toys["asked"], "pipeline")[0].info.status == "FAILED"
    assert "error: Step right: failed" in said(servers)


def test_only_some_assets_can_be_asked_for(client, toys, servers):
    toys["asked"].asks("left", "new")
    before = len(runs_of(toys["asked"], "end"))
    run_id = launch(client, "__ASSET_JOB", asset_selection=[["asked_toy", "left"]])
    assert until(servers, run_id) == "SUCCESS"
    assert runs_of(toys["asked"], "left")[0].data.tags[tags.OUTPUT_DIGEST] == "new"
    assert len(runs_of(toys["asked"], "end")) == before


def test_the_sensor_turns_an_alarm_into_a_retraining_through_the_job(client, toys, servers):
    toy = toys["asked"]
    toy.asks("end", "anew")
    alarm(toy, "drift", "a" * 64)
    assert daemon.wait_until(lambda: actions.read(toy.folder.name), DEADLINE_S)
    (row,) = actions.read(toy.folder.name)
    assert (row.action, row.reason) == (actions.RETRAINING, "The wind is drift.")
    parent = MlflowClient().get_run(row.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[tags.CAUSE] == parent.data.tags["mlflow.note.content"] == "The wind is drift."
    assert runs_of(toy, "end")[0].data.tags["mlflow.parentRunId"] == row.run_id
    assert daemon.wait_until(lambda: len(actions.read(toy.folder.name)) == 2, DEADLINE_S)  # the sensor looks again
    assert actions.read(toy.folder.name)[-1].action == actions.WAIT


def alarm(toy: Toy, word: str, digest: str, kind: str = "data") -> None:
    time = datetime.datetime(2016, 5, 1, tzinfo=datetime.UTC)
    found = findings.Finding(kind, "wind", "level", time, time, 2.0, 1.0, True, f"The wind is {word}.")
    findings.record(findings.Checked(toy.folder.name, "", digest, True, 1), [found])


def test_what_is_no_longer_due_when_the_lock_is_free_is_not_done(client, toys, servers):
    alarm(toys["asked"], "faulty", "b" * 64, "fault")
    before = len(runs_of(toys["asked"], "pipeline"))
    run_id = launch(client, tags={automation.DUE: "true"})
    assert until(servers, run_id) == "CANCELED"
    assert len(runs_of(toys["asked"], "pipeline")) == before
    assert actions.questions()[toys["asked"].folder.name].reason.endswith("The wind is faulty.")


def test_the_service_is_started_shown_recovered_and_stopped_like_the_others(new_settings):
    copy = services.up(new_settings(), ["orchestrator"])
    row = {row.name: row for row in services.status(copy)}["orchestrator"]
    assert row.state == "up"
    with urllib.request.urlopen(copy.orchestrator_url) as page:
        assert b"Dagster" in page.read()
    os.kill(row.pid, signal.SIGKILL)
    assert daemon.wait_until(lambda: _pid(copy) not in (None, row.pid), DEADLINE_S)
    assert daemon.wait_until(
        lambda: services.status(copy)[-1].state == "up" and services.status(copy)[-1].name == "orchestrator", DEADLINE_S
    )
    main = psutil.Process(_pid(copy))
    assert {main, *main.children(recursive=True)} == set(daemon.processes(copy)["orchestrator"])  # no second daemon
    services.down(copy)
    assert daemon.processes(copy) == {}
    assert not probes.is_taken(copy.orchestrator_port)
    assert "orchestrator" not in [row.name for row in services.status(copy)]


def _pid(copy: Settings) -> int | None:
    return next((row.pid for row in services.status(copy) if row.name == "orchestrator"), None)
