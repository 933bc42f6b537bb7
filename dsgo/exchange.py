"""Putting a restored state in the place of the present one, so that a kill at any moment loses neither.

All by renames in `DSGO_HOME`. The restored state comes as `before-restore-<UTC>/incoming`. While it has that name the
present state is being moved into `before-restore-<UTC>`; then it is called `arriving`, and is being moved to where the
other one was. Whoever finds one of the two names knows what is left to do, and `complete` does it.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from dsgo.settings import Settings

INCOMING = "incoming"
ARRIVING = "arriving"


def exchange(settings: Settings, prepared: Path) -> Path | None:
    """Replace the present state by that in the folder `incoming` of `prepared`, which must lie in `settings.home`.

    Returns:
        The folder with the state before; None if there was none.
    """
    aside = free_path(settings.home / f"before-restore-{utc_stamp()}")
    prepared.rename(aside)  # from here on there is no way back, only onwards
    complete(settings)
    return aside if aside.exists() else None


def complete(settings: Settings) -> set[str]:
    """Do what an interrupted `exchange` left to do, if anything. `services.lock` must be held.

    Returns:
        Names of files that came with the restored state and have no place in this copy: its manifest.
    """
    extra: set[str] = set()
    for aside in unfinished(settings):
        if (aside / INCOMING).exists():
            for path in _places(settings):
                _move_aside(path, aside)
            (aside / INCOMING).rename(aside / ARRIVING)
        arriving = aside / ARRIVING
        for place in _places(settings):
            if (arriving / place.name).exists():
                _move_aside(place, aside)  # something made since the interruption
                (arriving / place.name).rename(place)
        extra |= {left.name for left in arriving.iterdir()}
        shutil.rmtree(arriving)
        if not any(aside.iterdir()):
            aside.rmdir()
    return extra


def unfinished(settings: Settings) -> list[Path]:
    """Folders of exchanges that were interrupted."""
    found = sorted(settings.home.glob("before-restore-*"))
    return [aside for aside in found if (aside / INCOMING).exists() or (aside / ARRIVING).exists()]


def _places(settings: Settings) -> Iterator[Path]:
    """All that an exchange replaces; a database after the files that SQLite keeps beside it."""
    yield settings.ftp_root
    for database in settings.databases:
        for suffix in ("-wal", "-shm", "-journal", ""):
            yield database.with_name(database.name + suffix)


def _move_aside(path: Path, aside: Path) -> None:
    if path.exists() or path.is_symlink():
        path.rename(free_path(aside / path.name))


def free_path(path: Path) -> Path:
    """`path`, or if that is taken the first free one of `name-2.end`, `name-3.end` …"""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([path], numbered) if not free.exists() and not free.is_symlink())


def utc_stamp() -> str:
    """The present second, UTC, as part of a file's name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
