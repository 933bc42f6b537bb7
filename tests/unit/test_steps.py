"""How a pipeline learns why a step, which is a process of its own, has failed, and whether that passes."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import pytest

from dsgo import steps, tags
from dsgo.errors import StepError
from dsgo.ingredients import Step

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from dsgo.command import main
from dsgo.errors import DataError, StoreError

def step():
    try:
        raise ConnectionResetError
    except OSError:
        raise (StoreError("127.0.0.1", "/artifacts", "is gone") if sys.argv[1] == "store" else DataError("a.csv", "is empty"))

main(step)
"""


@pytest.mark.parametrize(
    ("kind", "transient", "said"),
    [("store", True, "FTP store 127.0.0.1, path '/artifacts': is gone"), ("data", False, "a.csv: is empty")],
)
def test_a_failed_step_says_why_and_whether_it_may_be_tried_again(tmp_path, monkeypatch, kind, transient, said):
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in steps.thread_limits(1):  # a step sets them for itself
        monkeypatch.setenv(name, "1")
    project = tmp_path / "project"
    project.mkdir()
    (project / "step.py").write_text(SCRIPT)
    (project / "MLproject").write_text(
        'name: step\nentry_points:\n  main:\n    parameters: {kind: string}\n    command: "python step.py {kind}"\n'
    )
    experiment = mlflow.MlflowClient().create_experiment("steps", artifact_location=(tmp_path / "artifacts").as_uri())
    step = Step("step", project, parameters={"kind": kind})
    with pytest.raises(StepError) as failed:
        steps.run_step(step, {}, experiment_id=experiment, collection="toy", parent="", env_manager="local", at_once=1)
    assert failed.value.transient is transient
    (run,) = mlflow.MlflowClient().search_runs([experiment])
    assert (run.info.status, run.data.tags[tags.NOTE]) == ("FAILED", said)
    assert "DSGO_FAILURE_FILE" not in os.environ
