"""Stand-in for the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """Why Production changes or does not."""

    run_id: str
    gate_run_id: str
    rules: tuple[Mapping[str, object], ...]
    figures: Mapping[str, object]
    reason: str
    data_digest: str
    synthetic: bool
    code_version: str
    asked_by: str


def asked_by() -> str:
    """Who or what asked."""
    return "stand-in"
