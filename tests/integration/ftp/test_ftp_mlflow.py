"""MLflow's own ways through the plugin: runs, models, command line, clean-up, tracking server and scoring server."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import requests
from click.testing import CliRunner
from ftp_servers import Case, DSGo, FTPServer, against
from mlflow.cli import cli
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression

DSGO = [Case(DSGo, tls=False)]


def mlflow_environment(server: FTPServer, tracking_uri: str) -> dict[str, str]:
    return {
        **server.environ,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def run(*command: str, env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """One SQLite file for the runs on all servers: making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture(scope="module")
def logs() -> dict[str, dict]:
    """What `logged` has made so far, by server."""
    return {}


@pytest.fixture
def logged(server, database, logs, tmp_path_factory, monkeypatch, request) -> dict:
    """A run with artifacts and a registered model on `server`, made at the first use."""
    uri = f"sqlite:///{database}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
    if server.uri not in logs:
        folder = tmp_path_factory.mktemp("given")
        (folder / "sub").mkdir(parents=True)
        (folder / "one.txt").write_text("one")
        (folder / "sub" / "two.txt").write_text("two")
        logs[server.uri] = {**log(server.uri, folder), "env": mlflow_environment(server, uri)}
    return logs[server.uri]


def log(root: str, folder: Path) -> dict[str, str]:
    """Log a folder, a text and a model below `root`, and read all of it again by MLflow's several ways."""
    name = f"linear on {root.replace('/', ' ').replace(':', ' ')}"
    experiment = MlflowClient().create_experiment(root, artifact_location=f"{root}/with space/ü")
    model = LinearRegression().fit([[1.0], [2.0], [4.0]], [2.0, 4.0, 8.0])
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.log_artifacts(folder, "folder")
        mlflow.log_text("a text", "notes/text ü.txt")
        info = mlflow.sklearn.log_model(
            model, name="model", pip_requirements=["scikit-learn"], registered_model_name=name
        )
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert loaded.predict([[3.0]])[0] == pytest.approx(6)
    version = mlflow.sklearn.load_model(f"models:/{name}/1")
    assert version.predict([[5.0]])[0] == pytest.approx(10)
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/text ü.txt") == "a text"
    return {
        "run": run.info.run_id,
        "uri": run.info.artifact_uri,
        "local": mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/folder"),
        "source": mlflow.get_logged_model(info.model_id).artifact_location,
    }


@pytest.fixture
def command(server, logged) -> Callable[..., str]:
    """Function: run an mlflow command; its output. In a process of its own for DSGo's server, as users do.

    For the others within this one, since each import of MLflow takes seconds.
    """

    def invoke(*arguments: str) -> str:
        if isinstance(server, DSGo) and not server.tls:
            return run("mlflow", *arguments, env=logged["env"])
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


def test_runs_and_models(logged, server):
    local = Path(logged["local"])
    assert (local / "one.txt").read_text() == "one" and (local / "sub" / "two.txt").read_text() == "two"
    stored = {path.relative_to(server.root).as_posix() for path in server.root.rglob("*")}
    assert f"with space/ü/{logged['run']}/artifacts/folder/sub/two.txt" in stored
    assert any(path.endswith("MLmodel") for path in stored)


def test_no_credentials_in_the_database(logged, server, database):
    with sqlite3.connect(database) as opened:
        dump = "\n".join(opened.iterdump())
    opened.close()
    assert logged["uri"] in dump
    assert server.password not in dump and f"{server.user}:" not in dump


def test_command_line(logged, command, tmp_path):
    listed = json.loads(command("artifacts", "list", "-r", logged["run"], "-a", "folder"))
    assert {info["path"]: info.get("file_size") for info in listed} == {"folder/one.txt": 3, "folder/sub": None}
    command("artifacts", "download", "-u", f"runs:/{logged['run']}/folder/sub", "-d", str(tmp_path))
    assert (tmp_path / "sub" / "two.txt").read_text() == "two"


@against(DSGO)
def test_scoring_server_by_ftp_address(logged):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", logged["source"], "-p", str(port), "--env-manager", "local"]
    with subprocess.Popen(command, env=logged["env"], start_new_session=True) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process)
            answer = requests.post(f"http://127.0.0.1:{port}/invocations", json={"inputs": [[3.0]]}, timeout=30)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
    assert answer.json()["predictions"] == [pytest.approx(6.0)]


def wait_for(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


@against(DSGO)
def test_tracking_server_shows_artifacts(logged, server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "server", "--backend-store-uri", logged["env"]["MLFLOW_TRACKING_URI"], "--port", str(port)]
    command += ["--host", "127.0.0.1", "--workers", "1", "--default-artifact-root", server.uri]
    with subprocess.Popen(command, env=logged["env"], start_new_session=True) as process:
        try:
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/health", process)
            listed = requests.get(
                f"{base}/api/2.0/mlflow/artifacts/list", {"run_id": logged["run"], "path": "folder"}, timeout=30
            ).json()
            assert {file["path"] for file in listed["files"]} == {"folder/one.txt", "folder/sub"}
            file = requests.get(
                f"{base}/get-artifact", {"run_uuid": logged["run"], "path": "notes/text ü.txt"}, timeout=30
            )
            assert file.text == "a text"
            missing = requests.get(f"{base}/get-artifact", {"run_uuid": logged["run"], "path": "no.txt"}, timeout=30)
            assert missing.status_code == 404
            assert server.password not in json.dumps(listed) + file.text + missing.text
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def test_gc_removes_artifacts(logged, command, server):  # the last: it deletes what the others look at
    command("runs", "delete", "--run-id", logged["run"])
    command("gc", "--backend-store-uri", logged["env"]["MLFLOW_TRACKING_URI"], "--run-ids", logged["run"])
    assert not list(server.root.rglob("two.txt"))
    assert not list(server.root.rglob(f"{logged['run']}/*"))
