"""A search killed and resumed as people run it, what a step and the pipeline make of its result, and the blend of two models.

In an experiment of its own: the pipelines of other tests train with defaults.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import mlflow
import pytest
import yaml
from mlflow.tracking import MlflowClient

from dsgo import collection, flow, pipeline, registry, tags, tuned
from dsgo.errors import DSGoError
from dsgo.steps import Step, run_step
from dsgo.tuned import with_settings

CHECKOUT = Path(__file__).resolve().parents[2]
EXPERIMENT = "tuning_wind_solar"
COLLECTION = dataclasses.replace(collection.find("wind_solar"), experiment=EXPERIMENT)
LINEAR = "projects/forecasting/linear_regression"


def command(project: str, **parameters: object) -> list[str]:
    entry = parameters.pop("entry_point", "main")
    line = [sys.executable, "-m", "mlflow", "run", str(CHECKOUT / project), "-e", str(entry), "--env-manager", "local"]
    line += ["--experiment-name", EXPERIMENT]
    return line + [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # One thread: on a busy machine several wait for each other, many times as long as the work takes.
    return {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


def run(project: str, **parameters: object) -> subprocess.CompletedProcess:
    line = command(project, **parameters)
    return subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)


def newest(step: str):
    experiment = MlflowClient().get_experiment_by_name(EXPERIMENT)
    text = f"tags.`{tags.STEP}` = '{step}' and attributes.status = 'FINISHED'"
    return MlflowClient().search_runs([experiment.experiment_id], text, order_by=["attributes.start_time DESC"])[0]


def trained(project: str, **parameters: object):
    """The run of a step that must not fail. Started from this process, which has imported MLflow already."""
    with patch.dict(os.environ, environment()):
        mlflow.projects.run(
            str(CHECKOUT / project), parameters=parameters, experiment_name=EXPERIMENT, env_manager="local"
        )
    return newest(Path(project).name)


def in_pipeline(step: Step, runs: dict):
    """Run a step as the pipeline does."""
    experiment = MlflowClient().get_experiment_by_name(EXPERIMENT).experiment_id
    parent = MlflowClient().create_run(experiment)
    with patch.dict(os.environ, environment()):
        where = {"experiment_id": experiment, "collection": "wind_solar", "parent": parent.info.run_id}
        done = run_step(step, runs, **where, env_manager="local", at_once=2)
    MlflowClient().set_terminated(parent.info.run_id)
    return done


@pytest.fixture(scope="module")
def steps(servers, data) -> dict[str, Step]:
    """The collection's steps by name."""
    MlflowClient().create_experiment(EXPERIMENT)
    return {step.name: step for step in flow.load(COLLECTION.path.with_name("flow.py")).steps(str(data))}


@pytest.fixture(scope="module")
def prepared(steps):
    """A finished run of process_data."""
    return in_pipeline(steps["process_data"], {})


@pytest.fixture(scope="module")
def dataset(prepared) -> str:
    return f"runs:/{prepared.info.run_id}/dataset"


@pytest.fixture(scope="module")
def searched(dataset):
    """What a search says that goes on after one which was killed with its first trial done, and its run."""
    line = command(LINEAR, entry_point="tune", dataset=dataset, trials=3)
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True
    ) as killed:
        seen = ""
        for text in killed.stdout:
            seen += text
            if text.startswith("trial 1 of 3: score"):
                os.killpg(killed.pid, signal.SIGKILL)
    assert "trial 1 of 3: score" in seen, seen
    assert "trial 3 of 3" not in seen
    done = run(LINEAR, entry_point="tune", dataset=dataset, trials=3)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, newest("linear_regression.tune")


@pytest.fixture(scope="module")
def linear(steps, prepared):
    return in_pipeline(steps["linear_regression"], {"process_data": prepared})


def boosted(dataset: str):
    settings = "max_iter: 50, max_features: 0.3"
    return trained("projects/forecasting/gradient_boosting", dataset=dataset, settings=settings, seed=7)


@pytest.fixture(scope="module")
def boosting(dataset):
    return boosted(dataset)


@pytest.fixture(scope="module")
def ensemble(dataset, linear, boosting):
    names = f"{linear.info.run_id},{boosting.info.run_id}"
    return trained("projects/forecasting/ensemble", dataset=dataset, candidates=names)


def test_a_killed_search_goes_on_and_its_finished_trials_count(searched):
    said, search = searched
    assert "resumes: 1 of 3 trials are done" in said or "resumes: 2 of 3 trials are done" in said
    assert "trial 1 of 3" not in said
    assert "trial 3 of 3" in said
    result = yaml.safe_load(mlflow.artifacts.load_text(f"runs:/{search.info.run_id}/settings.yaml"))
    assert result["trials"] == 3
    assert result["score"] <= result["default_score"] < 1
    assert result["data_digest"] == search.data.tags[tags.DATA_DIGEST]
    experiment = search.info.experiment_id
    left = MlflowClient().search_runs([experiment], "attributes.status = 'RUNNING'")
    assert left == []


def test_the_pipeline_trains_anew_with_what_a_search_has_found_and_then_reuses_it(steps, prepared, linear, searched):
    _, search = searched
    runs, wanted = {"process_data": prepared}, [steps["process_data"], steps["linear_regression"]]
    data, anew = pipeline.plan(wanted, COLLECTION)
    assert data.run.info.run_id == prepared.info.run_id
    assert anew.run is None and any("settings" in reason for reason in anew.why), anew.why
    uri = f"runs:/{search.info.run_id}/settings.yaml"
    step = with_settings(steps["linear_regression"], runs)
    assert step.parameters["settings"] == uri
    made = in_pipeline(step, runs)
    found = yaml.safe_load(mlflow.artifacts.load_text(uri))
    assert float(made.data.params["penalty"]) == found["values"]["penalty"]
    skills = [made.data.metrics[f"backtest.{target}.skill"] for target in COLLECTION.targets]
    assert 1 - sum(skills) / len(skills) == pytest.approx(found["score"])
    _, reused = pipeline.plan(wanted, COLLECTION)
    assert reused.run.info.run_id == made.info.run_id


def test_without_a_search_of_it_a_step_is_as_it_was(steps, prepared, searched):
    for name in ("random_forest", "ensemble"):  # not searched; not to be tuned
        assert with_settings(steps[name], {"process_data": prepared}) is steps[name]


def test_a_search_that_agrees_with_an_earlier_one_trains_nothing_anew(steps, prepared, searched, capfd):
    _, earlier = searched
    before = with_settings(steps["linear_regression"], {"process_data": prepared})
    with patch.dict(os.environ, environment()):
        tuned.tune(COLLECTION, ["linear_regression"], {"trials": "3", "timeout_s": "600", "seed": "42"})
    said = capfd.readouterr().out
    assert "linear_regression | best of 3: score" in said
    assert "| trial " not in said
    assert newest("linear_regression.tune").info.run_id != earlier.info.run_id
    assert with_settings(steps["linear_regression"], {"process_data": prepared}) == before


def test_what_cannot_be_tuned_is_refused_by_name(servers):
    with pytest.raises(DSGoError, match=r"no step 'promote' to tune.*keras_mlp.*linear_regression"):
        tuned.tune(COLLECTION, ["promote"], {})
    with pytest.raises(DSGoError, match=r"'wind_solar' has no dataset yet"):
        tuned.tune(dataclasses.replace(COLLECTION, experiment="not yet there"), [], {})


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (tags.SCORED_TO, "2015-01-02T00:00:00+00:00"),  # a day into the dataset's window
        (tags.SEARCH_SPACE, "of other settings"),
        (tags.SYNTHETIC, "true"),
        (tags.COLLECTION, "another"),
    ],
)
def test_a_search_does_not_count(steps, searched, prepared, tag, value):
    experiment = prepared.info.experiment_id
    searches = MlflowClient().search_runs([experiment], f"tags.`{tags.STEP}` = 'linear_regression.tune'")
    for each in searches:
        MlflowClient().set_tag(each.info.run_id, tag, value)
    try:
        step = steps["linear_regression"]
        assert with_settings(step, {"process_data": prepared}) is step
    finally:
        for each in searches:
            if tag in each.data.tags:
                MlflowClient().set_tag(each.info.run_id, tag, each.data.tags[tag])
            else:
                MlflowClient().delete_tag(each.info.run_id, tag)


def test_unknown_settings_are_refused_before_anything_is_trained(dataset):
    done = run(LINEAR, dataset=dataset, settings="depth: 3")
    assert done.returncode != 0
    assert "Error: The setting depth=3 cannot be used: it must be one of this step's settings, penalty" in done.stderr
    assert "back-test" not in done.stdout


def test_two_runs_give_the_same_scores(boosting, dataset):
    again = boosted(dataset)
    assert boosting.info.run_id != again.info.run_id
    assert boosting.data.metrics == again.data.metrics
    assert boosting.data.tags[tags.OUTPUT_DIGEST] == again.data.tags[tags.OUTPUT_DIGEST]


def test_the_blend_leaves_all_evidence_and_is_no_worse_than_its_parts(ensemble, linear):
    board = registry.leaderboard_table([ensemble, linear], {})
    assert board["model"].iloc[0] == "ensemble"
    for name in ("window", "backtest"):
        ours, theirs = (registry.load_predictions(r.info.run_id, name) for r in (ensemble, linear))
        assert ours.index.equals(theirs.index)
        assert set(theirs.columns) == set(ours.columns)
    for target in COLLECTION.targets:
        shares = [
            float(ensemble.data.params[f"{target}.{name}"]) for name in ("linear_regression", "gradient_boosting")
        ]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert 0.6 < ensemble.data.metrics[f"window.{target}.coverage80"] < 0.95
    assert {tags.OUTPUT_DIGEST, tags.DATA_DIGEST, tags.DATASET} <= ensemble.data.tags.keys()
    twin = registry.load_forecaster(f"runs:/{ensemble.info.run_id}/twin")
    model = registry.load_forecaster(f"runs:/{ensemble.info.run_id}/model")
    assert twin.trained_to < registry.load_predictions(ensemble.info.run_id, "window").index[0] <= model.trained_to


def test_the_blend_answers_without_tensorflow(ensemble):
    code = (
        "import mlflow, sys, pandas as pd\n"
        f"model = mlflow.pyfunc.load_model('runs:/{ensemble.info.run_id}/model')\n"
        "row = pd.DataFrame([['2015-06-10T12:00:00Z', 4.0, 18.0, 300.0, 150.0]], columns=model.metadata.get_input_schema()"
        ".input_names())\n"
        "print(model.predict(row).notna().all(axis=None), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_runs_of_other_data_are_not_blended(dataset, linear, prepared):
    MlflowClient().set_tag(linear.info.run_id, tags.DATA_DIGEST, "other")
    try:
        done = run("projects/forecasting/ensemble", dataset=dataset, candidates=linear.info.run_id)
        assert done.returncode != 0
        assert f"Error: Run {linear.info.run_id} was trained on other data." in done.stderr
    finally:
        MlflowClient().set_tag(linear.info.run_id, tags.DATA_DIGEST, prepared.data.tags[tags.DATA_DIGEST])
