"""A step's key changes with everything that decides its outcome, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsgo import ingredients
from dsgo.ingredients import Step, changes, imports, inputs_of, key_of, own_ingredients, shared_code
from dsgo.steps import arguments

CHECKOUT = Path(__file__).resolve().parents[2]


def run(digest: str) -> SimpleNamespace:
    return SimpleNamespace(data=SimpleNamespace(tags={"dsgo.output_digest": digest}), info=SimpleNamespace(run_id="r1"))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A package and a project that can be changed."""
    files = {
        "dsgo/__init__.py": "",
        "dsgo/plain.py": "",
        "dsgo/renamed.py": "",
        "dsgo/listed.py": "",
        "dsgo/deep.py": "from .relative import x\n",
        "dsgo/relative.py": "x = 1\n",
        "dsgo/inside.py": "",
        "dsgo/named.py": "",
        "dsgo/unused.py": "",
        "dsgo/sub/__init__.py": "",
        "dsgo/sub/module.py": "from .. import above\nfrom . import beside\n",
        "dsgo/sub/beside.py": "",
        "dsgo/above.py": "",
        "dsgo/by_command.py": "",
        "dsgo/by_tune.py": "",
        "dsgo/template.html": "<p>",
        "step/MLproject": "entry_points:\n  main: {command: python -m dsgo.by_command x}\n"
        "  tune: {command: python -m dsgo.by_tune x}\n",
        "step/conda.yaml": "dependencies:\n  - python=3.11\n  - pip:\n      - dsgo==0.1.0\n      - PyYAML==1.0\n      - nosuch\n",
        "step/step.py": "import dsgo.plain\nimport dsgo.renamed as r\nfrom dsgo import (listed, deep)\n"
        "from dsgo.sub.module import y\nimport helper\n",
        "step/helper.py": "import importlib\ndef f():\n    import dsgo.inside\n    importlib.import_module('dsgo.named')\n",
        "data.csv": "a\n1\n",
        "collection.yaml": "gate: {}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(ingredients, "PACKAGE", tmp_path / "dsgo")
    return tmp_path


def step_of(tree: Path, **parameters: str) -> Step:
    return Step(
        "train",
        tree / "step",
        inputs={"dataset": "process_data", "candidates": ("a", "b")},
        parameters={"seed": "1", "data": str(tree / "data.csv"), **parameters},
        reads=(tree / "collection.yaml",),
    )


def key(tree: Path, *, digest: str = "d1", **parameters: str) -> str:
    return key_of(step_of(tree, **parameters), {"process_data": run(digest), "a": run("a"), "b": run("b")})


def append(path: Path, text: str = "\n# changed\n") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + text)


COUNTED = {
    *("step/step.py", "step/helper.py", "step/MLproject", "step/conda.yaml", "step/data/new.txt", "collection.yaml"),
    *("dsgo/__init__.py", "dsgo/plain.py", "dsgo/renamed.py", "dsgo/listed.py", "dsgo/deep.py", "dsgo/relative.py"),
    *("dsgo/inside.py", "dsgo/named.py", "dsgo/sub/__init__.py", "dsgo/sub/module.py", "dsgo/sub/beside.py"),
    *("dsgo/above.py", "dsgo/by_command.py", "dsgo/template.html", "data.csv"),
}
NOT_COUNTED = {
    *("dsgo/unused.py", "dsgo/by_tune.py", "other/step.py", "dsgo/.template.html.swp", "dsgo/template.html~"),
    *("step/step.py~", "step/.step.py.swp", "step/#step.py#", "step/__pycache__/step.pyc", "step/.hidden/x.py"),
    *("step/step.py.orig", "step/step.pyc"),
}


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_the_key_changes_with(tree, name):
    before = key(tree)
    append(tree / name)
    assert key(tree) != before


@pytest.mark.parametrize("name", sorted(NOT_COUNTED))
def test_the_key_does_not_change_with(tree, name):
    before = key(tree)
    append(tree / name)
    assert key(tree) == before


def test_the_key_changes_with_parameters_inputs_and_their_order(tree):
    assert key(tree) == key(tree)
    assert key(tree, seed="2") != key(tree)
    assert key(tree, digest="d2") != key(tree)
    step, runs = step_of(tree), {"process_data": run("d"), "a": run("a"), "b": run("b")}
    swapped = Step(step.name, step.project, {"dataset": "process_data", "candidates": ("b", "a")}, step.parameters)
    plain = Step(step.name, step.project, step.inputs, step.parameters)
    assert key_of(swapped, runs) != key_of(plain, runs)
    assert changes(inputs_of(plain, runs), inputs_of(swapped, runs)) == ["the order of candidates has changed"]


def test_modes_times_and_place_do_not_count(tree, tmp_path_factory, monkeypatch):
    before = key(tree)
    (tree / "step/step.py").chmod(0o700)
    os.utime(tree / "step/step.py", (1, 1))
    assert key(tree) == before
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other name"
    shutil.copytree(tree, elsewhere)
    monkeypatch.setattr(ingredients, "PACKAGE", elsewhere / "dsgo")
    assert key(elsewhere) == before


def test_what_lies_behind_symbolic_links_counts_and_a_circle_ends(tree):
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere/a.txt").write_text("1")
    (tree / "step/linked").symlink_to(tree / "elsewhere")
    (tree / "step/circle").symlink_to(tree / "step")
    (tree / "step/nowhere").symlink_to(tree / "no such file")
    before = key(tree)
    (tree / "elsewhere/a.txt").write_text("2")
    assert key(tree) != before


@pytest.mark.parametrize("source", ["import importlib\nimportlib.import_module('dsgo.' + x)\n", "def (:\n"])
def test_code_that_cannot_be_followed_counts_as_using_everything(tree, source):
    (tree / "step/dynamic.py").write_text(source)
    before = key(tree)
    append(tree / "dsgo/unused.py")
    assert key(tree) != before


def test_installed_versions_of_named_packages_count(tree, monkeypatch):
    import sys

    found = ingredients.environment(tree / "step")
    assert found["Python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found["nosuch"] == "not installed"
    assert found["PyYAML"][0].isdigit()
    assert found["PyYAML"] != "1.0"
    assert "dsgo" not in found
    before = key(tree)
    monkeypatch.setattr(ingredients, "_installed", lambda package: "99")
    assert key(tree) != before


def test_imports_of_the_project_s_own_files_are_none_of_the_package():
    assert imports(b"from . import dsgo_like\nimport dsgo_like\nfrom .dsgo import x\n", "") == ()


@pytest.mark.parametrize(
    "source",
    [
        "importlib.import_module('.features', 'dsgo')",
        "importlib.import_module(name)",
        "from importlib import import_module as other\nother('dsgo.features')",
        "list(map(importlib.import_module, ['dsgo.features']))",
        "__import__('dsgo', fromlist=['features'])",
        "def broken(",
    ],
)
def test_where_it_cannot_be_told_what_is_imported_everything_counts(source):
    assert imports(source.encode(), "") is None


def test_a_module_imported_by_its_plain_name_is_no_riddle():
    assert imports(b"from importlib import import_module\nimport_module('dsgo.features')", "") == ("dsgo.features",)


def test_what_changed_is_said(tree):
    runs = {"process_data": run("d1"), "a": run("a"), "b": run("b")}
    before = own_ingredients(step_of(tree)) | inputs_of(step_of(tree), runs)
    append(tree / "step/step.py")
    append(tree / "step/new.txt")
    append(tree / "dsgo/relative.py")
    append(tree / "collection.yaml")
    append(tree / "data.csv", "2\n")
    changed = step_of(tree, seed="2", rules="x" * 200)
    runs["process_data"] = run("d2")
    said = changes(before, own_ingredients(changed) | inputs_of(changed, runs))
    assert said == [
        "new.txt is new",
        "step.py has changed",
        "dsgo/relative.py has changed",
        "collection.yaml has changed",
        "the content of data.csv has changed",
        "rules has changed",
        "seed: 1 → 2",
        "the output of process_data has changed",
    ]


def test_training_depends_on_the_forecaster_but_not_on_servers():
    names = {path.name for path in shared_code(CHECKOUT / "projects" / "forecasting" / "linear_regression")}
    assert {"training.py", "forecaster.py", "features.py", "level.py", "sun.py", "__init__.py"} <= names
    assert not {"services.py", "flow.py", "figures.py", "registry.py", "tuning.py", "reuse.py"} & names


def test_arguments_are_uris_and_run_ids():
    step = Step(
        "promote", Path("x"), inputs={"dataset": "process_data", "candidates": ("a", "b")}, parameters={"p": "1"}
    )
    runs = {"process_data": run("d"), "a": run("d"), "b": run("d")}
    assert arguments(step, runs) == {"p": "1", "dataset": "runs:/r1/dataset", "candidates": "r1,r1"}
    assert step.upstream == ["process_data", "a", "b"]
