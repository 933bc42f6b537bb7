"""Where raw data comes from: a CSV file, an address of one, or what a collection has a name for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from dsgo import download
from dsgo.cleaning import Repair, read_raw_csv
from dsgo.errors import SourceError
from dsgo.settings import Settings


@dataclass(frozen=True)
class RawTable:
    """A table as its source has it, for `dsgo.cleaning.clean`."""

    frame: pd.DataFrame
    source: Mapping[str, str]  # kind, name, sha256
    synthetic: bool
    first_line: int | None = None  # where the first row stands, when it is a text file
    repairs: list[Repair] = field(default_factory=list)
    called: Mapping[str, str] = field(
        default_factory=dict
    )  # the collection's names → the file's own, where they differ


def raw_table(
    data: str,
    settings: Settings,
    named: Mapping[str, Callable[[Settings], RawTable]],
    rename: Mapping[str, str] = MappingProxyType({}),
) -> RawTable:
    """The raw table that `data` names.

    Args:
        data: one of the names, a path to a CSV file, or its http(s) address.
        settings: the cache folder, and what a named source reads of them.
        named: the collection's own sources by name.
        rename: columns as a CSV file may call them → as the collection calls them; a file that has its names already is
            taken too.

    Raises:
        SourceError: there is no such source, or it cannot be fetched.
        DataError: the file is no table.
    """
    if data in named:
        return named[data](settings)
    if data.startswith(("http://", "https://")):
        return _csv(download.fetch(data, settings.cache, require_text, reuse=False), "url", data, rename)
    path = Path(data).expanduser()
    if not path.is_file():
        known = f"Give {', '.join(named)}, the path of a CSV file (an absolute one is safest) or its http(s) address."
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise SourceError(repr(data), f"there is no such file{where}, and no source of that name.", known)
    return _csv(path, "file", str(path), rename)


def generated(rows: pd.DataFrame, seed: int) -> RawTable:
    """A table that nobody has recorded: made by a program, and everything that comes of it says so."""
    source = {"kind": "sample", "name": f"generated sample, seed {seed}"}
    return RawTable(rows, source | {"sha256": hashlib.sha256(to_csv(rows)).hexdigest()}, synthetic=True)


def to_csv(rows: pd.DataFrame) -> bytes:
    """The rows as CSV, the same bytes for the same rows on every system."""
    return rows.to_csv(index=False, lineterminator="\n").encode()


def require_text(file: Path, url: str) -> None:
    """Refuse a download that is a page for people; for `dsgo.download.fetch`.

    Raises:
        SourceError: it is HTML; names the address.
    """
    with file.open("rb") as content:
        start = content.read(1024).lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(b"<"):
        raise SourceError(url, "the server sent an HTML page, no CSV.", "Open the address in a browser.")


def _csv(path: Path, kind: str, name: str, rename: Mapping[str, str]) -> RawTable:
    frame, repairs = read_raw_csv(path, name=name)
    called = {ours: theirs for theirs, ours in rename.items() if ours not in frame}
    frame = frame.rename(columns={theirs: ours for ours, theirs in called.items()})
    short = name if kind == "url" else path.name  # where a file lies says nothing of what is in it
    source = {"kind": kind, "name": short, "sha256": download.sha256(path)}
    return RawTable(frame, source, synthetic=False, first_line=2, repairs=repairs, called=called)
