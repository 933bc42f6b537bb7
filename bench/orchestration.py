"""What the orchestration of a pipeline costs on top of plain `mlflow run` of the same trivial projects, in the same run.

    python bench/orchestration.py [--steps 6] [--rounds 5]

Each round makes a chain of projects anew, each of which does nothing but log one file, and measures three times: (a) one
plain `mlflow run` (a command, as a person types it) for each project after the other; (b) `mlflow.projects.run` for each from
one process that has imported MLflow already, which is the least that any orchestrator could take; (c) the pipeline of the
same projects as `make run` executes it, without servers, report and endpoint; then (d) the same pipeline again, which reuses
all. Prints the medians of the time per step and of the differences; aim: (c) at most 1.5 s a step above (a).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline import own_copy

from dsgo import services
from dsgo.settings import CHECKOUT, activate

AIM_S = 1.5
SCRIPT = """
import mlflow

with mlflow.start_run():
    mlflow.log_text("done", "done.txt")
"""
PROJECT = """
name: {name}
conda_env: conda.yaml
entry_points:
  main:
    parameters:
      before: {{type: string, default: ""}}
      round: string
    command: "python step.py"
"""
FLOW = """
from pathlib import Path

from dsgo.collection import load
from dsgo.flow import definitions
from dsgo.ingredients import Step

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/MLproject"))

def steps(data, level="PROD"):
    inputs = [{}] + [{"before": (name,)} for name in NAMES[:-1]]
    return [Step(name, HERE / name, given, {"round": data}) for name, given in zip(NAMES, inputs)]

defs = definitions(load(HERE / "collection.yaml"), steps)
"""
# Starting Python and importing MLflow are part of (c) as of each command of (a).
PIPELINE = """
import sys
from dsgo import collection, pipeline, remains
from dsgo.settings import load
known, settings = collection.load(sys.argv[1]), load()
with remains.only_one(settings, known.name):
    pipeline.execute(settings, known, sys.argv[2], "PROD")
"""
IN_ONE_PROCESS = """
import sys
import time
import mlflow
import mlflow.projects
experiment = mlflow.set_experiment("bench_api").experiment_id
started = time.perf_counter()
for project in sys.argv[2:]:
    mlflow.projects.run(project, parameters={"round": sys.argv[1]}, experiment_id=experiment, env_manager="local")
print(time.perf_counter() - started)
"""


def make(folder: Path, steps: int) -> list[Path]:
    """A collection of trivial projects, and the folders of these."""
    text = (CHECKOUT / "projects" / "wind_solar" / "collection.yaml").read_text(encoding="utf-8")
    text = text.replace("name: wind_solar", "name: bench").replace("predicting_wind_solar", "bench_pipeline")
    (folder / "collection.yaml").write_text(text, encoding="utf-8")
    (folder / "flow.py").write_text(FLOW)
    projects = [folder / f"step_{number:02}" for number in range(steps)]
    for project in projects:
        project.mkdir()
        (project / "MLproject").write_text(PROJECT.format(name=project.name))
        (project / "conda.yaml").write_text("dependencies:\n  - python=3.11\n  - pip:\n      - mlflow\n")
        (project / "step.py").write_text(SCRIPT)
    return projects


def timed(command: list[str]) -> tuple[float, str]:
    """Wall time of a command, s, and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} … ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started, done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="projects in the chain")
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure all of it")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {
        name: [] for name in ("a mlflow run", "b mlflow in one process", "c pipeline", "d pipeline again")
    }
    with tempfile.TemporaryDirectory(prefix="bench-orchestration-") as name:
        folder = Path(name)
        (folder / "bench").mkdir()
        projects = make(folder / "bench", options.steps)
        settings = own_copy(folder / "state")
        try:
            settings = services.up(settings)
            activate(settings)
            os.environ["PYTHONPATH"] = str(CHECKOUT)
            python, mlflow = sys.executable, [sys.executable, "-m", "mlflow", "run", "--env-manager", "local"]
            for number in range(
                options.rounds + 1
            ):  # the first warms up: files are read from the disk, caches compiled
                print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
                plain = [
                    timed([*mlflow, str(project), "--experiment-name", "bench_plain", "-P", f"round={number}"])[0]
                    for project in projects
                ]
                _, inside = timed([python, "-c", IN_ONE_PROCESS, str(number), *map(str, projects)])
                command = [python, "-c", PIPELINE, str(folder / "bench" / "collection.yaml"), str(number)]
                costs = sum(plain), float(inside.splitlines()[-1]), timed(command)[0], timed(command)[0]
                if number:
                    for values, cost in zip(seconds.values(), costs, strict=True):
                        values.append(cost / options.steps)
        finally:
            services.down(settings)
    for name, values in seconds.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:<24} {statistics.median(values):6.2f} s a step ({spread}, {options.rounds} rounds)")
    for other in ("a mlflow run", "b mlflow in one process"):
        extra = statistics.median(c - each for c, each in zip(seconds["c pipeline"], seconds[other], strict=True))
        aim = f" (aim: at most {AIM_S:+})" if other.startswith("a") else ""
        print(f"c on top of {other}: {extra:+.2f} s a step{aim}")


if __name__ == "__main__":
    main()
