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
from dsgo.ftp_connection import DEAD, Connection, InsecureServer, LoginRefused, Pool, ServerGone, TransferFailed
from dsgo.ftp_hash import BLOCK, FileHash
from dsgo.ftp_listing import list_directory, size_of
from dsgo.ftp_names import aside_name, part_name

BUNDLE_BLOCK = 1 << 18
RESUME_FROM = 1 << 22  # bytes that must have arrived for a resumption to be worth its round trips
HASH_BYTES_PER_S = 20e6  # a server that hashes slower than this is taken for dead
_SHA256 = re.compile(r"\b[0-9a-fA-F]{64}\b")

Progress = Callable[[int], object]  # called with the number of bytes just moved; negative when some must be moved again


class NotVerified(TransferFailed):
    """What arrived is not what was sent."""


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
            task.put_back(connection)
            task.drop(connection)
        raise


class _Upload:
    """One file on its way to the server, through as many attempts as it takes."""

    def __init__(self, pool: Pool, local: Path, remote: str, progress: Progress) -> None:
        self.pool, self.local, self.remote, self.progress = pool, local, remote, progress
        self.folder = posixpath.dirname(remote)
        self.part = posixpath.join(self.folder, part_name())
        self.begun = False  # whether the part may be on the server
        self.sent = 0  # bytes that may have arrived in earlier attempts
        self.sent_of: tuple | None = None  # the state of the file that they were of
        self.aside: str | None = None  # what the file that was there before may be called now

    def attempt(self, connection: Connection) -> None:
        """Send what is missing, verify, and give the file its name."""
        with self.local.open("rb", buffering=0) as file:
            state = _state(file)
            size = os.fstat(file.fileno()).st_size
            with contextlib.closing(FileHash(self.local, size if offers_sha256(connection) else 0)) as digest:
                offset = self._resumable(connection, size) if state == self.sent_of else 0
                data = offset and self._resume(connection, offset)
                if not data:
                    offset, data = 0, self._begin(connection)
                self.sent_of = state
                try:
                    self._send(data, file, offset, size)
                except DEAD as error:
                    raise connection.reason_for_break(data, error) from None
                except BaseException:
                    data.close()
                    raise
                connection.finish(data)
                sha256 = digest.hexdigest() if offers_sha256(connection) else None
            changed = _state(file) != state
        if not self._verify_and_publish(connection, sha256):
            self.drop(connection)
            why = f"{self.local} changed while it was sent" if changed else f"{size} bytes did not arrive unchanged"
            raise NotVerified(why)

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
        if self.begun:
            self.drop(connection)
        self.begun = True
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

    def _verify_and_publish(self, connection: Connection, sha256: str | None) -> bool:
        """Give what was just stored its name if it is intact; return whether it is."""
        if sha256 is not None and "SITE PUBLISH" in connection.features:  # DSGo's own server does both in one step
            with connection.patience(self.sent / HASH_BYTES_PER_S):
                try:
                    connection.voidcmd(f"SITE PUBLISH {sha256} {self.remote}")
                except ftplib.error_temp as error:
                    if str(error).startswith("451"):
                        return False
                    raise
            return True
        found = remote_sha256(connection, self.part, self.sent) if sha256 is not None else None
        intact = found == sha256 if found is not None else size_of(connection, self.part) in (self.sent, None)
        if intact:
            self._publish(connection)
            _check_name(connection, self.remote)
        return intact

    def _publish(self, connection: Connection) -> None:
        try:
            _rename(connection, self.part, self.remote)
        except ftplib.error_perm as refusal:
            # Some servers do not rename over a file: the old one steps aside, and comes back should this fail too. That
            # there is none to step aside may mean that another client has just replaced it in the same way.
            if self.aside is None:
                self.aside = posixpath.join(self.folder, aside_name())
            with contextlib.suppress(ftplib.error_perm):
                _rename(connection, self.remote, self.aside)
            try:
                _rename(connection, self.part, self.remote)
            except ftplib.error_perm:
                self.put_back(connection)
                raise refusal from None
        if self.aside is not None:
            with contextlib.suppress(ftplib.error_perm):
                connection.voidcmd(f"DELE {self.aside}")
            self.aside = None

    def put_back(self, connection: Connection) -> None:
        """Give a file that has stepped aside its name again."""
        if self.aside is not None:
            with contextlib.suppress(ftplib.error_perm):
                _rename(connection, self.aside, self.remote)
            self.aside = None

    def drop(self, connection: Connection) -> None:
        """Remove what has arrived so far, and begin anew next time."""
        with contextlib.suppress(ftplib.error_perm):
            connection.voidcmd(f"DELE {self.part}")
        self.part = posixpath.join(self.folder, part_name())
        self._moved(-self.sent)

    def _moved(self, count: int) -> None:
        self.sent += count
        self.progress(count)


def _state(file: io.FileIO) -> tuple:
    """What is another after a file was replaced or written to."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_name(connection: Connection, remote: str) -> None:
    """Raise error_perm if the server has put another name in the place of an odd one, as Pure-FTPd does."""
    folder, name = posixpath.split(remote)
    odd = name != name.strip() or not name.isprintable()
    if odd and name not in [entry.name for entry in list_directory(connection, folder) or []]:
        raise ftplib.error_perm("553 The server does not keep spaces at the end, or control characters, of a name")


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
    got_of: tuple | None = None  # size and age of the remote file that these bytes are of

    def attempt(connection: Connection) -> None:
        nonlocal got, got_of
        try:
            size = int(connection.sendcmd(f"SIZE {remote}").split()[1])
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                raise NoSuchFile(str(error)) from None
            size = None
        now = size, _modified(connection, remote) if (size or 0) > RESUME_FROM else None
        known = now[1] is not None or offers_sha256(connection)  # else it may have been replaced by one as long
        resumed = got >= RESUME_FROM and "REST" in connection.features and known and now == got_of
        if not resumed:
            progress(-got)
            got, got_of = 0, now
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


def _modified(connection: Connection, remote: str) -> str | None:
    """When a remote file was last written to, in the server's words; None if it does not tell."""
    if "MDTM" not in connection.features:
        return None
    try:
        return connection.sendcmd(f"MDTM {remote}")
    except ftplib.error_perm:
        return None


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
            for block, content in pack_files(files):
                data.sendall(block)
                moved += content
                progress(content)
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
