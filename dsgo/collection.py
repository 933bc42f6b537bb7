"""A collection: what the shared steps, the report and the dashboard need to know about one set of data and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import yaml

from dsgo.errors import DataError, DSGoError, GateError, WatchError
from dsgo.routine import Act, Schedule, read_act, read_schedule
from dsgo.rules import read as read_rules
from dsgo.settings import CHECKOUT
from dsgo.watching import read as read_limits

FILE_NAME = "collection.yaml"
HORIZONS = (
    "month ahead",
    "day ahead",
)  # what of the target is known when it is forecast: nothing of the month, all of a day ago
ROLES = ("target", "input", "calendar")  # calendar: told by the clock, shown in the dataset; a model knows it by itself

# Every key that must be there, and the type of its value.
REQUIRED = {
    "name": str,
    "title": str,
    "experiment": str,
    "dataset": dict,
    "dataset.timestamp": str,
    "dataset.frequency": str,
    "dataset.timezone": str,
    "dataset.location": dict,
    "dataset.location.latitude": float,
    "dataset.location.longitude": float,
    "dataset.columns": dict,
    "dataset.naive": dict,
    "dataset.naive.name": str,
    "dataset.naive.lag": str,
    "dataset.window": dict,
    "dataset.window.months": int,
    "dataset.backtest": dict,
    "dataset.backtest.folds": int,
    "dataset.backtest.months": int,
    "gate": dict,
    "schedule": dict,
    "act": dict,
    "watch": dict,
}
REQUIRED_OF_A_COLUMN = {"role": str, "unit": str, "minimum": float, "maximum": float}
ALLOWED_IN_A_COLUMN = {*REQUIRED_OF_A_COLUMN, "dark_at_night", "description", "quantity"}


# What may be there, and its values.
OPTIONS = {"level": ("growing", "constant"), "months_by": ("UTC", "local"), "horizon": HORIZONS}


@dataclass(frozen=True)
class Collection:
    """One `collection.yaml`. `dataset` travels inside each dataset made of it; `gate` is what a promotion must show.

    `watch` has the limits of the weekly check; `schedule` and `act` are what the collection does by itself.
    """

    name: str
    title: str
    experiment: str
    dataset: Mapping[str, Any]
    gate: Mapping[str, Any]
    schedule: Schedule
    act: Act
    watch: Mapping[str, Any]
    path: Path

    @property
    def columns(self) -> Mapping[str, Mapping[str, Any]]:
        """Every column's role, unit, bounds and description, by name."""
        return self.dataset["columns"]

    @property
    def targets(self) -> list[str]:
        """Names of the columns to forecast, in the order of the file."""
        return columns_of(self.dataset, "target")

    @property
    def inputs(self) -> list[str]:
        """Names of the columns a forecast is made from, in the order of the file."""
        return columns_of(self.dataset, "input")

    def unit(self, column: str) -> str:
        """Unit of a column, such as `GW`."""
        return self.columns[column]["unit"]


def columns_of(dataset: Mapping[str, Any], role: str) -> list[str]:
    """Names of the columns of one role, from `dataset` of a collection or from a dataset's info."""
    return [name for name, column in dataset["columns"].items() if column["role"] == role]


def translated(info: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A dataset's info with `title` and the columns' descriptions as the file `path` has them; unchanged without one.

    The file lies beside `collection.yaml` and is called after the language: `de.yaml`. What it does not name stays.

    Raises:
        DataError: the file is no such YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return info
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(path, f"cannot be read: {error}.") from error
    names = content.get("columns", {}) if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(text, str) for text in names.values()):
        raise DataError(path, "holds no names.", "Write `title: …` and under `columns:` lines such as `wind_GW: …`.")
    described = {
        name: {**column, "description": names[name]} if name in names else column
        for name, column in info["columns"].items()
    }
    return {**info, "title": str(content.get("title", info["title"])), "columns": described}


def load(path: Path | str) -> Collection:
    """Read and check one `collection.yaml`.

    Raises:
        DataError: the file cannot be read, is no YAML, or a key is missing or wrong; names file and key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise DataError(path, f"is no valid YAML: {error}.") from error
    _check(content, path)
    return Collection(
        **{k: content[k] for k in ("name", "title", "experiment", "dataset", "gate", "watch")},
        schedule=read_schedule(content["schedule"], path),
        act=read_act(content["act"], path),
        path=path,
    )


def find(name: str, root: Path = CHECKOUT) -> Collection:
    """The collection `projects/<name>/collection.yaml` below `root`.

    Raises:
        DSGoError: there is no such collection; lists the known ones.
        DataError: its file cannot be used.
    """
    files = {path.parent.name: path for path in sorted((root / "projects").glob(f"*/{FILE_NAME}"))}
    if name not in files:
        known = ", ".join(files) or "none"
        raise DSGoError(f"There is no collection {name!r} in {root / 'projects'}.", f"Known collections: {known}.")
    return load(files[name])


def _check(content: Any, path: Path) -> None:
    if not isinstance(content, dict):
        raise DataError(path, "holds no keys.", f"Write {', '.join(k for k in REQUIRED if '.' not in k)}.")
    for key, kind in REQUIRED.items():
        _typed(content, key, kind, path)
    try:
        read_rules(content["gate"])
        read_limits(content["watch"])
    except (GateError, WatchError) as error:
        raise DataError(path, error.problem, error.remedy) from None
    dataset = content["dataset"]
    if dataset["timezone"] not in available_timezones():
        raise DataError(
            path, f"dataset.timezone: {dataset['timezone']!r} is no time zone.", "Write e.g. Europe/Berlin."
        )
    for key in ("inputs_late_in_summer_time", "inputs_known_ahead"):
        if not isinstance(given := dataset.get(key, False), bool):
            raise DataError(path, f"dataset.{key}: {given!r} must be true or false.")
    for key, allowed in OPTIONS.items():
        if key in dataset and dataset[key] not in allowed:
            raise DataError(path, f"dataset.{key}: {dataset[key]!r} must be {' or '.join(map(str, allowed))}.")
    for key in ("window.months", "backtest.folds", "backtest.months"):
        if _value(dataset, key, path) < 1:
            raise DataError(path, f"dataset.{key}: must be 1 or more.")
    if "least_days" in dataset["backtest"]:
        _typed(content, "dataset.backtest.least_days", int, path)
        if dataset["backtest"]["least_days"] < 1:
            raise DataError(path, "dataset.backtest.least_days: must be 1 or more.")
    if "calendar" in dataset:
        _check_calendar(content, path)
    for name in dataset["columns"]:
        prefix = f"dataset.columns.{name}"
        for key, kind in REQUIRED_OF_A_COLUMN.items():
            _typed(content, f"{prefix}.{key}", kind, path)
        column = dataset["columns"][name]
        if unknown := sorted(column.keys() - ALLOWED_IN_A_COLUMN):
            allowed = ", ".join(sorted(ALLOWED_IN_A_COLUMN))
            raise DataError(path, f"{prefix}.{unknown[0]}: no such key.", f"A column has {allowed}.")
        if column["role"] not in ROLES:
            raise DataError(path, f"{prefix}.role: {column['role']!r} must be one of {', '.join(ROLES)}.")
        if column["minimum"] >= column["maximum"]:
            raise DataError(path, f"{prefix}: minimum must be less than maximum.")
    for role in ("target", "input"):
        if not columns_of(dataset, role):
            raise DataError(path, f"dataset.columns: no column has the role {role}.")


def _check_calendar(content: Any, path: Path) -> None:
    """The keys that `process_data` asks for holidays with, and the dates that `dsgo.working_days` goes by."""
    for key, kind in {"country": str, "subdivision": str, "break": list, "school_holidays": list}.items():
        _typed(content, f"dataset.calendar.{key}", kind, path)
    calendar = content["dataset"]["calendar"]
    ends = _dates([f"2000-{day}" for day in calendar["break"]])
    if len(ends) != 2 or ends[0] <= ends[1]:
        asked = 'a first and a last day across the turn of the year, such as ["12-24", "01-06"].'
        raise DataError(path, f"dataset.calendar.break: {calendar['break']!r} cannot be used.", f"Write {asked}")
    for pair in calendar["school_holidays"]:
        ends = _dates(pair) if isinstance(pair, list) else []
        if len(ends) != 2 or ends[0] > ends[1]:
            asked = 'the first and the last day, such as ["2012-03-31", "2012-04-15"].'
            raise DataError(path, f"dataset.calendar.school_holidays: {pair!r} cannot be used.", f"Write {asked}")


def _dates(texts: Sequence[Any]) -> list[date]:
    """The dates written as ISO 8601; none if one of them is no such text."""
    try:
        return [date.fromisoformat(text) for text in texts]
    except (TypeError, ValueError):
        return []


def _typed(content: Mapping[str, Any], key: str, kind: type, path: Path) -> None:
    value = _value(content, key, path)
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise DataError(path, f"{key}: {value!r} is of the wrong type.", f"Write a value of type {kind.__name__}.")


def _value(content: Any, key: str, path: Path) -> Any:
    value = content
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise DataError(path, f"the key {key} is missing.")
        value = value[part]
    return value
