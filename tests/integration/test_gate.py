"""The gate as the pipeline runs it: real `mlflow run`, models on the store and endpoint. One collection's story, in order."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from sample_datasets import COLLECTION, dataset
from sklearn.linear_model import Ridge

from dsgo import registry, tags
from dsgo.errors import NoProductionModel
from dsgo.tables import write_dataset
from dsgo.training import Training

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "gate_story"


class Bare(Training):
    """Without the pictures, which the gate does not look at."""

    def _log_evaluation(self, *_) -> bytes:
        return b""


@pytest.fixture(scope="module")
def experiment(servers) -> str:
    return mlflow.create_experiment(NAME)


def log_dataset(experiment: str, synthetic: bool) -> str:
    info = dataset().info | {"collection": NAME, "synthetic": synthetic}
    with mlflow.start_run(experiment_id=experiment) as run, TemporaryDirectory() as folder:
        write_dataset(dataclasses.replace(dataset(), info=info), Path(folder))
        mlflow.log_artifacts(folder, "dataset")
    return f"runs:/{run.info.run_id}/dataset"


def train(experiment: str, uri: str, step: str, regressor: Ridge) -> str:
    with mlflow.start_run(experiment_id=experiment) as run:
        training = Bare(step, uri)
        training.finish(regressor, training.backtest(regressor), {})
    return run.info.run_id


@pytest.fixture(scope="module")
def recorded(experiment) -> str:
    return log_dataset(experiment, synthetic=False)


@pytest.fixture(scope="module")
def runs(experiment, recorded) -> dict[str, str]:
    """A weak model, a good one, and one that is the same as the good one."""
    regressors = {"weak": Ridge(3e4), "good": Ridge(1.0), "same": Ridge(1.0)}
    return {step: train(experiment, recorded, step, regressor) for step, regressor in regressors.items()}


def gate(uri: str, candidates: str, *more: str, **rules: float) -> subprocess.CompletedProcess:
    let_pass = {"coverage80": [0.5, 1.0], "latency_ms": 60_000}  # neither is this story's matter
    asked = (
        yaml.safe_dump({**COLLECTION.gate, **let_pass, **rules}, default_flow_style=True, width=10_000)
        .strip()
        .strip("{}")
    )
    command = [sys.executable, "-m", "mlflow", "run", str(CHECKOUT / "projects/forecasting/promote")]
    command += ["--env-manager", "local", "--experiment-name", NAME]
    for parameter in (f"dataset={uri}", f"candidates={candidates}", f"rules={asked}", *more):
        command += ["-P", parameter]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}
    environment.pop("MLFLOW_EXPERIMENT_ID", None)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def newest_gate_run(experiment: str):
    return MlflowClient().search_runs([experiment], f"tags.`{tags.STEP}` = 'promote'", max_results=1)[0]


def production() -> int:
    try:
        return registry.load_production(NAME).version
    except NoProductionModel:
        return 0


def check(done: subprocess.CompletedProcess, experiment: str, candidate: str, decision: str) -> dict[str, bool | None]:
    """The decision is the same in the terminal and in both runs; the table, the page and the description are there."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{decision}: " in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "holds" in line[:6]) <= 77
    run, client = newest_gate_run(experiment), MlflowClient()
    assert run.data.tags[tags.DECISION] == client.get_run(candidate).data.tags[tags.DECISION] == decision
    assert run.data.tags[tags.REASON] == client.get_run(candidate).data.tags[tags.REASON]
    assert run.data.tags[tags.CANDIDATE] == candidate
    champion = registry.load_production(NAME).run_id if production() else ""
    assert run.data.tags[tags.CHAMPION] == champion
    assert f"**{decision}**" in run.data.tags["mlflow.note.content"]
    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="gate", dst_path=folder))
        rules = pd.read_csv(path / "rules.csv")
        page = (path / "decision.html").read_text(encoding="utf-8")
        assert f"<h1>{decision}</h1>" in page
        assert ("data:image/png" in page) == (path / "difference.png").exists() == (path / "difference.csv").exists()
    assert set(rules["candidate"]) <= {"weak", "good", "same", "made_up"}
    return (
        rules.set_index("name")["holds"].astype(object).where(rules.set_index("name")["holds"].notna(), None).to_dict()
    )


def test_1_the_first_that_holds_all_rules_is_promoted(experiment, recorded, runs):
    rules = check(gate(recorded, runs["weak"]), experiment, runs["weak"], "accepted")
    assert set(rules.values()) == {True}
    assert production() == 1


def test_2_at_level_dev_a_better_one_becomes_challenger_and_production_stays(experiment, recorded, runs):
    check(gate(recorded, runs["good"], "level=DEV"), experiment, runs["good"], "accepted")
    assert production() == 1
    assert MlflowClient().get_model_version_by_alias(NAME, "challenger").run_id == runs["good"]


def test_3_a_better_one_is_promoted(experiment, recorded, runs):
    rules = check(gate(recorded, runs["good"]), experiment, runs["good"], "accepted")
    assert rules["RMSE beside version 1"] is True
    assert registry.load_production(NAME).run_id == runs["good"]


def test_4_a_tie_keeps_the_champion(experiment, recorded, runs):
    before = production()
    done = gate(recorded, runs["same"])
    rules = check(done, experiment, runs["same"], "kept")
    assert "tie   RMSE beside version" in done.stdout
    assert rules["answer over REST"] is None
    assert production() == before


def test_5_a_worse_one_is_refused(experiment, recorded, runs):
    before = production()
    check(gate(recorded, runs["weak"]), experiment, runs["weak"], "refused")
    assert production() == before


def test_6_the_champion_itself_is_kept_with_a_table_and_a_reason(experiment, recorded, runs):
    done = gate(recorded, runs["good"])
    check(done, experiment, runs["good"], "kept")
    assert "is in Production already" in done.stdout


def test_7_a_model_of_made_up_data_never_replaces_one_of_recorded_data(experiment):
    before = production()
    uri = log_dataset(experiment, synthetic=True)
    run_id = train(experiment, uri, "made_up", Ridge(1.0))
    done = gate(uri, run_id)
    rules = check(done, experiment, run_id, "refused")
    assert rules["kind of data"] is False
    assert production() == before


@pytest.mark.parametrize(("more", "rules"), [(["level=TEST"], {}), ([], {"minimum_skil": 0.1})])
def test_8_a_wrong_level_or_rule_stops_the_step(recorded, runs, more, rules):
    before = production()
    done = gate(recorded, runs["same"], *more, **rules)
    assert done.returncode != 0
    assert "TEST" in done.stderr or "gate.minimum_skil: there is no such rule" in done.stderr
    assert "Traceback" not in done.stderr.split("=== Run (ID")[0]
    assert production() == before


def test_9_a_champion_whose_files_are_lost_stops_the_step_until_a_person_gives_it_up(
    experiment, recorded, runs, servers
):
    before = production()
    refused = gate(recorded, runs["same"], f"give_up={before}")
    assert refused.returncode != 0
    assert f"Version {before} is not lost" in refused.stderr
    run = MlflowClient().get_run(runs["good"])
    for output in run.outputs.model_outputs:
        model = MlflowClient().get_logged_model(output.model_id)
        if model.name == "twin":
            place = model.artifact_location.removeprefix(f"ftp://127.0.0.1:{servers.ftp_port}/")
            shutil.rmtree(servers.ftp_root / place)
    stopped = gate(recorded, runs["same"])
    assert stopped.returncode != 0
    assert f"Version {before} in Production cannot be compared" in stopped.stderr
    assert f"give_up={before}" in stopped.stderr
    assert production() == before
    check(gate(recorded, runs["same"], f"give_up={before}"), experiment, runs["same"], "accepted")
    assert registry.load_production(NAME).run_id == runs["same"]
