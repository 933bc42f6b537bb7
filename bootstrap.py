"""Make `.venv` from `requirements.txt`, or write `requirements.txt` anew. Called by make; needs only Python itself.

    python3 bootstrap.py           make or update .venv
    python3 bootstrap.py lock      resolve pyproject.toml's extras and pin the result

`.venv/made` is written last and holds a digest of what the environment was made from: an environment without it was
interrupted half-way and is made again from nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
MADE = VENV / "made"
LOCK = ROOT / "requirements.txt"
LOCK_HEAD = """\
# The locked environment: every package that DSGo, its tests and its tools need, pinned.
# Made from pyproject.toml's extras with `make lock`; edit those, not this file.
"""
EDITABLE = "-e .\n"


def make() -> None:
    """Have `.venv` hold what `requirements.txt` says. Two at once are safe: the second waits and finds it done."""
    with Path(__file__).open() as own:
        # The lock is the installers' too: should this process be killed, it holds until they have ended.
        os.set_inheritable(own.fileno(), True)
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up of .venv is under way: waiting for it …", flush=True)
            fcntl.flock(own, fcntl.LOCK_EX)
        if VENV.is_symlink():
            return  # an environment made and looked after elsewhere
        digest = _digest()
        if MADE.exists() and MADE.read_text() == digest:
            MADE.touch()  # a file's time has changed, not its content
            return
        began = time.monotonic()
        if MADE.exists():
            print("Updating .venv to requirements.txt …", flush=True)
            MADE.unlink()
        else:
            print("Making .venv from requirements.txt: once, a minute or more, about 3 GB …", flush=True)
            _run(sys.executable, "-m", "venv", "--clear", VENV)
        _install()
        MADE.write_text(digest)
        print(f".venv is ready after {time.monotonic() - began:.0f} s.", flush=True)


def lock(options: list[str]) -> None:
    """Write `requirements.txt` from `pyproject.toml` for all Python versions it allows; keeps pins that still fit."""
    draft = ROOT / "requirements.txt.part"
    draft.write_text(LOCK.read_text().replace(EDITABLE, ""))  # uv takes the pins to keep from its output file
    try:
        _run(
            *(UV, "pip", "compile", "pyproject.toml", "--all-extras", "--universal", "--python-version", "3.11"),
            *("--no-header", "--no-annotate", "--quiet", "--output-file", draft.name, *options),
        )
        draft.write_text(LOCK_HEAD + draft.read_text() + EDITABLE)
        draft.replace(LOCK)
    finally:
        draft.unlink(missing_ok=True)


def _install() -> None:
    """Install with uv, many times faster than pip; with pip where uv cannot be had or does not reach an index."""
    pip = (PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--quiet")
    pinned = re.search(r"^uv==[^\s;]+", LOCK.read_text(), re.MULTILINE)
    try:
        _run(*pip, pinned.group())
        quiet = () if sys.stderr.isatty() else ("--quiet",)  # a progress bar for people, no list of packages for logs
        # Compiled now, once, as pip does it too: where nothing may write bytecode later (PYTHONDONTWRITEBYTECODE, as many
        # container images set it) each process would compile all that it imports, TensorFlow for seven seconds of processor.
        _run(UV, "pip", "install", "--compile-bytecode", "--python", PYTHON, "-r", LOCK, *quiet)
    except subprocess.CalledProcessError as error:
        print(f"uv could not do it (exit status {error.returncode}); installing with pip …", flush=True)
        _run(*pip, "-r", LOCK)


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def _run(*command: object) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, stdout=sys.stderr, check=True, close_fds=False
    )


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["lock"]:
            lock(sys.argv[2:])
        else:
            make()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"error: the environment could not be made: exit status {error.returncode}.") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
