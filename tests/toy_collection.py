"""A collection of tiny steps, for tests of what runs, what is reused, and what remains of a pipeline that is killed.

`source` → `left`, `right` → `end`. Each step logs one file, then a second one. Between the two it waits for SIGUSR1 (or its
end) if the environment names a pipe for it, in `TOY_<step>`, or its content is the path of one: it writes its process id
into it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dsgo.collection import Collection, load

CHECKOUT = Path(__file__).resolve().parent.parent
STEPS = ("source", "left", "right", "end")
SCRIPT = """
import os
import signal
import sys

import mlflow

name, content = sys.argv[1:]
with mlflow.start_run():
    mlflow.log_text("half", f"{name}/first.txt")
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    if pipe := os.environ.get(f"TOY_{name}") or content.startswith("/") and content:
        with open(pipe, "w") as file:
            file.write(str(os.getpid()))
        signal.sigwait([signal.SIGUSR1])
    if content == "fail":
        sys.exit("asked to fail")
    mlflow.log_text(content, f"{name}/second.txt")
    mlflow.set_tag("dsgo.output_digest", content)
"""
FLOW = """
from pathlib import Path
from dsgo.collection import load
from dsgo.flow import definitions
from dsgo.ingredients import Step
HERE = Path(__file__).resolve().parent
def steps(data, level="PROD"):
    inputs = {"left": {"dataset": "source"}, "right": {"dataset": "source"}, "end": {"candidates": ("left", "right")}}
    content = {name: (HERE / name / "content").read_text() for name in ("source", "left", "right", "end")}
    return [Step(name, HERE / name, inputs.get(name, {}), {"content": text}) for name, text in content.items()]
defs = definitions(load(HERE / "collection.yaml"), steps)
"""
DRIVER = """
import sys
from dsgo import cli, collection, pipeline, remains
from dsgo.settings import activate, load, prepare
def run():
    known, settings = collection.load(sys.argv[1]), prepare(load())
    with remains.terminated_as_interrupted(), remains.only_one(settings, known.name):
        activate(settings)
        pipeline.execute(settings, known, "sample", "PROD")
sys.exit(cli.reported(run))
"""


@dataclass(frozen=True)
class Toy:
    """The collection in a folder of its own; its name and its experiment are those of the folder."""

    folder: Path

    @property
    def collection(self) -> Collection:
        return load(self.folder / "collection.yaml")

    def asks(self, step: str, content: str) -> None:
        """Let the step write this. It is a file of its project and a parameter."""
        (self.folder / step / "content").write_text(content)

    def start(self, **environment: str) -> subprocess.Popen:
        """Run the pipeline as `dsgo run` does, without what comes after the steps."""
        command = [sys.executable, "-c", DRIVER, str(self.folder / "collection.yaml")]
        path = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            command,
            env={**os.environ, **path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str]:
        """Exit code and output of a whole run."""
        process = self.start()
        output, _ = process.communicate()
        return process.returncode, output


def make(folder: Path) -> Toy:
    """Write the collection into `folder`."""
    text = (CHECKOUT / "projects" / "wind_solar" / "collection.yaml").read_text()
    folder.mkdir()
    text = text.replace("name: wind_solar", f"name: {folder.name}")
    (folder / "collection.yaml").write_text(text.replace("predicting_wind_solar", folder.name))
    (folder / "flow.py").write_text(FLOW)
    for name in STEPS:
        project = folder / name
        project.mkdir()
        (project / "step.py").write_text(SCRIPT)
        parameter = {"source": "", "end": "candidates: string, "}.get(name, "dataset: string, ")
        command = f"python step.py {name} {{content}}"
        (project / "MLproject").write_text(
            f"name: {name}\nconda_env: conda.yaml\nentry_points:\n  main:\n"
            f'    parameters: {{{parameter}content: string}}\n    command: "{command}"\n'
        )
        (project / "conda.yaml").write_text("dependencies:\n  - python=3.11\n  - pip:\n      - mlflow\n")
        (project / "content").write_text(name)
    return Toy(folder)
