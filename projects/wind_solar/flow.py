"""The flow of wind and solar: which step reads what. Dagster runs it; `dagster dev -f projects/wind_solar/flow.py` shows it."""

from __future__ import annotations

from pathlib import Path

import yaml

from dsgo.collection import load
from dsgo.flow import definitions
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
    rules = yaml.safe_dump(dict(COLLECTION.gate), default_flow_style=True, width=10_000).strip().strip("{}")
    promote = Step(
        "promote",
        FORECASTING / "promote",
        inputs={"dataset": "process_data", "candidates": (*MODELS, "ensemble")},
        parameters={"rules": rules, "level": level},
    )
    return [process_data, *models, ensemble, promote]


defs = definitions(COLLECTION, steps)
