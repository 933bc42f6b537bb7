"""Predictions come on time whatever happens: the real project on real servers. One collection's story, in order."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from candidates import evidence
from mlflow.tracking import MlflowClient
from sample_datasets import COLLECTION, dataset
from sklearn.linear_model import Ridge
from wind_solar_sample import sample

from dsgo import predictions, promotion, registry, tags
from dsgo.cleaning import clean
from dsgo.settings import Settings
from dsgo.tables import Dataset, make_dataset, write_dataset
from dsgo.training import Training

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = CHECKOUT / "projects" / "forecasting" / "predict"
NAME = "predict_story"
LEARNED = dataset(end="2015-06-30 23:00")
AFTER = pd.Timestamp("2015-07-01", tz="UTC")
PATIENCE_S = 120.0
Predict = Callable[..., str]


class Bare(Training):
    """Without the pictures, which nothing here looks at."""

    def _log_evaluation(self, *_) -> bytes:
        return b""


@pytest.fixture(scope="module")
def experiment(servers: Settings) -> str:
    return mlflow.create_experiment(NAME)


@cache
def known_until(end: str, ahead_days: int = 2) -> Dataset:
    """Recorded until `end`, weather for the days after it."""
    ends = pd.Timestamp(end, tz="UTC"), pd.Timestamp(end, tz="UTC") + pd.Timedelta(days=ahead_days)
    raw = sample(end=f"{ends[1] - pd.Timedelta(hours=1):%Y-%m-%d %H:%M}")
    for target in COLLECTION.targets:
        raw[target] = raw[target].where(raw["utc_timestamp"] < ends[0])
    table, repairs = clean(raw, COLLECTION.dataset, file="sample")
    source = {"kind": "file", "name": "table.csv", "sha256": "0" * 64}
    return make_dataset(table, COLLECTION, source=source, synthetic=False, repairs=repairs)


def logged(experiment: str, made: Dataset, name: str = NAME) -> str:
    info = made.info | {"collection": name, "synthetic": False}
    with mlflow.start_run(experiment_id=experiment) as run, TemporaryDirectory() as folder:
        write_dataset(dataclasses.replace(made, info=info), Path(folder))
        mlflow.log_artifacts(folder, "dataset")
    return f"runs:/{run.info.run_id}/dataset"


@pytest.fixture(scope="module")
def uris(experiment: str) -> dict[str, str]:
    """What was learned from; three days and then four days more, each with two days of weather ahead."""
    made = {"first": LEARNED, "third": known_until("2015-07-04"), "fourth": known_until("2015-07-05")}
    return {name: logged(experiment, each) for name, each in made.items()}


@pytest.fixture(scope="module")
def runs(experiment: str, uris: dict[str, str]) -> list[str]:
    """Two models, the better one last."""
    found = []
    for step, regressor in (("weak", Ridge(3e4)), ("good", Ridge(1.0))):
        with mlflow.start_run(experiment_id=experiment) as run:
            training = Bare(step, uris["first"])
            training.finish(regressor, training.backtest(regressor), {})
        found.append(run.info.run_id)
    return found


def load_step():
    spec = importlib.util.spec_from_file_location("predict_step", PROJECT / "predict.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    return step


@pytest.fixture
def predict(experiment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Predict:
    """Function: let the step predict in this process, which spares its imports; what it prints."""
    step = load_step()

    def run(uri: str, *options: str) -> str:
        registry.load_forecaster.cache_clear()  # each run is a process of its own
        registry.load_predictions.cache_clear()
        monkeypatch.setattr(sys, "argv", ["predict.py", "--dataset", uri, *options])
        with mlflow.start_run(experiment_id=experiment):
            step.predict()
        return capsys.readouterr().out

    return run


def start(uri: str) -> subprocess.Popen:
    """The script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "predict.py", "--dataset", uri],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "MLFLOW_EXPERIMENT_NAME": NAME},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest_run(experiment: str) -> mlflow.entities.Run:
    return MlflowClient().search_runs([experiment], f"tags.`{tags.STEP}` = 'predict'", max_results=1)[0]


def said() -> pd.DataFrame:
    """The newest row of each target and hour."""
    return predictions.newest(NAME)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def sources(rows: pd.DataFrame) -> dict[tuple[str, int], int]:
    """How many hours each version has forecast; 0 is the naive baseline."""
    return rows.assign(version=rows["version"].fillna(0)).groupby(["source", "version"]).size().floordiv(2).to_dict()


@contextmanager
def out_of_reach(servers: Settings, run_id: str) -> Iterator[None]:
    """The served model of a training run is lost, until the end."""
    client = MlflowClient()
    models = [client.get_logged_model(output.model_id) for output in client.get_run(run_id).outputs.model_outputs]
    (place,) = (each.artifact_location for each in models if each.name == "model")
    folder = servers.ftp_root / place.removeprefix(servers.artifact_root.removesuffix("artifacts"))
    folder.rename(folder.with_name("aside"))
    yield
    folder.with_name("aside").rename(folder)


def test_1_before_anything_is_in_production_the_naive_baseline_answers(
    predict: Predict, experiment: str, uris: dict[str, str]
) -> None:
    output = predict(uris["first"])
    assert "No model of the collection 'predict_story' is in Production yet." in output
    rows, run = said(), newest_run(experiment)
    window = LEARNED.table[LEARNED.table.index >= AFTER - pd.DateOffset(months=6)]
    assert sources(rows) == {("naive", 0): len(window)}
    wind = rows[rows["target"] == "wind_GW"].set_index("utc_timestamp")["forecast"]
    before = LEARNED.table["wind_GW"].reindex(window.index - pd.Timedelta("24h"))
    np.testing.assert_allclose(wind[before.notna().to_numpy()], before.dropna())
    assert (run.data.tags[tags.SOURCE], run.data.tags[tags.CHAMPION]) == ("naive", "")
    assert run.data.metrics["rows_new"] == len(rows) and set(rows["run_id"]) == {run.info.run_id}


def test_2_production_forecasts_the_window_out_of_sample_and_again_changes_nothing(
    predict: Predict, experiment: str, uris: dict[str, str], runs: list[str]
) -> None:
    promotion.promote(NAME, evidence(runs[0]))
    assert "nothing is ahead: it has learned from all hours whose inputs are known" in predict(uris["first"])
    rows, window = said(), registry.load_predictions(runs[0], "window")
    assert sources(rows) == {("production", 1): len(window)}
    for target in COLLECTION.targets:
        ours = rows[rows["target"] == target].set_index("utc_timestamp")
        np.testing.assert_allclose(
            ours[["forecast", "p10", "p90"]], window[[f"{target}_{p}" for p in ("forecast", "p10", "p90")]]
        )
    assert "\n0 rows are new" in predict(uris["first"])
    same(said(), rows)
    assert newest_run(experiment).data.metrics["rows_unchanged"] == len(rows)


def test_3_hours_after_it_has_learned_and_the_outlook_as_mlflow_runs_it(
    experiment: str, uris: dict[str, str], runs: list[str]
) -> None:
    before = said()
    command = [sys.executable, "-m", "mlflow", "run", PROJECT, "--env-manager", "local", "--experiment-name", NAME]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, "-P", f"dataset={uris['third']}"],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = said()
    new = rows[rows["utc_timestamp"] >= AFTER]
    assert new["utc_timestamp"].nunique() == 5 * 24 and sources(new) == {("production", 1): 5 * 24}
    same(rows[rows["utc_timestamp"] < AFTER], before)
    made = known_until("2015-07-04")
    asked = pd.concat([made.table[made.inputs], made.outlook]).loc["2015-06-20":].reset_index(names="utc_timestamp")
    expected = registry.load_production(NAME).predict(asked).set_index(asked["utc_timestamp"]).loc[AFTER:]
    for target in COLLECTION.targets:
        ours = new[new["target"] == target].set_index("utc_timestamp")
        np.testing.assert_allclose(ours["forecast"], expected[target])
        np.testing.assert_allclose(ours["p90"], expected[f"{target}_p90"])
    run = newest_run(experiment)
    assert run.data.tags[tags.CHAMPION] == runs[0] and run.data.tags[tags.DATASET] == uris["third"]
    assert "48 of them without a recorded value yet" in run.data.tags["mlflow.note.content"]
    assert set(new["data_digest"]) == {made.sha256} and run.data.metrics["hours_ahead"] == 48
    files = {file.path for file in MlflowClient().list_artifacts(run.info.run_id, "predictions")}
    assert files == {
        f"predictions/{name}" for name in ("predictions.csv", "predictions.parquet", "solar_GW.png", "wind_GW.png")
    }


def test_4_a_new_version_answers_from_then_on(predict: Predict, uris: dict[str, str], runs: list[str]) -> None:
    before = said()
    promotion.promote(NAME, evidence(runs[1]))
    predict(uris["third"])
    rows = said()
    assert sources(rows[rows["utc_timestamp"] >= AFTER]) == {("production", 2): 5 * 24}
    old = rows["utc_timestamp"] < AFTER
    same(rows[old], before[before["utc_timestamp"] < AFTER])


def test_5_where_production_is_lost_the_last_good_version_answers_and_says_so(
    predict: Predict, experiment: str, uris: dict[str, str], runs: list[str], servers: Settings
) -> None:
    before = said()
    with out_of_reach(servers, runs[1]):
        output = predict(uris["fourth"])
    run, rows = newest_run(experiment), said()
    assert "Production cannot be used: " in output and "earlier version, version 1: " in output
    assert "Production cannot be used: " in run.data.tags["mlflow.note.content"]
    assert (run.data.tags[tags.SOURCE], run.data.tags[tags.CHAMPION]) == ("earlier_version", "")
    ahead = rows["utc_timestamp"] >= pd.Timestamp("2015-07-05", tz="UTC")
    assert sources(rows[ahead]) == {("earlier_version", 1): 48}
    recorded = before["utc_timestamp"] < pd.Timestamp("2015-07-05", tz="UTC")
    same(rows[~ahead], before[recorded])  # what Production has said of hours that have come in stands


def test_6_where_every_version_is_lost_the_naive_baseline_answers_where_nobody_has(
    predict: Predict, experiment: str, uris: dict[str, str], runs: list[str], servers: Settings
) -> None:
    before = said()
    uri = logged(experiment, known_until("2015-07-05", ahead_days=14))
    with out_of_reach(servers, runs[0]), out_of_reach(servers, runs[1]):
        output = predict(uri)
    assert "Production cannot be used: " in output and "version 1 cannot be used: " in output
    rows = said()
    new = rows["utc_timestamp"] >= pd.Timestamp("2015-07-07", tz="UTC")
    assert sources(rows[new]) == {("naive", 0): 12 * 24}
    same(rows[~new], before)
    last_day = known_until("2015-07-05").table["wind_GW"].iloc[-24:]
    wind = rows[new & (rows["target"] == "wind_GW")]["forecast"]
    np.testing.assert_allclose(wind, np.tile(last_day, 12))


def test_7_with_everything_back_production_answers_again(
    predict: Predict, uris: dict[str, str], runs: list[str]
) -> None:
    predict(uris["fourth"])
    rows = said()
    hours = rows["utc_timestamp"].between(AFTER, pd.Timestamp("2015-07-06 23:00", tz="UTC"))
    assert sources(rows[hours]) == {("production", 2): 6 * 24}


def test_8_where_newer_data_are_refused_the_naive_baseline_goes_on_until_there_are_some(
    predict: Predict, experiment: str
) -> None:
    reason, known = "raw.csv, column windspeed, row 7: 'fast' is no number.", known_until("2015-07-06")
    after = pd.Timestamp("2015-07-08", tz="UTC")  # what is known of the weather ends there
    output = predict(logged(experiment, known), "--refused", reason)
    assert reason in output and "; the naive baseline: 168 hours after all that is known" in output
    run, rows = newest_run(experiment), said()
    week = rows[rows["utc_timestamp"].between(after, pd.Timestamp("2015-07-14 23:00", tz="UTC"))]
    assert sources(week) == {("naive", 0): 7 * 24}
    np.testing.assert_allclose(week[week["target"] == "wind_GW"]["forecast"], np.tile(known.table["wind_GW"][-24:], 7))
    own = rows["run_id"] == run.info.run_id
    assert set(rows["source"][own & (rows["utc_timestamp"] < after)]) == {"production"}
    assert reason in run.data.tags[tags.NOTE]
    assert (run.data.tags[tags.SOURCE], run.data.tags[tags.CHAMPION]) == ("production", "")
    predict(logged(experiment, known_until("2015-07-07", ahead_days=3)))
    rows = said()
    reached = rows["utc_timestamp"] < pd.Timestamp("2015-07-10", tz="UTC")
    assert sources(rows[reached & (rows["utc_timestamp"] >= after)]) == {("production", 2): 48}
    assert set(rows["source"][~reached]) == {"naive"}


@contextmanager
def database_is_busy(servers: Settings) -> Iterator[None]:
    """Somebody else writes meanwhile."""
    engine = sa.create_engine(f"sqlite:///{servers.home / 'dsgo.db'}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.connection.dbapi_connection.isolation_level = None
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_the_database(experiment: str) -> int:
    """How many runs have logged all their rows and not ended: they wait for the database."""
    waiting = MlflowClient().search_runs(
        [experiment], f"tags.`{tags.STEP}` = 'predict' and attributes.status = 'RUNNING'"
    )
    return sum(bool(MlflowClient().list_artifacts(run.info.run_id, "predictions")) for run in waiting)


def test_9_killed_it_leaves_nothing_and_two_at_once_write_once(
    experiment: str, runs: list[str], servers: Settings
) -> None:
    uri = logged(experiment, known_until("2015-07-20"))
    before = said()
    with database_is_busy(servers), start(uri) as killed:
        wait_until(lambda: at_the_database(experiment) == 1)
        killed.send_signal(signal.SIGKILL)
    same(said(), before)
    both = [start(uri), start(uri)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    rows = said()
    new = rows["utc_timestamp"] >= AFTER
    assert sources(rows[new]) == {("production", 2): 21 * 24}
    assert rows.loc[new & (rows["utc_timestamp"] >= pd.Timestamp("2015-07-20", tz="UTC")), "run_id"].nunique() == 1
    assert sorted("\n0 rows are new" in output for output, _ in outputs) == [False, True]


def test_a_in_postgresql(
    predict: Predict, experiment: str, uris: dict[str, str], postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSGO_DATABASE_URL", postgresql)
    for new in (True, False):
        assert ("\n0 rows are new" in predict(uris["third"])) is not new
    rows = said()
    assert sources(rows[rows["utc_timestamp"] >= AFTER]) == {("production", 2): 5 * 24}
    assert rows["issued_at"].nunique() == 1
