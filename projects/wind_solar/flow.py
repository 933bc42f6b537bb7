"""The flow of wind and solar: which step reads what. Dagster runs it; `make up ARGS=orchestrator` shows it."""

from pathlib import Path

from dsgo.collection import load
from dsgo.flow import JOBS, definitions
from dsgo.ingredients import Step
from dsgo.wiring import forecasting_steps

HERE = Path(__file__).resolve().parent
COLLECTION = load(HERE / "collection.yaml")
MODELS = ("keras_mlp", "kernel_ridge", "random_forest", "gradient_boosting", "linear_regression")  # the slow ones first


def steps(data: str, level: str = "PROD") -> list[Step]:
    """The steps for one source of raw data, in an order in which they can run. `level`: DEV changes nothing in Production."""
    process_data = Step("process_data", HERE / "process_data", parameters={"data": data}, reads=(COLLECTION.path,))
    return forecasting_steps(COLLECTION, process_data, MODELS, level)


defs = definitions(COLLECTION, steps, JOBS)
