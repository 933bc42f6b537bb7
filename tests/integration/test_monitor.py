"""The watch as the pipeline runs it: real `mlflow run`, a version in Production from store and registry. A story, in order."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import candidates
import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from sample_datasets import COLLECTION, dataset
from sklearn.linear_model import Ridge

from dsgo import findings, promotion, tags
from dsgo.tables import Dataset, make_dataset, write_dataset
from dsgo.training import Training

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "monitor_story"
TRAINED_TO = pd.Timestamp("2015-02-28 23:00", tz="UTC")
SHORT = {"window": {"months": 3}, "backtest": {"folds": 1, "months": 3}}
PICTURE = b"\x89PNG"


class Bare(Training):
    """Without the pictures, which the watch does not look at."""

    def _log_evaluation(self, *_) -> bytes:
        return b""


@pytest.fixture(scope="module")
def experiment(servers) -> str:
    return mlflow.create_experiment(NAME)


def dataset_of(table: pd.DataFrame) -> Dataset:
    collection = dataclasses.replace(COLLECTION, name=NAME, dataset={**COLLECTION.dataset, **SHORT})
    return make_dataset(table, collection, source={"name": "a test"}, synthetic=False)


@pytest.fixture(scope="module")
def log(experiment) -> Callable[[pd.DataFrame], str]:
    """Function: the table as a recorded dataset of the collection, logged; returns its address."""

    def log_dataset(table: pd.DataFrame) -> str:
        with mlflow.start_run(experiment_id=experiment) as run, TemporaryDirectory() as folder:
            write_dataset(dataset_of(table), Path(folder))
            mlflow.log_artifacts(folder, "dataset")
        return f"runs:/{run.info.run_id}/dataset"

    return log_dataset


@pytest.fixture(scope="module")
def newest() -> pd.DataFrame:
    """Five weeks more than the version has learned from."""
    return dataset().table.loc[: TRAINED_TO + pd.Timedelta("35D")]


def monitor(uri: str, now: str = "2015-04-06T00:00:00Z", **limits: object) -> subprocess.CompletedProcess:
    asked = yaml.safe_dump({**COLLECTION.watch, **limits}, default_flow_style=True, width=10_000).strip().strip("{}")
    command = [sys.executable, "-m", "mlflow", "run", str(CHECKOUT / "projects/forecasting/monitor")]
    command += ["--env-manager", "local", "--experiment-name", NAME]
    for parameter in (f"dataset={uri}", f"rules={asked}", f"now={now}"):
        command += ["-P", parameter]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}
    environment.pop("MLFLOW_EXPERIMENT_ID", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def newest_run(experiment: str):
    return MlflowClient().search_runs([experiment], f"tags.`{tags.STEP}` = 'monitor'", max_results=1)[0]


def test_without_a_version_in_production_the_data_are_watched(experiment, log, newest) -> None:
    done = monitor(log(newest))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is in Production" in done.stdout
    table = findings.newest(NAME)
    assert set(table["kind"]) == {"data", "fault", "stale"} and table["version"].isna().all()
    run = newest_run(experiment)
    assert run.data.tags[tags.CHAMPION] == "" and run.info.run_id == table["run_id"].unique().item()
    assert run.data.tags[tags.ALARMS] == "" and run.data.metrics["alarms"] == 0


@pytest.fixture(scope="module")
def production(experiment, log, newest) -> str:
    """The training run of the version in Production."""
    uri = log(newest.loc[:TRAINED_TO])
    with mlflow.start_run(experiment_id=experiment) as run:
        training = Bare("linear_regression", uri)
        training.finish(Ridge(1.0), training.backtest(Ridge(1.0)), {})
    promotion.promote(NAME, candidates.evidence(run.info.run_id), replaces=0)
    return run.info.run_id


def test_the_version_in_production_is_watched_on_hours_that_it_has_not_seen(
    experiment, log, newest, production
) -> None:
    uri = log(newest)
    for _ in range(2):  # the second changes nothing
        done = monitor(uri)
        assert done.returncode == 0, done.stdout + done.stderr
    table = findings.newest(NAME)
    model = table[table["kind"] == "model"]
    checks = {("solar_GW", c) for c in ("error", "bias", "level", "coverage")}
    assert checks <= set(zip(model["subject"], model["check"], strict=True))
    assert (table["version"] == 1).all() and (model["last"] == newest.index[-1]).all() and not model["estimate"].any()
    assert (model["first"] > TRAINED_TO).all()
    history = findings.history(NAME)
    assert len(history[history["version"] == 1]) == len(table)
    run = newest_run(experiment)
    assert run.data.tags[tags.CHAMPION] == production
    client = MlflowClient()
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"findings.csv", "drift.png"} <= files
    local = Path(client.download_artifacts(run.info.run_id, "drift.png"))
    assert local.read_bytes().startswith(PICTURE)
    assert "windspeed" in run.data.tags["mlflow.note.content"]


def test_an_alarm_is_written_down_and_is_no_failure(experiment, log, newest, production) -> None:
    faulty = newest.copy()
    faulty.loc[faulty.index > faulty.index[-1] - pd.Timedelta("5D"), "windspeed"] *= 3.6
    done = monitor(log(faulty), now="2015-05-06T00:00:00Z")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ALARM" in done.stdout and "km/h" in done.stdout
    table = findings.newest(NAME)
    alarms = table[table["alarm"]]
    assert {"fault windspeed unit", "stale  stale"} <= set(
        alarms["kind"] + " " + alarms["subject"] + " " + alarms["check"]
    )
    run = newest_run(experiment)
    assert run.data.metrics["alarms"] == len(alarms) and "fault windspeed unit" in run.data.tags[tags.ALARMS]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"now": "soon"}, "The setting now='soon'"), ({"short_days": 0}, "watch.short_days: 0 cannot be used")],
)
def test_wrong_parameters_are_named_without_a_traceback(experiment, wrong, message) -> None:
    done = monitor("runs:/none/dataset", **wrong)
    assert done.returncode != 0 and message in done.stdout + done.stderr
    assert 'monitor.py", line' not in done.stdout + done.stderr
