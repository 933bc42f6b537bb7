"""Which pipeline may run, and which process an identity means."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dsgo import remains
from dsgo.errors import DSGoError
from dsgo.settings import load, prepare

HOLDER = """
import sys
from dsgo import remains
from dsgo.settings import load
with remains.only_one(load(), "wind_solar"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DSGO_HOME", str(tmp_path))
    return prepare(load())


def test_a_second_pipeline_of_the_collection_is_refused_and_another_collection_is_not(settings):
    with remains.only_one(settings, "wind_solar"):
        with pytest.raises(DSGoError, match="wind_solar is running already"), remains.only_one(settings, "wind_solar"):
            pass
        with remains.only_one(settings, "victoria_demand"):
            pass
    with remains.only_one(settings, "wind_solar"):
        pass


def test_the_lock_of_a_killed_process_does_not_block(settings):
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DSGoError, match=f"process {holder.pid}"), remains.only_one(settings, "wind_solar"):
            pass
        holder.kill()
        holder.wait()
        with remains.only_one(settings, "wind_solar"):
            pass


def test_an_identity_means_one_process_only():
    mine = remains.identity()
    assert mine == remains.identity()
    assert not remains.is_gone(mine)
    host, boot, pid, started = mine.rsplit(" ", 3)
    assert remains.is_gone(f"{host} {boot} {pid} {int(started) - 1}")  # the number was another process's before
    assert remains.is_gone(f"{host} 11111111-2222-3333-4444-555555555555 {pid} {started}")  # the machine was off since
    assert not remains.is_gone(f"another {boot} {pid} 1")  # of other hosts nothing is known
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = remains.identity(child.pid)
    assert not remains.is_gone(known)
    child.kill()
    with child.stdin:
        child_is_zombie = remains.daemon.wait_until(lambda: remains.is_gone(known), 10)
    assert child_is_zombie  # nobody has asked for its exit code yet
    child.wait()
    assert remains.is_gone(known)


def test_only_marked_processes_of_this_copy_and_collection_are_ended(settings, tmp_path):
    def start(**environment: str) -> subprocess.Popen:
        code = "print(1, flush=True); input()"
        child = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        child.stdout.readline()
        return child

    home = str(tmp_path)
    ours = start(DSGO_HOME=home, DSGO_PIPELINE="toy")
    others = [
        start(DSGO_HOME=home, DSGO_PIPELINE="another"),
        start(DSGO_HOME=home),
        start(DSGO_HOME="/elsewhere", DSGO_PIPELINE="toy"),
    ]
    try:
        assert remains.end_processes(settings, "toy") == [ours.pid]
        assert ours.wait(timeout=10) == -9
        assert [child.poll() for child in others] == [None] * 3
        assert remains.end_processes(settings, "toy") == []
    finally:
        for child in (ours, *others):
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


SEMAPHORE = """
import gc, multiprocessing
from dsgo import remains, settings
with remains.marked(settings.load(), "any"):
    lock = multiprocessing.get_context("forkserver").Lock()
del lock
gc.collect()
"""


def test_an_ended_pipeline_says_nothing_of_semaphores(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SEMAPHORE],
        env={**os.environ, "DSGO_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stderr == ""
