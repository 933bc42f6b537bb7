"""What the dashboard costs on 4 and on 100 years of hourly data, beside the starting point's own on the same requests.

    python bench/dashboard.py [--callbacks 60] [--rounds 3] [--long 1000]

Both are served by their own server in a process of its own, the new one with stand-ins for registry and database. Measured on
each: a browser's first meaningful paint (the first curve drawn, a new browser's profile), and the callback that draws a range:
for the new one `explore` with ranges from everything to a week, for the starting point its week chooser, which knows no other
range. Then for the new one alone: 20 visitors at once, and memory over many callbacks. Prints medians, p95, payloads and the
medians of the ratios over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import psutil

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path += [str(CHECKOUT), str(CHECKOUT / "dashboard"), str(CHECKOUT / "tests")]

YEARS = (4, 100)
VISITORS = 20
ROUNDS_OF_A_VISITOR = 5
READY_S = 1800.0  # the starting point trains a forest before it serves
WINDOW = 4_380  # hours that the twin has forecast
SEED = 7


def table(years: int) -> pd.DataFrame:
    """Hourly values of the starting point's six columns, made up; the same at each call."""
    hours = pd.date_range(
        end="2016-12-31T23:00Z", periods=round(years * 8766), freq="1h", unit="us", name="utc_timestamp"
    )
    rng = np.random.default_rng(SEED)
    day, year = hours.hour.to_numpy() / 24, hours.day_of_year.to_numpy() / 365.25
    weather = np.convolve(rng.normal(size=len(hours) + 47), np.ones(48) / 7, mode="valid")
    sun = np.clip(np.sin((day - 0.25) * 2 * np.pi), 0, None) * (1 - 0.7 * np.cos(2 * np.pi * year))
    columns = {
        "solar_GW": 14 * sun * np.clip(1 + weather / 3, 0.2, 1.6),
        "wind_GW": np.clip(9 + 6 * weather, 0.2, None),
        "windspeed": np.clip(4 + 2 * weather, 0.1, None),
        "temperature": 9 - 11 * np.cos(2 * np.pi * year) + 3 * weather,
        "rad_horizontal": 420 * sun,
        "rad_diffuse": 160 * sun,
    }
    return pd.DataFrame(columns, index=hours).round(3)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve(years: int, port: int) -> None:
    """The dashboard in this process, for good. Its registry is a stand-in that has `years` of data in Production."""
    import app
    import yaml
    from standins import Production, Registry, make_window

    from dsgo.settings import load

    spec = yaml.safe_load((CHECKOUT / "projects" / "wind_solar" / "collection.yaml").read_text(encoding="utf-8"))
    source = {"kind": "sample", "name": "bench", "sha256": "0" * 64}
    info = {**spec["dataset"], "collection": spec["name"], "title": spec["title"], "synthetic": True, "repairs": []}
    hours = table(years)
    production = Production(
        table=hours,
        info={**info, "source": source, "sha256": "0" * 64},
        window_table=make_window(hours, start=str(hours.index[-WINDOW])),
        trained_to=hours.index[-1].isoformat(),
    )
    app.listen(app.create_app(load(), Registry(wind_solar=production)), port).run()


def lay_out_starting_point(years: int, folder: Path) -> Path:
    """A copy of the starting point's dashboard beside a table of `years`; its folder."""
    shutil.copytree(CHECKOUT / "1_starting_point" / "dashboard", folder / "dashboard")
    table(years).to_csv(folder / "germany.csv", date_format="%Y-%m-%d %H:%M:%S+00:00")
    return folder / "dashboard"


@contextmanager
def running(command: list[str], cwd: Path, port: int) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a server, from when it answers."""
    with tempfile.TemporaryDirectory(prefix="bench-dashboard-") as home, (Path(home) / "log").open("w+") as log:
        environment = {**os.environ, "DSGO_HOME": home, "PYTHONPATH": str(CHECKOUT)}
        with subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log) as process:
            try:
                address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + READY_S
                while not _answers(address):
                    if process.poll() is not None or time.monotonic() > deadline:
                        sys.exit(f"{' '.join(command)} does not answer:\n{(Path(home) / 'log').read_text()[-3000:]}")
                    time.sleep(0.1)
                yield address, psutil.Process(process.pid)
            finally:
                process.terminate()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


class Callback:
    """One callback of a Dash application, found by one of its outputs in what the application says of itself."""

    def __init__(self, address: str, output: str) -> None:
        self.address = address
        with urllib.request.urlopen(f"{address}/_dash-dependencies", timeout=30) as answer:
            known = json.load(answer)
        self.known = next(one for one in known if output in one["output"].strip(".").split("..."))

    def ask(self, changed: str, **values: Any) -> tuple[float, int, int]:
        """Seconds, bytes and status of one answer. `values`: what inputs and states have, by `id__property`."""

        def filled(entries: list[dict[str, str]]) -> list[dict[str, Any]]:
            return [{**one, "value": values.get(f"{one['id']}__{one['property']}")} for one in entries]

        outputs = [part.rsplit(".", 1) for part in self.known["output"].strip(".").split("...")]
        listed = [{"id": name, "property": prop} for name, prop in outputs]
        body = {
            "output": self.known["output"],
            "outputs": listed if self.known["output"].startswith("..") else listed[0],
            "inputs": filled(self.known["inputs"]),
            "state": filled(self.known["state"]),
            "changedPropIds": [changed],
        }
        request = urllib.request.Request(
            f"{self.address}/_dash-update-component",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
            return time.perf_counter() - began, len(content), answer.status


def explored(address: str) -> Callback:
    """The new dashboard's callback of a range, when the data have been read."""
    callback, deadline = Callback(address, "explore-graph.figure"), time.monotonic() + READY_S
    while callback.ask("explore-location.search", **_range(pd.Timedelta("7D")))[2] != 200:
        if time.monotonic() > deadline:
            sys.exit("The dashboard has nothing to show.")
        time.sleep(0.2)
    return callback


def _range(span: pd.Timedelta, columns: int = 2, end: str = "2016-12-01") -> dict[str, Any]:
    names = ["solar_GW", "wind_GW", "windspeed", "temperature"][:columns]
    last = pd.Timestamp(end)
    query = [("collection", "wind_solar"), *(("show", name) for name in names)]
    query += [("from", f"{last - span:%Y-%m-%dT%H:%M}"), ("to", f"{last:%Y-%m-%dT%H:%M}")]
    return {"explore-location__search": "?" + urlencode(query), "screen__data": 1200}


def spans(years: int) -> list[pd.Timedelta]:
    """From everything to a day, as a reader zooms."""
    return [pd.Timedelta(days=days) for days in (years * 365, years * 90, 730, 365, 90, 30, 7, 1)]


def timed_new(address: str, years: int, callbacks: int) -> tuple[list[float], int]:
    """Seconds of each answer, and bytes of the largest: two curves, and the worst case of four."""
    callback, asked = explored(address), spans(years)
    answers = [
        callback.ask("explore-location.search", **_range(asked[number % len(asked)], 4 if number % 2 else 2))
        for number in range(callbacks)
    ]
    return [seconds for seconds, _, _ in answers], max(size for _, size, _ in answers)


def timed_starting_point(address: str, callbacks: int) -> tuple[list[float], int]:
    """The same of the starting point, of whose ranges there is one: a week."""
    callback = Callback(address, "graph.figure")
    answers = []
    for number in range(callbacks):
        week = f"{2013 + number % 4}-W{1 + number % 50:02d}"
        target = ("solar_GW", "wind_GW")[number % 2]
        answers.append(callback.ask("week.value", target__value=target, week__value=week))
    return [seconds for seconds, _, _ in answers], max(size for _, size, _ in answers)


def first_paint(address: str, path: str) -> float:
    """Seconds from a new browser's request to the first curve."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--headless", "--no-sandbox"])
        try:
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(address + path)
            page.wait_for_selector(".scatterlayer .trace path", state="attached", timeout=120_000)
            return time.perf_counter() - began
        finally:
            browser.close()


def visitors(address: str, years: int) -> tuple[int, float]:
    """Failures among 20 visitors who zoom at once, and the p95 of their waits in seconds."""
    callback, asked, failed, waits = explored(address), spans(years), [], []
    gate = threading.Barrier(VISITORS)

    def visit(number: int) -> None:
        gate.wait(60)
        for place in range(ROUNDS_OF_A_VISITOR):
            span = asked[(number + place) % len(asked)]
            try:
                seconds, _, status = callback.ask("explore-location.search", **_range(span))
            except (urllib.error.URLError, OSError) as error:
                failed.append(str(error))
                continue
            waits.append(seconds)
            if status != 200:
                failed.append(str(status))

    with ThreadPoolExecutor(VISITORS) as pool:
        list(pool.map(visit, range(VISITORS)))
    return len(failed), float(np.quantile(waits, 0.95))


def memory(address: str, process: psutil.Process, years: int, many: int) -> tuple[float, float]:
    """Resident MB after a tenth of the callbacks, and after all."""
    callback, asked, first = explored(address), spans(years), 0.0
    for number in range(many):
        if number == many // 10:
            first = process.memory_info().rss / 1e6
        end = f"{2014 + number % 3}-{1 + number % 12:02d}-{1 + number % 28:02d}"
        callback.ask("explore-location.search", **_range(asked[number % len(asked)], end=end))
    return first, process.memory_info().rss / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--callbacks", type=int, default=80, help="of each dashboard in each round")
    parser.add_argument("--rounds", type=int, default=3, help="old and new in turn, so that both meet the same machine")
    parser.add_argument("--long", type=int, default=1000, help="callbacks over which memory is watched")
    parser.add_argument("--years", type=int, nargs="+", default=YEARS)
    parser.add_argument("--without-starting-point", action="store_true", help="its forest needs minutes on 100 years")
    parser.add_argument("--serve", type=int, nargs=2, metavar=("YEARS", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    for years in options.years:
        with tempfile.TemporaryDirectory(prefix="bench-starting-point-") as folder:
            _compare(years, options, Path(folder))


def _compare(years: int, options: argparse.Namespace, folder: Path) -> None:
    old_port, new_port = free_port(), free_port()
    mine = [sys.executable, str(Path(__file__).resolve()), "--serve", str(years), str(new_port)]
    print(f"{years} years, {len(table(years)):,} hours", flush=True)
    if options.without_starting_point:
        with running(mine, CHECKOUT, new_port) as (new, process):
            _rounds(years, options, new, process, None)
        return
    theirs = [sys.executable, "app.py", str(old_port)]
    with (
        running(mine, CHECKOUT, new_port) as (new, process),
        running(theirs, lay_out_starting_point(years, folder), old_port) as (old, _),
    ):
        _rounds(years, options, new, process, old)


def _rounds(years: int, options: argparse.Namespace, new: str, process: psutil.Process, old: str | None) -> None:
    ratios: dict[str, list[float]] = {"callback": [], "first paint": []}
    for number in range(1, options.rounds + 1):
        found = {"new": (timed_new(new, years, options.callbacks), first_paint(new, "/explore"))}
        if old is not None:
            found["starting point"] = (timed_starting_point(old, options.callbacks), first_paint(old, "/"))
        for name, ((seconds, size), paint) in found.items():
            median, late = statistics.median(seconds) * 1e3, float(np.quantile(seconds, 0.95)) * 1e3
            print(
                f"  round {number} {name:<15} callback median {median:6.0f} ms  p95 {late:6.0f} ms"
                f"  largest payload {size / 1e3:5.0f} kB  first paint {paint:5.2f} s",
                flush=True,
            )
        if old is not None:
            medians = [statistics.median(seconds) for (seconds, _), _ in found.values()]
            ratios["callback"].append(medians[0] / medians[1])
            paints = [paint for _, paint in found.values()]
            ratios["first paint"].append(paints[0] / paints[1])
    for name, values in ratios.items():
        if values:
            print(
                f"  {name}, new / starting point: {statistics.median(values):.2f} (median of {len(values)})", flush=True
            )
    failed, late = visitors(new, years)
    print(f"  {VISITORS} visitors at once: {failed} failures, p95 {late * 1e3:.0f} ms", flush=True)
    before, after = memory(new, process, years, options.long)
    print(f"  memory: {before:.0f} MB, after {options.long:,} callbacks {after:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
