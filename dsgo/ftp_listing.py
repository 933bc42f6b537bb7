"""What a directory on an FTP server contains: by one MLSD, else LIST, else NLST, whichever the server understands."""

from __future__ import annotations

import ftplib
import posixpath
import re
from typing import NamedTuple

from dsgo.ftp_connection import Connection

NOT_UNDERSTOOD = ("500", "501", "502", "504")

# `drwxr-xr-x 2 owner group 4096 Nov 21 09:31 name`: what nearly all servers on Unix send
_UNIX = re.compile(
    r"(?P<kind>[-dlbcps])[-rwxsStTlL+.@]{9,11}\s+\d+\s+(?:\S+\s+){1,2}?(?P<size>\d+)\s+"
    r"(?:[A-Za-z]{3}\s+\d{1,2}|\d{1,2}\s+[A-Za-z]{3}|\d{4}-\d\d-\d\d)\s+(?:\d{1,2}:\d\d|\d{4}) (?P<name>.+)"
)
_SIZE = re.compile(r";size=([0-9]+);")
# `11-21-25 09:31AM <DIR> name`: Microsoft's
_DOS = re.compile(r"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?\s+(?:(?P<dir><DIR>)|(?P<size>\d+)) +(?P<name>.+)")


class Entry(NamedTuple):
    """One name in a directory. `size` in bytes, None where not told."""

    name: str
    is_dir: bool
    size: int | None = None


def list_directory(connection: Connection, path: str) -> list[Entry] | None:
    """The entries of the directory `path` without `.` and `..`; None if there is no such directory.

    Raises:
        ftplib.error_perm: the directory is there, but the server does not show it.
    """
    if "MLST" in connection.features or "MLSD" in connection.features:
        try:
            if "SITE MLSD" in connection.features:  # DSGo's own server needs no data connection for it
                return parse_mlsd(_text(connection.receive_reply(f"SITE MLSD {path}")))
            return parse_mlsd(_text(connection.receive_all(f"MLSD {path}")))
        except ftplib.error_perm as error:
            if not connection.is_directory(path):
                return None
            if not str(error).startswith(NOT_UNDERSTOOD):
                raise
    # The path is entered first, since LIST and NLST of many servers take a name with a space or a dash for options.
    if not connection.is_directory(path):
        return None
    for command in ("LIST -a", "LIST"):
        try:
            entries = parse_list(_text(connection.receive_all(command)))
        except ftplib.error_perm as error:
            if not str(error).startswith(NOT_UNDERSTOOD):
                if _is_empty(error):
                    return []
                raise
            continue
        if entries is not None:
            return entries
    return _probe_names(connection, path)


def _probe_names(connection: Connection, path: str) -> list[Entry]:
    try:
        names = _text(connection.receive_all("NLST")).splitlines()
    except ftplib.error_perm as error:
        if _is_empty(error):
            return []
        raise
    entries = []
    for name in sorted({posixpath.basename(name) for name in names} - {"", ".", ".."}):
        full = posixpath.join(path, name)
        is_dir = connection.is_directory(full)
        entries.append(Entry(name, is_dir, None if is_dir else size_of(connection, full)))
    return entries


def _is_empty(error: ftplib.error_perm) -> bool:
    """Some servers answer 550 "No files found" for an empty directory."""
    return str(error).startswith("550") and "no files" in str(error).lower()


def size_of(connection: Connection, path: str) -> int | None:
    """Size of a file in bytes; None if there is no such file or the server does not tell."""
    try:
        return int(connection.sendcmd(f"SIZE {path}").split()[1])
    except (ftplib.error_perm, ValueError, IndexError):
        return None


def parse_mlsd(text: str) -> list[Entry]:
    """Entries of a reply to MLSD (RFC 3659, section 7)."""
    entries = []
    for line in _lines(text):
        facts, _, name = line.partition(" ")
        facts = f";{facts.lower()};"
        is_dir = ";type=dir;" in facts
        if "/" in name:  # some servers give whole paths
            name = name.rpartition("/")[2]
        if name in ("", ".", "..") or ";type=cdir;" in facts or ";type=pdir;" in facts:
            continue
        size = None if is_dir else _SIZE.search(facts)
        entries.append(Entry(name, is_dir, int(size[1]) if size else None))
    return entries


def parse_list(text: str) -> list[Entry] | None:
    """Entries of a reply to LIST in Unix's or Microsoft's form; None if a line is in neither."""
    entries = []
    for line in _lines(text):
        if re.fullmatch(r"total \d+", line):
            continue
        if unix := _UNIX.fullmatch(line):
            kind, name = unix["kind"], unix["name"]
            if kind == "l":
                name = name.partition(" -> ")[0]
            if name not in (".", ".."):
                size = int(unix["size"]) if kind == "-" else None
                entries.append(Entry(name, kind == "d", size))
        elif dos := _DOS.fullmatch(line):
            entries.append(Entry(dos["name"], bool(dos["dir"]), int(dos["size"]) if dos["size"] else None))
        else:
            return None
    return entries


def _text(received: bytes) -> str:
    return received.decode("utf-8", "surrogateescape")


def _lines(text: str) -> list[str]:
    """Like `splitlines`, which would also split at characters that a name may contain (U+0085, U+2028)."""
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]
