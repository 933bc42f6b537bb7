"""The forecaster in the form that MLflow logs, loads and serves."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, Schema

from dsgo.errors import DataError
from dsgo.forecaster import Forecaster

# What loading and answering needs; no training library is among it.
REQUIREMENTS = ("dsgo", "mlflow", "numpy", "pandas", "scikit-learn", "scipy", "pyarrow")


# MLflow asks for type hints on `predict` and would make a schema of them; the signature below says more. It puts a
# filter of its own before any that ignores: what is recorded is not shown.
with warnings.catch_warnings(record=True):

    class ServedForecaster(PythonModel):
        """Answers `utc_timestamp` and raw inputs with `T`, `T_p10`, `T_p90` for each target `T`."""

        def __init__(self, forecaster: Forecaster) -> None:
            self.forecaster = forecaster

        def predict(self, context, model_input, params=None):
            """The forecasts of `model_input` (see `Forecaster.predict`)."""
            try:
                return self.forecaster.predict(model_input)
            except DataError as error:
                raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None


def requirements() -> list[str]:
    """Pinned requirements of a served model, as installed here."""
    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def signature(forecaster: Forecaster) -> ModelSignature:
    """Columns in and out. Timestamps are text: JSON has no other form that keeps the zone."""
    inputs = [ColSpec(DataType.string, forecaster.info["timestamp"])]
    inputs += [ColSpec(DataType.double, name) for name in forecaster.inputs]
    outputs = [ColSpec(DataType.double, f"{t}{end}") for t in forecaster.targets for end in ("", "_p10", "_p90")]
    return ModelSignature(Schema(inputs), Schema(outputs))


def example(forecaster: Forecaster, table: pd.DataFrame) -> pd.DataFrame:
    """Three rows as a client would send them: noon and the hours around it of the last day of `table`."""
    rows = table[table.index.hour.isin([11, 12, 13])].tail(3)[forecaster.inputs]
    rows.insert(0, forecaster.info["timestamp"], rows.index.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return rows.reset_index(drop=True)
