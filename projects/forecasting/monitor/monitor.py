"""Watch the newest data and what is in Production: does either behave otherwise than when the model was trained and tested?

Reads: a dataset, and the version in Production, if there is one, with its back-test and window.
Writes: a run with `findings.csv`, a picture of each column against its season (`drift.png`) and the findings as its
    description; rows of the table `findings` of the application database.
Fails when: the dataset cannot be read, or a limit is missing. An alarm is no failure, nor is a version that cannot be loaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException

from dsgo import findings, registry, step_run, tags, watch_shown
from dsgo.command import main
from dsgo.errors import DataError, NoProductionModel, SettingError, StoreError
from dsgo.findings import Checked, Finding
from dsgo.review import review, utc
from dsgo.tables import Dataset, read_dataset
from dsgo.watch import watch_clock, watch_data, watch_model
from dsgo.watching import Watching
from dsgo.watching import read as read_limits


def monitor() -> None:
    """Parse, look, show, write down."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dataset", required=True, help="URI of a dataset, runs:/<run id>/dataset")
    options.add_argument("--rules", required=True, help="`watch` of collection.yaml, as YAML without the outer braces")
    options.add_argument("--now", default="", help="ISO 8601 time; default: the real now")
    options = options.parse_args()
    limits, now = parse_rules(options.rules), parse_time(options.now)
    dataset = read_dataset(options.dataset)
    step_run.begin("monitor", dataset, options.dataset)
    production, of_version = version_and_findings(dataset, limits)
    of_data, usual = watch_data(dataset, production.trained_to if production else None, limits)
    found = [watch_clock(dataset, now, limits), *of_data, *of_version]
    with TemporaryDirectory(prefix="dsgo-monitor-") as folder:
        path = Path(folder)
        watch_shown.table(found).to_csv(path / "findings.csv", index=False)
        watch_shown.draw(path / "drift.png", found, dataset.table, usual, dataset.info)
        mlflow.log_artifacts(folder)
    watch_shown.show(found)
    print(watch_shown.headline(found), flush=True)
    mlflow.log_metrics(watch_shown.metrics(found))
    version = production.version if production else None
    run_id = mlflow.active_run().info.run_id
    findings.record(Checked(dataset.collection, run_id, dataset.sha256, dataset.synthetic, version), found)
    mlflow.set_tags(
        {
            tags.NOTE: watch_shown.note(found),
            tags.ALARMS: ", ".join(watch_shown.name(one) for one in found if one.alarm),
            tags.CHAMPION: production.run_id if production else "",
        }
    )


def parse_rules(text: str) -> Watching:
    """`short_days: 7, long_days: 28, …` as limits."""
    try:
        return read_limits(yaml.safe_load("{" + text + "}"))
    except yaml.YAMLError as error:
        raise SettingError("rules", text, f"YAML such as 'short_days: 7' ({error})") from error


def parse_time(text: str) -> pd.Timestamp:
    """The time that is given, UTC where it names no zone; the real one if it is empty."""
    try:
        return utc(text) if text else pd.Timestamp.now("UTC")
    except ValueError as error:
        raise SettingError("now", text, "a time such as 2016-07-04T06:00:00+00:00") from error


def version_and_findings(dataset: Dataset, limits: Watching) -> tuple[registry.Production | None, list[Finding]]:
    """The version in Production and the findings on it. Without one that can be loaded, the data are watched all the same."""
    try:
        production = registry.load_production(dataset.collection)
        return production, of_model(production, dataset, limits)
    except NoProductionModel:
        print("nothing is in Production: only the data are looked at", flush=True)
    except (MlflowException, StoreError, DataError, OSError) as error:
        print(f"the version in Production cannot be loaded: {error}\nonly the data are looked at", flush=True)
    return None, []


def of_model(production: registry.Production, dataset: Dataset, limits: Watching) -> list[Finding]:
    """The findings on the version: measured on hours that it has not learned from, estimated for those not recorded yet."""
    seen = review(production, dataset)
    test = pd.concat([registry.load_predictions(production.run_id, "backtest"), production.window()]).sort_index()
    live = seen.table[seen.table.index > seen.window_end]
    outlook = dataset.outlook  # inputs of hours that are not recorded yet
    forecasts = outlook
    if len(outlook):
        inputs = pd.concat([dataset.table[dataset.inputs], outlook[dataset.inputs]])
        predicted = production.predict(inputs.reset_index(names=dataset.info["timestamp"])).set_index(inputs.index)
        forecasts = predicted.loc[outlook.index].add_suffix("_forecast")
    return watch_model(test, live, forecasts, dataset.info, limits)


if __name__ == "__main__":
    main(monitor)
