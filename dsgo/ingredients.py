"""Everything that decides what a step's run comes to, and so whether a finished run can stand for a new one.

The ingredients are the files of the step's project, the modules of `dsgo` that they use, other files that it reads, its
parameters, the versions of the packages that its `conda.yaml` names, and what the steps before it have written. The step's
key is their hash. Dates, machines, folders, modes of files and the code of other steps are no ingredients.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dsgo import tags

if TYPE_CHECKING:  # MLflow takes seconds to import
    from mlflow.entities import Run

PACKAGE = Path(__file__).resolve().parent
ENTRY_POINT = "main"
# What lies beside code without being part of it: caches, and what editors and patches leave.
IGNORED = re.compile(r"\..*|__pycache__|.*\.(pyc|swp|orig|rej|bak)|.*~|#.*#")

IMPORTERS = ("import_module", "__import__", "run_module")  # functions that import the module of a name

LONG = 120  # letters that two values of a parameter may take in a message

Ingredients = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Step:
    """One step of a pipeline.

    Attributes:
        name: as in tags, logs and the orchestrator.
        project: folder of its MLproject.
        inputs: parameter → the step it comes from (`dataset` artifact of `process_data`) or steps (their run ids).
        parameters: plain parameters.
        reads: files outside the project that decide the outcome too, such as `collection.yaml`.
        part: of the data that it is run for, where the collection has parts; for the eye, its parameters decide.
    """

    name: str
    project: Path
    inputs: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    part: str = ""

    @property
    def upstream(self) -> list[str]:
        """Names of the steps that must have run before."""
        return list(dict.fromkeys(name for source in self.inputs.values() for name in listed(source)))

    @property
    def addresses(self) -> list[str]:
        """Parameters that are addresses in the net: what lies there may change at any time."""
        return [value for value in self.parameters.values() if value.startswith(("http://", "https://"))]


def key_of(step: Step, runs: Mapping[str, Run]) -> str:
    """The step's key, given the finished runs of the steps before it."""
    return hash_of(own_ingredients(step) | inputs_of(step, runs))


def hash_of(ingredients: Ingredients) -> str:
    """The key that stands for all of these ingredients."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def own_ingredients(step: Step) -> Ingredients:
    """All ingredients but what the steps before have written."""
    return {
        "project": {path.relative_to(step.project).as_posix(): _digest(path) for path in _files(step.project)},
        "shared": {path.relative_to(PACKAGE).as_posix(): _digest(path) for path in shared_code(step.project)},
        "reads": {path.name: _digest(path) for path in step.reads},
        "parameters": {name: _content(value) for name, value in step.parameters.items()},
        "environment": environment(step.project),
    }


def inputs_of(step: Step, runs: Mapping[str, Run]) -> Ingredients:
    """Digests of what the steps before have written, by parameter, in the order in which the step gets them."""
    return {
        "inputs": {name: [[up, _output(runs[up])] for up in listed(source)] for name, source in step.inputs.items()}
    }


def listed(source: str | tuple[str, ...]) -> tuple[str, ...]:
    """The steps that one entry of `Step.inputs` names."""
    return (source,) if isinstance(source, str) else source


def _output(run: Run) -> str:
    return run.data.tags.get(tags.OUTPUT_DIGEST) or run.data.tags[tags.STEP_KEY]


def _content(parameter: str) -> str:
    """A parameter that is a file counts by its name and content, wherever it lies."""
    path = Path(parameter)
    return f"{path.name} {_digest(path)}" if path.is_absolute() and path.is_file() else parameter


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder and behind its symbolic links, without those that are `IGNORED`."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not IGNORED.fullmatch(name))
        yield from (
            path for name in sorted(names) if not IGNORED.fullmatch(name) and (path := Path(parent, name)).is_file()
        )


def environment(project: Path) -> dict[str, str]:
    """Version of Python, and installed versions of the packages that the project's `conda.yaml` names.

    They are what the step runs with in the locked environment, whatever the file asks for. Other packages are not counted:
    those of the dashboard have no say in a training.
    """
    versions = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}  # models are pickles, bound to it
    path = project / "conda.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    for listed in content.get("dependencies", []):
        for requirement in listed.get("pip", []) if isinstance(listed, dict) else ():
            name = re.match(r"[\w.-]*", requirement)[0]
            if name and name != "dsgo":  # which counts by its code
                versions[name] = _installed(name)
    return versions


@cache
def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def shared_code(project: Path) -> list[Path]:
    """Modules of `dsgo` that the project uses, those that these use, and the package's files that are no modules.

    A module counts if it is imported anywhere, however deep inside a function, or run by the MLproject's entry point `main`.
    A file that cannot be parsed, or computes the name of what it imports, counts as using all of them.
    """
    everything = set(_files(PACKAGE))
    found = {path for path in everything if path.suffix != ".py"}  # data and templates: nobody can tell who reads them
    used = set(_run_by_command(project))
    waiting = [path for path in _files(project) if path.suffix == ".py"]
    while waiting or used:
        new = ({path for name in used for path in _module_files(name)} & everything) - found
        found |= new
        waiting += new
        used = set()
        if waiting:
            path = waiting.pop()
            package = ".".join((PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1])) if path in everything else ""
            imported = imports(path.read_bytes(), package)
            used = (
                set(imported) if imported is not None else {_name(each) for each in everything if each.suffix == ".py"}
            )
    return sorted(found)


def _run_by_command(project: Path) -> list[str]:
    """Modules that the command of the entry point `main` runs by `-m`."""
    path = project / "MLproject"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    command = content.get("entry_points", {}).get(ENTRY_POINT, {}).get("command", "")
    return re.findall(r"-m\s+(dsgo(?:\.\w+)*)", command)


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join((PACKAGE.name, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _module_files(name: str) -> Iterator[Path]:
    """Files that importing `dsgo.a.b` runs. What comes after a module is a name in it."""
    path = PACKAGE
    yield path / "__init__.py"
    for part in name.split(".")[1:]:
        path = path / part
        yield path.with_suffix(".py")
        yield path / "__init__.py"


@cache
def imports(source: bytes, package: str) -> tuple[str, ...] | None:
    """Dotted names in `dsgo` that a file may import; None if that cannot be told.

    Args:
        source: of the file.
        package: that the file belongs to, for relative imports; empty for a project's file.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: list[str] = []
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                if not package:
                    continue  # one of the project's own files
                parts = package.split(".")
                module = ".".join(filter(None, (*parts[: len(parts) - node.level + 1], module)))
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _named(node.func) in IMPORTERS:
            plain = len(node.args) == 1 and not node.keywords  # not relative, no list of what to import
            if not (plain and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
                return None
            names.append(node.args[0].value)
            called.add(node.func)
    if any(_named(node) in IMPORTERS and node not in called for node in ast.walk(tree)):
        return None  # under another name, or handed on: nobody can tell what it imports
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


def _named(node: ast.AST) -> str:
    """What a name, an attribute or a renamed import stands for; empty for anything else."""
    if isinstance(node, ast.alias):
        return node.name if node.asname else ""
    return getattr(node, "attr", getattr(node, "id", ""))


def changes(then: Ingredients, now: Ingredients) -> list[str]:
    """In words, what differs between the ingredients of a run and those at hand."""
    found = []
    for kind, values in now.items():
        before = then.get(kind, {})
        for name in sorted(before.keys() | values.keys()):
            if before.get(name) != values.get(name):
                found += _in_words(kind, name, before.get(name), values.get(name))
    return found


def _in_words(kind: str, name: str, old: object, new: object) -> list[str]:
    if kind == "inputs":
        before, after = dict(old or ()), dict(new or ())
        differing = [up for up in sorted(before.keys() | after.keys()) if before.get(up) != after.get(up)]
        words = {(True, True): "the output of {} has changed", (False, True): "{} is a new input"}
        said = [words.get((up in before, up in after), "{} is no longer an input").format(up) for up in differing]
        return said or [f"the order of {name} has changed"]
    if kind == "environment":
        return [f"{name} {old or 'not named'} → {new or 'not named'}"]
    if kind == "parameters":
        (was, was_file), (is_now, is_file) = _shown(old), _shown(new)
        if was == is_now and was_file and is_file:
            return [f"the content of {is_now} has changed"]
        return [f"{name}: {was} → {is_now}" if len(was + is_now) < LONG else f"{name} has changed"]
    place = f"dsgo/{name}" if kind == "shared" else name
    return [f"{place} {'is new' if old is None else 'is no longer used' if new is None else 'has changed'}"]


def _shown(parameter: object) -> tuple[str, bool]:
    """A parameter as a person gave it, and whether it is a file (see `_content`)."""
    if parameter is None:
        return "not given", False
    name, _, digest = str(parameter).rpartition(" ")
    is_file = bool(name and re.fullmatch(r"[0-9a-f]{64}", digest))
    return name if is_file else str(parameter) or "empty", is_file
