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
from pathlib import Path

import pytest
import requests

LOG = """
import json, sys
import mlflow
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression
root, folder = sys.argv[1:]
mlflow.set_experiment(experiment_id=MlflowClient().create_experiment("ftp", artifact_location=root + "/with space/ü"))
model = LinearRegression().fit([[1.0], [2.0], [4.0]], [2.0, 4.0, 8.0])
with mlflow.start_run() as run:
    mlflow.log_artifacts(folder, "folder")
    mlflow.log_text("a text", "notes/text ü.txt")
    info = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"],
                                    registered_model_name="linear")
loaded = mlflow.pyfunc.load_model(info.model_uri)
assert abs(loaded.predict([[3.0]])[0] - 6) < 1e-9
version = mlflow.sklearn.load_model("models:/linear/1")
assert abs(version.predict([[5.0]])[0] - 10) < 1e-9
text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/text ü.txt")
assert text == "a text", text
local = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/folder")
print(json.dumps({"run": run.info.run_id, "uri": run.info.artifact_uri, "local": local, "model": info.model_id,
                  "source": mlflow.get_logged_model(info.model_id).artifact_location}))
"""


def mlflow_environment(store, tracking_uri: str) -> dict[str, str]:
    return {
        **store.environ,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def run(*command: str, env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def logged(running_store, tmp_path_factory):
    """A run with artifacts and a registered model, on SQLite."""
    base = tmp_path_factory.mktemp("mlflow")
    folder = base / "given"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.txt").write_text("one")
    (folder / "sub" / "two.txt").write_text("two")
    env = mlflow_environment(running_store, f"sqlite:///{base / 'mlflow.db'}")
    output = run(sys.executable, "-c", LOG, running_store.uri, str(folder), env=env)
    return {"database": base / "mlflow.db", "env": env, **json.loads(output.splitlines()[-1])}


def test_runs_and_models(logged, running_store):
    local = Path(logged["local"])
    assert (local / "one.txt").read_text() == "one" and (local / "sub" / "two.txt").read_text() == "two"
    stored = {path.relative_to(running_store.root).as_posix() for path in running_store.root.rglob("*")}
    assert f"with space/ü/{logged['run']}/artifacts/folder/sub/two.txt" in stored
    assert any(path.endswith("MLmodel") for path in stored)


def test_no_credentials_in_the_database(logged, running_store):
    with sqlite3.connect(logged["database"]) as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert logged["uri"] in dump
    assert running_store.settings.ftp_password not in dump and f"{running_store.settings.ftp_user}:" not in dump


def test_command_line(logged, tmp_path):
    mlflow = ["mlflow", "artifacts"]
    listed = json.loads(run(*mlflow, "list", "-r", logged["run"], "-a", "folder", env=logged["env"]))
    assert {info["path"]: info.get("file_size") for info in listed} == {"folder/one.txt": 3, "folder/sub": None}
    run(*mlflow, "download", "-u", f"runs:/{logged['run']}/folder/sub", "-d", str(tmp_path), env=logged["env"])
    assert (tmp_path / "sub" / "two.txt").read_text() == "two"


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
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def test_tracking_server_shows_artifacts(logged, running_store):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "server", "--backend-store-uri", logged["env"]["MLFLOW_TRACKING_URI"], "--port", str(port)]
    command += ["--host", "127.0.0.1", "--workers", "1", "--default-artifact-root", running_store.uri]
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
            assert running_store.settings.ftp_password not in json.dumps(listed) + file.text + missing.text
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def test_gc_removes_artifacts(logged, running_store):  # the last: it deletes what the others look at
    env = logged["env"]
    run("mlflow", "runs", "delete", "--run-id", logged["run"], env=env)
    run("mlflow", "gc", "--backend-store-uri", env["MLFLOW_TRACKING_URI"], "--run-ids", logged["run"], env=env)
    assert not list(running_store.root.rglob("two.txt"))
    assert not list(running_store.root.rglob(f"{logged['run']}/*"))
