"""A collection's jobs from raw data to everything that people use: `make run`, `make predict`, `make monitor`, `make refresh`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from dsgo import actions, remains, services
from dsgo.collection import Collection, find
from dsgo.errors import DSGoError, NoProductionModel, ServiceError, SettingError, StepError
from dsgo.settings import Settings, activate, prepare

if TYPE_CHECKING:
    from dsgo.ingredients import Step

END_S = 30.0  # for Dagster to see that all its workers are gone
LOOK_AGAIN_S = 0.2  # while an interrupted pipeline ends
Orchestrate = Callable[[Mapping[str, str]], list[str]]


def run(settings: Settings, *, collection: str, data: str, level: str = "PROD") -> int:
    """Run or reuse every step of all jobs, then report, serve and display what is in Production.

    Once the training has succeeded, a step that fails in a later job keeps nothing else from being done.

    Args:
        data: a source that the collection has a name for, a URL, or an absolute path of a CSV file.
        level: `PROD`, or `DEV`: what passes the gate becomes challenger, Production stays as it is.

    Returns:
        0.

    Raises:
        DSGoError: a server does not start, a step fails, or no model has ever been good enough for Production.
    """
    from dsgo.flow import TRAINING

    started = time.monotonic()
    known = find(collection, settings.checkout)
    with remains.terminated_as_interrupted(), remains.only_one(prepare(settings), collection):
        # The dashboard shows the models as they come.
        settings = services.up(settings, ("ftp", "tracking", "dashboard"), _say)
        activate(settings)
        train(settings, known, data, level)
        failed = _jobs(settings, known, data, level, [job for job in jobs(known) if job != TRAINING])
        from dsgo import registry
        from dsgo.evaluation import month_zone

        _say("")
        show_scores(known)
        try:
            champion = registry.load_production(collection)
        except NoProductionModel:
            if level == "PROD":
                raise
            _say("Nothing is in Production yet, and level DEV puts nothing there: no report and no REST endpoint.")
            _complain(failed)
            return 0
    written = report_and_serve(settings, collection)
    _say("")
    learned = [
        f"{t.tz_convert(month_zone(known.dataset)):%Y-%m-%d}" for t in (champion.trained_from, champion.trained_to)
    ]
    _say(
        f"In Production    {collection} version {champion.version}, {champion.step}, learned from "
        f"{learned[0]} to {learned[1]}, "
        f"{'SYNTHETIC data' if champion.synthetic else 'recorded data'}"
    )
    for name, place in addresses(settings, collection, written).items():
        _say(f"{name:<16} {place}")
    _complain(failed)
    _say(f"done in {time.monotonic() - started:.0f} s")
    return 0


def run_job(settings: Settings, *, collection: str, job: str, data: str) -> int:
    """Run one job: `make predict` and `make monitor`.

    Returns:
        0.

    Raises:
        DSGoError: a server does not start, or a step fails.
    """
    with _at_work(settings, collection) as (settings, known):
        _complain(_jobs(settings, known, data, "PROD", [job]))
    return 0


def refresh(settings: Settings, *, collection: str, data: str, go_on: bool = False) -> int:
    """Predict, watch, and do what is due by the findings: learn anew, wait, or ask a person.

    Args:
        go_on: a person has looked at what was asked; retrainings may begin again.

    Returns:
        0.

    Raises:
        DSGoError: a server does not start, or a step fails.
    """
    from dsgo.flow import PRODUCTION, VALIDATION

    with _at_work(settings, collection) as (settings, known):
        if go_on:
            actions.record(actions.Action(collection, actions.GO_ON, "A person has looked at it."))
        due = [job for job in jobs(known) if job in (PRODUCTION, VALIDATION)]
        failed = _jobs(settings, known, data, "PROD", due)
        if VALIDATION not in dict(failed):
            done = act(settings, known, data)
            _say(f"{done.action.replace('_', ' ')}: {done.reason}")
            if done.action == actions.ASK:
                _say(actions.remedy(done))
            if done.action == actions.RETRAINING:
                services.follow(settings, collection, _say)
                failed = _jobs(settings, known, data, "PROD", due)
        _complain(failed)
    return 0


@contextmanager
def _at_work(settings: Settings, collection: str) -> Iterator[tuple[Settings, Collection]]:
    """The collection's lock, and store and tracking server at hand."""
    known = find(collection, settings.checkout)
    with remains.terminated_as_interrupted(), remains.only_one(prepare(settings), collection):
        settings = services.up(settings, say=_say)
        activate(settings)
        yield settings, known


def jobs(collection: Collection) -> list[str]:
    """Names of the collection's jobs, in the order of `make run`."""
    from dsgo import flow

    return flow.jobs_of(flow.load(collection.path.with_name("flow.py")))


def _jobs(
    settings: Settings, collection: Collection, data: str, level: str, names: Sequence[str]
) -> list[tuple[str, StepError]]:
    """Run jobs one after the other; return the failures, after all have been tried."""
    failed = []
    for job in names:
        try:
            execute(settings, collection, data, level, job)
        except StepError as error:
            _say(f"{job}: {error}")
            failed.append((job, error))
    return failed


def _complain(failed: Sequence[tuple[str, StepError]]) -> None:
    """Raise one error for all; what else there was to do has been done."""
    if failed:
        names = ", ".join(f"{error.step} (job {job})" for job, error in failed)
        raise StepError(names, "failed; what it said is above.", "All else is done. Mend it and run again.")


def act(
    settings: Settings, collection: Collection, data: str, orchestrate: Orchestrate | None = None
) -> actions.Action:
    """Do what is due by the findings of the newest check. Only for who holds the collection's lock.

    A retraining is written down when it has ended: one that is killed is due still.

    Returns:
        What was done: a row of `dsgo.actions`.

    Raises:
        StepError: a step of the retraining failed.
    """
    due = replace(actions.due_now(collection.name, collection.act), time=datetime.now(UTC))
    if due.action != actions.RETRAINING:
        actions.record(due)
        return due
    try:
        parent = execute(settings, collection, data, "PROD", reason=due.reason, orchestrate=orchestrate)
    except StepError as error:
        actions.record(
            replace(due, action=actions.FAILED, reason=f"{due.reason} The retraining failed. {error.problem}")
        )
        raise
    due = replace(due, run_id=parent)
    actions.record(due)
    return due


def train(settings: Settings, collection: Collection, data: str, level: str) -> None:
    """Train, judge and promote; of a collection with parts for all of them, and forecast with what each has come to.

    All parts are learned from, then each comes before the gate, the oldest first: its champion is that of all before.

    Raises:
        StepError: a step failed.
    """
    from dsgo import flow

    parts = flow.parts_of(flow.load(collection.path.with_name("flow.py")))
    if not parts:
        execute(settings, collection, data, level)
        return
    execute(settings, collection, data, level, flow.LEARNING, parts=parts)
    for part in parts:
        for job in (flow.TRAINING, flow.PRODUCTION):
            execute(settings, collection, data, level, job, parts=(part,))


def execute(
    settings: Settings,
    collection: Collection,
    data: str,
    level: str,
    job: str = "training",
    *,
    reason: str = "",
    only: Set[str] = frozenset(),
    parts: Sequence[str] = ("",),
    orchestrate: Orchestrate | None = None,
) -> str:
    """Run the steps of a job that have no finished run to reuse. Only for who holds the collection's lock.

    A job that fails for want of a dataset still predicts, from the newest one that is good (`dsgo.stopgap`).

    Args:
        reason: why, if nobody has asked for it; for the run's description.
        only: of the job's steps these; empty for all.
        parts: of the data; several are run two at a time. By default all of it, or the newest where there are parts.
        orchestrate: only with one part: has Dagster go through the job with these tags, and returns the keys of the steps
            that failed; by default within this process. One that is given is called even if all steps are reused.

    Returns:
        The id of the pipeline's run; empty where all steps were reused.

    Raises:
        StepError: a step failed.
        KeyboardInterrupt: the pipeline was told to stop; nothing of it runs any more.
    """
    from mlflow.tracking import MlflowClient

    from dsgo import executors, flow, local_run, promotion, stopgap, tags
    from dsgo.pipeline_runs import PipelineRuns

    executors.check(settings)
    _say(f"\n{job}")
    client = MlflowClient()
    experiment_id = experiment_of(client, collection)
    _clear_up(settings, collection, client, experiment_id)
    for sentence in promotion.repair(collection.name):
        _say(sentence)
    flow_file = collection.path.with_name("flow.py")
    loaded = flow.load(flow_file)
    names = flow.steps_of(loaded, collection.name, job)
    names = names & only if only else names
    code = tags.code_version(settings.checkout)
    about = {
        tags.COLLECTION: collection.name,
        tags.STEP: "pipeline",
        tags.JOB: job,
        **({tags.CAUSE: reason, tags.NOTE: reason} if reason else {}),
        tags.CODE_VERSION: code,
        tags.PROCESS: remains.identity(),
    }
    at_once = executors.at_once(settings) if len(parts) == 1 else f"{local_run.PARTS_AT_ONCE} parts"
    waiting: dict[str, tuple[Sequence[Step], dict[str, str]]] = {}  # part → its steps; of those reused the run ids
    for part in parts:
        steps = [step for step in flow.steps_for(loaded, data, level, part) if step.name in names]
        part = steps[0].part
        decisions = plan(steps, collection)
        done = {each.step.name: each.run.info.run_id for each in decisions if each.run}
        for name, run_id in done.items():
            _say(f"{flow.label(name, part)} | reused run {run_id}")
        if len(done) == len(decisions):
            if orchestrate is not None:
                orchestrate({flow.REUSED: json.dumps(done)})
            continue
        left = ", ".join(each.step.name for each in decisions if not each.run)
        of = f"{part}: " if part else ""
        _say(f"{of}to run, unless what comes before turns out the same, {at_once} at once: {left}")
        waiting[part] = steps, done
    if not waiting:
        return ""
    runs = PipelineRuns(client, experiment_id, collection.name, about, several=len(parts) > 1)
    orchestrate = orchestrate or partial(local_run.one, settings, flow_file, job, {"data": data, "level": level})

    def one(part: str, through: Orchestrate) -> list[str]:
        """Names of the steps of the part that failed."""
        steps, done = waiting[part]
        said = runs.begin(part, done)
        failed = [flow.step_of(key, collection.name) for key in through(said)]
        if not runs.stopped.is_set() and (left := stopgap.step_left(steps, job, failed)):
            _predict_all_the_same(left, collection.name, said)
        runs.end(said[flow.PARENT], failed)
        return failed

    def all_parts() -> list[str]:
        if len(waiting) == 1:
            return one(*waiting, orchestrate)
        return local_run.several(settings, list(waiting), one, orchestrate)

    try:
        with remains.marked(settings, collection.name):
            failed = list(dict.fromkeys(_in_a_thread(settings, collection, all_parts, runs.stopped)))
    except BaseException:
        runs.mark_killed()
        raise
    runs.end_all(failed)
    if failed:
        remains.end_runs(client, experiment_id)
        raise StepError(
            ", ".join(failed),
            "failed; what it said is above.",
            "Mend it and run again: finished steps are reused.",
        )
    return runs.first


def _predict_all_the_same(step, collection: str, said: Mapping[str, str]) -> None:
    """Predict from the newest good data. What goes wrong is said; the job has failed in any case."""
    from dsgo import stopgap

    try:
        stopgap.predict(step, collection, said)
    except (NoProductionModel, StepError) as error:
        _say(f"No predictions from earlier data either: {error}")


def experiment_of(client, collection: Collection) -> str:
    """Id of the collection's experiment, made if there is none yet.

    Raises:
        DSGoError: it has been deleted.
    """
    from mlflow.exceptions import MlflowException

    name = collection.experiment
    if client.get_experiment_by_name(name) is None:
        try:
            return client.create_experiment(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process has made it meanwhile.
    experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        raise DSGoError(
            f"The experiment {name} has been deleted.",
            f"Restore it: mlflow experiments restore --experiment-id {experiment.experiment_id}",
        )
    return experiment.experiment_id


def _clear_up(settings: Settings, collection: Collection, client, experiment_id: str) -> None:
    """End what a killed pipeline has left: its processes must not write beside those of this one."""
    if ended := remains.end_processes(settings, collection.name):
        _say(f"ended what a killed pipeline had left running: {len(ended)} processes")
    if killed := remains.end_runs(client, experiment_id):
        _say(f"marked as killed what a killed pipeline had left open: runs {', '.join(killed)}")


def plan(steps: Sequence, collection: Collection) -> list:
    """Of each step, in order, whether a finished run is reused and why not (see `dsgo.reuse.Decision`)."""
    from mlflow.tracking import MlflowClient

    from dsgo import reuse
    from dsgo.tuned import with_settings

    client = MlflowClient()
    experiment = client.get_experiment_by_name(collection.experiment)
    decisions, done = [], {}
    for step in steps:
        if done.keys() >= set(step.upstream):
            step = with_settings(step, done)
        decision = reuse.decide(client, experiment.experiment_id, collection.name, step, done)
        if decision.run is not None:
            done[step.name] = decision.run
        decisions.append(decision)
    return decisions


def explain(settings: Settings, *, collection: str, data: str, level: str, job: str = "") -> int:
    """Print for each step whether the next pipeline would reuse a run or run it, and why. Runs nothing, writes nothing.

    Args:
        job: only the steps of this one; empty for all.

    Returns:
        0.

    Raises:
        ServiceError, RegistryError: a server is down.
    """
    from rich.console import Console
    from rich.table import Table

    known = find(collection, settings.checkout)
    services.require(settings)
    activate(settings)
    from mlflow.tracking import MlflowClient

    from dsgo import flow

    if MlflowClient().get_experiment_by_name(known.experiment) is None:
        _say(f"Nothing of {collection} has been run yet: every step would.")
        return 0
    table = Table(
        title=f"make run COLLECTION={collection} DATA={data} LEVEL={level}", title_justify="left", show_lines=True
    )
    for name in ("step", "would", "because"):
        table.add_column(name, overflow="fold")
    loaded = flow.load(known.path.with_name("flow.py"))
    if job and job not in flow.jobs_of(loaded):
        raise SettingError("JOB", job, f"one of {', '.join(flow.jobs_of(loaded))}")
    names = flow.steps_of(loaded, collection, job) if job else None
    for each in plan(flow.steps_for(loaded, data, level), known):
        if names is not None and each.step.name not in names:
            continue
        reason = f"run {each.run.info.run_id} is finished and whole" if each.run else "\n".join(each.why)
        table.add_row(each.step.name, "be reused" if each.run else "run", reason)
    Console(width=None if sys.stdout.isatty() else 120).print(table, markup=False)
    return 0


def _in_a_thread(
    settings: Settings, collection: Collection, work: Callable[[], list[str]], stopped: threading.Event
) -> list[str]:
    """What `work` returns, in which Dagster runs steps.

    Dagster works in a thread: in the main one it takes signals for itself, and goes on to the next steps when an interrupt
    has ended those under way.
    """
    outcome: Future[list[str]] = Future()

    def report() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=report, name="dagster", daemon=True).start()
    try:
        return outcome.result()
    except BaseException:
        stopped.set()
        # Dagster may start another worker for each that is killed. None gets as far as a run: importing takes seconds.
        deadline = time.monotonic() + END_S
        while not outcome.done() and time.monotonic() < deadline:
            with suppress(KeyboardInterrupt):  # it is ending already
                remains.end_processes(settings, collection.name)
                wait([outcome], timeout=LOOK_AGAIN_S)
        raise


def show_scores(collection: Collection) -> None:
    """Print the leaderboard: each candidate and the naive baseline on the same rows."""
    from rich.console import Console
    from rich.table import Table

    from dsgo import registry

    board = registry.leaderboard(collection.name)
    table = Table(
        title=f"{collection.title}: RMSE, skill over {collection.dataset['naive']['name']}", title_justify="left"
    )
    table.add_column("model")
    table.add_column("stage")
    for part in ("backtest", "window"):
        for target in collection.targets:
            table.add_column(f"{part}\n{target}", justify="right")
    for row in board.to_dict("records"):
        cells = [
            f"{row[f'{part}.{target}.rmse']:.3f} {collection.unit(target)}  {row[f'{part}.{target}.skill']:+.2f}"
            for part in ("backtest", "window")
            for target in collection.targets
        ]
        table.add_row(row["model"], f"{row['stage']} {row['version']}".strip(), *cells)
    Console(width=max(80, 40 + 24 * 2 * len(collection.targets)) if not sys.stdout.isatty() else None).print(table)


def report_and_serve(settings: Settings, collection: str) -> str:
    """Write the report while the REST endpoint starts; return where it lies. Who is told to stop leaves no report at work.

    Raises:
        ServiceError: the endpoint does not start. The report is written nevertheless.
        StepError: there is no report.
    """
    with remains.terminated_as_interrupted(), start_report(settings, collection) as report:
        try:
            services.serve(settings, collection)
            written, complaint = report.communicate()
        except KeyboardInterrupt:
            report.kill()
            raise
        except ServiceError:
            report.communicate()  # it needs no endpoint
            raise
    if report.returncode:
        raise StepError("report", complaint.strip() or f"exit code {report.returncode}")
    return written.strip().splitlines()[-1]


def start_report(settings: Settings, collection: str) -> subprocess.Popen:
    """Write the weekly report in a process of its own, beside the servers' start."""
    script = settings.checkout / "report" / "create_report.py"
    command = [sys.executable, str(script), "--collection", collection]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def addresses(settings: Settings, collection: str, report: str) -> Mapping[str, str]:
    """Where everything is."""
    return {
        "Dashboard": f"{settings.dashboard_url}/?collection={collection}",
        "Tracking": settings.tracking_uri,
        "REST endpoint": f"{settings.serve_url}/invocations",
        "Artifacts": settings.artifact_root,
        "Weekly report": report,
    }


def _say(line: str) -> None:
    print(line, flush=True)
