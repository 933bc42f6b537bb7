"""What the pipeline costs beside the four starting notebooks, on the same data and in the same run.

    python bench/pipeline.py [germany.csv] [--runs 3]

(a) executes the four notebooks one after another, (b) runs `python -m dsgo run` with its servers up: the same models, and
besides back-tests, registers, gates, reports, serves and displays; (c) runs it again with nothing changed. Each run of (b)
starts with an empty state. Prints wall times, peak memory and the medians of the ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import statistics
import sys
import tempfile
from pathlib import Path

from starting_point import STARTING_POINT, Cost, measure, total, warm_up, watch

from dsgo import services
from dsgo.errors import DSGoError, StepError
from dsgo.settings import CHECKOUT, Settings, load


def own_copy(home: Path) -> Settings:
    """Settings of a copy of DSGo in `home`, on ports that are free now."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c, socket.socket() as d:
        taken = []
        for one in (a, b, c, d):
            one.bind(("127.0.0.1", 0))
            taken.append(one.getsockname()[1])
    names = ("ftp_port", "tracking_port", "dashboard_port", "serve_port")
    return dataclasses.replace(load({"DSGO_HOME": str(home)}), **dict(zip(names, taken, strict=True)))


def pipeline(table: Path, folder: Path) -> tuple[Cost, Cost]:
    """Cost of a first and of a second run in a new copy; without its servers, which are up before and after."""
    settings = own_copy(folder / "state")
    environment = {**os.environ, **settings.child_environment(), "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "dsgo", "run", "--data", str(table)]
    try:
        services.up(settings)
        costs = []
        for number in (1, 2):
            log = folder / f"run{number}.log"
            code, cost = watch(command, cwd=CHECKOUT, environment=environment, log=log)
            if code:
                raise StepError("pipeline", f"ended with {code}:\n{log.read_text()[-3000:]}")
            costs.append(cost)
    finally:
        services.down(settings)
    return costs[0], costs[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("germany_csv", nargs="?", type=Path, default=STARTING_POINT / "germany.csv")
    parser.add_argument("--runs", type=int, default=1, help="how often to measure all of it")
    options = parser.parse_args()
    table = options.germany_csv.resolve()
    if not table.is_file():
        parser.error(f"there is no file {table}")
    warm_up()
    ratios: dict[str, list[float]] = {"time b / a": [], "memory b / a": [], "time c / b": []}
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as name:
            folder = Path(name)
            try:
                a = total(measure(table, folder / "notebooks"))
                b, c = pipeline(table, folder)
            except DSGoError as error:
                sys.exit(str(error))
        for what, cost in (("a notebooks", a), ("b pipeline", b), ("c again", c)):
            print(f"run {number}  {what:<12} {cost.wall_s:7.1f} s  {cost.peak_MB:7.0f} MB", flush=True)
        ratios["time b / a"].append(b.wall_s / a.wall_s)
        ratios["memory b / a"].append(b.peak_MB / a.peak_MB)
        ratios["time c / b"].append(c.wall_s / b.wall_s)
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.2f} (median of {len(values)})")


if __name__ == "__main__":
    main()
