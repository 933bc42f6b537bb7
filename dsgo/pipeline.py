"""A collection's pipeline from raw data to everything that people use: `make run`."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from dsgo import services
from dsgo.collection import Collection, find
from dsgo.errors import DSGoError, NoProductionModel, StepError
from dsgo.settings import Settings, activate, prepare


def run(settings: Settings, *, collection: str, data: str, level: str = "PROD") -> int:
    """Run or reuse every step, then report, serve and display what is in Production.

    Args:
        data: `sample`, `opsd`, a URL, or an absolute path of a CSV file.
        level: `PROD`, or `DEV`: what passes the gate becomes challenger, Production stays as it is.

    Returns:
        0.

    Raises:
        DSGoError: a server does not start, a step fails, or no model has ever been good enough for Production.
    """
    started = time.monotonic()
    known = find(collection, settings.checkout)
    with _only_one(prepare(settings), collection):
        # The dashboard shows the models as they come.
        settings = services.up(settings, ("ftp", "tracking", "dashboard"), _say)
        activate(settings)
        from dsgo import promotion

        for sentence in promotion.repair(collection):
            _say(sentence)
        execute(settings, known, data, level)
        from dsgo import registry

        _say("")
        show_scores(known)
        try:
            champion = registry.load_production(collection)
        except NoProductionModel:
            if level == "PROD":
                raise
            _say("Nothing is in Production yet, and level DEV puts nothing there: no report and no REST endpoint.")
            return 0
    report = start_report(settings, collection)
    try:
        services.serve(settings, collection)
    finally:
        written, complaint = report.communicate()
    if report.returncode:
        raise StepError("report", complaint.strip() or f"exit code {report.returncode}")
    _say("")
    _say(
        f"In Production    {collection} version {champion.version}, {champion.step}, learned from "
        f"{champion.trained_from:%Y-%m-%d} to {champion.trained_to:%Y-%m-%d}, "
        f"{'SYNTHETIC data' if champion.synthetic else 'recorded data'}"
    )
    for name, place in addresses(settings, written.strip().splitlines()[-1]).items():
        _say(f"{name:<16} {place}")
    _say(f"done in {time.monotonic() - started:.0f} s")
    return 0


def execute(settings: Settings, collection: Collection, data: str, level: str) -> dict:
    """Run the steps that have no finished run to reuse; return the finished run of each step by name."""
    from mlflow.tracking import MlflowClient

    from dsgo import flow, tags

    flow_file = collection.path.with_name("flow.py")
    client = MlflowClient()
    if client.get_experiment_by_name(collection.experiment) is None:
        client.create_experiment(collection.experiment)
    steps = flow.load(flow_file).steps(data, level)
    done, why = plan(steps, collection)
    if len(done) == len(steps):
        for step in steps:
            _say(f"{step.name:>20} | reused run {done[step.name].info.run_id}")
        return done
    _say(f"{len(steps)} steps, at most 2 at once; to run: {', '.join(why)}")
    experiment_id = client.get_experiment_by_name(collection.experiment).experiment_id
    parent = client.create_run(
        experiment_id,
        run_name=f"pipeline {collection.name}",
        tags={
            tags.COLLECTION: collection.name,
            tags.STEP: "pipeline",
            tags.CODE_VERSION: tags.code_version(settings.checkout),
        },
    )
    try:
        failed = _orchestrate(settings, flow_file, data, level, parent.info.run_id)
    except BaseException:
        client.set_terminated(parent.info.run_id, "KILLED")
        raise
    client.set_terminated(parent.info.run_id, "FAILED" if failed else "FINISHED")
    if failed:
        raise StepError(
            ", ".join(failed), "failed; what it said is above.", "Mend it and run again: finished steps are reused."
        )
    return plan(steps, collection)[0]


def plan(steps: Sequence, collection: Collection) -> tuple[dict, dict[str, str]]:
    """What can be reused (step → run), and why the other steps have to run."""
    from mlflow.tracking import MlflowClient

    from dsgo.steps import find_finished, key_of
    from dsgo.tuned import with_settings

    client = MlflowClient()
    experiment = client.get_experiment_by_name(collection.experiment)
    done, why = {}, {}
    for step in steps:
        waiting = [name for name in step.upstream if name not in done]
        if waiting:
            why[step.name] = f"{', '.join(waiting)} has to run first"
            continue
        found, reason = find_finished(client, experiment.experiment_id, key_of(with_settings(step, done), done))
        if found is None:
            why[step.name] = reason
        else:
            done[step.name] = found
    return done, why


def _orchestrate(settings: Settings, flow_file, data: str, level: str, parent: str) -> list[str]:
    """Let Dagster run the flow; return the names of the steps that failed."""
    import dagster as dg

    from dsgo.flow import dagster_instance, job_reference

    with dagster_instance(settings) as instance:
        result = dg.execute_job(
            job_reference(flow_file),
            instance=instance,
            run_config={
                "resources": {"order": {"config": {"data": data, "level": level, "parent_run_id": parent}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )
        return [event.step_key for event in result.all_events if event.is_step_failure]


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


def start_report(settings: Settings, collection: str) -> subprocess.Popen:
    """Write the weekly report in a process of its own, beside the servers' start."""
    script = settings.checkout / "report" / "create_report.py"
    command = [sys.executable, str(script), "--collection", collection]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def addresses(settings: Settings, report: str) -> Mapping[str, str]:
    """Where everything is."""
    return {
        "Dashboard": settings.dashboard_url,
        "Tracking": settings.tracking_uri,
        "REST endpoint": f"{settings.serve_url}/invocations",
        "Artifacts": settings.artifact_root,
        "Weekly report": report,
    }


@contextlib.contextmanager
def _only_one(settings: Settings, collection: str) -> Iterator[None]:
    """Refuse a second pipeline of the same collection: both would do the same work and race for Production."""
    with (settings.home / f"pipeline-{collection}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DSGoError(
                f"A pipeline of {collection} is running already in {settings.home}.", "Wait until it has ended."
            ) from None
        yield


def _say(line: str) -> None:
    print(line, flush=True)
