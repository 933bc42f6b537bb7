"""The flow of demand in Victoria: its jobs are run for one year after the other, and for all the years up to each.

December of a part's last year is forecast from the months before it: of that year alone, and of all years before it too. Each
part's model is compared with the champion of those before it. Dagster runs the flow; `make up ARGS=orchestrator` shows it.
"""

from __future__ import annotations

from pathlib import Path

from dsgo.collection import Collection, load
from dsgo.flow import JOBS, LEARNING, definitions
from dsgo.ingredients import Step
from dsgo.wiring import forecasting_steps

HERE = Path(__file__).resolve().parent
COLLECTION = load(HERE / "collection.yaml")
PARTS = ("2012", "2013", "2012-2013", "2014", "2012-2014")
MODELS = ("kernel_ridge", "gradient_boosting", "linear_regression")


def steps_of(collection: Collection, data: str, level: str, part: str) -> list[Step]:
    """The steps of either horizon."""
    process_data = Step(
        "process_data",
        HERE / "process_data",
        parameters={"data": data, "year": part, "collection": collection.name},
        reads=(collection.path,),
    )
    extra = {"promote": {"part": part}, "kernel_ridge": {"centres": "1000"}}
    return forecasting_steps(collection, process_data, MODELS, level, extra)


def steps(data: str, level: str = "PROD", part: str = PARTS[-1]) -> list[Step]:
    """The steps for one source of raw data and one part of it, in an order in which they can run."""
    return steps_of(COLLECTION, data, level, part)


defs = definitions(COLLECTION, steps, {**JOBS, LEARNING: "ensemble"}, PARTS)
