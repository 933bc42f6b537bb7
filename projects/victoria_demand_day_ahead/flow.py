"""The flow of demand in Victoria a day ahead: that of a month ahead, with the demand of a day ago."""

from __future__ import annotations

from pathlib import Path

from dsgo import flow
from dsgo.collection import load
from dsgo.ingredients import Step

HERE = Path(__file__).resolve().parent
MONTH_AHEAD = flow.load(HERE.parent / "victoria_demand" / "flow.py")
COLLECTION = load(HERE / "collection.yaml")
PARTS = MONTH_AHEAD.PARTS


def steps(data: str, level: str = "PROD", part: str = PARTS[-1]) -> list[Step]:
    """The steps for one source of raw data and one part of it, in an order in which they can run."""
    return MONTH_AHEAD.steps_of(COLLECTION, data, level, part)


defs = flow.definitions(COLLECTION, steps, {**flow.JOBS, flow.LEARNING: "ensemble"}, PARTS)
