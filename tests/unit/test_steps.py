"""A step's key changes with everything that decides its outcome, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsgo import steps
from dsgo.steps import Step, arguments, key_of, shared_code

CHECKOUT = Path(__file__).resolve().parents[2]


def run(digest: str) -> SimpleNamespace:
    return SimpleNamespace(data=SimpleNamespace(tags={"dsgo.output_digest": digest}), info=SimpleNamespace(run_id="r1"))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the package and of one project that can be changed."""
    shutil.copytree(CHECKOUT / "dsgo", tmp_path / "dsgo")
    shutil.copytree(CHECKOUT / "projects" / "forecasting", tmp_path / "forecasting")
    (tmp_path / "collection.yaml").write_text("gate: {}\n")
    (tmp_path / "data.csv").write_text("a\n1\n")
    monkeypatch.setattr(steps, "PACKAGE", tmp_path / "dsgo")
    steps._imports.cache_clear()
    yield tmp_path
    steps._imports.cache_clear()


def key(tree: Path, *, digest: str = "d1", parameters: dict | None = None, project: str = "linear_regression") -> str:
    steps._imports.cache_clear()
    step = Step(
        "train",
        tree / "forecasting" / project,
        inputs={"dataset": "process_data"},
        parameters={"seed": "1", "data": str(tree / "data.csv"), **(parameters or {})},
        reads=(tree / "collection.yaml",),
    )
    return key_of(step, {"process_data": run(digest)})


def append(path: Path, text: str = "\n# changed\n") -> None:
    path.write_text(path.read_text() + text)


CHANGES = {
    "the step's code": lambda tree: append(tree / "forecasting/linear_regression/linear_regression.py"),
    "its MLproject": lambda tree: append(tree / "forecasting/linear_regression/MLproject"),
    "its environment": lambda tree: append(tree / "forecasting/linear_regression/conda.yaml"),
    "shared code that it imports": lambda tree: append(tree / "dsgo/training.py"),
    "shared code deeper down": lambda tree: append(tree / "dsgo/sun.py"),
    "a file that it reads": lambda tree: append(tree / "collection.yaml"),
    "the content of a file that is a parameter": lambda tree: append(tree / "data.csv", "2\n"),
}
INDIFFERENT = {
    "another step's code": lambda tree: append(tree / "forecasting/random_forest/random_forest.py"),
    "shared code that it does not use": lambda tree: append(tree / "dsgo/figures.py"),
    "caches": lambda tree: (
        (tree / "forecasting/linear_regression/__pycache__").mkdir(exist_ok=True)
        or (tree / "forecasting/linear_regression/__pycache__/x.pyc").write_bytes(b"x")
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_key_changes_with(tree, what):
    before = key(tree)
    CHANGES[what](tree)
    assert key(tree) != before


@pytest.mark.parametrize("what", INDIFFERENT)
def test_the_key_does_not_change_with(tree, what):
    before = key(tree)
    INDIFFERENT[what](tree)
    assert key(tree) == before


def test_the_key_changes_with_parameters_and_inputs(tree):
    assert key(tree) == key(tree)
    assert key(tree, parameters={"seed": "2"}) != key(tree)
    assert key(tree, digest="d2") != key(tree)


def test_a_file_counts_by_its_content_wherever_it_lies(tree):
    (tree / "elsewhere").mkdir()
    shutil.copy(tree / "data.csv", tree / "elsewhere" / "data.csv")
    assert key(tree, parameters={"data": str(tree / "elsewhere" / "data.csv")}) == key(tree)


def test_training_depends_on_the_forecaster_but_not_on_servers():
    names = {path.name for path in shared_code(CHECKOUT / "projects" / "forecasting" / "linear_regression")}
    assert {"training.py", "forecaster.py", "features.py", "level.py", "sun.py", "__init__.py"} <= names
    assert not {"services.py", "flow.py", "figures.py", "registry.py"} & names


def test_arguments_are_uris_and_run_ids():
    step = Step(
        "promote", Path("x"), inputs={"dataset": "process_data", "candidates": ("a", "b")}, parameters={"p": "1"}
    )
    runs = {"process_data": run("d"), "a": run("d"), "b": run("d")}
    assert arguments(step, runs) == {"p": "1", "dataset": "runs:/r1/dataset", "candidates": "r1,r1"}
    assert step.upstream == ["process_data", "a", "b"]
