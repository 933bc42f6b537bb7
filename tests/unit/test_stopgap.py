"""When predictions are made although a job has failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dsgo import collection, errors, flow, pipeline, stopgap, tags
from dsgo.flow import PRODUCTION, TRAINING, VALIDATION

STEPS = flow.load(collection.find("wind_solar").path.with_name("flow.py")).steps("sample")


def steps(*names: str) -> list:
    return [step for step in STEPS if step.name in names]


@pytest.mark.parametrize(
    ("job", "asked", "failed", "left"),
    [
        (PRODUCTION, ("process_data", "predict"), ["process_data"], "predict"),
        (PRODUCTION, ("process_data", "predict"), ["predict"], None),
        (PRODUCTION, ("process_data", "predict"), [], None),
        (PRODUCTION, ("process_data",), ["process_data"], None),
        (VALIDATION, ("process_data", "monitor"), ["process_data"], None),
        (TRAINING, [step.name for step in STEPS], ["process_data"], None),
    ],
)
def test_only_the_job_that_is_there_for_predictions_makes_them_without_new_data(job, asked, failed, left) -> None:
    step = stopgap.step_left(steps(*asked), job, failed)
    assert (step and step.name) == left


@pytest.mark.parametrize(
    "error", [errors.NoProductionModel("wind_solar"), errors.StepError("predict", "the database does not answer.")]
)
def test_where_that_fails_too_it_is_said_and_the_job_ends_on_its_own_error(monkeypatch, capsys, error) -> None:
    def predict(*_) -> None:
        raise error

    monkeypatch.setattr(stopgap, "predict", predict)
    pipeline._predict_all_the_same(steps("predict")[0], "wind_solar", {})
    assert f"No predictions from earlier data either: {error}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([{tags.NOTE: "/data/raw.csv: is cut off."}], "process_data: /data/raw.csv: is cut off."),
        ([{}], "process_data: failed and gave no reason."),  # killed
        ([], "process_data: failed and gave no reason."),
    ],
)
def test_the_reason_is_what_the_step_said(found, expected) -> None:
    runs = [SimpleNamespace(data=SimpleNamespace(tags=each)) for each in found]
    client = SimpleNamespace(search_runs=lambda *_, **__: runs)
    assert stopgap._reason(client, "process_data", {flow.PARENT: "parent", flow.EXPERIMENT: "1"}) == expected
