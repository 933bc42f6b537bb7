"""What the four starting notebooks cost: wall time and peak memory of each, run one after another.

Run: `python bench/starting_point.py [germany.csv]` (without an argument: the table in `1_starting_point`).

Each notebook is executed as a newcomer would, `jupyter nbconvert --to notebook --execute`, in a fresh process and a
temporary copy of `1_starting_point`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from dsgo.errors import DSGoError, SourceError, StepError

STARTING_POINT = Path(__file__).resolve().parent.parent / "1_starting_point"
NOTEBOOKS = ("make_processed_data.ipynb", "model_linreg.ipynb", "model_rf.ipynb", "model_keras.ipynb")
SAMPLING_S = 0.1  # between two looks at the memory in use
MW_PER_GW = 1000
ZERO_CELSIUS_K = 273.15
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # with which IPython paints tracebacks


@dataclass(frozen=True)
class Cost:
    """What one execution cost. `peak_MB` is the largest sum of RSS over the process tree: pages that two processes
    share count twice."""

    wall_s: float
    peak_MB: float


def total(costs: dict[str, Cost]) -> Cost:
    """Cost of executions one after another: times add up, the highest peak stands."""
    return Cost(sum(c.wall_s for c in costs.values()), max(c.peak_MB for c in costs.values()))


def write_raw(germany_csv: Path, folder: Path) -> None:
    """Write the raw exports from which `make_processed_data.ipynb` makes the table `germany_csv` again.

    Power comes as one file a year in MW, the one of 2015 with semicolons and decimal commas; weather as one file, in K.
    An hour that the table repeats stands once in the power files and as often as in the table in the weather file.

    Raises:
        SourceError: the file is no such table, or repeats an hour with different power.
    """
    try:
        table = pd.read_csv(germany_csv)
    except ValueError as error:  # pandas' errors of an empty, cut or binary file are ValueErrors
        raise SourceError(str(germany_csv), f"cannot be read as a table: {error}.") from error
    wanted = ["utc_timestamp", "solar_GW", "wind_GW", "windspeed", "temperature", "rad_horizontal", "rad_diffuse"]
    if list(table.columns) != wanted:
        raise SourceError(str(germany_csv), f"has the columns {list(table.columns)}, not {wanted}.")
    hours = pd.to_datetime(table["utc_timestamp"], utc=True)
    table["utc_timestamp"] = hours.dt.strftime("%Y-%m-%dT%H:%M:%SZ")

    power = table[["utc_timestamp", "solar_GW", "wind_GW"]].drop_duplicates()
    if power["utc_timestamp"].duplicated().any():
        hour = power.loc[power["utc_timestamp"].duplicated(), "utc_timestamp"].iloc[0]
        raise SourceError(str(germany_csv), f"has two different values of power for {hour}.")
    power = pd.DataFrame(
        {
            "utc_timestamp": power["utc_timestamp"],
            "DE_solar_generation_actual": (power["solar_GW"] * MW_PER_GW).round(6),
            "DE_wind_generation_actual": (power["wind_GW"] * MW_PER_GW).round(6),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    for year, part in power.groupby(power["utc_timestamp"].str[:4]):
        style = {"sep": ";", "decimal": ","} if year == "2015" else {}
        part.to_csv(folder / f"power_{year}.csv", index=False, float_format="%.12g", lineterminator="\n", **style)

    weather = pd.DataFrame(
        {
            "utc_timestamp": table["utc_timestamp"],
            "v_10m": table["windspeed"],
            "T": (table["temperature"] + ZERO_CELSIUS_K).round(3),
            "SWTDR": table["rad_horizontal"],
            "SWDIFF": table["rad_diffuse"],
        }
    )
    weather.to_csv(folder / "weather.csv", index=False, lineterminator="\n")


def lay_out(germany_csv: Path, folder: Path) -> None:
    """Make `folder`, which must not exist, a copy of the starting point that works on the table `germany_csv`."""
    ignored = shutil.ignore_patterns("raw", "germany.csv", "executed", "results.csv", "*.html", "__pycache__", ".*")
    shutil.copytree(STARTING_POINT, folder, ignore=ignored)
    shutil.copyfile(germany_csv, folder / "germany.csv")
    write_raw(germany_csv, folder / "raw")


def jupyter_environment(scratch: Path) -> dict[str, str]:
    """Environment in which Jupyter's `python3` is this interpreter; what Jupyter and Keras keep goes to `scratch`."""
    spec = scratch / "kernels" / "python3"
    spec.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    return {
        **os.environ,
        "JUPYTER_PATH": str(scratch),  # comes before the folders of user and system
        "JUPYTER_DATA_DIR": str(scratch / "data"),
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "KERAS_HOME": str(scratch / "keras"),
    }


def _tree_MB(process: psutil.Process) -> float:
    used = 0
    try:
        for member in (process, *process.children(recursive=True)):
            try:
                used += member.memory_info().rss
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue  # it ended between the listing and the look
    except psutil.NoSuchProcess:
        pass
    return used / 1e6


def _end_tree(process: subprocess.Popen) -> None:
    members = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in members:
        if member.is_running():
            member.kill()
    psutil.wait_procs(members, timeout=10)


def watch(command: list[str], *, cwd: Path, environment: dict[str, str], log: Path) -> tuple[int, Cost]:
    """Run a command to its end, its output going to `log`; its exit code and what it cost."""
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
        peak_MB = 0.0
        try:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                peak_MB = max(peak_MB, _tree_MB(watched))
                try:
                    process.wait(SAMPLING_S)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                _end_tree(process)
        return process.returncode, Cost(time.perf_counter() - started, peak_MB)


def execute(notebook: Path, environment: dict[str, str]) -> Cost:
    """Execute `notebook` in its folder; the executed copy goes to `executed/` beside it.

    Raises:
        StepError: a cell failed; carries the cell and its traceback.
    """
    log = notebook.with_suffix(".log")
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", "executed"]
    code, cost = watch([*command, notebook.name], cwd=notebook.parent, environment=environment, log=log)
    if code:
        said = COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace"))
        _, _, cell = said.rpartition("CellExecutionError: ")  # leaves nbconvert's own frames out
        raise StepError(notebook.name, f"nbconvert ended with {code}:\n{cell[-2000:]}")
    return cost


def warm_up() -> None:
    """Import once what the notebooks import, so that neither cold files nor matplotlib's font cache count."""
    imports = "import ipykernel, keras, matplotlib.font_manager, nbconvert, pandas, sklearn.ensemble"
    subprocess.run([sys.executable, "-c", imports], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(germany_csv: Path, folder: Path) -> dict[str, Cost]:
    """Execute the four notebooks on the table `germany_csv` in `folder`, which is made; cost of each by its name."""
    lay_out(germany_csv, folder)
    with tempfile.TemporaryDirectory(prefix="jupyter-") as scratch:
        environment = jupyter_environment(Path(scratch))
        return {name: execute(folder / name, environment) for name in NOTEBOOKS}


def main() -> None:
    """Print the cost of each notebook and of all."""
    parser = argparse.ArgumentParser(description="Time and memory of the four starting notebooks.")
    parser.add_argument("germany_csv", nargs="?", type=Path, default=STARTING_POINT / "germany.csv")
    table = parser.parse_args().germany_csv.resolve()
    if not table.is_file():
        parser.error(f"there is no file {table}")
    warm_up()
    with tempfile.TemporaryDirectory(prefix="starting-point-") as folder:
        try:
            costs = measure(table, Path(folder) / "copy")
        except DSGoError as error:
            sys.exit(str(error))
    for name, cost in {**costs, "all four": total(costs)}.items():
        print(f"{name:26} {cost.wall_s:7.1f} s {cost.peak_MB:7.0f} MB")


if __name__ == "__main__":
    main()
