"""The databases and artifacts of one copy as of one moment, taken while its servers work."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from pathlib import Path

from dsgo.errors import BackupError
from dsgo.ftp_names import is_part, part_name
from dsgo.settings import Settings


def snapshot(settings: Settings, scratch: Path) -> dict[str, str]:
    """Put into `scratch` the databases as of one moment, and every artifact that they knew then.

    Files in the store are complete when they get their name and do not change afterwards, so a hard link keeps one as it
    is. Those linked first are safe from deletion; what came up to the moment of the databases is linked afterwards.

    Returns:
        `time` of that moment, and `artifact_root`: where the databases expect the store.

    Raises:
        BackupError: a database is damaged.
    """
    artifacts = scratch / settings.ftp_root.name
    _link_tree(settings.ftp_root, artifacts, 0)
    moment_ns = time.time_ns()
    for database in settings.databases:
        left = database == settings.tracking_database and settings.tracking_database_url  # of a time before PostgreSQL
        if database.exists() and not left:
            _copy_database(database, scratch / database.name)
    _link_tree(settings.ftp_root, artifacts, moment_ns)
    time_utc = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment_ns // 10**9))
    return {"time": time_utc, "artifact_root": _artifact_root(settings, scratch)}


def _link_tree(source: Path, target: Path, moment_ns: int) -> None:
    """Link into `target` what is missing there, and what was replaced before `moment_ns`. Leaves out symbolic links."""
    try:
        with os.scandir(source) as scan:
            entries = list(scan)
        target.mkdir(exist_ok=True)
    except (FileNotFoundError, NotADirectoryError, FileExistsError):  # deleted just now, or a file before or after
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _link_tree(source / entry.name, target / entry.name, moment_ns)
        elif entry.is_file(follow_symlinks=False) and not is_part(entry.name):
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                _link_file(source / entry.name, target / entry.name, moment_ns)


def _link_file(source: Path, target: Path, moment_ns: int) -> None:
    if not target.exists():
        _link_or_copy(source, target)
        return
    kept, found = target.stat(), source.stat()
    same = os.path.samestat(kept, found) or (kept.st_mtime_ns, kept.st_size) == (found.st_mtime_ns, found.st_size)
    # A rename sets the time of the last change of status. What was replaced later, the databases do not know of.
    if not same and found.st_ctime_ns <= moment_ns and target.is_file():
        part = target.with_name(part_name())
        _link_or_copy(source, part)
        part.replace(target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one that knows no hard links
        shutil.copy2(source, target)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite database, in write-ahead mode while others write to it, and check the copy."""
    with (
        contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True)) as original,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        try:
            original.backup(copy)
            (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # a full disk and the like
            verdict = str(error)
    if verdict != "ok":
        raise BackupError(source, f"the database is damaged: {verdict}.", "`make restore` brings back an older state.")


def _artifact_root(settings: Settings, scratch: Path) -> str:
    """Root of the artifacts in this copy's store as the tracking database has it: that of the newest experiment."""
    database = scratch / settings.tracking_database.name
    if not database.exists():
        return settings.artifact_root
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for (location,) in connection.execute("SELECT artifact_location FROM experiments ORDER BY creation_time DESC"):
            if found := re.match(rf"ftp://{re.escape(settings.servers)}:\d+/artifacts(?=/|$)", location or ""):
                return found[0]
    return settings.artifact_root
