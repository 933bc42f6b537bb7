"""What Dagster starts by itself while the orchestrator runs: jobs by the clock, and a retraining when alarms ask for one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import dagster as dg

from dsgo import actions, remains, tags
from dsgo.collection import Collection
from dsgo.errors import DataError
from dsgo.routine import NEVER
from dsgo.settings import load

REPORT = "report"
LOOK_EVERY_S = 60  # into the table of findings
TIDY_EVERY_S = 30
WORKER = "dsgo.process"  # tag of a run: the process that does it
DUE = "dsgo.due"  # tag of a run that the sensor asks for
UNFINISHED = [
    *(dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING),
    *(dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING),
]


def definitions(collection: Collection, jobs: Mapping[str, object], part: str | None = None) -> dg.Definitions:
    """The job `report`, schedules and sensor of a collection.

    Args:
        jobs: name → job; those that the collection does not have are not scheduled.
        part: of the data that jobs are started for by themselves; None if the collection has no parts.

    Raises:
        DataError: `schedule:` of its collection.yaml holds a time that does not exist.
    """
    jobs = {**jobs, REPORT: _report(collection)}
    schedules = []
    for name, cron in vars(collection.schedule).items():
        if name not in jobs or cron == NEVER:
            continue
        try:
            schedules.append(
                dg.ScheduleDefinition(
                    name=f"{name}_schedule",
                    job=jobs[name],
                    cron_schedule=cron,
                    execution_fn=lambda _, of=None if name == REPORT else part: dg.RunRequest(partition_key=of),
                    execution_timezone=collection.dataset["timezone"],
                    # Whoever starts the orchestrator wants it to do something.
                    default_status=dg.DefaultScheduleStatus.RUNNING,
                )
            )
        except dg.DagsterInvalidDefinitionError:
            raise DataError(collection.path, f"schedule.{name}: {cron!r} is no time of cron.") from None
    sensors = [_sensor(collection, jobs["training"], part)] if "training" in jobs else []
    return dg.Definitions(jobs=[jobs[REPORT]], schedules=schedules, sensors=[*sensors, tidy])


@dg.sensor(
    minimum_interval_seconds=TIDY_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed: others would wait for them. Starts nothing.",
)
def tidy(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Dagster's own monitoring does not look at runs that are starting, which one that waits for the lock is."""
    gone = [
        run
        for run in context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if WORKER in run.tags and remains.is_gone(run.tags[WORKER])
    ]
    for run in gone:
        context.instance.report_run_failed(run, "Its process was killed.")
    return dg.SkipReason(f"{len(gone)} runs ended whose process was killed.")


def _sensor(collection: Collection, training: object, part: str | None) -> dg.SensorDefinition:
    @dg.sensor(
        name="act",
        job=training,
        minimum_interval_seconds=LOOK_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Retrains, waits or asks a person, by the findings of the newest check.",
    )
    def act(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        asked = dg.RunsFilter(tags={tags.COLLECTION: collection.name, DUE: "true"}, statuses=UNFINISHED)
        if context.instance.get_runs_count(asked):
            return dg.SkipReason("A retraining is under way.")
        due = actions.due_now(collection.name, collection.act)
        if due.action == actions.RETRAINING:
            # Whether it still is due is decided again by the pipeline, once no other one is at work.
            return dg.RunRequest(partition_key=part, tags={DUE: "true"})
        actions.record(due)
        return dg.SkipReason(f"{due.action.replace('_', ' ')}: {due.reason}")

    return act


def _report(collection: Collection) -> dg.JobDefinition:
    @dg.op(name="create_report")
    def create_report() -> None:
        settings = load()
        send = ["--send"] if settings.smtp.host else []
        script = settings.checkout / "report" / "create_report.py"
        subprocess.run([sys.executable, script, "--collection", collection.name, *send], check=True)

    @dg.job(
        name=REPORT,
        description="The weekly report, mailed where a mail server is set.",
        executor_def=dg.in_process_executor,
    )
    def report() -> None:
        create_report()

    return report
