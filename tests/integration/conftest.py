"""A pipeline that has run once, for all tests that look at what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wind_solar_sample import write_sample

from dsgo.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dsgo(servers: Settings) -> Callable[..., subprocess.CompletedProcess]:
    """Function: run `python -m dsgo …` in the copy of `servers`."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        command = [sys.executable, "-m", "dsgo", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=CHECKOUT, check=False)

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two and a half years, the least that can be scored with two folds and a window."""
    return write_sample(tmp_path_factory.mktemp("data") / "germany.csv", start="2013-01-01", end="2015-06-30T23:00")


@pytest.fixture(scope="session")
def first(dsgo: Callable[..., subprocess.CompletedProcess], data: Path) -> str:
    """What the first run of the pipeline printed."""
    done = dsgo("run", "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
