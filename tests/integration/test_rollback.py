"""`make rollback` and `make ledger`, and how soon everything follows."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from dsgo import ledger, promotion, registry, services
from dsgo.errors import NoProductionModel


def evidence(run_id: str) -> ledger.Evidence:
    return ledger.Evidence(run_id, "", (), {}, "a test wants it", "d" * 64, True, "c" * 40, "a test")


@pytest.fixture
def second(first, servers):
    """The version in Production; another candidate has been promoted over it, and is served."""
    before = registry.load_production("wind_solar")
    other = next(row for row in registry.leaderboard("wind_solar").to_dict("records") if row["version"] == "")
    promotion.promote("wind_solar", evidence(other["run_id"]), replaces=before.version)
    services.serve(servers, "wind_solar")
    return before


def served(settings) -> str:
    (row,) = (row for row in services.status(settings) if row.name == "serve")
    return f"{row.state} {row.detail}"


def test_one_command_puts_the_version_before_back(second, dsgo, servers):
    present = registry.load_production("wind_solar").version
    assert served(servers) == f"up wind_solar version {present}"
    began = time.monotonic()
    done = dsgo("rollback", "--reason", "too high in June")
    print(f"rolled back, and served, after {time.monotonic() - began:.1f} s")
    assert done.returncode == 0, done.stderr
    assert f"wind_solar version {second.version} is in Production again." in done.stdout
    assert registry.load_production("wind_solar").run_id == second.run_id
    assert served(servers) == f"up wind_solar version {second.version}"
    shown = dsgo("ledger").stdout
    assert "rollback" in shown and "too high in June" in shown and "make rollback (" in shown and "make run (" in shown
    newest = json.loads(dsgo("ledger", "--collection", "wind_solar", "--json", "--limit", "1").stdout)
    assert [(row["action"], row["version"], row["replaced"]) for row in newest] == [
        ("rollback", second.version, present)
    ]
    again = dsgo("rollback", "--to", "99")
    assert again.returncode == 1 and again.stdout == ""
    assert again.stderr.startswith("error: There is no version 99 of wind_solar.")


def test_up_finishes_what_a_kill_has_interrupted(first, dsgo, servers):
    present = registry.load_production("wind_solar")
    other = next(
        row
        for row in registry.leaderboard("wind_solar").to_dict("records")
        if row["run_id"] not in ("", present.run_id)
    )
    child = os.fork()
    if child == 0:
        promotion._apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        promotion.promote("wind_solar", evidence(other["run_id"]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert services.out_of_order(servers) == ["wind_solar"]
    done = dsgo("up")
    assert done.returncode == 0, done.stderr
    assert "wind_solar: the promotion begun" in done.stdout and "is finished" in done.stdout
    assert registry.load_production("wind_solar").run_id == other["run_id"]
    assert services.out_of_order(servers) == []
    assert dsgo("rollback").returncode == 0
    assert registry.load_production("wind_solar").version == present.version


def test_without_a_ledger_there_is_nothing_to_show_or_to_go_back_to(dsgo, monkeypatch, tmp_path, servers):
    monkeypatch.setenv("DSGO_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    shown = dsgo("ledger")
    assert (shown.returncode, shown.stdout.strip()) == (0, "The ledger has no row yet.")
    assert ledger.entries().empty and not (tmp_path / "other.db").exists()
    with pytest.raises(NoProductionModel):
        registry.load_production("nobody's")
