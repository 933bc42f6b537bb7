"""Every forecast that was issued, by whom, from which data and when: a table in the application database.

A row is added only where it says something else than the newest one of its collection, target and hour. So nothing changes
when the same is predicted again, and what was said before stays on record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dsgo import database
from dsgo.errors import DataError

if TYPE_CHECKING:  # they take half a second
    import numpy as np
    import pandas as pd

PRODUCTION, EARLIER_VERSION, NAIVE = "production", "earlier_version", "naive"
SAME = 1e-9  # share of a value: the same computed by another number of threads differs by less

_metadata = sa.MetaData()
_predictions = sa.Table(
    "predictions",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("collection", sa.String(250), nullable=False),
    sa.Column("target", sa.String(250), nullable=False),
    sa.Column("utc_timestamp", sa.DateTime(timezone=True), nullable=False),  # start of the hour
    sa.Column("forecast", sa.Double, nullable=False),  # in the target's unit, as are the next two
    sa.Column("p10", sa.Double, nullable=False),
    sa.Column("p90", sa.Double, nullable=False),
    sa.Column("source", sa.String(20), nullable=False),
    sa.Column("version", sa.Integer),  # NULL of the naive baseline
    sa.Column("data_digest", sa.String(64), nullable=False),  # of the dataset that it was made from
    sa.Column("synthetic", sa.Boolean, nullable=False),  # made by or from anything generated
    sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),  # UTC
    sa.Column("run_id", sa.String(32), nullable=False),
    sa.Index("predictions_by_hour", "collection", "utc_timestamp", "target"),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _predictions.columns]
KEY, SAID = ["target", "utc_timestamp"], ["source", "version", "forecast", "p10", "p90"]
_tables = database.Tables(_metadata)


def record(collection: str, rows: pd.DataFrame, run_id: str) -> int:
    """Add the rows that say something new, all of them or none; they are issued now. Returns how many were added.

    Args:
        rows: `target`, `utc_timestamp` (tz-aware), `forecast`, `p10`, `p90`, `source`, `version` (missing for the naive
            baseline), `data_digest`, `synthetic`; at most one for each target and hour.
        run_id: of `predict`.

    Raises:
        DataError: a number is missing or infinite, or an hour comes twice.
        DatabaseError: the database does not answer, or refuses.
    """
    if rows.empty:
        return 0
    rows = _checked(rows)
    with _tables.writing() as connection:
        if connection.dialect.name == "postgresql":  # as in SQLite: who writes next sees what this one has added
            connection.execute(sa.text("LOCK TABLE predictions IN SHARE ROW EXCLUSIVE MODE"))
        known = _newest(connection, collection, rows["utc_timestamp"].min(), rows["utc_timestamp"].max())
        new = rows[_differs(rows, known)]
        issued = {"collection": collection, "run_id": run_id, "issued_at": datetime.now(UTC)}
        if len(new):
            connection.execute(_predictions.insert(), [row | issued for row in _plain(new)])
    return len(new)


def newest(collection: str, first: datetime | None = None, last: datetime | None = None) -> pd.DataFrame:
    """What was last said of each target and hour, in the order of both.

    Args:
        first, last: the first and last hour asked for, both included and tz-aware; None is no bound.

    Returns:
        Columns as the table `predictions` has them; times in UTC, `version` missing (NA) for the naive baseline.

    Raises:
        DatabaseError: the database does not answer.
    """
    with _tables.reading() as connection:
        return _newest(connection, collection, first, last) if connection else _frame([])


def additions(collection: str) -> int:
    """A number that grows whenever something is added: who shows predictions reads them anew only then.

    Raises:
        DatabaseError: the database does not answer.
    """
    query = sa.select(sa.func.max(_predictions.c.id)).where(_predictions.c.collection == collection)
    with _tables.reading() as connection:
        return (connection.scalar(query) if connection else None) or 0


def _newest(connection: sa.Connection, collection: str, first: datetime | None, last: datetime | None) -> pd.DataFrame:
    hour = _predictions.c.utc_timestamp
    asked = [_predictions.c.collection == collection]
    asked += [hour >= first.astimezone(UTC)] if first is not None else []
    asked += [hour <= last.astimezone(UTC)] if last is not None else []
    ids = sa.select(sa.func.max(_predictions.c.id)).where(*asked).group_by(hour, _predictions.c.target)
    query = sa.select(_predictions).where(_predictions.c.id.in_(ids)).order_by(_predictions.c.target, hour)
    return _frame(connection.execute(query).fetchall())


def _frame(rows: list[Any]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("utc_timestamp", "issued_at"):
        table[name] = pd.to_datetime(table[name], utc=True).dt.as_unit("us")
    return table.astype({"version": "Int64", "synthetic": bool} | dict.fromkeys(("forecast", "p10", "p90"), float))


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    rows = rows.assign(
        utc_timestamp=pd.to_datetime(rows["utc_timestamp"], utc=True).dt.as_unit("us"),
        version=rows["version"].astype("Int64"),
    )
    for fault, bad in (
        ("is no number", ~np.isfinite(rows[["forecast", "p10", "p90"]]).all(axis=1)),
        ("comes twice", rows.duplicated(KEY)),
    ):
        if bad.any():
            row = rows[bad].iloc[0]
            raise DataError("predictions", f"the forecast of {row['utc_timestamp']} {fault}.", column=row["target"])
    return rows


def _differs(rows: pd.DataFrame, known: pd.DataFrame) -> np.ndarray:
    """For each of `rows` whether the newest of its target and hour, if there is one, says something else."""
    import numpy as np

    both = rows[KEY + SAID].merge(known[KEY + SAID], on=KEY, how="left", suffixes=("", "_known"))
    versions = [both[name].fillna(-1).to_numpy(int) for name in ("version", "version_known")]
    same = (both["source"] == both["source_known"]).to_numpy() & (versions[0] == versions[1])
    for name in ("forecast", "p10", "p90"):
        same &= np.isclose(both[f"{name}_known"], both[name], rtol=SAME, atol=0)
    return ~same


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as the database's driver takes them."""
    names = [name for name in COLUMNS if name in rows and name not in ("id", "collection", "run_id", "issued_at")]
    columns = {name: rows[name].tolist() for name in names}
    columns["utc_timestamp"] = rows["utc_timestamp"].dt.to_pydatetime()
    columns["version"] = rows["version"].astype(object).where(rows["version"].notna(), None).tolist()
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
