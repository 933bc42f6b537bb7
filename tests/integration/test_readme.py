"""What the README prints works as printed, and its table names every step.

`make run` and `make run DATA=opsd` are tried by test_pipeline.py and test_opsd.py through the commands behind them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


def block_with(words: str) -> str:
    (found,) = [block for block in BLOCKS if words in block]
    return found


def bash(script: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, env=environment, check=False)


def test_every_make_target_that_it_names_exists():
    made = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=CHECKOUT, check=True).stdout
    offered = set(re.findall(r"^  ([a-z]+) ", made, re.MULTILINE))
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    commands = [*re.findall(r"`([^`]+)`", prose), *BLOCKS]
    named = set(re.findall(r"\bmake (?:-s )?([a-z]+)", "\n".join(commands)))
    assert {"run", "test", "status", "down", "up", "serve", "dashboard", "report", "help", "env"} <= named
    assert named <= offered


def test_the_table_names_every_project_and_nothing_else():
    projects = {str(path.parent.relative_to(CHECKOUT)) for path in CHECKOUT.glob("projects/**/MLproject")}
    assert set(re.findall(r"^\| `(projects/[^`]+)` \|", TEXT, re.MULTILINE)) == projects


def test_files_that_it_links_to_exist():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (CHECKOUT / target.split("#")[0]).exists(), target


def test_the_endpoint_answers_the_printed_question(first, servers):
    done = bash(block_with("curl").replace("127.0.0.1:8003", f"127.0.0.1:{servers.serve_port}"))
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["predictions"]
    assert set(answer) == {f"{t}{end}" for t in ("solar_GW", "wind_GW") for end in ("", "_p10", "_p90")}
    assert answer["solar_GW_p10"] <= answer["solar_GW"] <= answer["solar_GW_p90"]


def test_plain_mlflow_commands_work_one_after_the_other(servers):
    prepare, train = block_with("process_data"), block_with("linear_regression")
    done = bash(prepare)
    assert done.returncode == 0, done.stdout + done.stderr
    (dataset,) = re.findall(r"runs:/(\w+)/dataset", done.stdout)
    done = bash('eval "$(make -s env)"\n' + train.replace("<id>", dataset))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"window 2016-07 to 2016-12: solar_GW RMSE [\d.]+", done.stdout)
