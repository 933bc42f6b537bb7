"""The step promote: in which order it looks at what a rollback may change meanwhile."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import mlflow
import pytest
from sample_datasets import COLLECTION

from dsgo.settings import CHECKOUT

RULES = ", ".join(f"{name}: {value}" for name, value in COLLECTION.gate.items())


def load_step():
    spec = importlib.util.spec_from_file_location("promote_step", CHECKOUT / "projects/forecasting/promote/promote.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    return step


class Ranked(Exception):
    """The step has come as far as this test looks."""


def test_a_rollback_while_the_champion_is_looked_up_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its version could be promoted again: nothing is in its place by then but what it is compared with."""
    step, rows = load_step(), []
    monkeypatch.setattr(sys, "argv", ["promote.py", "--dataset", "runs:/d/dataset", "--rules", RULES])
    monkeypatch.setattr(mlflow, "active_run", lambda: SimpleNamespace())
    monkeypatch.setattr(mlflow, "set_tags", lambda _: None)
    monkeypatch.setattr(step, "read_dataset", lambda _: SimpleNamespace(collection="any", sha256="d", synthetic=False))
    monkeypatch.setattr(step.promotion, "repair", lambda _: [])
    monkeypatch.setattr(step.registry, "named_candidates", lambda *_: [])
    monkeypatch.setattr(step.ledger, "read", lambda _: list(rows))
    monkeypatch.setattr(step.ledger, "rolled_back", set)
    monkeypatch.setattr(step, "current_champion", lambda *_: rows.append("a rolled back run"))

    def ranked(_, taken: set[str]) -> None:
        assert taken == {"a rolled back run"}
        raise Ranked

    monkeypatch.setattr(step, "ranked", ranked)
    with pytest.raises(Ranked):
        step.promote()
