"""Which reports have been sent to whom: at most once, whatever is killed when.

A row is written before a report is sent and marked after it. A kill between the two leaves it unmarked, and then nobody
knows whether the report has gone out: it is not sent again until a person says so (docs/decisions/report.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dsgo.errors import MailError

PATIENCE_S = 30.0  # for a backup that copies the file
TABLE = """
CREATE TABLE IF NOT EXISTS sent (
    collection TEXT NOT NULL, week TEXT NOT NULL, recipient TEXT NOT NULL,
    began TEXT NOT NULL, -- ISO 8601 UTC
    ended TEXT, -- NULL: it is not known whether the server has taken it
    PRIMARY KEY (collection, week, recipient))
"""


@dataclass(frozen=True)
class Letter:
    """The report of one week for one address."""

    collection: str
    week: str
    recipient: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others; addresses differ by more than the case of their letters."""
        return self.collection, self.week, self.recipient.lower()


@dataclass(frozen=True)
class Record:
    """What is known of a letter: when its sending began, and ended (None: unknown whether it did), ISO 8601 UTC."""

    began: str
    ended: str | None


class Outbox:
    """The record of one copy of DSGo. Made by `opened`, which lets only one process in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(TABLE)

    def find(self, letter: Letter) -> Record | None:
        """What is known of a letter; None if its sending has never begun."""
        row = self._connection.execute(
            "SELECT began, ended FROM sent WHERE collection = ? AND week = ? AND recipient = ?", letter.key
        ).fetchone()
        return Record(*row) if row else None

    def begin(self, letter: Letter) -> None:
        """Note, before the first byte, that a letter is being sent."""
        self._connection.execute("INSERT INTO sent VALUES (?, ?, ?, ?, NULL)", (*letter.key, _now()))

    def end(self, letter: Letter) -> None:
        """Note that the server has taken it."""
        where = "WHERE collection = ? AND week = ? AND recipient = ?"
        self._connection.execute(f"UPDATE sent SET ended = ? {where}", (_now(), *letter.key))

    def forget(self, letter: Letter) -> None:
        """Take back `begin`: the letter has certainly not been taken, or a person says that it has not."""
        self._connection.execute(
            "DELETE FROM sent WHERE collection = ? AND week = ? AND recipient = ? AND ended IS NULL", letter.key
        )


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Outbox]:
    """The outbox in `file`, made if absent. A second process waits until the first has sent what it sends.

    Raises:
        MailError: the file cannot be used.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees that of a killed one
            # Every statement is a transaction of its own, on the disk when it returns.
            with contextlib.closing(sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                yield Outbox(connection)
    except (OSError, sqlite3.Error) as error:
        raise MailError(
            f"The record of sent reports {file} cannot be used: {error}.", "Nothing more was sent."
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
