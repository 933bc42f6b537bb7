"""Real `mlflow run` against real servers: eight at once, and with servers killed under them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from dsgo import daemon, services
from dsgo.settings import Settings

AT_ONCE = 8
METRICS = 100
KILLS = 3
BETWEEN = 50  # metrics from one kill to the next
DEADLINE = 300.0  # seconds; more than anything here takes on a slow machine

MLPROJECT = """\
name: faults
entry_points:
  main:
    parameters: {record: string}
    command: "python step.py {record}"
"""

# What `mlflow run` runs, eight times: it imports MLflow once, which takes longer than all the rest.
EIGHT_TIMES = f"""
import os, sys
from mlflow.cli import cli

for _ in range({AT_ONCE}):
    if os.fork() == 0:
        cli()
sys.exit(sum(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range({AT_ONCE})))
"""

# Waits for its seven siblings, so that all log at the same time however long each took to import MLflow.
CROWD = f"""
import sys, time
from pathlib import Path
import mlflow

meeting = Path(sys.argv[1])
files = Path("files")
with mlflow.start_run() as run:
    (meeting / run.info.run_id).touch()
    latest = time.monotonic() + {DEADLINE}
    while len(list(meeting.iterdir())) < {AT_ONCE}:
        assert time.monotonic() < latest, "not all came"
        time.sleep(0.02)
    for number in range({METRICS}):
        mlflow.log_metric(f"metric {{number % 10}}", number, step=number // 10)
        if number % 25 == 0:
            mlflow.log_artifact(files / f"{{number}}.bin")
    mlflow.log_artifacts(files, "folder")
"""

# Writes down what the tracking server has acknowledged, until it is told that this is enough: no kill can come too late.
METER = """
import itertools, sys
from pathlib import Path
import mlflow
from mlflow.exceptions import MlflowException

with open(sys.argv[1], "w", buffering=1) as record, mlflow.start_run():
    for number in itertools.count():
        while True:
            try:
                mlflow.log_metric("number", number, step=number, timestamp=number)  # the same twice counts once
                break
            except MlflowException as error:  # where a kill cuts the answer in two, MLflow's client does not try again
                if "Connection broken" not in str(error):
                    raise
        print(number, file=record)
        if Path(sys.argv[1]).with_name("enough").exists():
            break
"""

LOADER = """
import sys
import mlflow

with mlflow.start_run():
    mlflow.log_artifacts(sys.argv[1], "folder")
"""
FILES = 120
FILE_SIZE = 6 << 20  # bytes; larger files go one by one, so that there is a middle in which to kill the server


@pytest.fixture(scope="module")
def copy(new_settings: Callable[..., Settings]) -> Settings:
    """A copy whose servers may be killed, and whose logs hold nothing of other tests."""
    return services.up(new_settings())


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Function: an MLflow project without environment whose step is the given script, named after the test."""

    def make(script: str) -> Path:
        folder = tmp_path / request.node.name
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT)
        (folder / "step.py").write_text(script)
        return folder

    return make


@contextlib.contextmanager
def mlflow_run(
    settings: Settings, project: Path, record: Path, program: tuple[str, str] = ("-m", "mlflow"), **environment: str
) -> Iterator[subprocess.Popen]:
    """A `mlflow run` under way; killed with all that it started if the test fails before it ends."""
    command = [sys.executable, *program, "run", str(project), "--env-manager", "local"]
    process = subprocess.Popen(
        [*command, "--experiment-name", project.name, "-P", f"record={record}"],
        env={
            **os.environ,
            **settings.child_environment(),
            "PYTHONPATH": str(settings.checkout),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail with what the process printed if it ends before."""
    assert daemon.wait_until(lambda: condition() or process.poll() is not None, DEADLINE)
    assert process.poll() is None, process.stdout.read()


def kill(settings: Settings, name: str) -> int:
    """Kill the service `name`, which has to run. Returns its process id."""
    (row,) = (row for row in services.status(settings) if row.name == name)
    assert row.pid, row
    os.kill(row.pid, signal.SIGKILL)
    return row.pid


def rows(settings: Settings, query: str, *values: object) -> list[tuple]:
    """What the tracking server's database answers."""
    with contextlib.closing(sqlite3.connect(settings.tracking_database)) as connection:
        return connection.execute(query, values).fetchall()


def runs(settings: Settings, project: Path) -> list[tuple[str, str, Path]]:
    """Id, status and artifact folder of each run of the project."""
    found = rows(
        settings,
        "SELECT run_uuid, status, runs.artifact_uri FROM runs JOIN experiments USING (experiment_id)"
        " WHERE experiments.name = ?",
        project.name,
    )
    return [
        (run, status, settings.ftp_root / "artifacts" / Path(uri).relative_to(settings.artifact_root))
        for run, status, uri in found
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_eight_runs_at_once_lose_nothing_and_none_meets_a_locked_database(
    copy: Settings, project: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without retries: a single refused request would fail its run."""
    crowd = project(CROWD)
    (crowd / "files").mkdir()
    for number in range(0, METRICS, 25):
        (crowd / "files" / f"{number}.bin").write_bytes(os.urandom(20_000))
    given = contents(crowd / "files")
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    MlflowClient(copy.tracking_uri).create_experiment(crowd.name)  # two `mlflow run` that make it would collide
    with mlflow_run(copy, crowd, meeting, ("-c", EIGHT_TIMES), MLFLOW_HTTP_REQUEST_MAX_RETRIES="0") as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    found = runs(copy, crowd)
    assert [status for _, status, _ in found] == ["FINISHED"] * AT_ONCE
    expected = sorted((f"metric {number % 10}", number // 10, float(number)) for number in range(METRICS))
    for run, _, artifacts in found:
        assert sorted(rows(copy, "SELECT key, step, value FROM metrics WHERE run_uuid = ?", run)) == expected
        assert contents(artifacts) == {**given, **{f"folder/{name}": content for name, content in given.items()}}
    for text in (output, (copy.logs / "tracking.log").read_text()):
        assert "locked" not in text
        assert "Traceback" not in text


def test_a_run_outlives_a_tracking_server_killed_three_times(
    copy: Settings, project: Callable[[str], Path], tmp_path: Path
) -> None:
    meter, record = project(METER), tmp_path / "acknowledged"
    record.touch()

    def acknowledged() -> list[float]:
        return [float(line) for line in record.read_text().splitlines()]

    killed = set()
    with mlflow_run(copy, meter, record) as process:
        for number in range(KILLS + 1):
            wanted = len(acknowledged()) + BETWEEN
            wait_for(process, lambda wanted=wanted: len(acknowledged()) >= wanted)
            if number < KILLS:
                killed.add(kill(copy, "tracking"))
        record.with_name("enough").touch()
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    assert len(killed) == KILLS
    ((run, status, _),) = runs(copy, meter)
    assert status == "FINISHED"
    stored = rows(copy, "SELECT value FROM metrics WHERE run_uuid = ? ORDER BY step", run)
    assert [value for (value,) in stored] == acknowledged() == [float(number) for number in range(len(stored))]


def test_a_run_outlives_an_ftp_server_killed_three_times(
    copy: Settings, project: Callable[[str], Path], tmp_path: Path
) -> None:
    loader, given = project(LOADER), tmp_path / "given"
    given.mkdir()
    for number in range(FILES):
        (given / f"{number}.bin").write_bytes(os.urandom(1000) + bytes(FILE_SIZE))

    def arrived() -> int:
        return sum(len(list(artifacts.rglob("*.bin"))) for _, _, artifacts in runs(copy, loader))

    killed, before = set(), 0
    with mlflow_run(copy, loader, given) as process:
        for _ in range(KILLS):
            wait_for(process, lambda: arrived() > before)  # noqa: B023
            killed.add(kill(copy, "ftp"))
            before = arrived()
            assert before < FILES, "killed too late to show anything"
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, output
    assert len(killed) == KILLS
    ((_, status, artifacts),) = runs(copy, loader)
    assert status == "FINISHED"
    assert contents(artifacts / "folder") == contents(given)
    for folder in (given, artifacts):
        shutil.rmtree(folder)
