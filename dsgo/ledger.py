"""The ledger: every change of what is in Production, and every change that was refused, with its reason.

One table, to which rows are only added: the database itself refuses to change or delete one. It lies in SQLite, in a file of
`DSGO_HOME`, or in PostgreSQL (`DSGO_DATABASE_URL`). A change that takes more than one write begins with a row `begun` and
ends with a row `done` or `undone`, so that after a kill anyone sees what was under way (`dsgo.promotion`, the one
module that writes here).
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import math
import os
import pwd
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dsgo import database
from dsgo import settings as dsgo_settings

if TYPE_CHECKING:  # `make up` reads the ledger each time; pandas would double what that takes
    import pandas as pd

PROMOTION, CHALLENGE, REFUSAL, KEPT = "promotion", "challenge", "refusal", "kept"
ROLLBACK, REPAIR, FOUND = "rollback", "repair", "found"  # found: in Production before there was a ledger
BEGUN, DONE, UNDONE = "begun", "done", "undone"
DEV, PROD = "DEV", "PROD"

_metadata = sa.MetaData()
_ledger = sa.Table(
    "ledger",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),  # UTC
    sa.Column("collection", sa.String(250), nullable=False, index=True),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("begun", sa.Integer, sa.ForeignKey("ledger.id"), unique=True),  # the row that this one ends
    sa.Column("level", sa.String(20), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("replaced", sa.Integer),
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Column("gate_run_id", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("rules", sa.JSON, nullable=False),
    sa.Column("figures", sa.JSON, nullable=False),
    sa.Column("data_digest", sa.String(64), nullable=False),
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("code_version", sa.String(80), nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _ledger.columns]

_ONLY_ADDED = "rows of the ledger are only added, never changed or deleted"
_GUARDS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, '{_ONLY_ADDED}'); END",
        f"CREATE TRIGGER IF NOT EXISTS ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, '{_ONLY_ADDED}'); END",
        # INSERT OR REPLACE deletes without asking the trigger above.
        "CREATE TRIGGER IF NOT EXISTS ledger_no_replace BEFORE INSERT ON ledger WHEN EXISTS "
        "(SELECT 1 FROM ledger WHERE id = NEW.id OR begun = NEW.begun) "
        f"BEGIN SELECT RAISE(ABORT, '{_ONLY_ADDED}'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION ledger_only_added() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_ONLY_ADDED}'; END $$",
        "DROP TRIGGER IF EXISTS ledger_no_update ON ledger",
        "CREATE TRIGGER ledger_no_update BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_only_added()",
        "DROP TRIGGER IF EXISTS ledger_no_truncate ON ledger",
        "CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION ledger_only_added()",
    ],
}
_tables = database.Tables(_metadata, _GUARDS)


@dataclass(frozen=True)
class Evidence:
    """Why Production changes or does not.

    Attributes:
        run_id: the candidate's training run.
        gate_run_id: the run of `promote` that judged it; empty where none did.
        rules: rows of the table of rules: `name`, `measured`, `asked`, `holds`.
        figures: what was measured, as JSON has it.
        reason: one sentence.
        data_digest: SHA-256 of the table that the candidate has learned from.
        synthetic: whether that table is generated.
        code_version: git commit of the code that acts.
        asked_by: who or what asked for it, as `asked_by()` tells.
    """

    run_id: str
    gate_run_id: str
    rules: tuple[Mapping[str, object], ...]
    figures: Mapping[str, object]
    reason: str
    data_digest: str
    synthetic: bool
    code_version: str
    asked_by: str


@dataclass(frozen=True)
class Entry:
    """One row, as its table has it. `id` and `time` are 0 and None until it is written."""

    collection: str
    action: str
    state: str
    level: str
    evidence: Evidence
    version: int | None = None
    replaced: int | None = None
    begun: int | None = None
    id: int = 0
    time: datetime.datetime | None = None


def entries(collection: str | None = None, limit: int = 100) -> pd.DataFrame:
    """The newest rows, the newest first. A change that has ended is one row, its last; `begun` is one that has not.

    Args:
        collection: of which; None is all.
        limit: at most so many.

    Returns:
        Columns as the table `ledger` has them; `time` in UTC, `version` and `replaced` missing (NA) where there is none.

    Raises:
        DatabaseError: the database does not answer.
    """
    import pandas as pd

    rows = [_record(entry) for entry in reversed(read(collection))][:limit]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["time"] = pd.to_datetime(table["time"], utc=True)
    for name in ("version", "replaced", "begun"):
        table[name] = table[name].astype("Int64")
    return table


def read(collection: str | None = None) -> list[Entry]:
    """All rows that `entries` chooses from, the oldest first."""
    ended = sa.select(_ledger.c.begun).where(_ledger.c.begun.is_not(None))
    query = sa.select(_ledger).where(_ledger.c.id.not_in(ended)).order_by(_ledger.c.id)
    if collection is not None:
        query = query.where(_ledger.c.collection == collection)
    with _tables.reading() as connection:
        return [_entry(row) for row in connection.execute(query)] if connection else []


def collections() -> list[str]:
    """Names of all collections that have a row."""
    return sorted({entry.collection for entry in read()})


def in_production(rows: Sequence[Entry]) -> list[Entry]:
    """The versions that a rollback goes back through, the last of them in Production now; empty where none is.

    A promotion adds one; a rollback to an earlier one takes away all after it, and what is promoted then comes in their place.

    Args:
        rows: of one collection, the oldest first, as `read` gives them.
    """
    path: list[Entry] = []
    for row in rows:
        if row.state != DONE or row.action not in (PROMOTION, ROLLBACK, REPAIR, FOUND):
            continue
        places = [place for place, earlier in enumerate(path) if same(earlier, row)]
        if row.version is None:  # a repair has found none of them in the registry
            path = []
        elif places and (row.action != PROMOTION or places[-1] == len(path) - 1):
            del path[places[-1] + 1 :]
        else:
            path.append(row)
    return path


def rolled_back(rows: Sequence[Entry]) -> set[str]:
    """Training runs whose versions a rollback has taken out of Production, and nothing has put back since.

    Args:
        rows: of one collection, the oldest first, as `read` gives them.
    """
    changes = [row for row in rows if row.state == DONE and row.action in (PROMOTION, ROLLBACK, REPAIR, FOUND)]
    taken: set[str] = set()
    for place, row in enumerate(changes):
        if row.action == ROLLBACK:
            before, after = in_production(changes[:place]), in_production(changes[: place + 1])
            taken |= {entry.evidence.run_id for entry in before} - {entry.evidence.run_id for entry in after}
        taken.discard(row.evidence.run_id)
    return taken


def same(one: Entry, other: Entry) -> bool:
    """Whether two rows tell of the same version; the number alone could be that of a registry that is lost."""
    return (one.version, one.evidence.run_id) == (other.version, other.evidence.run_id)


def append(*new: Entry) -> list[int]:
    """Add rows, all or none of them; the time is now. Returns their ids.

    Raises:
        DatabaseError: the database does not answer, or refuses.
    """
    now = datetime.datetime.now(datetime.UTC)
    ids = []
    with _tables.writing() as connection:
        for entry in new:
            values = {name: value for name, value in _record(entry).items() if name != "id"} | {"time": now}
            ids.append(connection.execute(_ledger.insert().values(values)).inserted_primary_key[0])
    return ids


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Only one process at a time changes what is in Production; another one waits. A killed one's lock is freed."""
    settings = dsgo_settings.load()
    url = database.address()
    settings.home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        fcntl.flock(stack.enter_context((settings.home / "promotion.lock").open("w")), fcntl.LOCK_EX)
        if url.drivername.startswith("postgresql"):  # whoever shares the database may have another DSGO_HOME
            with database.answering(url):
                connection = stack.enter_context(database.engine(url).connect())
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.execute(sa.select(sa.func.pg_advisory_lock(database.ADVISORY_LOCK)))
        yield


def asked_by() -> str:
    """Who or what asks now: the command and the person on this machine, such as `make run (root@host)`."""
    command = dsgo_settings.load().asked_by or Path(sys.argv[0]).name or "python"
    try:
        person = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name, as in some containers
        person = str(os.getuid())
    return f"{command} ({person}@{socket.gethostname()})"


def _record(entry: Entry) -> dict[str, object]:
    evidence = {field.name: getattr(entry.evidence, field.name) for field in fields(Evidence)}
    own = {field.name: getattr(entry, field.name) for field in fields(Entry) if field.name != "evidence"}
    plain = {name: json_value(evidence[name]) for name in ("rules", "figures")}
    return {name: ({**evidence, **plain, **own})[name] for name in COLUMNS}


def _entry(row: sa.Row) -> Entry:
    values = dict(row._mapping)
    evidence = Evidence(**{field.name: values.pop(field.name) for field in fields(Evidence)})
    return Entry(**values | {"time": database.utc(values["time"])}, evidence=evidence)


def json_value(value: object) -> object:
    """The value as JSON can have it: figures of NumPy and pandas as Python's own, what is not a number as null."""
    if isinstance(value, Mapping):
        return {str(name): json_value(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [json_value(inner) for inner in value]
    if hasattr(value, "tolist"):  # NumPy's
        return json_value(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)  # a time, a path
