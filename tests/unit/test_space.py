"""Settings of a step: what is unknown or outside the search space is refused by name, in every form they can come in."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import mlflow
import pytest
import yaml

from dsgo.errors import SettingError
from dsgo.space import checked, defaults, digest, read_settings, read_space

CHECKOUT = Path(__file__).resolve().parents[2]
SPACE = {
    "trees": {"default": 40, "low": 20, "high": 80},
    "rate": {"default": 0.1, "low": 0.01, "high": 1.0, "log": True},
    "loss": {"default": "mse", "choices": ["mse", "huber"]},
}
STEPS = [
    p.parent for p in CHECKOUT.glob("projects/*/*/MLproject") if "tune" in yaml.safe_load(p.read_text())["entry_points"]
]


def test_without_settings_the_defaults_hold():
    assert read_settings(SPACE, "forest", "") == {"trees": 40, "rate": 0.1, "loss": "mse"} == defaults(SPACE)


def test_settings_may_be_written_out():
    assert read_settings(SPACE, "forest", "trees: 60, loss: huber") == {"trees": 60, "rate": 0.1, "loss": "huber"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"leaves": 3}, "leaves=3 .* one of this step's settings, trees, rate, loss"),
        ({"trees": 81}, "trees=81 .* a whole number from 20 to 80"),
        ({"trees": 40.0}, "trees=40.0 .* a whole number"),
        ({"trees": True}, "trees=True"),
        ({"rate": float("nan")}, "rate=nan .* a number from 0.01 to 1.0"),
        ({"rate": "0.1"}, "rate='0.1'"),
        ({"loss": "mae"}, "loss='mae' .* one of mse, huber"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_refused_by_name(given, words):
    with pytest.raises(SettingError, match=words):
        checked(SPACE, given, "here")


@pytest.mark.parametrize("text", ["trees", "trees: [", "[1, 2]"])
def test_settings_that_are_no_settings_are_refused(text):
    with pytest.raises(SettingError, match=r"settings=|trees=None"):
        read_settings(SPACE, "forest", text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("step: forest\nvalues: {trees: 99}\n", "trees=99 .*from 20 to 80 .in runs:"),
        ("step: net\nvalues: {trees: 60}\n", "of a tune run of forest; it is of net"),
        ("step: forest\n", "of a tune run of forest"),
        ("- 1\n", "YAML such as"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(content, words, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    try:
        with mlflow.start_run(experiment_id=mlflow.create_experiment("e", tmp_path.as_uri())) as run:
            mlflow.log_text(content, "settings.yaml")
            mlflow.log_text("step: forest\nvalues: {trees: 60}\n", "good.yaml")
        uri = f"runs:/{run.info.run_id}"
        assert read_settings(SPACE, "forest", f"{uri}/good.yaml") == {"trees": 60, "rate": 0.1, "loss": "mse"}
        with pytest.raises(SettingError, match=words):
            read_settings(SPACE, "forest", f"{uri}/settings.yaml")
        with pytest.raises(SettingError, match=r"URI of a tune run's settings\.yaml"):
            read_settings(SPACE, "forest", f"{uri}/absent.yaml")
    finally:
        mlflow.set_tracking_uri(None)


def test_the_digest_follows_the_space():
    assert digest(SPACE) == digest(dict(SPACE))
    assert digest(SPACE) != digest({**SPACE, "trees": {"default": 40, "low": 20, "high": 81}})


def test_there_are_steps_that_can_be_tuned():
    assert {"linear_regression", "random_forest", "gradient_boosting", "keras_mlp"} <= {step.name for step in STEPS}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_the_defaults_of_every_step_lie_in_its_space(step):
    space = read_space(step / f"{step.name}.py")
    assert checked(space, defaults(space), "the defaults") == defaults(space)


@pytest.mark.parametrize(
    "name", ["linear_regression", "random_forest", "gradient_boosting"]
)  # Keras takes long to import
def test_a_space_is_read_as_the_step_itself_has_it_and_makes_a_regressor(name):
    script = CHECKOUT / "projects" / "forecasting" / name / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert read_space(script) == module.SPACE
    assert hasattr(module.regressor(defaults(module.SPACE), 1), "fit")
