"""The Makefile and the set-up that it calls, in a copy of their own without network."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dsgo.settings import CHECKOUT

FILES = ("Makefile", "bootstrap.py", "requirements.txt", "pyproject.toml")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with the set-up's files and no environment, in a folder whose name has a space."""
    folder = tmp_path / "bare checkout"
    folder.mkdir()
    for name in FILES:
        shutil.copy(CHECKOUT / name, folder)
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["make", "-s", *arguments],
        cwd=folder,
        env={**{k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_is_the_default_and_lists_every_command(bare: Path) -> None:
    listed = make(bare).stdout
    assert listed == make(bare, "help").stdout
    phony = re.search(r"^\.PHONY: (.*)$", (bare / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE) == phony
    assert 'eval "$(make -s env)"' in listed


def test_looking_and_stopping_set_nothing_up(bare: Path) -> None:
    assert make(bare, "down").returncode == 0
    assert make(bare, "status").returncode != 0
    assert sorted(file.name for file in bare.iterdir()) == sorted(FILES)


def test_missing_python_is_named(bare: Path) -> None:
    done = make(bare, "env", "PYTHON=/no/python3.11")
    assert "error: no Python 3.11, 3.12 or 3.13" in done.stderr
    assert "/no/python3.11" in done.stderr
    assert done.stdout == ""
    assert done.returncode != 0
    assert not (bare / ".venv").exists()


def test_linked_environment_is_used_as_it_is(bare: Path) -> None:
    """Its owner looks after it: nothing is installed into it, nothing in it is removed."""
    environment = Path(sys.executable).parent.parent
    before = sorted(entry.name for entry in environment.iterdir())
    (bare / ".venv").symlink_to(environment)
    done = make(bare, "env", DSGO_HOME=str(bare / "home"), PYTHONPATH=str(CHECKOUT))
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    assert f"export DSGO_HOME='{bare / 'home'}'" in done.stdout
    assert sorted(entry.name for entry in environment.iterdir()) == before


def test_file_names_reach_the_command_whole(bare: Path) -> None:
    (bare / ".venv").symlink_to(Path(sys.executable).parent.parent)
    name = "no 'such' \"file\" & co.csv"
    done = make(bare, "run", f"DATA={name}", DSGO_HOME=str(bare / "home"), PYTHONPATH=str(CHECKOUT))
    assert done.stderr.startswith(f"error: {name}: there is no such file ({bare / name}).")
    assert not (bare / "home").exists()


def test_set_up_that_is_current_is_left_alone_and_an_interrupted_one_is_not_trusted(bare: Path) -> None:
    """With an index that cannot be reached, so that setting up must fail: what matters is when it is tried."""
    unreachable = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "UV_OFFLINE": "1",
        "UV_NO_CACHE": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }

    def bootstrap() -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "bootstrap.py"], cwd=bare, env=unreachable, capture_output=True, text=True, check=False
        )

    first = bootstrap()
    assert first.returncode != 0
    assert "Making .venv" in first.stderr + first.stdout
    assert "error: the environment could not be made" in first.stderr
    assert not (bare / ".venv" / "made").exists()

    sys.path.insert(0, str(bare))
    try:
        import bootstrap as module

        (bare / ".venv" / "made").write_text(module._digest())
    finally:
        sys.path.remove(str(bare))
        sys.modules.pop("bootstrap", None)
    current = bootstrap()
    assert (current.returncode, current.stdout, current.stderr) == (0, "", "")

    (bare / "requirements.txt").write_text((bare / "requirements.txt").read_text() + "# changed\n")
    changed = bootstrap()
    assert changed.returncode != 0
    assert "Updating .venv" in changed.stderr + changed.stdout
    assert not (bare / ".venv" / "made").exists()  # so the next one starts from nothing
    assert "Making .venv" in bootstrap().stdout


def test_second_set_up_waits_for_the_first(bare: Path) -> None:
    (bare / ".venv").symlink_to(Path(sys.executable).parent.parent)
    with (bare / "bootstrap.py").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen([sys.executable, "bootstrap.py"], cwd=bare, stdout=subprocess.PIPE, text=True) as second:
            assert "waiting" in second.stdout.readline()
            assert second.poll() is None
            fcntl.flock(held, fcntl.LOCK_UN)
            assert second.wait(120) == 0
