"""The settings of a training step: which there are, what each may be, what it is unless a search has found better.

A step declares them as a literal, next to the function that makes its regressor of them:

    SPACE = {
        "trees": {"default": 40, "low": 20, "high": 80},
        "smallest_leaf": {"default": 2, "low": 1, "high": 20, "log": True},
        "loss": {"default": "mse", "choices": ["mse", "huber"]},
    }

A range is of whole numbers if its bounds are; `log` says that it is searched in steps of equal ratio. Being a literal, a space
can be read without running the step, which may import a training library for seconds.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dsgo.errors import SettingError

Space = Mapping[str, Mapping[str, Any]]
SETTINGS_FILE = "settings.yaml"


def defaults(space: Space) -> dict[str, Any]:
    """What each setting is unless told otherwise."""
    return {name: spec["default"] for name, spec in space.items()}


def checked(space: Space, given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """All settings: the given ones, defaults for the rest.

    Args:
        origin: where the given ones come from, for messages.

    Raises:
        SettingError: a name is unknown, or a value is outside its range or none of its choices.
    """
    for name, value in given.items():
        if name not in space:
            raise SettingError(name, value, f"one of this step's settings, {', '.join(space)} (in {origin})")
        if not _allowed(space[name], value):
            raise SettingError(name, value, f"{_asked(space[name])} (in {origin})")
    return {**defaults(space), **given}


def read_settings(space: Space, step: str, text: str) -> dict[str, Any]:
    """The settings that a step's parameter `settings` asks for.

    Args:
        text: URI of the `settings.yaml` of a tune run, or settings as YAML without the outer braces; empty for the defaults.

    Raises:
        SettingError: there is no such file, it is of another step, or a setting in it cannot be used.
    """
    if ":/" not in text:
        return checked(space, _mapping("{" + text + "}", text), "settings")
    from mlflow.artifacts import load_text  # here: importing mlflow takes seconds
    from mlflow.exceptions import MlflowException

    try:
        found = _mapping(load_text(text), text)
    except (MlflowException, OSError) as error:
        raise SettingError("settings", text, f"the URI of a tune run's {SETTINGS_FILE} ({error})") from error
    if found.get("step") != step or not isinstance(found.get("values"), dict):
        raise SettingError("settings", text, f"of a tune run of {step}; it is of {found.get('step', 'no step')}")
    return checked(space, found["values"], text)


def read_space(script: Path) -> Space:
    """The `SPACE` of a step's script, without running it."""
    for node in ast.parse(script.read_text(encoding="utf-8"), filename=str(script)).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["SPACE"]:
            return ast.literal_eval(node.value)
    raise SettingError("SPACE", str(script), "a literal at the top level of this script")


def digest(space: Space) -> str:
    """Digest of a space: settings found in one space are used with the same one only."""
    return hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()


def _mapping(text: str, shown: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingError("settings", shown, f"YAML such as 'trees: 60' ({error})") from error
    if not isinstance(found, dict):
        raise SettingError("settings", shown, "YAML such as 'trees: 60'")
    return found


def _allowed(spec: Mapping[str, Any], value: Any) -> bool:
    if "choices" in spec:
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in spec["choices"]
        )
    whole = isinstance(spec["low"], int)
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    return right_type and spec["low"] <= value <= spec["high"]


def _asked(spec: Mapping[str, Any]) -> str:
    if "choices" in spec:
        return f"one of {', '.join(map(str, spec['choices']))}"
    kind = "a whole number" if isinstance(spec["low"], int) else "a number"
    return f"{kind} from {spec['low']} to {spec['high']}"
