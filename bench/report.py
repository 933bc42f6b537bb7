"""What a weekly report costs beside rendering the starting point's notebook report, by turns in the same run.

    DSGO_HOME=… python bench/report.py [--collection wind_solar] [--runs 5]

(a) runs `1_starting_point/report/make_report.py`, which trains a model, executes a notebook and writes HTML; (b) runs
`report/create_report.py` on the copy of DSGo that the settings name, whose servers are up and which has a model in Production:
HTML and PDF, in a process of its own, imports included. Each runs once unmeasured first, so that both find their modules
compiled. Prints wall and processor times, peak memory, sizes and the median of the ratios. On a machine that is shared the
processor's time is the one to look at.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from starting_point import STARTING_POINT, Cost, jupyter_environment, lay_out, watch

from dsgo.errors import DSGoError, StepError
from dsgo.settings import CHECKOUT, load


def processor_s() -> float:
    """Seconds of processor time that all ended children of this process have used."""
    times = os.times()
    return times.children_user + times.children_system


def measure(command: list[str], cwd: Path, environment: dict[str, str], folder: Path) -> tuple[Cost, float]:
    """Cost of one report, and its processor time in seconds.

    Raises:
        StepError: it was not made; carries the end of what was said.
    """
    log, before = folder / "report.log", processor_s()
    code, cost = watch(command, cwd=cwd, environment=environment, log=log)
    if code:
        raise StepError(Path(command[1]).name, f"ended with {code}:\n{log.read_text()[-3000:]}")
    return cost, processor_s() - before


def kilobytes(folder: Path) -> str:
    """Names and sizes of the reports in a folder."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".html", ".pdf"))
    return ", ".join(f"{path.name} {path.stat().st_size / 1000:.0f} kB" for path in files)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", default="wind_solar")
    parser.add_argument("--runs", type=int, default=5, help="how often to measure each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-report-") as name:
        folder = Path(name)
        lay_out(STARTING_POINT / "germany.csv", folder / "before")
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        script, out = CHECKOUT / "report" / "create_report.py", folder / "after"
        sides = {
            "a notebook": (
                [sys.executable, "make_report.py"],
                folder / "before" / "report",
                {**jupyter_environment(folder / "jupyter"), **compiled},
            ),
            "b report": (
                [sys.executable, str(script), "--collection", options.collection, "--output", str(out)],
                CHECKOUT,
                {**os.environ, **load().child_environment(), **compiled},
            ),
        }
        costs: dict[str, list[tuple[Cost, float]]] = {side: [] for side in sides}
        try:
            for number in range(options.runs + 1):
                for side, (command, cwd, environment) in sides.items():
                    cost, cpu_s = measure(command, cwd, environment, folder)
                    if number:
                        costs[side].append((cost, cpu_s))
                        figures = f"{cost.wall_s:6.2f} s  {cpu_s:6.2f} s of processor  {cost.peak_MB:6.0f} MB"
                        print(f"run {number}  {side:<10}  {figures}", flush=True)
        except DSGoError as error:
            sys.exit(str(error))
        for side, place in (("a notebook", folder / "before" / "report"), ("b report", out)):
            seconds = [cost.wall_s for cost, _ in costs[side]]
            cpu_s = statistics.median(cpu_s for _, cpu_s in costs[side])
            times = f"median {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s, processor {cpu_s:.2f} s"
            print(f"{side:<10}  {times}; {kilobytes(place)}")
        pairs = list(zip(*costs.values(), strict=True))
        wall = statistics.median(a.wall_s / b.wall_s for (a, _), (b, _) in pairs)
        cpu = statistics.median(a_s / b_s for (_, a_s), (_, b_s) in pairs)
        print(f"a / b       median of the times {wall:.1f}, of the processor times {cpu:.1f}")


if __name__ == "__main__":
    main()
