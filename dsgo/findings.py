"""What the weekly watch has found: the table `findings` of the application database, read by whoever acts on it or shows it.

A check is all findings of one dataset and one version in Production. Checking the same again takes the place of what was
found then, in one transaction: repeated or killed, a check leaves its findings once.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dsgo import database
from dsgo.ledger import json_value

if TYPE_CHECKING:  # `make up` reads the database each time; pandas would double what that takes
    import pandas as pd

DATA, FAULT, MODEL, STALE = "data", "fault", "model", "stale"

_metadata = sa.MetaData()
_findings = sa.Table(
    "findings",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),  # UTC, of the check: all its rows have the same
    sa.Column("collection", sa.String(250), nullable=False, index=True),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("data_digest", sa.String(64), nullable=False),
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("subject", sa.String(250), nullable=False),
    sa.Column("check", sa.String(40), nullable=False),
    sa.Column("first", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last", sa.DateTime(timezone=True), nullable=False),
    sa.Column("measured", sa.Float),
    sa.Column("limit", sa.Float),
    sa.Column("alarm", sa.Boolean, nullable=False),
    sa.Column("estimate", sa.Boolean, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.UniqueConstraint("collection", "data_digest", "version", "kind", "subject", "check", "estimate"),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _findings.columns]
_TIMES = ("time", "first", "last")
_tables = database.Tables(_metadata)


@dataclass(frozen=True)
class Checked:
    """What was looked at.

    Attributes:
        run_id: the run of `monitor`.
        data_digest: SHA-256 of the dataset's table.
        synthetic: whether that table is generated.
        version: in Production then; None if there was none.
    """

    collection: str
    run_id: str
    data_digest: str
    synthetic: bool
    version: int | None


@dataclass(frozen=True)
class Finding:
    """The outcome of one check of one column.

    Attributes:
        kind: `data`: weather or demand behave differently; `model`: errors or intervals are out of their range; `fault`: the
            data are faulty, and to learn from them would do harm; `stale`: nothing new has come.
        subject: a column; empty for the whole table.
        check: such as `level`, `spread`, `shape`, `stuck`, `missing`, `unit`, `error`, `coverage`, `bias`.
        first, last: the hours that were looked at, UTC.
        measured, limit: in what `text` says; None where nothing could be measured.
        estimate: not from recorded values of the target.
        text: one sentence.
    """

    kind: str
    subject: str
    check: str
    first: datetime.datetime
    last: datetime.datetime
    measured: float | None
    limit: float | None
    alarm: bool
    text: str
    estimate: bool = False


def record(checked: Checked, found: Iterable[Finding]) -> None:
    """Write the findings of one check, in place of those of an earlier check of the same; the time is now.

    Raises:
        DatabaseError: the database does not answer, or refuses.
    """
    now = datetime.datetime.now(datetime.UTC)
    common = {"time": now, **asdict(checked)}
    rows = [common | {field.name: _plain(getattr(one, field.name)) for field in fields(Finding)} for one in found]
    with _tables.writing() as connection:
        if connection.dialect.name == "postgresql":  # of two at once the second one replaces what the first has written
            connection.exec_driver_sql("LOCK TABLE findings IN EXCLUSIVE MODE")
        same = (_findings.c[name] == getattr(checked, name) for name in ("collection", "data_digest"))
        version = _findings.c.version.is_not_distinct_from(checked.version)
        connection.execute(_findings.delete().where(*same, version))
        if rows:
            connection.execute(_findings.insert(), rows)


def newest(collection: str) -> pd.DataFrame:
    """The findings of the newest check, in the order in which they were found; empty if there was none.

    Returns:
        Columns as the table `findings` has them; times in UTC, `version` missing (NA) where none was in Production.

    Raises:
        DatabaseError: the database does not answer.
    """
    last = sa.select(_findings.c.time).where(_findings.c.collection == collection).order_by(_findings.c.id.desc())
    return _read(collection, _findings.c.time == last.limit(1).scalar_subquery())


def history(collection: str) -> pd.DataFrame:
    """The findings of all checks, the oldest first; otherwise as `newest`."""
    return _read(collection)


def _read(collection: str, *conditions: sa.ColumnElement[bool]) -> pd.DataFrame:
    import pandas as pd

    query = sa.select(_findings).where(_findings.c.collection == collection, *conditions).order_by(_findings.c.id)
    with _tables.reading() as connection:
        rows = [row._asdict() for row in connection.execute(query)] if connection else []
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"version": "Int64", "measured": float, "limit": float})
    table = table.astype(dict.fromkeys(("synthetic", "alarm", "estimate"), bool))
    for name in _TIMES:
        table[name] = pd.to_datetime([database.utc(time) for time in table[name]], utc=True)
    return table


def _plain(value: object) -> object:
    """A value as the database takes it: figures of NumPy as Python's own, times in UTC, what is not a number as NULL."""
    if isinstance(value, datetime.datetime):  # pandas' too
        return datetime.datetime.fromtimestamp(value.timestamp(), datetime.UTC)
    return json_value(value)
