"""The pipeline as a newcomer runs it: real servers, real `mlflow run`, real REST endpoint. Shared by all tests of this file."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from dsgo import ledger, predictions, registry, tags
from dsgo.errors import DataError, NoProductionModel, RegistryError
from dsgo.rest_registry import RestRegistry

CHECKOUT = Path(__file__).resolve().parents[2]
MODELS = {"keras_mlp", "kernel_ridge", "random_forest", "gradient_boosting", "linear_regression", "ensemble"}
STEPS = {"process_data", *MODELS, "promote"}  # of the training
LATER = {"production": "predict", "validation": "monitor"}  # the other jobs, each with a step beside `process_data`
ROW = ["2015-06-10T12:00:00Z", 4.0, 18.0, 300.0, 150.0]
COLUMNS = ["utc_timestamp", "windspeed", "temperature", "rad_horizontal", "rad_diffuse"]


def mlflow_run(uri: str, *parameters: str, env_manager: str = "local") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mlflow", "run", uri, "--env-manager", env_manager]
    command += ["--experiment-name", "predicting_wind_solar"]
    for parameter in parameters:
        command += ["-P", parameter]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if env_manager == "local":
        environment["PYTHONPATH"] = str(CHECKOUT)
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def runs_of(step: str) -> list:
    experiment = MlflowClient().get_experiment_by_name("predicting_wind_solar")
    return MlflowClient().search_runs([experiment.experiment_id], f"tags.`{tags.STEP}` = '{step}'")


def in_pipeline(step: str):
    """The run of this step in the first pipeline; other tests run steps too, before or after."""
    return [run for run in runs_of(step) if "mlflow.parentRunId" in run.data.tags][-1]


def post(url: str, body: dict) -> tuple[int, dict]:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_first_run_shows_scores_and_addresses(first, servers):
    for name in (*MODELS, "naive"):
        assert f"│ {name} " in first
    for place in (servers.dashboard_url, servers.tracking_uri, f"{servers.serve_url}/invocations", ".html"):
        assert place in first
    for step in STEPS:
        assert f"{step} | finished in" in first


def test_every_candidate_is_scored_on_the_same_rows_beside_the_naive_baseline(first):
    board = registry.leaderboard("wind_solar")
    assert set(board["model"]) == {*MODELS, "naive"}
    scores = board[[f"{part}.{t}.rmse" for part in ("backtest", "window") for t in ("solar_GW", "wind_GW")]]
    assert scores.notna().all(axis=None)
    indexes = [registry.load_predictions(run_id, "window").index for run_id in board["run_id"] if run_id]
    assert all(index.equals(indexes[0]) for index in indexes)
    logged = board[board["model"] != "naive"]["window.wind_GW.rmse"].iloc[0]
    window = registry.load_predictions(board["run_id"].iloc[0], "window")
    recomputed = ((window["wind_GW_forecast"] - window["wind_GW"]) ** 2).mean() ** 0.5
    assert logged == pytest.approx(recomputed)


def test_stage_alias_and_scores_of_production_agree(first):
    client = MlflowClient()
    champion = client.get_model_version_by_alias("wind_solar", "champion")
    assert champion.current_stage == "Production"
    in_stage = [v for v in client.search_model_versions("name = 'wind_solar'") if v.current_stage == "Production"]
    assert [v.version for v in in_stage] == [champion.version]
    production = registry.load_production("wind_solar")
    assert production.scores["window.solar_GW.skill"] > 0.1
    assert production.scores["window.wind_GW.skill"] > 0.1
    assert production.trained_to == pd.Timestamp("2015-06-30T23:00Z")
    twin = registry.load_forecaster(f"runs:/{production.run_id}/twin")
    assert twin.trained_to < production.window().index[0]


def test_runs_are_nested_under_one_pipeline_run_and_carry_their_tags(first):
    parents = {in_pipeline(step).data.tags["mlflow.parentRunId"] for step in STEPS}
    assert len(parents) == 1
    assert MlflowClient().get_run(parents.pop()).info.status == "FINISHED"
    for step in MODELS:
        run = in_pipeline(step)
        assert run.data.tags[tags.DATA_DIGEST] == in_pipeline("process_data").data.tags[tags.DATA_DIGEST]
        assert {tags.STEP_KEY, tags.CODE_VERSION, tags.OUTPUT_DIGEST, tags.DATASET} <= run.data.tags.keys()


def test_predictions_and_the_watch_are_jobs_of_their_own(first):
    training = in_pipeline("promote").data.tags["mlflow.parentRunId"]
    parents = {job: in_pipeline(step).data.tags["mlflow.parentRunId"] for job, step in LATER.items()}
    assert len({training, *parents.values()}) == 3
    for job, parent in parents.items():
        run = MlflowClient().get_run(parent)
        assert (run.info.status, run.data.tags[tags.JOB]) == ("FINISHED", job)
    assert (
        len([run for run in runs_of("process_data") if run.data.tags.get("mlflow.parentRunId") in parents.values()])
        == 0
    )


def test_every_candidate_shows_where_it_can_be_trusted_and_what_it_rests_on(first, tmp_path):
    client = MlflowClient()
    for step in MODELS:
        run = in_pipeline(step)
        kept = {Path(item.path).name: item.file_size for item in client.list_artifacts(run.info.run_id, "evaluation")}
        pictures = {"importance.png", "reliability.png", "residuals.png"}
        assert kept.keys() == pictures | {"regimes.csv", "importance.csv", "contributions.csv"}
        assert min(kept[name] for name in pictures) > 10_000
        assert 0 < run.data.metrics["window.solar_GW.coverage80.day"] < 1
    production = registry.load_production("wind_solar")
    path = mlflow.artifacts.download_artifacts(
        run_id=production.run_id, artifact_path="evaluation/regimes.csv", dst_path=str(tmp_path)
    )
    scores = pd.read_csv(path)
    over_all = scores[(scores["regime"] == "all") & (scores["span"] == "window")].set_index("target")
    assert over_all.loc["wind_GW", "rmse"] == pytest.approx(production.scores["window.wind_GW.rmse"])


def test_keras_logs_itself(first):
    network = in_pipeline("keras_mlp")
    losses = MlflowClient().get_metric_history(network.info.run_id, "loss")
    assert len(losses) == 25
    assert losses[-1].value < losses[0].value


def test_the_endpoint_answers_as_the_model_does_and_refuses_bad_rows(first, servers):
    status, answer = post(servers.serve_url, {"dataframe_split": {"columns": COLUMNS, "data": [ROW]}})
    assert status == 200
    expected = registry.load_production("wind_solar").predict(pd.DataFrame([ROW], columns=COLUMNS))
    assert answer["predictions"][0] == pytest.approx(expected.iloc[0].to_dict())
    for column, value, word in (
        ("windspeed", "x", "windspeed"),
        ("temperature", 291.0, "kelvin"),
        ("utc_timestamp", "2015-06-10T12:00:00", "no offset"),
    ):
        row = [value if name == column else given for name, given in zip(COLUMNS, ROW, strict=True)]
        status, answer = post(servers.serve_url, {"dataframe_split": {"columns": COLUMNS, "data": [row]}})
        assert status == 400
        assert word in answer["message"]
        assert "Traceback" not in json.dumps(answer)


def test_the_model_loads_by_its_own_ftp_address(first, servers):
    version = MlflowClient().get_model_version_by_alias("wind_solar", "champion")
    location = MlflowClient().get_logged_model(version.source.removeprefix("models:/")).artifact_location
    assert location.startswith(servers.artifact_root)
    answer = mlflow.pyfunc.load_model(location).predict(pd.DataFrame([ROW], columns=COLUMNS))
    assert answer["wind_GW"].notna().all()


def test_the_password_is_nowhere_but_in_its_file(first, servers):
    secret = servers.ftp_password.encode()
    holding = [p for p in servers.home.rglob("*") if p.is_file() and not p.is_symlink() and secret in p.read_bytes()]
    assert holding == [servers.env_file]


def test_a_second_run_reuses_every_step_and_trains_nothing(first, dsgo, data):
    every = {*STEPS, *LATER.values()}
    before = sum(len(runs_of(step)) for step in every)
    again = dsgo("run", "--data", str(data))
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("| reused run") == len(every) + again.stdout.count("process_data | reused run") - 1
    for step in every:
        assert f"{step} | reused run" in again.stdout
    assert sum(len(runs_of(step)) for step in every) == before


def test_why_each_step_is_reused_or_not_is_explained(first, dsgo, data):
    done = dsgo("explain", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("be reused") == len(STEPS) + len(LATER)
    one_job = dsgo("explain", "--data", str(data), "--job", "production")
    assert one_job.stdout.count("be reused") == 2
    assert "one of training, production, validation" in dsgo("explain", "--job", "predict").stderr
    other = dsgo("explain", "--data", "sample")
    assert f"data: {data.name} → sample" in other.stdout
    assert other.stdout.count("after process_data") == len(STEPS) - 1 + len(LATER)


def test_a_damaged_artifact_is_noticed_made_again_and_put_back(first, dsgo, servers, data):
    run = in_pipeline("linear_regression")
    before = len(runs_of("linear_regression"))
    path = servers.ftp_root / run.info.artifact_uri.removeprefix(f"ftp://127.0.0.1:{servers.ftp_port}/")
    table = path / "predictions" / "window.parquet"
    content = table.read_bytes()
    table.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as long as it was
    again = dsgo("run", "--data", str(data))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "linear_regression | runs: predictions/window.parquet (damaged) of run" in again.stdout
    assert "linear_regression | finished" in again.stdout
    assert f"run {run.info.run_id} is whole again" in again.stdout
    assert table.read_bytes() == content
    for step in STEPS - {"linear_regression"}:
        assert f"{step} | reused run" in again.stdout
    assert len(runs_of("linear_regression")) == before + 1


def test_a_refused_candidate_leaves_production_as_it_was(first):
    champion = registry.load_production("wind_solar")
    other = next(row for row in registry.leaderboard("wind_solar").to_dict("records") if row["version"] == "")
    done = mlflow_run(
        str(CHECKOUT / "projects/forecasting/promote"),
        f"dataset={champion.dataset_uri}",
        f"candidates={other['run_id']}",
        "rules=minimum_skill: 0.99, coverage80: [0.0, 1.0], maximum_bias: 1, worse_in_a_regime: 1, confidence: 0.98, "
        "latency_ms: 1000, size_MB: 1000",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused: " in done.stdout
    assert "asked: low end ≥ 0.99" in done.stdout
    assert registry.load_production("wind_solar").version == champion.version
    assert MlflowClient().get_run(other["run_id"]).data.tags[tags.DECISION] == "refused"


def test_a_step_runs_alone_in_an_environment_of_its_own(first, dsgo, servers):
    champion = registry.load_production("wind_solar")
    assert dsgo("env").returncode == 0  # builds the wheel that the environment installs
    done = mlflow_run(
        str(CHECKOUT / "projects/forecasting/linear_regression"), f"dataset={champion.dataset_uri}", env_manager="uv"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "window 2015-01 to 2015-06" in done.stdout


def test_a_step_runs_from_a_git_address(first, tmp_path, data):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(clone)], check=True)
    done = mlflow_run(f"file://{clone}#projects/wind_solar/process_data", f"data={data}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Dataset: runs:/" in done.stdout


def test_an_unusable_file_ends_in_one_message_and_no_finished_run(first, dsgo, tmp_path):
    before = len(runs_of("process_data"))
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"\x00\x01\x02" * 1000)
    done = dsgo("run", "--data", str(broken))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "broken.csv" in done.stdout
    assert "error: Step process_data" in done.stderr
    finished = [run for run in runs_of("process_data")[: -before or None] if run.info.status == "FINISHED"]
    assert finished == []


def test_where_the_new_data_are_refused_predictions_come_from_those_before_and_the_job_fails(
    first, dsgo, data, tmp_path
):
    lines = data.read_text().splitlines()
    cut = tmp_path / "cut.csv"
    cut.write_text("\n".join([*lines[:-1], lines[-1][:12]]))
    known = registry.load_production("wind_solar").dataset().table.index[-1]
    done = dsgo("predict", "--data", str(cut))
    assert done.returncode == 1
    assert "error: Step process_data (job production)" in done.stderr and "Traceback" not in done.stdout + done.stderr
    (refused, *_), (run, *_) = runs_of("process_data"), runs_of("predict")
    assert (refused.info.status, run.info.status) == ("FAILED", "FINISHED")
    assert "cut.csv" in refused.data.tags[tags.NOTE] and refused.data.tags[tags.NOTE] in run.data.tags[tags.NOTE]
    assert run.data.tags["mlflow.parentRunId"] == refused.data.tags["mlflow.parentRunId"]
    said = predictions.newest("wind_solar", known + pd.Timedelta(hours=1))
    assert set(said["source"]) == {"naive"} and said["utc_timestamp"].nunique() == 7 * 24
    assert set(said["run_id"]) == {run.info.run_id}


def test_what_the_report_reads_over_http_is_what_mlflow_reads(first, servers, monkeypatch):
    over_http, by_mlflow = RestRegistry(servers).load_production("wind_solar"), registry.load_production("wind_solar")
    for name in by_mlflow.__dataclass_fields__:
        assert getattr(over_http, name) == getattr(by_mlflow, name), name
    pd.testing.assert_frame_equal(over_http.window(), by_mlflow.window())
    own, other = over_http.dataset(), by_mlflow.dataset()
    assert own.info == other.info
    pd.testing.assert_frame_equal(own.table, other.table)
    assert {"window", "backtest"} <= set(over_http.regimes()["span"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # the report's own process does not have it
    asked = own.table[own.inputs].tail(48).reset_index(names="utc_timestamp")
    pd.testing.assert_frame_equal(over_http.predict(asked), by_mlflow.predict(asked))


def test_promotions_are_told_over_http_the_newest_first(first, servers):
    rows = RestRegistry(servers).promotions("wind_solar")
    done = [row for row in ledger.read("wind_solar") if row.action == ledger.PROMOTION and row.state == ledger.DONE]
    assert list(rows["version"]) == [row.version for row in reversed(done)]
    assert rows["replaced"].iloc[-1] is None and set(rows["action"]) == {"promotion"}
    newest = MlflowClient().get_model_version("wind_solar", str(rows["version"].iloc[0]))
    assert rows["trained_to"].iloc[0] == newest.tags[tags.TRAINED_TO]


def test_what_is_not_there_is_said_over_http(first, servers, free_ports):
    asked = RestRegistry(servers)
    run_id = asked.load_production("wind_solar").run_id
    with pytest.raises(NoProductionModel, match="'moon'"):
        asked.load_production("moon")
    assert asked.promotions("moon").empty
    with pytest.raises(DataError, match=f"runs:/{run_id}/nothing.csv: cannot be downloaded"):
        asked.artifact(run_id, "nothing.csv")
    assert asked.artifact(run_id, "nothing.csv", optional=True) is None
    with pytest.raises(RegistryError, match="models:/wind_solar/999"):
        asked.forecaster("models:/wind_solar/999")
    with pytest.raises(DataError, match=f"runs:/{run_id}/predictions"):
        asked.dataset(f"runs:/{run_id}/predictions")
    (port,) = free_ports(1)
    with pytest.raises(RegistryError, match=r"does not answer.*make up"):
        RestRegistry(dataclasses.replace(servers, tracking_port=port)).load_production("wind_solar")
