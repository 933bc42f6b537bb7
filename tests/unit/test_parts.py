"""A collection whose jobs are run for one part of the data after the other: what is run in which order, and what is reused."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from dsgo import flow, ledger, pipeline, reuse, tags
from dsgo.collection import Collection, find
from dsgo.errors import StepError
from dsgo.settings import load

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = ("2012", "2013", "2012-2013", "2014", "2012-2014")
NAMES = ["process_data", "kernel_ridge", "gradient_boosting", "linear_regression", "ensemble", "promote", "predict"]
LEARNED = {"process_data", "kernel_ridge", "gradient_boosting", "linear_regression", "ensemble"}


@pytest.fixture(scope="module", params=["victoria_demand", "victoria_demand_day_ahead"])
def victoria(request: pytest.FixtureRequest) -> tuple[Collection, ModuleType]:
    """Each horizon, and its flow."""
    collection = find(request.param, CHECKOUT)
    return collection, flow.load(collection.path.with_name("flow.py"))


# --- the flows --------------------------------------------------------------------------------------------------------


def test_each_horizon_has_its_years_and_steps(victoria):
    collection, loaded = victoria
    assert flow.parts_of(loaded) == PARTS
    for part in PARTS:
        steps = flow.steps_for(loaded, "some.csv", "DEV", part)
        assert [step.name for step in steps] == [*NAMES, "monitor"]
        assert {step.part for step in steps} == {part}
        given = {step.name: step.parameters for step in steps}
        assert given["process_data"] == {"data": "some.csv", "year": part, "collection": collection.name}
        assert (given["promote"]["part"], given["promote"]["level"]) == (part, "DEV")
        assert given["kernel_ridge"] == {"centres": "1000"}
        assert steps[0].reads == (collection.path,)
        assert all((step.project / "MLproject").is_file() for step in steps)
    assert {step.part for step in flow.steps_for(loaded, "sample", "PROD")} == {"2012-2014"}


def test_each_horizon_has_a_job_that_ends_before_the_gate(victoria):
    collection, loaded = victoria
    assert flow.jobs_of(loaded) == ["training", "production", "validation"]
    of_jobs = {job: flow.steps_of(loaded, collection.name, job) for job in (*flow.JOBS, flow.LEARNING)}
    assert of_jobs == {
        "learning": LEARNED,
        "training": LEARNED | {"promote"},
        "production": {"process_data", "predict"},
        "validation": {"process_data", "monitor"},
    }


def test_dagster_has_the_years_as_partitions(victoria):
    _, loaded = victoria
    job = loaded.defs.resolve_job_def("training")
    assert tuple(job.partitions_def.get_partition_keys()) == PARTS


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Jobs and parts that `pipeline.execute` is asked for, instead of being run."""
    asked = []

    def execute(settings, collection, data, level, job="training", *, parts=("",)):
        asked.append((collection.name, data, level, job, tuple(parts)))

    monkeypatch.setattr(pipeline, "execute", execute)
    return asked


def test_all_parts_are_learned_from_then_each_comes_before_the_gate_and_is_forecast_with(victoria, executed):
    collection, _ = victoria
    pipeline.train(load({}), collection, "some.csv", "DEV")
    assert {each[:3] for each in executed} == {(collection.name, "some.csv", "DEV")}
    expected = [("learning", PARTS)]
    for part in PARTS:
        expected += [("training", (part,)), ("production", (part,))]
    assert [each[3:] for each in executed] == expected


def test_a_collection_without_parts_is_trained_once(executed):
    pipeline.train(load({}), find("wind_solar", CHECKOUT), "sample", "PROD")
    assert executed == [("wind_solar", "sample", "PROD", "training", ("",))]


def test_after_a_part_that_fails_no_later_one_comes_before_the_gate(victoria, executed, monkeypatch):
    record = pipeline.execute

    def fails(settings, collection, data, level, job="training", *, parts=("",)):
        record(settings, collection, data, level, job, parts=parts)
        if (job, parts) == ("training", ("2013",)):
            raise StepError("promote", "failed")

    monkeypatch.setattr(pipeline, "execute", fails)
    with pytest.raises(StepError):
        pipeline.train(load({}), victoria[0], "sample", "PROD")
    assert [each[3:] for each in executed][1:] == [
        *(("training", ("2012",)), ("production", ("2012",)), ("training", ("2013",))),
    ]


# --- reuse of what a gate has decided ---------------------------------------------------------------------------------


class Store:
    """Of MLflow's client what is asked for the champion, a run or None, and for finished runs, the oldest first."""

    def __init__(self, champion: str | None, runs: list[SimpleNamespace]) -> None:
        self.champion, self.runs = champion, runs

    def get_model_version_by_alias(self, name: str, alias: str) -> SimpleNamespace:
        assert (name, alias) == ("victoria", "champion")
        if self.champion is None:
            raise MlflowException("there is no such alias")
        return SimpleNamespace(run_id=self.champion)

    def search_runs(self, experiments: list, query: str, *_, max_results: int, order_by: list) -> list:
        assert (experiments, order_by) == (["1"], ["attributes.end_time DESC"])
        asked = dict(re.findall(r"tags\.`([^`]+)` = '([^']*)'", query))
        return [run for run in self.runs[::-1] if asked.items() <= run.data.tags.items()][:max_results]


def entry(action: str, run: str, version: int) -> ledger.Entry:
    evidence = ledger.Evidence(run, "", (), {}, "a test", "d" * 64, False, "c" * 40, "a test")
    return ledger.Entry("victoria", action, ledger.DONE, "PROD", evidence, version)


def finished(step: str, part: str, left: str | None, level: str = "") -> SimpleNamespace:
    """A run that has left a model as champion, or used it."""
    known = {tags.COLLECTION: "victoria", tags.STEP: step, tags.PART: part, tags.CHAMPION: left, tags.LEVEL: level}
    known = {name: value for name, value in known.items() if value is not None and (value or name == tags.CHAMPION)}
    return SimpleNamespace(data=SimpleNamespace(tags=known), info=SimpleNamespace(experiment_id="1"))


PROMOTED = [entry(ledger.PROMOTION, "of-2012", 1), entry(ledger.PROMOTION, "of-2013", 2)]
TAKEN_BACK = [*PROMOTED, entry(ledger.ROLLBACK, "of-2012", 1)]


@pytest.mark.parametrize(
    ("left", "rows", "champion", "of_part", "of_all"),
    [
        (None, PROMOTED, "of-2013", True, True),
        ("of-2013", PROMOTED, "of-2013", True, True),
        ("of-2012", PROMOTED, "of-2013", True, False),  # others came after
        ("of-2013", TAKEN_BACK, "of-2012", False, False),
        ("of-2012", TAKEN_BACK, "of-2012", True, True),
        ("of-2014", PROMOTED, "of-2013", False, False),  # of another ledger
        ("of-2012", [], None, False, False),
        ("", [], None, True, True),
        ("", PROMOTED, "of-2013", True, False),  # there was none yet: nothing that could be taken back
    ],
)
def test_what_a_gate_has_left_stands_for_a_part_until_it_is_taken_back(
    monkeypatch, left, rows, champion, of_part, of_all
):
    monkeypatch.setattr(ledger, "read", lambda collection: rows if collection == "victoria" else [])
    assert reuse._champion_stands(Store(champion, []), finished("promote", "2012", left)) == of_part
    assert reuse._champion_stands(Store(champion, []), finished("promote", "", left)) == of_all


@pytest.mark.parametrize(
    ("used", "gates", "stands"),
    [
        ("of-2012", [finished("promote", "2012", "of-2012", "PROD")], True),
        ("of-2013", [], True),  # it is champion
        ("of-2012", [], False),
        # The part's own model has taken its place: a forecast of the part by the one before is none of its champion.
        ("of-2012", [finished("promote", "2012", one, "PROD") for one in ("of-2012", "of-2013")], False),
        (
            "of-2012",
            [finished("promote", "2012", "of-2012", "PROD"), finished("promote", "2013", "of-2013", "PROD")],
            True,
        ),
        (
            "of-2012",
            [finished("promote", "2012", "of-2012", "PROD"), finished("promote", "2012", "of-2013", "DEV")],
            True,
        ),
        ("", [finished("promote", "2012", "", "PROD")], True),
        ("", [finished("promote", "2012", "of-2012", "PROD")], False),  # the forecast fell back on another
    ],
)
@pytest.mark.parametrize("step", ["predict", "monitor"])
def test_what_has_used_a_champion_stands_while_it_is_the_one_that_the_parts_gate_has_left(
    monkeypatch, step, used, gates, stands
):
    monkeypatch.setattr(ledger, "read", lambda collection: PROMOTED if collection == "victoria" else [])
    assert reuse._champion_stands(Store("of-2013", gates), finished(step, "2012", used)) == stands
