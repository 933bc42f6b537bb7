"""A wheel of this checkout's `dsgo`, for the environments that MLflow makes for single projects.

Their `conda.yaml` asks for `dsgo==<version>`, which `UV_FIND_LINKS` and `PIP_FIND_LINKS` let uv and pip find in
`Settings.wheels`. Building needs setuptools of the running environment only, no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dsgo.errors import ServiceError
from dsgo.settings import Settings

BUILD = """
import sys
from setuptools import build_meta
build_meta.build_wheel(sys.argv[1], {"--build-option": f"--build-number={sys.argv[2]}"})
"""


def build(settings: Settings) -> Path:
    """The wheel, built anew if a file of the package has changed since.

    MLflow names an environment after the text of its `conda.yaml` and never looks into it again. The version stays the
    same while the code changes, so environments that hold the code of an older wheel are removed; they are made again
    when next used. uv caches wheels by their names alone, so the name holds a digest of the code as build number.

    Raises:
        ServiceError: the package cannot be built.
    """
    settings.wheels.mkdir(parents=True, exist_ok=True)
    with (settings.wheels / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = _sources(settings.checkout)
        digest = _digest(settings.checkout, sources)
        stamp = settings.wheels / ".digest"
        built = sorted(settings.wheels.glob("dsgo-*.whl"))
        if len(built) == 1 and stamp.exists() and stamp.read_text() == digest:
            return built[0]
        stamp.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(prefix="dsgo-wheel-") as scratch:
            wheel = _build(settings.checkout, sources, f"0{digest[:12]}", Path(scratch))
            for old in built:
                old.unlink()
            if settings.environments.exists():
                shutil.rmtree(settings.environments)
            target = settings.wheels / wheel.name
            shutil.copy(wheel, target)
        stamp.write_text(digest)
        return target


def _sources(checkout: Path) -> list[Path]:
    return [
        *(file for file in (checkout / "pyproject.toml", checkout / "README.md") if file.exists()),
        *sorted((checkout / "dsgo").glob("**/*.py")),
    ]


def _digest(checkout: Path, sources: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in sources:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(checkout)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _build(checkout: Path, sources: list[Path], number: str, scratch: Path) -> Path:
    """Build in a copy: setuptools leaves `build/` and `*.egg-info` beside the sources and packs what lies there."""
    copy, out = scratch / "copy", scratch / "out"
    for file in sources:
        target = copy / file.relative_to(checkout)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out), number], cwd=copy, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ServiceError("wheel", f"dsgo cannot be built from {checkout}:\n{done.stdout}{done.stderr}")
    return next(out.glob("dsgo-*.whl"))
