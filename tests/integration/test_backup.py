"""Backups of real servers that are written to all the time, everything lost, restored; and full disks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsgo import daemon, exchange, services
from dsgo.backup import backup
from dsgo.errors import BackupError, ServiceError
from dsgo.restore import restore
from dsgo.settings import Settings, load

# Logs runs whose tags have the hashes of their artifacts, and registers models; deletes the fourth last as `mlflow gc` does.
WRITER = """
import hashlib, itertools, os, sys
import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LinearRegression

client = MlflowClient()
mlflow.set_experiment("written all the time")
runs = []
for number in itertools.count():
    with mlflow.start_run() as run:
        for name in ("a.bin", "folder/b.bin", "folder/ü c.bin"):
            content = os.urandom(2000) + str(number).encode()
            path = os.path.join(sys.argv[1], os.path.basename(name))
            open(path, "wb").write(content)
            mlflow.log_artifact(path, os.path.dirname(name) or None)
            mlflow.set_tag(f"sha256/{name.replace('ü', 'ue')}", f"{hashlib.sha256(content).hexdigest()} {name}")
        mlflow.log_metric("number", number)
        if number % 4 == 0:
            model = LinearRegression().fit([[1.0], [2.0]], [float(number), float(number)])
            info = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"],
                                            registered_model_name="linear")
            version = info.registered_model_version
            client.set_model_version_tag("linear", version, "predicts", str(number))
            client.transition_model_version_stage("linear", version, "Production", archive_existing_versions=True)
            client.set_registered_model_alias("linear", "champion", version)
    runs.append(run)
    if len(runs) > 3:
        gone = runs.pop(0).info
        client.delete_run(gone.run_id)
        get_artifact_repository(gone.artifact_uri).delete_artifacts()
    print(number, flush=True)
"""

# Looks at everything through the servers as any client does, and prints what is there.
READER = """
import hashlib, json
from pathlib import Path
import mlflow
from mlflow.tracking import MlflowClient

client = MlflowClient()
experiment = client.get_experiment_by_name("written all the time")
runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
artifacts = 0
for run in runs:
    for tag, value in run.data.tags.items():
        if tag.startswith("sha256/"):
            digest, name = value.split(" ", 1)
            local = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/{name}")
            assert hashlib.sha256(Path(local).read_bytes()).hexdigest() == digest, (run.info.run_id, name)
            artifacts += 1
versions = client.search_model_versions("name='linear'")
for version in versions:
    wanted = version.tags.get("predicts")
    found = mlflow.pyfunc.load_model(f"models:/linear/{version.version}").predict([[7.0]])[0]
    assert wanted is None or abs(found - float(wanted)) < 1e-9, (version.version, wanted, found)
(production,) = client.get_latest_versions("linear", ["Production"])
mlflow.pyfunc.load_model("models:/linear/Production")
champion = client.get_model_version_by_alias("linear", "champion")
mlflow.set_experiment("written all the time")
with mlflow.start_run() as new:
    mlflow.log_text("new", "new.txt")
    mlflow.log_metric("number", -1)
assert mlflow.artifacts.load_text(f"runs:/{new.info.run_id}/new.txt") == "new"
print(json.dumps({"runs": len(runs), "artifacts": artifacts, "versions": len(versions),
                  "production": production.version, "champion": champion.version}))
"""


def silent(_: str) -> None:
    pass


def python(settings: Settings, script: str, *arguments: str, **options) -> subprocess.Popen:
    quiet = {"MLFLOW_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **settings.child_environment(), **quiet, "PYTHONPATH": str(settings.checkout)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


def whole_runs(settings: Settings) -> tuple[int, int, int]:
    """Numbers of finished runs, of their artifacts and of registered versions, all of which are on the disk as they should."""

    def path(uri: str) -> Path:
        return settings.ftp_root / uri.removeprefix(settings.artifact_root.removesuffix("artifacts"))

    artifacts = 0
    with contextlib.closing(sqlite3.connect(settings.tracking_database)) as connection:
        runs = connection.execute(
            "SELECT run_uuid, artifact_uri FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active'"
        ).fetchall()
        for run, uri in runs:
            tags = "SELECT value FROM tags WHERE run_uuid = ? AND key LIKE 'sha256/%'"
            for (value,) in connection.execute(tags, (run,)):
                digest, name = value.split(" ", 1)
                assert hashlib.sha256((path(uri) / name).read_bytes()).hexdigest() == digest
                artifacts += 1
        locations = connection.execute("SELECT storage_location FROM model_versions").fetchall()
        for (location,) in locations:
            assert (path(location) / "MLmodel").is_file()
    return len(runs), artifacts, len(locations)


def test_everything_lost_while_it_is_written_to(new_settings: Callable[..., Settings], tmp_path: Path) -> None:
    copy = new_settings()
    password = services.up(copy).ftp_password
    (tmp_path / "work").mkdir()
    files: list[Path] = []
    written: list[int] = []  # runs that were complete when each backup began
    with python(copy, WRITER, str(tmp_path / "work")) as writer:
        try:
            lines = iter(writer.stdout.readline, "")
            last = -1
            done = threading.Event()

            def follow() -> None:
                nonlocal last
                for line in lines:
                    last = int(line)
                    if last >= 4:
                        done.set()
                done.set()

            follower = threading.Thread(target=follow)
            follower.start()
            assert done.wait(300) and writer.poll() is None
            while last < 12 or len(files) < 10:
                assert writer.poll() is None
                written.append(last)
                files.append(backup(copy, tmp_path / f"{len(files)}.tar", silent))
        finally:
            writer.kill()
            follower.join()
    assert len(set(written)) > 3, "the writer stood still meanwhile"
    with pytest.raises(ServiceError, match="make down"):
        restore(copy, files[0], silent)

    for process in [p for found in daemon.processes(copy).values() for p in found]:  # supervisord is one of them
        process.kill()
    assert daemon.wait_until(lambda: not daemon.processes(copy), 20)
    shutil.rmtree(copy.home)

    for number, file in enumerate(files):
        elsewhere = dataclasses.replace(copy, home=tmp_path / f"elsewhere {number}")
        restore(elsewhere, file, silent)
        runs, artifacts, versions = whole_runs(elsewhere)
        assert runs >= 3 and artifacts == 3 * runs and versions >= 2, "the check looks at nothing"

    restore(copy, files[-1], silent)
    again = services.up(copy)
    assert again.ftp_password and again.ftp_password != password
    runs, artifacts, versions = whole_runs(copy)
    print(f"{len(files)} backups, taken after {written[0]} to {written[-1]} runs; {runs} runs in the last")
    with python(copy, READER) as reader:
        answer, _ = reader.communicate(timeout=300)
    assert reader.returncode == 0
    seen = json.loads(answer.splitlines()[-1])
    assert (seen["runs"], seen["artifacts"], seen["versions"]) == (runs, artifacts, versions)
    assert int(seen["production"]) in (versions, versions - 1) and int(seen["champion"]) in (versions, versions - 1)


# --- full disks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with 2 MB of space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def still(tmp_path: Path) -> Settings:
    """A copy without servers, with an artifact of 3 MB."""
    settings = load({"DSGO_HOME": str(tmp_path / "home")})
    (settings.ftp_root / "artifacts").mkdir(parents=True)
    (settings.ftp_root / "artifacts" / "large.bin").write_bytes(os.urandom(3_000_000))
    make_database(settings)
    return settings


def make_database(settings: Settings) -> None:
    with contextlib.closing(sqlite3.connect(settings.tracking_database)) as connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT, creation_time INTEGER)")


@pytest.mark.parametrize(
    ("seen_before", "message"), [(True, "MB are needed, 2.1 MB are free"), (False, "No space left on device")]
)
def test_full_disk(
    seen_before: bool, message: str, small_disk: Path, still: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found before anything is written, or, where others fill the disk at the same time, by writing."""
    file = backup(still, tmp_path / "whole.tar", silent)
    poor = dataclasses.replace(still, home=small_disk)
    (poor.ftp_root / "artifacts").mkdir(parents=True)
    (poor.ftp_root / "artifacts" / "kept.txt").write_text("kept")
    usage = shutil.disk_usage
    if not seen_before:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(folder)._replace(free=10**12))
    with pytest.raises(BackupError, match=message):
        backup(still, small_disk / "too large.tar", silent)
    assert {path.name for path in small_disk.iterdir()} == {"ftp"}
    with pytest.raises(BackupError, match=message):
        restore(poor, file, silent)
    assert {path.name for path in small_disk.iterdir()} == {"ftp", "backup.lock", "supervisor"}
    assert (poor.ftp_root / "artifacts" / "kept.txt").read_text() == "kept"


def test_store_on_another_disk(small_disk: Path, still: Settings, tmp_path: Path) -> None:
    """Where hard links end, files are copied."""
    shutil.rmtree(still.ftp_root)
    (small_disk / "artifacts").mkdir()
    (small_disk / "artifacts" / "text.txt").write_text("text")
    still.ftp_root.symlink_to(small_disk)
    file = backup(still, tmp_path / "whole.tar", silent)
    restore(still, file, silent)
    assert not still.ftp_root.is_symlink()
    assert (still.ftp_root / "artifacts" / "text.txt").read_text() == "text"
    assert (small_disk / "artifacts" / "text.txt").read_text() == "text"


def test_up_finishes_an_interrupted_restore(
    new_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings()
    (settings.ftp_root / "artifacts").mkdir(parents=True)
    (settings.ftp_root / "artifacts" / "text.txt").write_text("as backed up")
    make_database(settings)
    file = backup(settings, tmp_path / "whole.tar", silent)
    (settings.ftp_root / "artifacts" / "text.txt").write_text("later")
    with monkeypatch.context() as patch:
        patch.setattr(exchange, "complete", lambda _: set())
        restore(settings, file, silent)
    assert (settings.ftp_root / "artifacts" / "text.txt").read_text() == "later"
    services.up(settings, ("ftp",))
    assert (settings.ftp_root / "artifacts" / "text.txt").read_text() == "as backed up"
    assert exchange.unfinished(settings) == []
    services.down(settings)
