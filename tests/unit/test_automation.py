"""Jobs, schedules, sensor and partitions of a collection, as Dagster gets them."""

from __future__ import annotations

import datetime
import subprocess
from types import SimpleNamespace

import dagster as dg
import pytest
import toy_collection

from dsgo import actions, automation, findings, flow, pipeline, remains
from dsgo.errors import DataError
from dsgo.settings import load, prepare

JOBS = "JOBS = {'training': 'end', 'production': 'left', 'validation': 'right'}\n"
PARTS = "PARTS = ('2014', '2015')\n"
LAST_LINE = toy_collection.FLOW.strip().splitlines()[-1]
TIME = datetime.datetime(2016, 5, 1, tzinfo=datetime.UTC)


@pytest.fixture
def toy(tmp_path):
    toy = toy_collection.make(tmp_path / "toy")
    file = toy.folder / "flow.py"
    defs = "defs = definitions(load(HERE / 'collection.yaml'), steps, JOBS)\n"
    file.write_text(file.read_text().replace(LAST_LINE, JOBS + defs))
    return toy


@pytest.fixture
def loaded(toy):
    return flow.load(toy.folder / "flow.py")


def schedule(toy, **changed: str) -> None:
    file = toy.folder / "collection.yaml"
    text = file.read_text()
    for name, cron in changed.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name}: ")]
        text = text.replace(line, f'  {name}: "{cron}"')
    file.write_text(text)


def test_a_job_has_the_steps_that_its_last_one_needs(loaded):
    assert flow.jobs_of(loaded) == ["training", "production", "validation"]
    assert flow.steps_of(loaded, "toy", "training") == {"source", "left", "right", "end"}
    assert flow.steps_of(loaded, "toy", "production") == {"source", "left"}
    assert flow.steps_of(loaded, "toy", "validation") == {"source", "right"}


def test_jobs_start_by_the_clock_of_the_collection(loaded):
    found = {one.name: one for one in loaded.defs.schedules}
    assert {name: (one.cron_schedule, one.execution_timezone) for name, one in found.items()} == {
        "production_schedule": ("15 6 * * *", "Europe/Berlin"),
        "validation_schedule": ("30 6 * * 1", "Europe/Berlin"),
        "report_schedule": ("0 7 * * 1", "Europe/Berlin"),
    }
    assert all(one.default_status == dg.DefaultScheduleStatus.RUNNING for one in found.values())
    context = dg.build_schedule_context(scheduled_execution_time=TIME)
    (request,) = loaded.defs.resolve_schedule_def("validation_schedule").evaluate_tick(context).run_requests
    assert request.tags["dagster/schedule_name"] == "validation_schedule"


def test_a_job_may_start_never(toy):
    schedule(toy, production="never", report="never")
    assert [one.name for one in flow.load(toy.folder / "flow.py").defs.schedules] == ["validation_schedule"]


def test_a_time_that_does_not_exist_is_refused_by_file_and_key(toy):
    schedule(toy, validation="30 25 * * *")
    with pytest.raises(DataError, match=r"collection\.yaml: schedule\.validation: '30 25 \* \* \*' is no time"):
        flow.load(toy.folder / "flow.py")


def alarm(kind: str) -> None:
    found = [findings.Finding(kind, "wind", "level", TIME, TIME, 2.0, 1.0, True, "The wind has changed.")]
    findings.record(findings.Checked("toy", "", kind, True, 1), found)


@pytest.fixture
def tick(loaded):
    """Function: the sensor looks once."""
    prepare(load())
    sensor = loaded.defs.resolve_sensor_def("act")
    with dg.DagsterInstance.ephemeral() as instance:

        def look() -> dg.RunRequest | dg.SkipReason:
            return sensor(dg.build_sensor_context(instance=instance))

        look.instance = instance
        yield look


def test_the_sensor_asks_for_a_retraining_after_an_alarm(tick):
    assert "No alarm" in tick().skip_message
    alarm("data")
    assert tick().tags == {automation.DUE: "true"}
    assert actions.read("toy") == []  # that is for the pipeline to write, when it has done it


def test_the_sensor_asks_for_no_second_one_while_the_first_is_under_way(tick, loaded):
    alarm("data")
    job = loaded.defs.resolve_job_def("training")
    tick.instance.create_run_for_job(
        job, tags={**tick().tags, "dsgo.collection": "toy"}, status=dg.DagsterRunStatus.STARTED
    )
    assert "under way" in tick().skip_message


@pytest.mark.parametrize(("kind", "action"), [("fault", actions.ASK), ("stale", actions.ASK)])
def test_the_sensor_asks_a_person_once(tick, kind, action):
    alarm(kind)
    assert "The wind has changed." in tick().skip_message
    assert "ask a person" in tick().skip_message
    assert [row.action for row in actions.read("toy")] == [action]
    assert actions.questions()["toy"].reason.endswith("The wind has changed.")


def test_runs_whose_process_was_killed_are_ended_and_others_left(loaded):
    tidy, job = loaded.defs.resolve_sensor_def("tidy"), loaded.defs.resolve_job_def("training")
    with dg.DagsterInstance.ephemeral() as instance, subprocess.Popen(["sleep", "60"]) as process:
        here, gone = remains.identity(), remains.identity(process.pid)
        process.kill()
        process.wait()
        runs = {
            (name, status): instance.create_run_for_job(job, tags={automation.WORKER: name}, status=status).run_id
            for name in (here, gone)
            for status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
        }
        by_hand = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
        tidy(dg.build_sensor_context(instance=instance))
        for (name, status), run_id in runs.items():
            ended = name == gone and status != dg.DagsterRunStatus.SUCCESS
            assert instance.get_run_by_id(run_id).status == (dg.DagsterRunStatus.FAILURE if ended else status)
        assert instance.get_run_by_id(by_hand).status == dg.DagsterRunStatus.STARTED


@pytest.fixture
def in_parts(toy):
    """The same collection, whose jobs are run for a year of the data each."""
    file = toy.folder / "flow.py"
    text = file.read_text().replace('level="PROD"):', 'level="PROD", part=""):')
    text = text.replace('{"content": text}', '{"content": text, "part": part}')
    file.write_text(text.replace("steps, JOBS)", "steps, JOBS, PARTS)").replace(JOBS, JOBS + PARTS))
    return flow.load(file)


def test_a_part_of_the_data_reaches_its_steps(in_parts, monkeypatch):
    given = {}

    def run(collection, step, upstream, said):
        given[step.name] = step
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run of {step.name}"))

    monkeypatch.setattr(flow, "_run", run)
    with dg.DagsterInstance.ephemeral() as instance:
        job = in_parts.defs.resolve_job_def("training")
        tags = {flow.PARENT: "0" * 32}
        assert job.execute_in_process(instance=instance, partition_key="2014", tags=tags).success
    assert {step.part for step in given.values()} == {"2014"}
    assert given["left"].parameters["part"] == "2014"
    assert given.keys() == {"source", "left", "right", "end"}


def test_without_a_name_the_newest_part_is_meant(loaded, in_parts):
    assert {step.part for step in flow.steps_for(in_parts, "sample", "PROD")} == {"2015"}
    assert {step.part for step in flow.steps_for(in_parts, "sample", "PROD", "2014")} == {"2014"}
    assert {step.part for step in flow.steps_for(loaded, "sample", "PROD")} == {""}


def test_by_the_clock_the_newest_part_is_run(in_parts):
    schedules = {one.name: one for one in in_parts.defs.schedules}
    for name, part in (("production_schedule", "2015"), ("report_schedule", None)):
        with dg.build_schedule_context(repository_def=in_parts.defs.get_repository_def()) as context:
            (request,) = schedules[name].evaluate_tick(context).run_requests
        assert request.partition_key == part


def test_reused_steps_are_not_run(loaded, monkeypatch):
    monkeypatch.setattr(flow, "_run", lambda *_: pytest.fail("ran"))
    with dg.DagsterInstance.ephemeral() as instance:
        said = {flow.REUSED: '{"source": "1", "right": "2"}'}
        result = loaded.defs.resolve_job_def("validation").execute_in_process(instance=instance, tags=said)
        assert result.output_for_node("toy__right") == "2"


@pytest.mark.parametrize("fails", ["production", "validation"])
def test_jobs_after_the_training_are_all_tried(toy, monkeypatch, capsys, fails):
    done = []

    def execute(settings, collection, data, level, job):
        done.append(job)
        if job == fails:
            raise pipeline.StepError("left", "failed")

    monkeypatch.setattr(pipeline, "execute", execute)
    failed = pipeline._jobs(None, toy.collection, "sample", "PROD", ["production", "validation"])
    assert done == ["production", "validation"]
    with pytest.raises(pipeline.StepError, match=rf"Step left \(job {fails}\): failed; .* All else is done"):
        pipeline._complain(failed)
    assert f"{fails}: Step left" in capsys.readouterr().out
