"""Write the weekly report of a collection: one HTML file that needs no network.

Reads: the model in Production, its out-of-sample forecasts and its dataset, through `dsgo.registry`.
Writes: `<output>/<collection>_<week>.html`; equal input gives equal bytes.
Fails when: the collection is unknown, nothing is in Production, or the week is malformed, learned from, or empty.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dsgo import collection as collections
from dsgo import figures, services, settings, wording
from dsgo.errors import DSGoError
from dsgo.review import Review, review, utc
from dsgo.weeks import Week

TEMPLATES = Path(__file__).resolve().parent / "templates"


def create_report(name: str, week: Week | None, output: Path, registry: Any) -> Path:
    """Write the report of collection `name` and return its path.

    Args:
        week: None for the newest complete week.
        output: folder for the file, made if absent.
        registry: `dsgo.registry`, or what answers like it.

    Raises:
        DSGoError: see "Fails when" above; nothing is written then.
    """
    collection = collections.find(name)
    production = registry.load_production(collection.name)
    reviewed = review(production)
    week = newest_week(reviewed) if week is None else check(week, reviewed, production)
    html = render(describe(production, reviewed, week))
    return write(output / f"{collection.name}_{week}.html", html)


def newest_week(reviewed: Review) -> Week:
    """The newest week with every hour forecast and recorded."""
    weeks = reviewed.complete_weeks
    if not weeks:
        raise DSGoError(
            f"No week from {_week_of(reviewed, 0)} to {_week_of(reviewed, -1)} has all its hours.",
            "Name one of them with --week: its report then counts the hours there are.",
        )
    return weeks[-1]


def check(week: Week, reviewed: Review, production: Any) -> Week:
    """Refuse a week without an hour that the model had not learned from, or without data."""
    hours = reviewed.hours(week)
    first, last = _week_of(reviewed, 0), _week_of(reviewed, -1)
    remedy = f"Choose a week from {first} to {last}."
    if not any(len(reviewed.counted(target, hours)) for target in reviewed.targets):
        in_window = hours[0] <= reviewed.window_end and reviewed.window_start <= hours[-1]
        if not in_window and utc(production.trained_from) <= hours[-1] and hours[0] <= utc(production.trained_to):
            raise DSGoError(
                f"Version {production.version} learned from week {week} ({week.words}), and its evaluated twin has not "
                "forecast it: on what a model has seen, a forecast proves nothing.",
                remedy,
            )
        raise DSGoError(f"There are no data of week {week} ({week.words}).", remedy)
    return week


def describe(production: Any, reviewed: Review, week: Week) -> dict[str, Any]:
    """All that the template shows, in words and numbers with units."""
    info, hours = reviewed.info, reviewed.hours(week)
    targets = [_target(reviewed, target, hours) for target in reviewed.targets]
    counted = min(len(reviewed.counted(target, hours)) for target in reviewed.targets)
    return {
        "title": info["title"],
        "week": str(week),
        "words": week.words,
        "timezone": info["timezone"],
        "synthetic": production.synthetic,
        "version": production.version,
        "model": str(production.step).replace("_", " "),
        "promoted": wording.moment(production.promoted_at),
        "learned": f"{wording.moment(production.trained_from)} to {wording.moment(production.trained_to)}",
        "naive": f"the value recorded {wording.duration(info['naive']['lag'])} earlier",
        "targets": targets,
        "hours": len(hours),
        "counted": counted,
        "live": reviewed.live(hours),
        "forecast_hours": len(reviewed.table.index.intersection(hours)),
        "window": f"{wording.moment(reviewed.window_start)} to {wording.moment(reviewed.window_end)}",
        "window_start": wording.moment(reviewed.window_start),
        "trained_to": wording.moment(production.trained_to),
        "inputs": [
            f"{info['columns'][name].get('description') or name} ({info['columns'][name]['unit']})"
            for name in info["columns"]
            if info["columns"][name]["role"] == "input"
        ],
        "period": f"{wording.moment(info['period']['start'])} to {wording.moment(info['period']['end'])}",
        "rows": f"{info['rows']:,}",
        "repairs": [_repair(repair) for repair in info["repairs"]],
        "source": info["source"],
        "lineage": [
            ("Data", "sha256 of the table", production.data_digest),
            ("Dataset", "MLflow artifact", production.dataset_uri),
            ("Training", "MLflow run", production.run_id),
            ("Model", "registered version", f"{info['collection']}, version {production.version}"),
            ("Loaded from", "model URI", production.model_uri),
        ],
    }


def _target(reviewed: Review, target: str, hours: pd.DatetimeIndex) -> dict[str, Any]:
    figure = figures.describe(reviewed.over(hours), target, reviewed.info)
    unit = figure.unit
    score, usual = reviewed.score(target, hours), reviewed.usual(target, besides=hours)
    window = reviewed.table.index[reviewed.table.index <= reviewed.window_end]
    whole = reviewed.score(target, window)
    return {
        "name": target,
        "title": figure.title,
        "svg": Markup(figures.svg(figure, f"figure-{reviewed.targets.index(target)}")),
        "alternative": figure.alternative,
        "verdict": wording.verdict(score, usual, unit),
        "mae": wording.pair(score, "mae", unit),
        "rmse": wording.pair(score, "rmse", unit),
        "skill": wording.percent(score.skill) if score else "–",
        "coverage": wording.percent(score.coverage80) if score else "–",
        "usual": wording.span(usual, unit),
        "window": wording.pair(whole, "rmse", unit),
        "hours": score.hours if score else 0,
    }


def _repair(repair: Mapping[str, Any]) -> dict[str, str]:
    first = str(repair.get("first") or wording.NONE)
    return {
        "fault": str(repair["fault"]).replace("_", " "),
        "count": f"{repair['count']:,}",
        "first": wording.moment(first) if re.match(r"\d{4}-\d\d-\d\dT", first) else first,
        "handling": str(repair["handling"]),
    }


def _week_of(reviewed: Review, row: int) -> Week:
    return Week.of(reviewed.table.index[row], reviewed.info["timezone"])


def render(content: Mapping[str, Any]) -> str:
    """The HTML page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("weekly.html.j2").render(content)


def write(path: Path, text: str) -> Path:
    """Write `text` so that `path` holds either the whole of it or what it held before.

    Raises:
        DSGoError: the folder or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DSGoError(
            f"The report {path} cannot be written: {error.strerror}.", "Name another folder with --output."
        ) from error
    return path


def _registry(current: settings.Settings, collection: str) -> ModuleType:
    services.production_version(current, collection)  # refuses at once where importing mlflow would take seconds first
    os.environ.update(current.child_environment())
    return importlib.import_module("dsgo.registry")


def main(arguments: Sequence[str] | None = None, registry: Any = None) -> int:
    """Parse the command line, write the report, print its path. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the weekly report of a collection as one HTML file.")
    parser.add_argument("--collection", required=True, help="name of a folder in projects/, such as wind_solar")
    parser.add_argument("--week", help="ISO week such as 2016-W25 (default: the newest complete one)")
    parser.add_argument("--output", type=Path, help="folder for the file (default: $DSGO_HOME/reports)")
    options = parser.parse_args(arguments)
    try:
        current = settings.load()
        week = None if options.week is None else Week.parse(options.week)
        collections.find(options.collection)
        output = options.output or current.home / "reports"
        path = create_report(options.collection, week, output, registry or _registry(current, options.collection))
    except DSGoError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if type(error).__module__ != "mlflow.exceptions":  # by name: nothing may have imported mlflow yet
            raise
        print(f"Error: MLflow: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
