"""Two simulated years of a collection, week by week: what the system notices, what it does, and what is left in the end.

    python bench/two_years.py [--weeks 104] [--folder DIR] [--seed 5]

Each Monday the raw table has grown by a week, with the weather forecast for the next; then `make refresh` and the weekly
report, as cron would run them. Faults and drifts are put into the data on known dates (`EVENTS`), an operator mends what
the system asks a person for, a version is rolled back, and processes are killed at random moments. At the end ledger,
registry, database and artifacts must agree and every week must have had its predictions: exit code 1 if not. Prints what
happened when, false alarms and the delays of detection; writes the same to `two_years.md` and `two_years.json`.

The weather is the generated sample's. The copy's flow has the two quickest models, so that the years fit into an hour.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
from pipeline import own_copy

from dsgo import services
from dsgo.settings import CHECKOUT, Settings, activate

sys.path.append(str(CHECKOUT / "projects" / "wind_solar" / "process_data"))
from wind_solar_sample import sample

COLLECTION = "wind_solar"
MODELS = '("gradient_boosting", "linear_regression")'
FIRST_MONDAY = pd.Timestamp("2015-07-13", tz="UTC")  # two and a half years are there: a year, two folds and the window
WEEK = pd.Timedelta(days=7)
WIND = ("windspeed", "wind_GW")
TARGETS, WEATHER = ["solar_GW", "wind_GW"], ["windspeed", "temperature", "rad_horizontal", "rad_diffuse"]
SETTLED = pd.Timedelta(weeks=8)  # after a drift has been learned, its findings may still come from weeks before that
PATIENCE_S = 1800.0


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that is wrong with the data from `start` on, until `end` or, if `mended`, until a person has been asked.

    `subjects` are the columns whose findings it explains, and `""`, the whole table.
    """

    name: str
    start: pd.Timestamp
    change: Callable[[pd.DataFrame], pd.DataFrame]
    subjects: tuple[str, ...]
    end: pd.Timestamp | None = None
    mended: bool = False


def _day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def scaled(column: str, factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The column in another unit, or of another capacity."""
    return lambda rows: rows.assign(**{column: rows[column] * factor})


def moved(column: str, offset: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A sensor that shows too much."""
    return lambda rows: rows.assign(**{column: rows[column] + offset})


def stuck(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A sensor that shows one value for ever."""
    return lambda rows: rows.assign(**{column: rows[column].iloc[0]})


def lost(rows: pd.DataFrame) -> pd.DataFrame:
    """Days that nobody has recorded."""
    return rows.iloc[:0]


EVENTS = (
    Event("wind speed in km/h", _day("2015-10-05"), scaled("windspeed", 3.6), WIND, mended=True),
    Event("wind capacity +15 %", _day("2016-02-08"), scaled("wind_GW", 1.15), WIND),
    Event("wind speed stuck", _day("2016-06-01"), stuck("windspeed"), WIND, mended=True),
    Event("temperature sensor +2 °C", _day("2016-08-15"), moved("temperature", 2.0), ("temperature", "solar_GW")),
    Event("four days lost", _day("2016-11-10"), lost, ("", *TARGETS, *WEATHER), end=_day("2016-11-14")),
    Event("solar capacity −15 %", _day("2017-02-06"), scaled("solar_GW", 0.85), ("solar_GW",)),
    Event("wind speed sensor +1 m/s", _day("2017-05-01"), moved("windspeed", 1.0), WIND),
)
ROLLBACK = _day("2016-10-03")
KILLS = {_day("2015-08-31"): "refresh", _day("2016-04-18"): "tracking", _day("2017-01-16"): "ftp"}


class World:
    """The data as they are known on a Monday."""

    def __init__(self, seed: int, last: pd.Timestamp) -> None:
        self.true = sample(seed=seed, end=f"{last + WEEK:%Y-%m-%d} 23:00").set_index("utc_timestamp")
        self.mended: set[str] = set()

    def table(self, monday: pd.Timestamp) -> pd.DataFrame:
        """What is recorded before `monday`, and the weather forecast for its week, without power."""
        rows = self.true.loc[: monday + WEEK - pd.Timedelta(hours=1)].copy()
        for event in EVENTS:
            if event.start >= monday or event.name in self.mended:
                continue
            end = min(event.end or monday, monday)
            wrong = (rows.index >= event.start) & (rows.index < end)
            rows = pd.concat([rows[~wrong], event.change(rows[wrong])]).sort_index()
        rows.loc[rows.index >= monday, TARGETS] = float("nan")
        return rows

    def wrong(self, monday: pd.Timestamp) -> list[Event]:
        """What is wrong with the data before `monday`, and would be mended if asked for."""
        return [e for e in EVENTS if e.mended and e.start < monday and e.name not in self.mended]


class Story:
    """What happened, as rows of a table; printed as it comes."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def tell(self, monday: pd.Timestamp, what: str, text: str) -> None:
        self.rows.append({"week": f"{monday:%Y-%m-%d}", "what": what, "text": text})
        print(f"{monday:%Y-%m-%d}  {what:<14} {text}", flush=True)


def checkout_with_few_models(folder: Path) -> Path:
    """A copy of the checkout whose flow trains the quickest models only."""
    target = folder / "checkout"
    ignored = shutil.ignore_patterns(".venv", ".git", ".dsgo", "__pycache__", "tests", "docs")
    shutil.copytree(CHECKOUT, target, ignore=ignored)
    flow = target / "projects" / COLLECTION / "flow.py"
    lines = flow.read_text(encoding="utf-8").splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("MODELS = ")]
    lines[place] = f"MODELS = {MODELS}"
    flow.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rules = flow.with_name("collection.yaml")  # by the clock of today the data of these years have long been stale
    text, count = re.subn(r"stale_hours: \d+", "stale_hours: 1000000", rules.read_text(encoding="utf-8"))
    assert count == 1, "collection.yaml has no stale_hours"
    rules.write_text(text, encoding="utf-8")
    return target


class System:
    """One copy of DSGo, used by its commands."""

    def __init__(self, folder: Path, settings: Settings, checkout: Path, choose: random.Random) -> None:
        self.folder, self.settings, self.checkout, self.choose = folder, settings, checkout, choose
        self.environment = {**os.environ, **settings.child_environment(), "PYTHONPATH": str(checkout)}
        self.shortest_s = math.inf  # of all refreshes: a kill before that finds one at work

    def start(self, *arguments: str) -> subprocess.Popen:
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"\n$ dsgo {' '.join(arguments)}\n")
            log.flush()
            command = [sys.executable, "-m", "dsgo", *arguments]
            return subprocess.Popen(
                command, cwd=self.checkout, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def said(self) -> str:
        """The last error that a step has printed."""
        lines = (self.folder / "commands.log").read_text().splitlines()
        return next((line.partition("Error: ")[2] for line in reversed(lines) if "Error: " in line), "nothing")

    def run(self, *arguments: str) -> int:
        begin = time.monotonic()
        code = self.start(*arguments).wait(PATIENCE_S)
        if arguments[0] == "refresh" and code == 0:
            self.shortest_s = min(self.shortest_s, time.monotonic() - begin)
        return code

    def killed(self, victim: str, *arguments: str) -> str:
        """Run a command and kill `victim` (the command itself with all it started, or a server) at a random moment of it.

        Returns:
            What became of it, in words.
        """
        process = self.start(*arguments)
        moment = self.choose.uniform(0.1, 0.9) * self.shortest_s
        try:
            return f"too late: {arguments[0]} had ended with {process.wait(moment)}"
        except subprocess.TimeoutExpired:
            if victim == "refresh":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                (row,) = [row for row in services.status(self.settings) if row.name == victim]
                psutil.Process(row.pid).kill()
        return f"after {moment:.0f} s; {arguments[0]} ended with {process.wait(PATIENCE_S)}"


def live(system: System, world: World, story: Story, weeks: int) -> tuple[list[dict], list[str]]:
    """Play all weeks. Returns the findings with an alarm by week, and what was wrong with any week."""
    from dsgo import actions, findings, ledger

    raw, seen, wrong, checked = system.folder / "raw.csv", [], [], 0
    for number in range(-1, weeks):
        monday = FIRST_MONDAY + number * WEEK
        world.table(monday).to_csv(raw, date_format="%Y-%m-%dT%H:%M:%SZ")
        known = {(row.action, row.version, row.time) for row in ledger.read(COLLECTION)}
        asked = len(actions.read(COLLECTION))
        command = "run" if number < 0 else "refresh"
        if number < 0:
            story.tell(monday, "begin", f"first training, {len(world.table(monday))} rows")
        for event in EVENTS:
            if monday - WEEK <= event.start < monday:
                story.tell(monday, "injected", f"{event.name}, from {event.start:%Y-%m-%d} on")
        if victim := KILLS.get(monday):
            became = system.killed(victim, command, "--data", str(raw))
            story.tell(monday, "kill -9", f"{victim} {became}")
            wrong += [f"{monday:%Y-%m-%d}: {victim} was killed {became}"] if became.startswith("too late") else []
        begin = time.monotonic()
        code = system.run(command, "--data", str(raw))
        if code and (faulty := world.wrong(monday)):  # such data are refused by name: the operator mends them at once
            story.tell(monday, "refused", system.said())
            by, lacking = predicted(world, monday)  # before anybody mends anything
            wrong += lacking
            story.tell(monday, "stopgap", f"predictions by {by}")
            for event in faulty:
                world.mended.add(event.name)
                story.tell(monday, "operator", f"mends the data: {event.name}")
            world.table(monday).to_csv(raw, date_format="%Y-%m-%dT%H:%M:%SZ")
            code = system.run(command, "--data", str(raw))
        if code:
            wrong.append(f"{monday:%Y-%m-%d}: {command} ended with {code}")
        spent = time.monotonic() - begin
        if code := system.run("report", "--collection", COLLECTION):
            wrong.append(f"{monday:%Y-%m-%d}: report ended with {code}")

        found = findings.history(COLLECTION)  # of two checks, before and after a promotion, both
        checked, found = found["id"].max(), found[found["id"] > checked]
        for row in found[found["alarm"]].to_dict("records"):
            seen.append(row | {"monday": monday})
            story.tell(monday, "alarm", f"{row['kind']}: {row['text']}")
        for action in actions.read(COLLECTION)[asked:]:
            if action.action != actions.NOTHING:
                story.tell(monday, action.action, action.reason[:160])
        for row in ledger.read(COLLECTION):
            if (row.action, row.version, row.time) not in known:
                story.tell(monday, row.action, f"version {row.version or '-'}: {row.evidence.reason[:120]}")
        question = actions.questions().get(COLLECTION)
        if question:
            faulty = world.wrong(monday)
            for event in faulty:
                world.mended.add(event.name)
                story.tell(monday, "operator", f"mends the data: {event.name}")
            if not faulty and system.run("refresh", "--data", str(raw), "--go-on"):
                wrong.append(f"{monday:%Y-%m-%d}: refresh --go-on failed")

        by, lacking = predicted(world, monday)
        wrong += lacking
        print(f"{monday:%Y-%m-%d}  predictions by {by}; {spent:.0f} s", flush=True)
        if monday == ROLLBACK:
            code = system.run("rollback", "--reason", "the operator tries it out")
            story.tell(
                monday,
                "rollback",
                f"ended with {code}; Production {ledger.in_production(ledger.read(COLLECTION))[-1].version}",
            )
    return seen, wrong


def predicted(world: World, monday: pd.Timestamp) -> tuple[str, list[str]]:
    """Who has forecast the week that begins on `monday`, and what is missing of it."""
    from dsgo import predictions

    hours = world.true.loc[monday : monday + WEEK - pd.Timedelta(hours=1)].index.unique()  # the raw table repeats some
    ahead = predictions.newest(COLLECTION, hours[0], hours[-1])
    by = ", ".join(
        sorted({f"{s} {v}" if s != "naive" else s for s, v in zip(ahead["source"], ahead["version"], strict=True)})
    )
    if len(ahead) == len(hours) * len(TARGETS):
        return by, []
    return by, [f"{monday:%Y-%m-%d}: {len(ahead)} predictions for {len(hours)} hours of {len(TARGETS)} targets"]


def disagreements(system: System) -> list[str]:
    """What ledger, registry, database and artifacts tell differently."""
    from mlflow.tracking import MlflowClient

    from dsgo import actions, findings, ledger, manifest, predictions, tags

    client, wrong = MlflowClient(), []
    path = ledger.in_production(ledger.read(COLLECTION))
    champion = client.get_model_version_by_alias(COLLECTION, "champion")
    staged = client.get_latest_versions(COLLECTION, ["Production"])
    if {str(path[-1].version)} != {champion.version} | {version.version for version in staged}:
        wrong.append(f"ledger {path[-1].version}, alias {champion.version}, stage {[v.version for v in staged]}")
    wrong += [f"ledger: row {row.id} has not ended" for row in ledger.read() if row.state == ledger.BEGUN]
    experiment = client.get_experiment_by_name("predicting_wind_solar").experiment_id
    runs, token = {}, None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        if not (token := page.token):
            break
    wrong += [f"run {key} is still RUNNING" for key, run in runs.items() if run.info.status == "RUNNING"]
    for key, run in runs.items():
        if tags.MANIFEST in run.data.tags and (damaged := manifest.damage(client, run)):
            wrong.append(f"run {key}: {damaged}")
    for version in client.search_model_versions(f"name = '{COLLECTION}'"):
        if version.run_id not in runs:
            wrong.append(f"version {version.version}: its run {version.run_id} is not there")
    told = {"predictions": set(predictions.newest(COLLECTION)["run_id"])}
    told["findings"] = set(findings.history(COLLECTION)["run_id"])
    told["actions"] = {action.run_id for action in actions.read(COLLECTION)} - {""}
    wrong += [f"{table}: there is no run {key}" for table, keys in told.items() for key in keys - runs.keys()]
    print(f"{len(runs)} runs, {len(path)} versions on the ledger's path, {len(told['findings'])} checks", flush=True)
    return wrong


def judged(seen: list[dict], story: Story) -> tuple[list[str], list[str]]:
    """The delay until each event was noticed, and the alarms that no event explains.

    An event explains findings about its columns from its start until `SETTLED` after it has ended, been mended or been
    learned by a promoted version.
    """
    told = [(pd.Timestamp(row["week"], tz="UTC"), row["what"], row["text"]) for row in story.rows]
    delays, explained = [], set()
    for event in (each for each in EVENTS if each.start < told[-1][0]):
        over = [event.end] if event.end else []
        over += [week for week, what, text in told if what == "operator" and event.name in text]
        if not event.mended and not event.end:
            over += [week for week, what, _ in told if what == "promotion" and week > event.start]
        until = min(over, default=told[-1][0]) + SETTLED
        own = [
            place
            for place, row in enumerate(seen)
            if event.start < row["monday"] <= until and row["subject"] in event.subjects and row["kind"] != "stale"
        ]
        explained.update(own)
        if not own:
            refused = [week for week, what, text in told if what == "refused" and week > event.start]
            days = (refused[0] - event.start).days if event.mended and refused and over else None
            delays.append(f"{event.name}: " + (f"{days} days (the data were refused)" if days else "not noticed"))
            continue
        first = seen[own[0]]
        about = f"{first['kind']}, {first['subject'] or 'table'}, {first['check']}"
        delays.append(f"{event.name}: {(first['monday'] - event.start).days} days ({about})")
    unexplained = [row for place, row in enumerate(seen) if place not in explained]
    return delays, [f"{row['monday']:%Y-%m-%d}: {row['kind']}: {row['text']}" for row in unexplained]


def main() -> None:
    """Play, check and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weeks", type=int, default=104)
    parser.add_argument("--folder", type=Path, help="where all state stays; default: a temporary folder")
    parser.add_argument("--seed", type=int, default=5, help="of the weather and of the moments of the kills")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="two-years-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    choose, story = random.Random(options.seed), Story()
    settings = own_copy(folder / "state")
    world = World(options.seed, FIRST_MONDAY + options.weeks * WEEK)
    system = System(folder, settings, checkout_with_few_models(folder), choose)
    print(f"state and logs: {folder}", flush=True)
    try:
        settings = services.up(settings)
        activate(settings)
        seen, wrong = live(system, world, story, options.weeks)
        wrong += disagreements(system)
    finally:
        services.down(settings)
    delays, false = judged(seen, story)
    lines = [
        "| week | what | |",
        "|---|---|---|",
        *(f"| {r['week']} | {r['what']} | {r['text']} |" for r in story.rows),
    ]
    lines += ["", "Delays:", *(f"- {line}" for line in delays), "", f"False alarms: {len(false)}", *false]
    lines += ["", f"Wrong: {len(wrong)}", *wrong]
    (folder / "two_years.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "two_years.json").write_text(
        json.dumps({"story": story.rows, "delays": delays, "false": false, "wrong": wrong})
    )
    print("\n".join(lines[lines.index("Delays:") :]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
