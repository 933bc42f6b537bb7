"""What follows from the findings of the watch: learn anew, wait, or ask a person. And the table `actions` of what was decided.

`decide` is a pure function: from findings, ledger and earlier actions, with time counted in hours of data. What is replayed
from the past is decided as it would have been then.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dsgo import database, ledger
from dsgo.findings import DATA, FAULT, MODEL, STALE
from dsgo.routine import Act

if TYPE_CHECKING:  # `make up` and `make status` read this table; pandas would double what that takes
    import pandas as pd

RETRAINING, WAIT, ASK, NOTHING = "retraining", "wait", "ask_a_person", "nothing"
FAILED = "failed"  # a retraining that did not come to the gate
GO_ON = "go_on"  # a person has looked, and retrainings may begin again
CAUSES = (DATA, MODEL)  # kinds of findings that learning anew may help
LONGEST = 3  # findings that a reason names in full

_metadata = sa.MetaData()
_actions = sa.Table(
    "actions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),  # UTC
    sa.Column("collection", sa.String(250), nullable=False, index=True),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("last", sa.DateTime(timezone=True)),  # newest hour of the data, UTC
    sa.Column("data_digest", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(32), nullable=False),  # of a retraining: the pipeline's run
    sa.Column("asked_by", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _actions.columns]
_tables = database.Tables(_metadata)


@dataclass(frozen=True)
class Action:
    """One row. `id` and `time` are 0 and None until it is written.

    Attributes:
        action: `retraining`, `wait`, `ask_a_person`, `nothing` (to do any more), `failed` (a retraining) or `go_on`.
        reason: one or more sentences.
        last: newest hour of the data that were looked at; None of `go_on`.
        data_digest: SHA-256 of their table.
        run_id: of a retraining, the run of its pipeline.
    """

    collection: str
    action: str
    reason: str
    last: datetime.datetime | None = None
    data_digest: str = ""
    run_id: str = ""
    asked_by: str = ""
    id: int = 0
    time: datetime.datetime | None = None


def decide(
    collection: str,
    found: Sequence[Mapping[str, object]],
    rows: Sequence[ledger.Entry],
    earlier: Sequence[Action],
    rules: Act,
) -> Action:
    """What is due now.

    Args:
        found: findings of the newest check, as `dsgo.findings` has them.
        rows: of the collection's ledger, the oldest first.
        earlier: actions of the collection, the oldest first.
        rules: `act:` of the collection.
    """
    alarms = [one for one in found if one["alarm"]]
    last = max((one["last"] for one in found if not one["estimate"]), default=None)  # estimates look ahead
    digest = str(found[0]["data_digest"]) if found else ""

    def due(action: str, reason: str) -> Action:
        return Action(collection, action, reason, last, digest)

    if faults := [one for one in alarms if one["kind"] == FAULT]:
        return due(ASK, f"The data are faulty, and to learn from them would do harm. {_texts(faults)}")
    causes = [one for one in alarms if one["kind"] in CAUSES and not one["estimate"]]
    if not causes:
        if stale := [one for one in alarms if one["kind"] == STALE]:
            return due(ASK, _texts(stale))
        if alarms:
            return due(WAIT, f"So far this is an estimate; the next recorded values will tell. {_texts(alarms)}")
        return due(NOTHING, "No alarm.")
    in_vain = retrained_in_vain(rows, earlier)
    if len(in_vain) >= rules.refusals:
        said = f"{len(in_vain)} retrainings in a row, the last with data to {in_vain[-1].last:%Y-%m-%d}, brought nothing better"
        return due(ASK, f"{said}. {_texts(causes)}")
    if any(row.level == ledger.PROD and row.evidence.data_digest == digest for row in rows):
        return due(WAIT, f"The gate has judged models of these very data already: new data must come. {_texts(causes)}")
    if tried := [one for one in earlier if one.action in (RETRAINING, FAILED)]:
        end = tried[-1].last + datetime.timedelta(days=rules.cool_down_days)
        when = f"with data to {_day(tried[-1].last)}"
        if tried[-1].action == RETRAINING and last < end:
            return due(
                WAIT,
                f"The last retraining was {when}; the next may come with data to {_day(end)}. {_texts(causes)}",
            )
        if last <= tried[-1].last and not any(one.action == GO_ON and one.time > tried[-1].time for one in earlier):
            return due(WAIT, f"The last retraining, {when}, came to no end: new data must come. {_texts(causes)}")
    return due(RETRAINING, _texts(causes))


def retrained_in_vain(rows: Sequence[ledger.Entry], earlier: Sequence[Action]) -> list[Action]:
    """Retrainings since something was put into Production or a person said to go on: nothing of theirs was promoted.

    Args:
        rows, earlier: as `decide` takes them.
    """
    path = [row.time for row in rows if row.state == ledger.DONE and row.action == ledger.PROMOTION]
    since = [*path, *(one.time for one in earlier if one.action == GO_ON)]
    tried = [one for one in earlier if one.action in (RETRAINING, FAILED)]
    return [one for one in tried if not since or one.time > max(since)]


def open_question(rows: Sequence[ledger.Entry], earlier: Sequence[Action]) -> Action | None:
    """What a person is asked now: the newest decision, if it asks and nothing has been promoted since."""
    newest = earlier[-1] if earlier else None
    if newest is None or newest.action != ASK:
        return None
    promoted = [row.time for row in rows if row.state == ledger.DONE and row.action == ledger.PROMOTION]
    return newest if not promoted or newest.time > max(promoted) else None


def questions() -> dict[str, Action]:
    """What a person is asked now, by collection.

    Raises:
        DatabaseError: the database does not answer.
    """
    earlier, rows = read(), ledger.read()
    asked = {
        name: open_question(
            [row for row in rows if row.collection == name], [e for e in earlier if e.collection == name]
        )
        for name in sorted({one.collection for one in earlier})
    }
    return {name: question for name, question in asked.items() if question}


def remedy(question: Action) -> str:
    """What the person who is asked can do."""
    return (
        f"Mend the data, or, if all is well, train by hand: make run COLLECTION={question.collection}. To let it go on by "
        f"itself: make refresh COLLECTION={question.collection} ARGS=--go-on"
    )


def due_now(collection: str, rules: Act) -> Action:
    """`decide` on what the database holds.

    Raises:
        DatabaseError: the database does not answer.
    """
    from dsgo import findings

    found = findings.newest(collection).to_dict("records")
    return decide(collection, found, ledger.read(collection), read(collection), rules)


def read(collection: str | None = None) -> list[Action]:
    """All rows, the oldest first."""
    query = sa.select(_actions).order_by(_actions.c.id)
    if collection is not None:
        query = query.where(_actions.c.collection == collection)
    with _tables.reading() as connection:
        return [_action(row) for row in connection.execute(query)] if connection else []


def entries(collection: str | None = None, limit: int = 100) -> pd.DataFrame:
    """The newest rows, the newest first, with the columns of the table; times in UTC."""
    import pandas as pd

    table = pd.DataFrame([asdict(one) for one in reversed(read(collection))][:limit], columns=COLUMNS)
    for name in ("time", "last"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table


def record(action: Action) -> bool:
    """Add a row, unless the newest of the collection says the same of the same data. Whether it was added.

    The time is that of `action`, which of a retraining is when it began, or else now.

    Raises:
        DatabaseError: the database does not answer, or refuses.
    """
    newest = sa.select(_actions).where(_actions.c.collection == action.collection).order_by(_actions.c.id.desc())
    with _tables.writing() as connection:
        if connection.dialect.name == "postgresql":  # of two at once the second one sees what the first has written
            connection.exec_driver_sql("LOCK TABLE actions IN EXCLUSIVE MODE")
        row = connection.execute(newest.limit(1)).first()
        if action.action == NOTHING and (row is None or row.action == NOTHING):
            return False
        if row is not None and action.action in (WAIT, ASK) and _said(_action(row)) == _said(action):
            return False
        now = datetime.datetime.now(datetime.UTC)
        values = asdict(action) | {"time": action.time or now, "last": _plain(action.last)}
        values["asked_by"] = action.asked_by or ledger.asked_by()
        del values["id"]
        connection.execute(_actions.insert().values(values))
    return True


def _said(action: Action) -> tuple[object, ...]:
    return action.action, action.reason, action.last, action.data_digest


def _action(row: sa.Row) -> Action:
    values = dict(row._mapping)
    return Action(**values | {name: values[name] and database.utc(values[name]) for name in ("time", "last")})


def _plain(time: datetime.datetime | None) -> datetime.datetime | None:
    """Python's own time, of pandas' too."""
    return time and datetime.datetime.fromtimestamp(time.timestamp(), datetime.UTC)


def _texts(found: Sequence[Mapping[str, object]]) -> str:
    """What some findings say, in full those that come first."""
    said = [str(one["text"]) for one in found[:LONGEST]]
    return " ".join([*said, f"And {len(found) - LONGEST} more."] if len(found) > LONGEST else said)


def _day(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
