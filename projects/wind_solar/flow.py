"""The flow of wind and solar: which step reads what. Dagster runs it; `make up ARGS=orchestrator` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from dsgo.collection import load
from dsgo.flow import JOBS, definitions
from dsgo.ingredients import Step

HERE = Path(__file__).resolve().parent
FORECASTING = HERE.parent / "forecasting"
COLLECTION = load(HERE / "collection.yaml")
# The slow ones first: what is started last should be quick.
MODELS = ("keras_mlp", "kernel_ridge", "random_forest", "gradient_boosting", "linear_regression")


def steps(data: str, level: str = "PROD") -> list[Step]:
    """The steps for one source of raw data, in an order in which they can run. `level`: DEV changes nothing in Production."""
    process_data = Step("process_data", HERE / "process_data", parameters={"data": data}, reads=(COLLECTION.path,))
    models = [Step(name, FORECASTING / name, inputs={"dataset": "process_data"}) for name in MODELS]
    ensemble = Step("ensemble", FORECASTING / "ensemble", inputs={"dataset": "process_data", "candidates": MODELS})
    promote = Step(
        "promote",
        FORECASTING / "promote",
        inputs={"dataset": "process_data", "candidates": (*MODELS, "ensemble")},
        parameters={"rules": one_line(COLLECTION.gate), "level": level},
    )
    predict = Step("predict", FORECASTING / "predict", inputs={"dataset": "process_data"})
    monitor = Step(
        "monitor",
        FORECASTING / "monitor",
        inputs={"dataset": "process_data"},
        # Whether data are stale is a matter of the day: of the same data once a day is enough.
        parameters={"rules": one_line(COLLECTION.watch), "now": datetime.now(UTC).date().isoformat()},
    )
    return [process_data, *models, ensemble, promote, predict, monitor]


def one_line(rules: Mapping[str, object]) -> str:
    """Rules as a step takes them."""
    return yaml.safe_dump(dict(rules), default_flow_style=True, width=10_000).strip().strip("{}")


defs = definitions(COLLECTION, steps, JOBS)
