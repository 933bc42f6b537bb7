"""A search counts what was finished earlier, ends the same after being killed, and is never worse than the default."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest
import yaml
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from sample_datasets import dataset
from sklearn.linear_model import Ridge

from dsgo import tags, tuning
from dsgo.errors import StepError
from dsgo.tables import write_dataset
from dsgo.training import Training

DATA = dataset()


SPACE = {
    "penalty": {"default": 1.0, "low": 1e-2, "high": 1e5, "log": True},
    "broken": {"default": "no", "choices": ["no", "yes"]},
}


class Step:
    """Ridge regression; `broken` settings cannot be fitted."""

    def __init__(self) -> None:
        self.SPACE = SPACE
        self.asked: list[dict] = []
        self.die_at = 0

    def regressor(self, settings, seed):
        self.asked.append(dict(settings))
        if len(self.asked) == self.die_at:
            raise KeyboardInterrupt
        return Ridge(-1.0 if settings["broken"] == "yes" else settings["penalty"])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'runs.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("tuning", folder.as_uri()))
    yield write_dataset(DATA, folder / "dataset")
    mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / "ridge.py").write_text("# stands for the step's code\n")
    return tmp_path / "ridge.py"


def tune(script: Path, uri: Path, step: Step, trials: int = 3, seed: int = 1, timeout_s: float = 600.0):
    """One search as `dsgo.tuning.run` does it; its run and its trials."""
    training = Training("ridge.tune", str(uri))
    try:
        with tuning.study_of(script, training, seed) as study:
            options = argparse.Namespace(trials=trials, seed=seed, timeout_s=timeout_s)
            tuning.search(study, step, training, options)
            tuning.log_result(study, "ridge", step.SPACE, training, seed)
            run_id = mlflow.active_run().info.run_id
            trials = [(t.params, t.value) for t in tuning.finished(study)]
    finally:
        while mlflow.active_run():
            mlflow.end_run()
    return MlflowClient().get_run(run_id), trials


def result(run) -> dict:
    return yaml.safe_load(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/settings.yaml"))


def children(run) -> list:
    return MlflowClient().search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def test_a_search_that_was_killed_goes_on_and_ends_as_one_that_was_not(script, tracking, capsys, tmp_path):
    whole, undisturbed = tune(script, tracking, Step())
    script.write_text("# other code: a study of its own\n")
    killed = Step()
    killed.die_at = 2
    with pytest.raises(KeyboardInterrupt):
        tune(script, tracking, killed)
    capsys.readouterr()
    after = Step()
    resumed, trials = tune(script, tracking, after)
    assert "resumes: 1 of 3 trials are done" in capsys.readouterr().out
    assert trials == undisturbed
    assert len({str(params) for params, _ in trials}) == 3
    assert after.asked == [params for params, _ in undisturbed[1:]]
    assert result(resumed)["values"] == result(whole)["values"]
    again = Step()
    tune(script, tracking, again)
    assert again.asked == []
    interrupted = [r for r in MlflowClient().search_runs([whole.info.experiment_id]) if r.info.status == "RUNNING"]
    assert interrupted == []


def test_the_default_comes_first_and_the_best_is_recorded_beside_it(script, tracking):
    step = Step()
    run, trials = tune(script, tracking, step)
    assert step.asked[0] == {"penalty": 1.0, "broken": "no"}
    found = result(run)
    scores = [score for _, score in trials if score is not None]
    assert found["default_score"] == scores[0]
    assert found["score"] == min(scores) <= scores[0]
    assert found["values"] == next(params for params, score in trials if score == found["score"])
    assert (found["step"], found["trials"], found["data_digest"]) == ("ridge", 3, DATA.sha256)
    assert run.data.tags[tags.SCORED_TO] == found["scored_to"] == "2015-01-01T00:00:00+00:00"


def test_the_score_is_the_back_tests_share_of_the_naive_error_and_the_window_is_never_scored(script, tracking):
    run, trials = tune(script, tracking, Step(), trials=1)
    (nested,) = children(run)
    skills = [nested.data.metrics[f"backtest.{target}.skill"] for target in DATA.targets]
    assert trials[0][1] == pytest.approx(1 - sum(skills) / len(skills))
    assert {f"fold{n}.wind_GW.rmse" for n in (1, 2)} <= nested.data.metrics.keys()
    assert not [name for name in nested.data.metrics if name.startswith("window")]


def test_each_trial_is_a_nested_run_that_says_how_it_ended(script, tracking, monkeypatch):
    class Listed(optuna.samplers.RandomSampler):
        """Proposes a good setting, one that cannot be fitted, and one far worse than the median."""

        def __init__(self, **kwargs):
            super().__init__()

        def sample_independent(self, study, trial, name, distribution):
            return {"penalty": (2.0, 1.0, 9e4), "broken": ("no", "yes", "no")}[name][trial.number - 1]

    monkeypatch.setattr(optuna.samplers, "TPESampler", Listed)
    monkeypatch.setattr(tuning, "RANDOM_TRIALS", 1)
    run, _ = tune(script, tracking, Step(), trials=4, seed=3)
    ended = {}
    for nested in children(run):
        ended.setdefault(nested.data.tags[tags.TRIAL], set()).add(nested.info.status)
        assert {"penalty", "broken"} <= nested.data.params.keys()
        assert (nested.data.tags[tags.TRIAL] == "failed") == (nested.data.params["broken"] == "yes")
    assert ended == {"finished": {"FINISHED"}, "failed": {"FAILED"}, "pruned": {"KILLED"}}
    table = pd.read_csv(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/trials.csv"))
    assert sorted(table["run_id"]) == sorted(nested.info.run_id for nested in children(run))


def test_time_bounds_a_search_but_the_default_is_always_tried(script, tracking, capsys):
    _, trials = tune(script, tracking, Step(), timeout_s=1e-9)
    assert len(trials) == 1
    assert "is over after 1 of 3 trials" in capsys.readouterr().out


def test_a_default_that_cannot_be_fitted_ends_the_search(script, tracking):
    step = Step()
    step.SPACE = {**SPACE, "broken": {"default": "yes", "choices": ["no", "yes"]}}
    with pytest.raises(ValueError, match="alpha"):
        tune(script, tracking, step)


def test_another_seed_or_code_is_another_study_and_two_at_once_are_refused(script, tracking):
    training = Training("ridge.tune", str(tracking))
    try:
        with tuning.study_of(script, training, 1) as first, tuning.study_of(script, training, 2) as second:
            assert first.study_name != second.study_name
            with pytest.raises(StepError, match="runs already"), tuning.study_of(script, training, 1):
                pass
            script.write_text("# changed\n")
            with tuning.study_of(script, training, 1) as third:
                assert third.study_name != first.study_name
    finally:
        mlflow.end_run()


def test_killed_trials_are_not_finished_ones():
    study = optuna.create_study()
    study.tell(study.ask(), state=TrialState.FAIL)
    refused = study.ask()
    refused.set_user_attr("error", "no such penalty")
    study.tell(refused, state=TrialState.FAIL)
    study.ask()
    assert [trial.number for trial in tuning.finished(study)] == [1]
