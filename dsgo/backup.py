"""A backup: one plain tar file with the artifacts and the databases of one copy, taken while everything runs.

Members have the names that they have in `DSGO_HOME`. The last one is the manifest, JSON that tells the size and SHA-256
of each of the others; its own SHA-256 is in its name. Passwords and keys are in none of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from dsgo import __version__, exchange
from dsgo.errors import BackupError
from dsgo.ftp_hash import StreamHash
from dsgo.ftp_progress import Progress, progress_bar
from dsgo.settings import Settings
from dsgo.snapshot import snapshot

FORMAT = 1
BLOCK = 1 << 20
HEADERS = 3 * tarfile.BLOCKSIZE  # bytes that a member may take in the file besides its content, long names included
LISTED = 256  # bytes that the manifest may take for a member
Say = Callable[[str], None]


def backup(settings: Settings, to: Path | None = None, say: Say = print) -> Path:
    """Write the artifacts and databases of this copy into one file, readable by its owner only.

    Args:
        settings: which copy of DSGo. Its servers may run, and be written to.
        to: a file that is not there yet, or a folder for a file named after the time; default: `settings.backups`.
        say: called with a line for the person who waits.

    Returns:
        The file.

    Raises:
        BackupError: there is nothing to back up, a database is damaged, or the file cannot be written. There is no file
            then.
    """
    if not settings.tracking_database_url and not settings.tracking_database.exists():
        raise BackupError(settings.home, "there is nothing to back up yet.")
    try:
        with only_one(settings, say) as scratch:
            if exchange.unfinished(settings):
                raise BackupError(settings.home, "a restore was interrupted here.", "`make up` finishes it.")
            target = _target(settings, to)
            require_space(settings.home, sum(path.stat().st_size for path in settings.databases if path.exists()))
            facts = {"format": FORMAT, "dsgo": __version__, **snapshot(settings, scratch)}
            with _part_of(target) as part:
                files, total = _write(scratch, facts, part, target)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(to or settings.backups, f"no backup could be written: {error}.") from error
    say(f"Backup of {files:,} files, {megabytes(total)}: {target}")
    if settings.in_postgresql:
        say(
            f"Not in it: what {' and '.join(settings.in_postgresql)} names in PostgreSQL. Its own tools back that up: "
            "`pg_dump` right before `make backup`, so that the artifacts here are all that the dump knows of."
        )
    return target


def _target(settings: Settings, to: Path | None) -> Path:
    if to is None:
        settings.backups.mkdir(mode=0o700, exist_ok=True)
        for left in settings.backups.glob("*.tar.*.part"):  # of killed ones: this process holds the lock
            left.unlink()
        to = settings.backups
    target = to / f"dsgo-{exchange.utc_stamp()}.tar"
    if to.is_dir():
        return exchange.free_path(target)
    if to.exists():
        raise BackupError(to, "is there already.", "Name a new file, or a folder.")
    if not to.parent.is_dir():
        raise BackupError(to, "its folder does not exist.", "Make it, or name another.")
    return to


@contextlib.contextmanager
def only_one(settings: Settings, say: Say) -> Iterator[Path]:
    """Only one backup or restore of a copy at a time. Gives an empty folder in its home, which is removed at the end."""
    with (settings.home / "backup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another backup or restore of this copy.")
            fcntl.flock(file, fcntl.LOCK_EX)
        scratch = settings.home / ".backup"
        if scratch.exists():  # a killed one's
            shutil.rmtree(scratch)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            if scratch.exists():
                shutil.rmtree(scratch)


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[BinaryIO]:
    """A new file, readable by its owner only, that gets the name `target` when all is written and on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb", BLOCK) as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(name).rename(target)
    except BaseException:
        Path(name).unlink()
        raise


def _write(scratch: Path, facts: dict, part: BinaryIO, target: Path) -> tuple[int, int]:
    """Write all that lies in `scratch` into `part`, `facts` into its manifest; return the number of files and bytes."""
    paths = sorted(scratch.rglob("*"))
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    total = sum(sizes.values())
    require_space(target.parent, total + len(paths) * (HEADERS + LISTED))
    files: dict[str, tuple[int, str]] = {}
    with (
        tarfile.open(fileobj=part, mode="w", format=tarfile.PAX_FORMAT, copybufsize=BLOCK) as tar,
        progress_bar(target.name, total) as progress,
    ):
        for path in paths:
            member = tarfile.TarInfo(path.relative_to(scratch).as_posix())
            member.mtime = int(path.stat().st_mtime)
            if path not in sizes:
                member.type, member.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(member)
                continue
            member.mode, member.size = 0o600, sizes[path]
            with path.open("rb") as file, contextlib.closing(HashedReader(file, progress)) as reader:
                tar.addfile(member, reader)
                files[member.name] = (member.size, reader.digest.hexdigest())
        content = json.dumps({**facts, "files": files}).encode()
        member = tarfile.TarInfo(f"manifest-{hashlib.sha256(content).hexdigest()}.json")
        member.mode, member.mtime, member.size = 0o600, int(time.time()), len(content)
        tar.addfile(member, BytesIO(content))
    return len(files), total


class HashedReader:
    """A file that is hashed while it is read, and tells how far it is."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress
        self.digest = StreamHash()

    def read(self, size: int) -> bytes:
        """The next bytes."""
        block = self._file.read(size)
        self.digest.update(block)
        self._progress(len(block))
        return block

    def close(self) -> None:
        """Close the hash; the file is not this object's."""
        self.digest.close()


def require_space(folder: Path, size: int) -> None:
    """Raises BackupError unless `size` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise BackupError(folder, f"{megabytes(size)} are needed, {megabytes(free)} are free.", "Make space first.")


def megabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"
