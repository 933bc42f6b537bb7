"""Several parts of the data in two processes side by side: what begins when, what fails, and what a kill leaves."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from dsgo import local_run, remains
from dsgo.errors import StepError
from dsgo.settings import Settings, load, prepare

# Each part writes a file when it begins, waits for what its data say, and writes another when it ends.
FLOW = """
import json
import os
import time
from pathlib import Path

import dagster as dg

from dsgo.flow import steps_at_once

PARTS = dg.StaticPartitionsDefinition(["2012", "2013", "2014"])


class Order(dg.ConfigurableResource):
    data: str
    level: str


@dg.asset(partitions_def=PARTS)
def learn(context: dg.AssetExecutionContext, order: Order) -> None:
    part, asked = context.partition_key, json.loads(order.data)
    folder = Path(asked["folder"])
    (folder / f"{part}.begun").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not all((folder / name).exists() for name in asked["waits"].get(part, [])):
        if time.monotonic() > deadline:
            raise TimeoutError(part)
        time.sleep(0.05)
    if part in asked["fails"]:
        raise ValueError("no good data")
    (folder / f"{part}.ended").touch()


job = dg.define_asset_job("learning", [learn], executor_def=steps_at_once)
defs = dg.Definitions(assets=[learn], jobs=[job], resources={"order": Order.configure_at_launch()})
"""
NAMES = ("2012", "2013", "2014")


@pytest.fixture
def settings(monkeypatch) -> Settings:
    settings = prepare(load())
    for name, value in settings.child_environment().items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def learn(settings: Settings, tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """Run the parts; `waits` says for which files a part waits, `fails` which of them then fail."""
    flow_file = tmp_path / "flow.py"
    flow_file.write_text(FLOW)

    def run(waits: dict[str, list[str]], fails: tuple[str, ...] = ()) -> dict[str, list[str]]:
        order = {"data": json.dumps({"folder": str(tmp_path), "waits": waits, "fails": fails}), "level": "PROD"}
        failures = {}

        def do(part: str, through: local_run.Through) -> list[str]:
            failures[part] = through({"dagster/partition": part})
            return failures[part]

        with remains.marked(settings, "toy"):
            through = partial(local_run.one, settings, flow_file, "learning", order)
            failed = local_run.several(settings, NAMES, do, through)
        assert sorted(failed) == sorted(key for keys in failures.values() for key in keys)
        return failures

    return run


def test_two_parts_run_side_by_side_and_the_next_one_when_a_place_is_free_also_of_one_that_failed(learn, tmp_path):
    # 2012 goes on only when 2014 has ended, which begins only when 2013 has: one after the other, none would end.
    failures = learn({"2012": ["2014.ended"], "2013": ["2012.begun"]}, fails=("2013",))
    assert failures == {"2012": [], "2013": ["learn"], "2014": []}
    times = {name: (tmp_path / f"{name}.begun").stat().st_mtime for name in NAMES}
    assert times["2014"] >= max(times["2012"], times["2013"])


def test_of_a_process_that_is_killed_nothing_goes_on_and_no_further_part_begins(learn, tmp_path, settings):
    killed = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "2012.begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        step = psutil.Process(int((tmp_path / "2012.begun").read_text()))
        (worker,) = [each for each in step.parents() if each.ppid() == os.getpid()]
        worker.kill()
        killed.append(worker.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StepError, match="one of two processes: was killed"):
        learn({name: ["never"] for name in NAMES})
    killer.join()
    assert killed and not (tmp_path / "2014.begun").exists()
    assert remains.processes(settings, "toy") == []
