"""Which steps of the real flow of wind and solar run again after a change: each ingredient in turn, without training.

The finished runs are made up; the decisions are those of `pipeline.plan`, on a copy of the code that is changed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from dsgo import collection, flow, ingredients, pipeline, predictions, reuse, tags
from dsgo.settings import load, prepare

CHECKOUT = Path(__file__).resolve().parents[2]
TUNED = ("gradient_boosting", "keras_mlp", "linear_regression", "random_forest")
TRAINED = (*TUNED, "kernel_ridge", "ensemble")
LATER = {"predict", "monitor"}
ALL = {"process_data", *TRAINED, "promote", *LATER}


class Store:
    """Finished runs as a tracking server has them, as far as `plan` asks."""

    def __init__(self) -> None:
        self.runs = {}

    def finish(self, step: ingredients.Step, runs: dict, digest: str) -> SimpleNamespace:
        known = {
            tags.STEP: step.name,
            tags.COLLECTION: "wind_solar",
            tags.STEP_KEY: ingredients.key_of(step, runs),
            tags.OUTPUT_DIGEST: digest,
            tags.MANIFEST: "whole",
            tags.SYNTHETIC: "true",
            tags.INPUT_RUNS: " ".join(runs[name].info.run_id for name in step.upstream),
        }
        run_id = f"{len(self.runs)}-{step.name}"
        info = SimpleNamespace(run_id=run_id, experiment_id="1", lifecycle_stage="active")
        run = SimpleNamespace(info=info, data=SimpleNamespace(tags=known))
        run.made_of = ingredients.own_ingredients(step) | ingredients.inputs_of(step, runs)
        self.runs[run_id] = run
        return run

    def get_run(self, run_id: str) -> SimpleNamespace:
        return self.runs[run_id]

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="1")

    def search_runs(self, experiments, query, *_, **__) -> list:
        asked = dict(re.findall(r"tags\.`([^`]+)` = '([^']*)'", query))
        hits = [run for run in self.runs.values() if asked.items() <= run.data.tags.items()]
        return hits[::-1]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the package and of all projects, whose pipeline has run once; `tree.store` has the runs."""
    for name in ("dsgo", "projects"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data.csv").write_text("a\n1\n")
    store = Store()
    monkeypatch.setattr(ingredients, "PACKAGE", tmp_path / "dsgo")
    monkeypatch.setattr("mlflow.tracking.MlflowClient", lambda: store)
    monkeypatch.setattr("dsgo.tuned.MlflowClient", lambda: store)
    monkeypatch.setattr(reuse.manifest, "damage", lambda client, run: run.data.tags.get("damaged", "").split())
    monkeypatch.setattr(reuse.manifest, "read_record", lambda run: {"ingredients": run.made_of})
    found = SimpleNamespace(path=tmp_path, store=store)
    runs = {}
    for step in steps_of(found):
        runs[step.name] = store.finish(step, runs, step.name)
    return found


def steps_of(tree: SimpleNamespace) -> list:
    return flow.load(tree.path / "projects/wind_solar/flow.py").steps(str(tree.path / "data.csv"))


def run_all(tree: SimpleNamespace, *, alike: bool = True) -> dict[str, str]:
    """Run what the plan says, until nothing is left to run; the steps that ran and why.

    Args:
        alike: whether what runs again writes the same as it did before.
    """
    known = collection.load(tree.path / "projects/wind_solar/collection.yaml")
    steps, ran = steps_of(tree), {}
    while True:
        decisions = pipeline.plan(steps, known)
        done = {each.step.name: each.run for each in decisions if each.run}
        for each in decisions:
            if each.run is None and done.keys() >= set(each.step.upstream):
                assert each.step.name not in ran, f"{each.step.name} would run for ever: {each.why}"
                ran[each.step.name] = each.in_short
                tree.store.finish(each.step, done, each.step.name if alike else f"new {each.step.name}")
                break
        else:
            return ran


def append(path: str, text: str = "\n# changed\n"):
    def change(tree: SimpleNamespace) -> None:
        file = tree.path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else "") + text)

    return change


def replace(path: str, old: str, new: str):
    def change(tree: SimpleNamespace) -> None:
        file = tree.path / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return change


def damage(step: str):
    def change(tree: SimpleNamespace) -> None:
        run = next(run for run in tree.store.runs.values() if run.data.tags[tags.STEP] == step)
        run.data.tags["damaged"] = "table.parquet"

    return change


# Change → the steps that it makes run again, if what they write comes out as it was.
CASES = {
    "nothing": (lambda tree: None, set()),
    "a step's code": (append("projects/forecasting/random_forest/random_forest.py"), {"random_forest"}),
    "code of the first step": (append("projects/wind_solar/process_data/process_data.py"), {"process_data"}),
    "code of the last step": (append("projects/forecasting/promote/promote.py"), {"promote"}),
    "a file beside a step's code": (append("projects/forecasting/keras_mlp/words.txt"), {"keras_mlp"}),
    "an MLproject": (append("projects/forecasting/kernel_ridge/MLproject"), {"kernel_ridge"}),
    "a conda.yaml": (append("projects/forecasting/ensemble/conda.yaml"), {"ensemble"}),
    "code that all training shares": (append("dsgo/training.py"), set(TRAINED)),
    "code that all share": (append("dsgo/errors.py"), ALL),
    "code deep below the forecaster": (append("dsgo/level.py"), {*TRAINED, "promote", *LATER}),
    "code of one model": (append("dsgo/dense_net.py"), {"keras_mlp"}),
    "the search for settings": (append("dsgo/tuning.py"), set()),
    "cleaning": (append("dsgo/cleaning.py"), {"process_data"}),
    "the orchestrator": (append("dsgo/pipeline.py"), set()),
    "pictures": (append("dsgo/figures.py"), {"predict"}),
    "a new module that nobody uses": (append("dsgo/new.py"), set()),
    "a data file of the package": (append("dsgo/template.html"), ALL),
    "an editor's backup": (append("projects/forecasting/ensemble/ensemble.py~"), set()),
    "a comment in the collection": (append("projects/wind_solar/collection.yaml"), {"process_data"}),
    "a rule of the gate": (
        replace("projects/wind_solar/collection.yaml", "minimum_skill: 0.10", "minimum_skill: 0.11"),
        {"process_data", "promote"},
    ),
    "a comment in the flow": (append("projects/wind_solar/flow.py"), set()),
    "a parameter of one step": (
        replace(
            "projects/wind_solar/flow.py",
            "MODELS, level)",
            'MODELS, level, {"kernel_ridge": {"seed": "7"}})',
        ),
        {"kernel_ridge"},
    ),
    "one model less": (
        replace("projects/wind_solar/flow.py", '("keras_mlp", ', "("),
        {"ensemble", "promote"},
    ),
    "the raw data": (append("data.csv", "2\n"), {"process_data"}),
    "a damaged dataset": (damage("process_data"), ALL),
    "a damaged model": (damage("random_forest"), {"random_forest", "ensemble", "promote"}),
    "a damaged last step": (damage("promote"), {"promote"}),
}


@pytest.mark.parametrize("what", CASES)
def test_exactly_these_steps_run_again_after_a_change_of(tree, what):
    change, expected = CASES[what]
    change(tree)
    assert set(run_all(tree)) == expected
    assert run_all(tree) == {}


# Change → what runs again if all that runs writes something else than before.
SPREADING = {
    "the raw data": (append("data.csv", "2\n"), ALL),
    "a step's code": (
        append("projects/forecasting/random_forest/random_forest.py"),
        {"random_forest", "ensemble", "promote"},
    ),
    "the blend's code": (append("dsgo/blend.py"), {"ensemble", "promote"}),
    "the last step": (append("projects/forecasting/promote/promote.py"), {"promote"}),
}


@pytest.mark.parametrize("what", SPREADING)
def test_what_depends_on_a_new_output_runs_again_after_a_change_of(tree, what):
    change, expected = SPREADING[what]
    change(tree)
    assert set(run_all(tree, alike=False)) == expected


def test_going_back_to_what_was_reuses_what_was(tree):
    text = (tree.path / "dsgo/features.py").read_text()
    append("dsgo/features.py")(tree)
    run_all(tree, alike=False)
    (tree.path / "dsgo/features.py").write_text(text)
    assert run_all(tree) == {}


def test_versions_of_packages_count_for_the_steps_that_name_them(tree, monkeypatch):
    def installed(package: str) -> str:
        return "99" if package in ("optuna", "dash") else before(package)

    before = ingredients._installed
    monkeypatch.setattr(ingredients, "_installed", installed)
    assert set(run_all(tree)) == set(TUNED)


def test_the_reason_is_given_in_a_word_or_two(tree):
    append("dsgo/cleaning.py")(tree)
    append("projects/forecasting/promote/promote.py")(tree)
    assert run_all(tree) == {"process_data": "dsgo/cleaning.py has changed", "promote": "promote.py has changed"}
    append("data.csv", "2\n")(tree)
    why = run_all(tree, alike=False)
    assert why["process_data"] == "the content of data.csv has changed"
    assert why["kernel_ridge"] == "the output of process_data has changed"
    assert why["promote"] == "the output of ensemble has changed, and 6 more"


def test_what_lies_at_an_address_is_looked_at_each_time(tree):
    step = ingredients.Step("process_data", tree.path, parameters={"data": "https://example.org/a.csv"})
    decision = reuse.decide(tree.store, "1", "wind_solar", step, {})
    assert decision.run is None
    assert decision.why == ("what lies at https://example.org/a.csv may have changed",)


def test_before_the_first_step_has_run_the_rest_names_its_own_changes_too(tree):
    append("dsgo/cleaning.py")(tree)
    append("projects/forecasting/kernel_ridge/kernel_ridge.py")(tree)
    known = collection.load(tree.path / "projects/wind_solar/collection.yaml")
    why = {each.step.name: each.why for each in pipeline.plan(steps_of(tree), known)}
    assert why["process_data"] == ("dsgo/cleaning.py has changed",)
    assert why["kernel_ridge"] == ("kernel_ridge.py has changed", "after process_data")
    assert why["random_forest"] == ("after process_data",)


def forecasts(hours: int) -> pd.DataFrame:
    index = pd.date_range("2015-07-01", periods=hours, freq="1h", tz="UTC", unit="us")
    values = {"forecast": 2.0, "p10": 1.0, "p90": 3.0, "source": predictions.PRODUCTION, "version": 1}
    values |= {"target": "wind_GW", "data_digest": "d", "synthetic": True}
    return pd.DataFrame({"utc_timestamp": index}).assign(**values)


def test_predictions_that_the_database_has_lost_are_made_again(tree):
    prepare(load())
    (run,) = (run for run in tree.store.runs.values() if run.data.tags[tags.STEP] == "predict")
    predictions.record("wind_solar", forecasts(3), "before")
    run.data.tags[tags.RECORDED] = str(predictions.additions("wind_solar"))
    assert run_all(tree) == {}
    for lost in load().home.glob("dsgo.db*"):
        lost.unlink()
    predictions.record("wind_solar", forecasts(2), "of an older backup")
    assert run_all(tree) == {"predict": f"the database has lost predictions since run {run.info.run_id}"}
