"""`make rollback` and `make ledger` as commands, and that the REST endpoint follows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from candidates import Candidates, evidence, make_candidates

from dsgo import promotion, registry, services
from dsgo.settings import CHECKOUT, Settings


@pytest.fixture(scope="module")
def copy(new_settings: Callable[..., Settings]) -> Settings:
    """A copy of its own: commands know only the project's collections, which the other tests' servers have models of."""
    return services.up(new_settings())


@pytest.fixture(scope="module")
def made() -> dict[str, Candidates]:
    """What the first test has made."""
    return {}


@pytest.fixture
def candidates(
    copy: Settings, made: dict[str, Candidates], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Candidates:
    """Candidates in `copy`, and the environment to use it; 0 and then 1 have been promoted."""
    for name, value in copy.child_environment().items():
        monkeypatch.setenv(name, value)
    # MLflow remembers what another test's process of it has asked, whatever the environment says.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", copy.tracking_uri)
    if not made:
        made["candidates"] = make_candidates(tmp_path, 3)
    for number in (0, 1):
        promotion.promote("wind_solar", evidence(made["candidates"].runs[number]))
    return made["candidates"]


def answer(settings: Settings) -> int:
    """What the REST endpoint predicts."""
    body = json.dumps({"dataframe_split": {"columns": ["x"], "data": [[0.0]]}}).encode()
    request = urllib.request.Request(f"{settings.serve_url}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)["predictions"]


def dsgo(*arguments: str) -> tuple[int, str, str]:
    """Run `python -m dsgo …`: exit code, output, complaints."""
    command = [sys.executable, "-m", "dsgo", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    return done.returncode, done.stdout, done.stderr


def test_one_command_puts_the_version_before_back_and_serves_it(candidates: Candidates, copy: Settings) -> None:
    services.serve(copy, "wind_solar")
    assert answer(copy) == 1
    began = time.monotonic()
    code, said, complaints = dsgo("rollback", "--reason", "too high in June")
    print(f"rolled back, and served, after {time.monotonic() - began:.1f} s")
    assert code == 0, complaints
    assert "wind_solar version 1 is in Production again." in said
    assert registry.load_production("wind_solar").run_id == candidates.runs[0]
    assert answer(copy) == 0
    _, shown, _ = dsgo("ledger")
    assert "rollback" in shown and "too high in June" in shown and "make rollback (" in shown
    _, shown, _ = dsgo("ledger", "--collection", "wind_solar", "--json", "--limit", "1")
    (row,) = json.loads(shown)
    assert (row["action"], row["version"], row["replaced"], row["level"]) == ("rollback", 1, 2, "PROD")
    code, said, complaints = dsgo("rollback", "--to", "99")
    assert (code, said) == (1, "") and complaints.startswith("error: There is no version 99 of wind_solar.")


def test_up_finishes_what_a_kill_has_interrupted(candidates: Candidates, copy: Settings) -> None:
    child = os.fork()
    if child == 0:
        promotion._apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        promotion.promote("wind_solar", evidence(candidates.runs[2]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert services.out_of_order(copy) == ["wind_solar"]
    code, said, complaints = dsgo("up")
    assert code == 0, complaints
    assert "wind_solar: the promotion begun" in said and "is finished" in said
    assert registry.load_production("wind_solar").run_id == candidates.runs[2]
    assert services.out_of_order(copy) == []
    code, said, _ = dsgo("up")
    assert code == 0 and "wind_solar" not in said


def test_without_a_row_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSGO_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    code, shown, _ = dsgo("ledger")
    assert (code, shown.strip()) == (0, "The ledger has no row yet.")
    assert not (tmp_path / "other.db").exists()
