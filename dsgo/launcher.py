"""Runs that Dagster itself starts (UI, schedule, sensor, backfill): each a process that does all that `make run` does.

`PipelineLauncher` starts it (`$DSGO_HOME/dagster/dagster.yaml` names it), `main` is the process: it takes the collection's
lock, makes the pipeline's run in MLflow, has Dagster go through the job that has been asked for, and ends the run.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.launcher import RunLauncher
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.impl import core_execute_run
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster._utils.hosted_user_process import recon_job_from_origin

from dsgo import actions, automation, cli, flow, pipeline, remains, services
from dsgo.automation import WORKER
from dsgo.collection import Collection
from dsgo.collection import load as load_collection
from dsgo.errors import DSGoError, NoProductionModel
from dsgo.settings import Settings, activate, load, prepare

SERVICE = "job"  # in its environment, so that `make down` finds it; the orchestrator may end without it


class PipelineLauncher(RunLauncher, ConfigurableClass):
    """Starts a process for each run. It outlives the orchestrator, but not `make down`."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping) -> PipelineLauncher:
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        settings = load()
        with _log(settings, run).open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dsgo.launcher", run.run_id],
                env={**os.environ, "DSGO_SERVICE": SERVICE, "PYTHONPATH": str(settings.checkout)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._instance.add_run_tags(run.run_id, {WORKER: remains.identity(process.pid)})
        self._instance.report_engine_event(f"Process {process.pid}; what it says is in {log.name}", run)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or remains.is_gone(run.tags[WORKER]):
            return False
        self._instance.report_run_canceling(run)
        os.kill(int(run.tags[WORKER].split()[-2]), signal.SIGTERM)
        return True


def _log(settings: Settings, run: dg.DagsterRun) -> Path:
    """The newest run of each job has its log."""
    collection = _flow_file(run.job_code_origin).parent.name
    return settings.logs / f"{collection}.{run.job_name.strip('_').lower()}.log"


def _flow_file(origin: JobPythonOrigin) -> Path:
    return Path(origin.repository_origin.code_pointer.python_file)


def main(run_id: str) -> int:
    """Do what the run `run_id` of Dagster asks for; the exit code."""
    settings = dataclasses.replace(prepare(load()), asked_by="orchestrator")
    activate(settings)
    with flow.dagster_instance(settings) as instance:
        run = instance.get_run_by_id(run_id)

        def work() -> None:
            try:
                with remains.terminated_as_interrupted():
                    _work(settings, instance, run)
            except KeyboardInterrupt:  # Dagster has seen steps fail, as they have been ended
                instance.report_run_canceled(run, "It was told to stop.")
                raise
            except BaseException as error:
                _end(instance, run_id, instance.report_run_failed, str(error))
                raise

        return cli.reported(work)


def _work(settings: Settings, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    if run.job_name == automation.REPORT:
        if failed := _execute(instance, run, {}):
            raise DSGoError(f"{', '.join(failed)} failed; what it said is above.")
        return
    collection = load_collection(_flow_file(run.job_code_origin).with_name("collection.yaml"))
    asked = run.run_config.get("resources", {}).get("order", {}).get("config", {})
    data, level = cli.resolved_source(asked.get("data") or settings.data), asked.get("level") or "PROD"

    def say(line: str) -> None:
        print(line, flush=True)
        instance.report_engine_event(line, run)

    def orchestrate(said: Mapping[str, str]) -> list[str]:
        return _execute(instance, run, said)

    with remains.only_one(settings, collection.name, wait=say):
        before = _champion(settings, collection)
        if automation.DUE in run.tags:
            done = pipeline.act(settings, collection, data, orchestrate)
            if done.action != actions.RETRAINING:
                _end(instance, run.run_id, instance.report_run_canceled, f"No longer due. {done.reason}")
        else:
            pipeline.execute(
                settings,
                collection,
                data,
                level,
                run.job_name,
                only={key.path[-1] for key in run.asset_selection or ()},
                parts=(run.tags.get(flow.PARTITION, ""),),
                orchestrate=orchestrate,
            )
        if _champion(settings, collection) != before:
            services.follow(settings, collection.name, say)


def _champion(settings: Settings, collection: Collection) -> str:
    try:
        return services.production_version(settings, collection.name)
    except NoProductionModel:
        return ""


def _execute(instance: dg.DagsterInstance, run: dg.DagsterRun, said: Mapping[str, str]) -> list[str]:
    """Have Dagster go through the run, with these tags; return the keys of the steps that failed."""
    instance.add_run_tags(run.run_id, dict(said))
    events = core_execute_run(recon_job_from_origin(run.job_code_origin), run, instance, inject_env_vars=False)
    return [event.step_key for event in events if event.is_step_failure]


def _end(instance: dg.DagsterInstance, run_id: str, report, message: str) -> None:
    """End Dagster's run, unless Dagster has."""
    run = instance.get_run_by_id(run_id)
    if not run.is_finished:
        report(run, message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
