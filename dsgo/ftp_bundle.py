"""Many small files in one transfer, which costs FTP several round trips and a connection each otherwise.

A bundle is a sequence of frames: a line of JSON, then as many bytes as it says. DSGo's own server announces the
commands `SITE UNPACK folder` (receives a bundle) and `SITE PACK limit folder` (sends one); with others files go singly.

    {"name": "a/b.txt", "size": 3, "sha256": "…"}   followed by 3 bytes; sha256 is checked where given
    {"name": "big.bin", "size": 5000000, "left": true}   a file longer than the limit, left for a transfer of its own
    {"name": "empty folder"}
    {"end": 3}   the number of frames before
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dsgo.ftp_names import is_part, part_name, relative_path

SMALL = 1 << 20  # bytes; a longer file has a transfer of its own, which can be resumed
BATCH_BYTES = 1 << 24
BATCH_FILES = 1000
_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 16

log = logging.getLogger(__name__)


class BundleError(Exception):
    """A bundle is cut, corrupt, or names a file that it may not."""


def pack_files(files: Iterable[tuple[Path, str]]) -> Iterator[tuple[bytes, int]]:
    """A bundle of local files, each given with its name in the bundle: blocks, and how much of each is content of files."""
    block, length, count = [], 0, 0
    for path, name in files:
        data = path.read_bytes()
        header = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        block += [_line(header), data]
        length += len(data)
        count += 1
        if length >= _BLOCK:
            yield b"".join(block), length
            block, length = [], 0
    yield b"".join([*block, _line({"end": count})]), length


def pack_folder(folder: str, limit: int, shown: Callable[[str], bool]) -> Iterator[bytes]:
    """A bundle of all that lies below a local folder and for whose path `shown` is true.

    That is asked when a file's turn comes: the receiver may take its time, and others may move folders meanwhile.
    """
    block, length, count = [], 0, 0
    for path, name, is_dir in _walk(folder, "", shown):
        if not shown(path):
            raise BundleError(f"{name} was moved while its folder was sent")
        count += 1
        if is_dir:
            block.append(_line({"name": name}))
            continue
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a plain string, as the server has them
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                block.append(_line({"name": name, "size": size, "left": True}))
                continue
            data = file.read(size) if size else b""
            if len(data) != size:
                raise BundleError(f"{name} changes while it is read")
        block += [_line({"name": name, "size": size}), data]
        length += size
        if length >= _BLOCK:
            yield b"".join(block)
            block, length = [], 0
    yield b"".join([*block, _line({"end": count})])


def can_be_named(entry: os.DirEntry) -> bool:
    """Whether a command could have the entry's name: without line breaks, and in UTF-8. Else a line is logged."""
    name = entry.name
    if (name.isascii() or _is_unicode(name)) and "\n" not in name and "\r" not in name:
        return True
    log.warning("left out %r, a name that no FTP command could have", name)
    return False


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(folder: str, prefix: str, shown: Callable[[str], bool]) -> Iterator[tuple[str, str, bool]]:
    """Files and empty folders; sorted."""
    if not shown(folder):
        raise BundleError(f"{prefix} was moved while it was sent")
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    entries = [
        entry
        for entry in entries
        if not is_part(entry.name) and can_be_named(entry) and (not entry.is_symlink() or shown(entry.path))
    ]
    if not entries and prefix:
        yield folder, prefix, True
    for entry in entries:
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        if not entry.is_dir():
            yield entry.path, name, False
        elif not entry.is_symlink():  # a link to a folder above would never end
            yield from _walk(entry.path, name, shown)


def _line(header: dict) -> bytes:
    return json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"


class Unpacker:
    """Takes a bundle in pieces of any size and stores its files below `folder`, each under its name when complete.

    `allowed(path)` decides about each path besides the checks of `relative_path`; `left` collects names of files that
    were left out, with their sizes.
    """

    def __init__(self, folder: str | Path, allowed: Callable[[str], bool] = lambda path: True) -> None:
        self.folder = os.fspath(folder)
        self.finished = False
        self.files = self.bytes = 0
        self.left: list[tuple[str, int]] = []
        self._allowed = allowed
        self._frames = 0
        self._line = b""
        self._folders: set[str] = set()
        self._file = None
        self._header: dict = {}
        self._missing = 0
        self._digest = None

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next piece. Raises BundleError or OSError; the file that was under way is then gone."""
        try:
            self._feed(memoryview(data))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the file that is under way, if any."""
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
            self._file = None

    def _feed(self, data: memoryview) -> None:
        while data:
            if self._file is None:
                data = self._take_line(data)
            else:
                piece = data[: self._missing]
                self._take_content(piece)
                data = data[len(piece) :]

    def _take_line(self, data: memoryview) -> memoryview:
        head = bytes(data[:_LONGEST_LINE])
        end = head.find(b"\n")
        self._line += head if end < 0 else head[:end]
        if len(self._line) > _LONGEST_LINE or self.finished:
            raise BundleError("the bundle is corrupt")
        if end < 0:
            return data[len(head) :]
        line, self._line = self._line, b""
        try:
            header = json.loads(line)
            if "end" in header:
                if header["end"] != self._frames:
                    raise BundleError("the bundle is not complete")
                self.finished = True
            else:
                self._begin(header)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"the bundle is corrupt ({error})") from None
        return data[end + 1 :]

    def _begin(self, header: dict) -> None:
        self._frames += 1
        name = relative_path(header["name"])
        path = f"{self.folder}/{name}"
        if not name or not self._allowed(path):
            raise BundleError(f"{name!r} is not allowed")
        if "size" not in header:
            self._make_folder(path)
        elif header.get("left"):
            self.left.append((name, _size(header)))
        else:
            target_folder = os.path.dirname(path)  # noqa: PTH120
            self._make_folder(target_folder)
            self._header, self._missing = {**header, "path": path}, _size(header)
            self._digest = hashlib.sha256() if "sha256" in header else None
            part = f"{target_folder}/{part_name()}"
            self._file = open(part, "wb", buffering=0)  # noqa: PTH123, SIM115 - open over several calls
            if self._missing == 0:
                self._end()

    def _make_folder(self, folder: str) -> None:
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            self._folders.add(folder)

    def _take_content(self, piece: memoryview) -> None:
        if self._digest is not None:
            self._digest.update(piece)
        rest = piece
        while rest:
            rest = rest[self._file.write(rest) :]
        self._missing -= len(piece)
        if self._missing == 0:
            self._end()

    def _end(self) -> None:
        if self._digest is not None and self._digest.hexdigest() != self._header["sha256"]:
            raise BundleError(f"{self._header['name']!r} did not arrive unchanged")
        self._file.close()
        os.replace(self._file.name, self._header["path"])  # noqa: PTH105
        self._file = None
        self.files += 1
        self.bytes += self._header["size"]


def _size(header: dict) -> int:
    size = header["size"]
    if type(size) is not int or size < 0:
        raise BundleError(f"the bundle is corrupt (size {size!r})")
    return size
