"""Training runs with tiny models, that could be promoted as any others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

from dsgo import tags
from dsgo.ledger import Evidence

MODEL = """
import mlflow
from mlflow.pyfunc import PythonModel

class Answer(PythonModel):
    def predict(self, context, model_input, params=None):
        return context.model_config["answer"]

mlflow.models.set_model(Answer())
"""


@dataclass(frozen=True)
class Candidates:
    """Runs that could be promoted, by what their models answer, and what they need."""

    runs: list[str]
    dataset_run: str
    experiment: str


def make_candidates(folder: Path, count: int) -> Candidates:
    """Training runs, whose models answer 0, 1, 2 …, on one dataset. `folder` is for the model's code."""
    code = folder / "answer.py"
    code.write_text(MODEL)
    client = MlflowClient()
    experiment = client.create_experiment("promotion")
    with mlflow.start_run(experiment_id=experiment) as dataset:
        for name in ("table.parquet", "dataset.yaml"):
            mlflow.log_text("only looked for", f"dataset/{name}")
    common = {
        tags.COLLECTION: "any",
        tags.STEP: "linear_regression",
        tags.DATA_DIGEST: "d" * 64,
        tags.DATASET: f"runs:/{dataset.info.run_id}/dataset",
        tags.SYNTHETIC: "false",
        tags.CODE_VERSION: "c" * 40,
    }
    runs = []
    for answer in range(count):
        with mlflow.start_run(experiment_id=experiment, tags=common) as run:
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(code), model_config={"answer": answer}, pip_requirements=["mlflow"]
            )
            trained = {tags.TRAINED_FROM: "2013-01-01T00:00:00+00:00", tags.TRAINED_TO: "2016-06-30T23:00:00+00:00"}
            client.set_logged_model_tags(info.model_id, trained)
            mlflow.log_text("only looked for", "predictions/window.parquet")
            mlflow.log_metric("window.wind_GW.skill", 0.5)
        runs.append(run.info.run_id)
    return Candidates(runs, dataset.info.run_id, experiment)


def evidence(run_id: str, reason: str = "all rules hold") -> Evidence:
    """What a gate would hand over."""
    rules = ({"name": "skill", "measured": "0.5", "asked": "at least 0.1", "holds": True},)
    return Evidence(run_id, "", rules, {"rows": 4344}, reason, "d" * 64, False, "c" * 40, "a test")
