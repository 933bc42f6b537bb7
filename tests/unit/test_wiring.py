"""How a forecasting collection's steps hang together."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_datasets import COLLECTION

from dsgo.errors import DSGoError
from dsgo.ingredients import Step
from dsgo.wiring import forecasting_steps

PROCESS_DATA = Step("process_data", Path("process_data"))


def test_each_step_comes_after_what_it_reads_and_is_a_project_beside_the_collection():
    steps = forecasting_steps(COLLECTION, PROCESS_DATA, ["random_forest", "linear_regression"], "PROD")
    names = [step.name for step in steps]
    assert names == [
        *("process_data", "random_forest", "linear_regression", "ensemble", "promote", "predict", "monitor"),
    ]
    for place, step in enumerate(steps):
        assert set(step.upstream) <= set(names[:place])
    assert all((step.project / "MLproject").is_file() for step in steps[1:])
    candidates = {step.name: step.inputs["candidates"] for step in steps if "candidates" in step.inputs}
    assert candidates == {
        "ensemble": ("random_forest", "linear_regression"),
        "promote": ("random_forest", "linear_regression", "ensemble"),
    }


def test_parameters_reach_the_step_that_they_are_for_and_the_level_the_gate():
    extra = {"random_forest": {"seed": "3"}, "promote": {"give_up": "2"}}
    steps = forecasting_steps(COLLECTION, PROCESS_DATA, ["random_forest", "linear_regression"], "DEV", extra)
    given = {step.name: step.parameters for step in steps}
    assert given["random_forest"] == {"seed": "3"}
    assert given["linear_regression"] == {}
    assert given["promote"].keys() == {"rules", "level", "give_up"}
    assert given["promote"]["level"] == "DEV"


def test_parameters_for_what_is_no_step_are_refused():
    with pytest.raises(DSGoError, match=r"a step random_forst\. .*random_forest, ensemble"):
        forecasting_steps(COLLECTION, PROCESS_DATA, ["random_forest"], "PROD", {"random_forst": {"seed": "3"}})
