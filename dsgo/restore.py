"""Restore: put what a backup holds in the place of the present state, which is kept beside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from dsgo import daemon, exchange, services
from dsgo.backup import BLOCK, FORMAT, HashedReader, Say, megabytes, only_one, require_space
from dsgo.errors import BackupError, ServiceError, SettingError
from dsgo.ftp_progress import Progress, progress_bar
from dsgo.settings import Settings

UNTOUCHED = "Nothing was changed; take another backup."


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. `files`: size in bytes and SHA-256 of each."""

    name: str
    format: int
    dsgo: str
    time: str
    artifact_root: str
    files: dict[str, tuple[int, str]]


def restore(settings: Settings, file: Path, say: Say = print) -> None:
    """Replace artifacts and databases by those in the backup `file`; nothing else in `settings.home` is touched.

    The present ones are moved into a folder `before-restore-<UTC>`. After a kill at any moment, the same again or
    `services.up` completes what was begun.

    Raises:
        BackupError: the file is no backup, is damaged or is of a newer format, or it cannot be written here.
        ServiceError: servers of this copy run.
        SettingError: the artifacts' addresses have another port than the FTP server of this copy.
    """
    if not file.is_file():
        raise BackupError(file, "there is no such file.", f"Backups usually lie in {settings.backups}.")
    try:
        with tarfile.open(file, "r:") as tar:
            members, manifest = _checked(tar, file, settings)
            settings.home.mkdir(parents=True, exist_ok=True)
            with only_one(settings, say) as scratch, services.lock(settings):
                _refuse(settings)
                if manifest.name in exchange.complete(settings):
                    say(f"The interrupted restore of {file} is complete.")
                    return
                size = sum(size for size, _ in manifest.files.values())
                require_space(settings.home, size)
                with progress_bar(file.name, size) as progress:
                    for member in members:
                        _extract(tar, member, manifest, scratch / exchange.INCOMING, file, progress)
                (scratch / exchange.INCOMING / manifest.name).touch()  # by which a second try knows what it completes
                os.sync()
                aside = exchange.exchange(settings, scratch)
    except tarfile.TarError as error:
        raise BackupError(file, f"is no backup of DSGo, or is damaged ({error}).", UNTOUCHED) from error
    except OSError as error:
        raise BackupError(file, f"cannot be restored in {settings.home}: {error}.") from error
    say(
        f"Restored {len(manifest.files):,} files, {megabytes(size)}, as of {manifest.time}. `make up` starts the servers."
    )
    if aside is not None:
        say(f"What was here before is in {aside}: remove it when you no longer need it.")
    if settings.in_postgresql:
        say(
            f"Now restore what {' and '.join(settings.in_postgresql)} names, by `pg_restore` of the dump taken before it."
        )


def _refuse(settings: Settings) -> None:
    if running := daemon.processes(settings):
        raise ServiceError(", ".join(running), "runs, and its files cannot be replaced.", "Stop it with `make down`.")
    if settings.ftp_root.is_mount() and not settings.ftp_root.is_symlink():
        raise BackupError(settings.ftp_root, "is a mount point and cannot be moved aside.", "Mount its parent instead.")


def _checked(tar: tarfile.TarFile, file: Path, settings: Settings) -> tuple[list[tarfile.TarInfo], Manifest]:
    """All members but the manifest, which they agree with, and the manifest.

    Raises:
        BackupError, SettingError: as `restore`.
    """
    try:
        members = tar.getmembers()
    except ValueError:  # tarfile does not make an error of its own of every damaged header
        members = []
    last = members.pop() if members else tarfile.TarInfo()
    named = re.fullmatch(r"manifest-([0-9a-f]{64})\.json", last.name)
    if named is None or not last.isreg():
        raise BackupError(file, "is no whole backup of DSGo: it does not end with its manifest.", UNTOUCHED)
    content = tar.extractfile(last).read()
    if hashlib.sha256(content).hexdigest() != named[1]:
        raise BackupError(file, "is damaged: its manifest is not as it was written.", UNTOUCHED)
    said = json.loads(content)
    if said["format"] > FORMAT:
        raise BackupError(
            file,
            f"was written by DSGo {said['dsgo']} in a newer format.",
            "Restore it with that version or a newer one.",
        )
    manifest = Manifest(last.name, **said)
    for member in members:
        if why := _unsafe(member, settings):
            raise BackupError(file, f"its member {member.name!r} {why}.", UNTOUCHED)
    found = sorted((member.name, member.size) for member in members if member.isreg())
    if found != sorted((name, size) for name, (size, _) in manifest.files.items()):
        raise BackupError(file, "is damaged: its members are not those that its manifest lists.", UNTOUCHED)
    if (settings.tracking_database.name in manifest.files) == bool(settings.tracking_database_url):
        here, there = ("PostgreSQL", "SQLite") if settings.tracking_database_url else ("SQLite", "PostgreSQL")
        raise BackupError(
            file,
            f"is of a copy whose tracking server has its database in {there}, this one has it in {here}.",
            "Restore it with DSGO_TRACKING_DATABASE_URL set as it was there.",
        )
    if manifest.artifact_root != settings.artifact_root:
        port = urlsplit(manifest.artifact_root).port
        raise SettingError("DSGO_FTP_PORT", settings.ftp_port, f"{port}, as in all artifacts' addresses in {file}")
    return members, manifest


def _unsafe(member: tarfile.TarInfo, settings: Settings) -> str:
    """What speaks against extracting `member`; empty if nothing does."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or str(name) != member.name:
        return "has a name that leads elsewhere"
    if not (member.isreg() or member.isdir()):
        return "is neither file nor folder"
    if name.parts[:1] != (settings.ftp_root.name,) and member.name not in [path.name for path in settings.databases]:
        return "is unknown to this version of DSGo"
    return ""


def _extract(
    tar: tarfile.TarFile, member: tarfile.TarInfo, manifest: Manifest, folder: Path, file: Path, progress: Progress
) -> None:
    """Extract one member below `folder`, for the owner only. Raises BackupError if it is not what was backed up."""
    path = folder / member.name
    if member.isdir():
        path.mkdir(0o700, parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("xb") as copy,
        contextlib.closing(HashedReader(tar.extractfile(member), progress)) as reader,
    ):
        shutil.copyfileobj(reader, copy, BLOCK)
        if reader.digest.hexdigest() != manifest.files[member.name][1]:
            raise BackupError(file, f"is damaged: {member.name} is not as it was backed up.", UNTOUCHED)
    path.chmod(0o600)
    os.utime(path, (member.mtime, member.mtime))
