"""One file to or from an FTP server: never half of it under its own name, resumed after an interruption, verified."""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import io
import os
import posixpath
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from dsgo.ftp_bundle import SMALL, BundleError, Unpacker, pack_files
from dsgo.ftp_connection import DEAD, Connection, InsecureServer, LoginRefused, Pool, ServerGone
from dsgo.ftp_hash import BLOCK, FileHash
from dsgo.ftp_listing import list_directory, size_of
from dsgo.ftp_names import part_name

BUNDLE_BLOCK = 1 << 18
RESUME_FROM = 1 << 22  # bytes that must have arrived for a resumption to be worth its round trips
HASH_BYTES_PER_S = 20e6  # a server that hashes slower than this is taken for dead
_SHA256 = re.compile(r"\b[0-9a-fA-F]{64}\b")

Progress = Callable[[int], object]  # called with the number of bytes just moved; negative when some must be moved again


class NotVerified(ConnectionError):
    """What arrived is not what was sent. Sent again like after a broken connection."""


class NoSuchFile(Exception):
    """The server has no file of that name."""


def upload(pool: Pool, local: Path, remote: str, progress: Progress = lambda count: None) -> None:
    """Store the file `local` as `remote` (absolute): under a name of its own until size and hash agree, then renamed.

    Raises:
        OSError: `local` cannot be read.
        ftplib.error_perm, ftplib.error_temp, LoginRefused, InsecureServer, ServerGone: as `Pool.run`.
    """
    task = _Upload(pool, local, remote, progress)
    try:
        pool.run(task.attempt)
    except (LoginRefused, InsecureServer, ServerGone):
        raise  # if anything was stored, the sweeper finds it
    except BaseException:
        with contextlib.suppress(Exception), pool.connection() as connection:
            task.drop(connection)
        raise


class _Upload:
    """One file on its way to the server, through as many attempts as it takes."""

    def __init__(self, pool: Pool, local: Path, remote: str, progress: Progress) -> None:
        self.pool, self.local, self.remote, self.progress = pool, local, remote, progress
        self.folder = posixpath.dirname(remote)
        self.part = posixpath.join(self.folder, part_name())
        self.sent = 0  # bytes that may have arrived in earlier attempts

    def attempt(self, connection: Connection) -> None:
        """Send what is missing, verify, and give the file its name."""
        with self.local.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            with contextlib.closing(FileHash(self.local, size if offers_sha256(connection) else 0)) as digest:
                offset = self._resumable(connection, size)
                data = offset and self._resume(connection, offset)
                if not data:
                    offset, data = 0, self._begin(connection)
                try:
                    self._send(data, file, offset, size)
                except DEAD as error:
                    raise connection.reason_for_break(data, error) from None
                except BaseException:
                    data.close()
                    raise
                connection.finish(data)
                sha256 = digest.hexdigest() if offers_sha256(connection) else None
        if not _verify_and_publish(connection, self.part, self.remote, self.sent, sha256):
            self.drop(connection)
            raise NotVerified(f"the {size} bytes sent did not arrive unchanged")

    def _send(self, data: socket.socket, file: io.FileIO, offset: int, size: int) -> None:
        """Send the file from `offset` to `size`. The kernel does it where it can, without copies through Python."""
        through_python = size <= BLOCK or isinstance(data, ssl.SSLSocket)
        file.seek(offset)
        buffer = memoryview(bytearray(max(1, min(BLOCK, size)))) if through_python else None
        while offset < size:
            if through_python:
                count = file.readinto(buffer[: size - offset])
                data.sendall(buffer[:count])
            else:
                count = data.sendfile(file, offset, min(BLOCK, size - offset))
            if not count:
                return  # cut short meanwhile: it will not verify
            offset += count
            self._moved(count)

    def _resumable(self, connection: Connection, size: int) -> int:
        """How many bytes of an earlier attempt lie on the server; 0 where going on is not possible or not worth it."""
        if self.sent < RESUME_FROM or "REST" not in connection.features:
            return 0
        offset = min(size_of(connection, self.part) or 0, self.sent, size)
        return offset if offset >= RESUME_FROM else 0

    def _resume(self, connection: Connection, offset: int) -> socket.socket | None:
        """Go on after `offset` bytes; None if the server refuses, as many are set up to."""
        try:
            data = connection.open_data(f"STOR {self.part}", offset)
        except (ftplib.error_perm, ftplib.error_temp):
            return None
        self._moved(offset - self.sent)
        return data

    def _begin(self, connection: Connection) -> socket.socket:
        """Start from the first byte, under a new name: some servers would not overwrite the old part."""
        if self.sent:
            self.drop(connection)
        for last_try in (False, True):
            try:
                if self.folder not in self.pool.directories:
                    connection.make_directories(self.folder)
                    self.pool.directories.add(self.folder)
                return connection.open_data(f"STOR {self.part}")
            except ftplib.error_perm:
                if last_try or self.folder not in self.pool.directories:
                    raise
                self.pool.directories.discard(self.folder)  # someone has removed it since
        raise AssertionError("unreachable")

    def drop(self, connection: Connection) -> None:
        """Remove what has arrived so far, and begin anew next time."""
        with contextlib.suppress(ftplib.error_perm):
            connection.voidcmd(f"DELE {self.part}")
        self.part = posixpath.join(self.folder, part_name())
        self._moved(-self.sent)

    def _moved(self, count: int) -> None:
        self.sent += count
        self.progress(count)


def _verify_and_publish(connection: Connection, part: str, remote: str, size: int, sha256: str | None) -> bool:
    """Give what was just stored as `part` its name if it is intact; return whether it is."""
    if sha256 is not None and "SITE PUBLISH" in connection.features:  # DSGo's own server does both in one step
        with connection.patience(size / HASH_BYTES_PER_S):
            try:
                connection.voidcmd(f"SITE PUBLISH {sha256} {remote}")
            except ftplib.error_temp as error:
                if str(error).startswith("451"):
                    return False
                raise
        return True
    found = remote_sha256(connection, part, size) if sha256 is not None else None
    intact = found == sha256 if found is not None else size_of(connection, part) in (size, None)
    if intact:
        _publish(connection, part, remote)
        if remote.endswith(" "):  # Pure-FTPd writes an underscore instead, and would not find the file again
            folder, name = posixpath.split(remote)
            if name not in [entry.name for entry in list_directory(connection, folder) or []]:
                raise ftplib.error_perm("553 The server does not keep a space at the end of a name")
    return intact


def _publish(connection: Connection, part: str, remote: str) -> None:
    try:
        _rename(connection, part, remote)
    except ftplib.error_perm as refusal:
        # Some servers do not rename over a file: the old one steps aside, and comes back should this fail too.
        aside = posixpath.join(posixpath.dirname(remote), part_name())
        try:
            _rename(connection, remote, aside)
        except ftplib.error_perm:
            raise refusal from None
        try:
            _rename(connection, part, remote)
        except BaseException:
            _rename(connection, aside, remote)
            raise
        connection.voidcmd(f"DELE {aside}")


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.sendcmd(f"RNFR {old}")
    connection.voidcmd(f"RNTO {new}")


def download(pool: Pool, remote: str, local: Path, progress: Progress = lambda count: None) -> None:
    """Fetch the file `remote` (absolute) to `local`, which appears only when complete.

    Raises:
        NoSuchFile: the server has no such file.
        OSError: `local` cannot be written.
        ftplib.error_perm, ftplib.error_temp, LoginRefused, InsecureServer, ServerGone: as `Pool.run`.
    """
    part = local.with_name(part_name())
    got = 0

    def attempt(connection: Connection) -> None:
        nonlocal got
        try:
            size = int(connection.sendcmd(f"SIZE {remote}").split()[1])
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                raise NoSuchFile(str(error)) from None
            size = None
        resumed = got >= RESUME_FROM and "REST" in connection.features and got <= (size or 0)
        if not resumed:
            progress(-got)
            got = 0
        data = connection.open_data(f"RETR {remote}", got)
        try:
            with part.open("r+b" if got else "wb", buffering=0) as file:
                file.seek(got)
                file.truncate()
                buffer = memoryview(bytearray(BLOCK if size is None else max(1, min(BLOCK, size))))
                while count := data.recv_into(buffer):
                    block = buffer[:count]
                    while block:
                        block = block[file.write(block) :]
                    got += count
                    progress(count)
        except DEAD as error:
            raise connection.reason_for_break(data, error) from None
        except BaseException:
            data.close()
            raise
        connection.finish(data)
        intact = size in (got, None)
        if intact and resumed and offers_sha256(connection):  # the file may have been replaced in between
            intact = remote_sha256(connection, remote, got) in (_sha256(part), None)
        if not intact:
            arrived = got
            if got >= (size or 0):  # else its end is missing, though the server has called it complete, and can follow
                got = 0
                progress(-arrived)
            raise NotVerified(f"{arrived} of {size} bytes arrived, or not the right ones")

    try:
        pool.run(attempt)
        part.replace(local)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def upload_bundle(
    pool: Pool, files: list[tuple[Path, str]], folder: str, progress: Progress = lambda count: None
) -> None:
    """Store small local files below `folder` (absolute) in one transfer, each verified and never half there.

    Each file comes with its path relative to `folder`. The server must offer `SITE UNPACK`. Raises as `upload`.
    """
    moved = 0

    def attempt(connection: Connection) -> None:
        nonlocal moved
        progress(-moved)
        moved = 0
        data = connection.open_data(f"SITE UNPACK {folder}")
        try:
            for block in pack_files(files):
                data.sendall(block)
                moved += len(block)
                progress(len(block))
        except DEAD as error:
            raise connection.reason_for_break(data, error) from None
        except BaseException:
            data.close()
            raise
        connection.finish(data)

    pool.run(attempt)


def download_bundle(
    pool: Pool, folder: str, local: Path, progress: Progress = lambda count: None
) -> list[tuple[str, int]] | None:
    """Fetch the small files below `folder` (absolute) into the local folder `local`, in one transfer.

    Returns names, relative to `folder`, and sizes of the other files, or None if there is no such folder. The server
    must offer `SITE PACK`. Raises as `download`.
    """
    moved = 0

    def attempt(connection: Connection) -> list[tuple[str, int]] | None:
        nonlocal moved
        progress(-moved)
        moved = 0
        try:
            data = connection.open_data(f"SITE PACK {SMALL} {folder}")
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                return None
            raise
        unpacker = Unpacker(local)
        buffer = memoryview(bytearray(BUNDLE_BLOCK))
        try:
            while count := data.recv_into(buffer):
                unpacker.feed(buffer[:count])
                moved += count
                progress(count)
        except DEAD as error:
            raise connection.reason_for_break(data, error) from None
        except BundleError as error:
            data.close()
            raise NotVerified(str(error)) from None
        except BaseException:
            data.close()
            raise
        finally:
            unpacker.close()
        connection.finish(data)
        if not unpacker.finished:
            raise NotVerified("the bundle was cut short")
        return unpacker.left

    return pool.run(attempt)


def offers_sha256(connection: Connection) -> bool:
    """Whether the server can tell the SHA-256 of a file."""
    return "XSHA256" in connection.features or "SHA-256" in connection.features.get("HASH", "").upper()


def remote_sha256(connection: Connection, path: str, size: int) -> str | None:
    """The SHA-256 of a file on the server, as lower-case hexadecimal; None if the server does not tell after all."""
    algorithms = connection.features.get("HASH", "").upper()
    with connection.patience(size / HASH_BYTES_PER_S):
        try:
            if "SHA-256" not in algorithms:
                reply = connection.voidcmd(f"XSHA256 {path}")
            else:  # draft-bryan-ftpext-hash: the algorithm in use is marked with a star
                if "SHA-256*" not in algorithms:
                    connection.voidcmd("OPTS HASH SHA-256")
                reply = connection.voidcmd(f"HASH {path}")
        except ftplib.error_perm:  # some have a limit of size, or take a name with spaces for several
            return None
    found = _SHA256.search(reply)
    return found[0].lower() if found else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
