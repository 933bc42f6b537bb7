"""How the shared forecasting steps hang together, for the `flow.py` of any collection that forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from dsgo.collection import Collection
from dsgo.errors import DSGoError
from dsgo.ingredients import Step
from dsgo.rules import one_line


def forecasting_steps(
    collection: Collection,
    process_data: Step,
    models: Sequence[str],
    level: str,
    parameters: Mapping[str, Mapping[str, str]] = {},
) -> list[Step]:
    """`process_data`, training of the models, ensemble, gate, predictions and watch, in an order in which they can run.

    Args:
        process_data: the collection's own step, which writes the artifact `dataset`.
        models: names of training steps in `projects/forecasting`. Steps that wait for a place start in this order: the slow
            ones first, as what is started last should be quick.
        level: DEV changes nothing in Production.
        parameters: of single shared steps, by name: what they are given besides.

    Raises:
        DSGoError: parameters are given for a step that there is not.
    """
    projects = collection.path.parent.parent / "forecasting"
    dataset = {"dataset": process_data.name}
    shared = [
        *(Step(name, projects / name, inputs=dataset) for name in models),
        Step("ensemble", projects / "ensemble", inputs={**dataset, "candidates": tuple(models)}),
        Step(
            "promote",
            projects / "promote",
            inputs={**dataset, "candidates": (*models, "ensemble")},
            parameters={"rules": one_line(collection.gate), "level": level},
        ),
        Step("predict", projects / "predict", inputs=dataset),
        Step(
            "monitor",
            projects / "monitor",
            inputs=dataset,
            # Whether data are stale is a matter of the day: of the same data once a day is enough.
            parameters={"rules": one_line(collection.watch), "now": datetime.now(UTC).date().isoformat()},
        ),
    ]
    names = [step.name for step in shared]
    if unknown := parameters.keys() - set(names):
        raise DSGoError(f"There are parameters for a step {min(unknown)}.", f"The steps are {', '.join(names)}.")
    return [
        process_data,
        *(replace(step, parameters={**step.parameters, **parameters.get(step.name, {})}) for step in shared),
    ]
