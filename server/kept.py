"""What is or was in Production stays: MLflow's own database refuses to delete it.

A rollback may need every version that was ever in Production, with its training run, its models and its dataset's run.
`dsgo.promotion` marks such a version by a tag; triggers in the tracking database, SQLite or PostgreSQL, refuse whatever
would take it away. They hold for the REST interface, the UI and `mlflow gc` alike, also for one that opens the database by
itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.engine import URL, Connection

from dsgo import tags
from dsgo.database import engine

PREFIX = "dsgo_kept_"
WHY = "is or was in Production and is kept for a rollback (`make ledger` shows it)"

_VERSIONS = (
    "(SELECT v.* FROM model_versions v JOIN model_version_tags t USING (workspace, name, version) "
    f"WHERE t.key = '{tags.PROMOTED}')"
)
_RUNS = (
    f"(SELECT run_id FROM {_VERSIONS} p UNION SELECT substr(d.value, length('runs:/') + 1, 32) FROM {_VERSIONS} p "
    f"JOIN model_version_tags d USING (workspace, name, version) WHERE d.key = '{tags.DATASET}')"
)
_OF_MODEL = f"EXISTS (SELECT 1 FROM {_VERSIONS} k WHERE (k.workspace, k.name) = (OLD.workspace, OLD.name))"
_OF_VERSION = f"{_OF_MODEL[:-1]} AND k.version = OLD.version)"
_OF_RUN = f"OLD.run_uuid IN {_RUNS}"
_OF_LOGGED = f"(OLD.source_run_id IN {_RUNS} OR 'models:/' || OLD.model_id IN (SELECT source FROM {_VERSIONS} p))"
_OF_EXPERIMENT = f"EXISTS (SELECT 1 FROM runs r WHERE r.experiment_id = OLD.experiment_id AND r.run_uuid IN {_RUNS})"

# table → what is refused (event, condition) and of what the message tells
_REFUSED = {
    "runs": (
        "This run belongs to a model version that",
        [("DELETE", _OF_RUN), ("UPDATE OF lifecycle_stage", f"NEW.lifecycle_stage = 'deleted' AND {_OF_RUN}")],
    ),
    "logged_models": (
        "This model belongs to a model version that",
        [("DELETE", _OF_LOGGED), ("UPDATE OF lifecycle_stage", f"NEW.lifecycle_stage = 'deleted' AND {_OF_LOGGED}")],
    ),
    "experiments": (
        "This experiment has the run of a model version that",
        [
            ("DELETE", _OF_EXPERIMENT),
            ("UPDATE OF lifecycle_stage", f"NEW.lifecycle_stage = 'deleted' AND {_OF_EXPERIMENT}"),
        ],
    ),
    "model_versions": (
        "This model version",
        [("DELETE", _OF_VERSION), ("UPDATE OF name, version, source, run_id", _OF_VERSION)],
    ),
    "model_version_tags": (
        "This tag marks a model version that",
        [
            (event, f"OLD.key IN ('{tags.PROMOTED}', '{tags.DATASET}') AND {_OF_VERSION}")
            for event in ("DELETE", "UPDATE")
        ],
    ),
    "registered_models": ("A version of this model", [("DELETE", _OF_MODEL), ("UPDATE OF name", _OF_MODEL)]),
}


def guard(url: URL) -> None:
    """Have the tracking database refuse from now on. `release` comes before MLflow changes its tables."""
    with _transaction(url) as connection:
        _drop(connection)
        create = _create_in_sqlite if url.drivername == "sqlite" else _create_in_postgresql
        for table, (what, refused) in _REFUSED.items():
            for event, condition in refused:
                create(connection, table, event, condition, f"{what} {WHY}.")
        if create is _create_in_postgresql:  # SQLite has no TRUNCATE
            for table in _REFUSED:
                create(connection, table, "TRUNCATE", f"EXISTS {_VERSIONS}", f"{table} has what {WHY}.")


def release(url: URL) -> None:
    """Take the triggers away. No database changes a table's form while a trigger depends on it."""
    with _transaction(url) as connection:
        _drop(connection)


@contextlib.contextmanager
def _transaction(url: URL) -> Iterator[Connection]:
    with engine(url).connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def _create_in_sqlite(connection: Connection, table: str, event: str, condition: str, message: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TRIGGER {_name(table, event)} BEFORE {event} ON {table} "
        f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _create_in_postgresql(connection: Connection, table: str, event: str, condition: str, message: str) -> None:
    """A function for each trigger, since the WHEN of PostgreSQL's triggers takes no subquery."""
    name, kind = _name(table, event), event.partition(" ")[0]
    go_on = {"DELETE": "OLD", "UPDATE": "NEW", "TRUNCATE": "NULL"}[kind]
    each = "STATEMENT" if kind == "TRUNCATE" else "ROW"
    connection.exec_driver_sql(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION USING MESSAGE = '{message}'; END IF; RETURN {go_on}; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()"
    )


def _name(table: str, event: str) -> str:
    return f"{PREFIX}{table}_{event.partition(' ')[0].lower()}"


def _drop(connection: Connection) -> None:
    """Drop all triggers of ours; in PostgreSQL their functions, which take them along."""
    if connection.dialect.name == "sqlite":
        query, drop = "SELECT name FROM sqlite_master WHERE type = 'trigger'", "DROP TRIGGER {}"
    else:
        query = "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
        drop = "DROP FUNCTION {}() CASCADE"
    for name in connection.exec_driver_sql(query).scalars().all():
        if name.startswith(PREFIX):
            connection.exec_driver_sql(drop.format(name))


def say_why() -> None:
    """Have this process's MLflow answer a refusal with the sentence alone, not with the SQL around it."""
    import sqlalchemy
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "handle_error")
    def only_the_sentence(context: sqlalchemy.ExceptionContext) -> None:
        if WHY in str(context.original_exception):
            sentence = str(context.original_exception).splitlines()[0]  # PostgreSQL adds where it was raised
            raise MlflowException(sentence, error_code=RESOURCE_CONFLICT) from None
