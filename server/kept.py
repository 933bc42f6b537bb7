"""What is or was in Production stays: MLflow's own database refuses to delete it.

A rollback may need every version that was ever in Production, with its training run, its models and its dataset's run.
`dsgo.promotion` marks such a version by a tag; triggers in the tracking database refuse whatever would take it away.
They hold for the REST interface, the UI and `mlflow gc` alike, also for one that opens the file by itself.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dsgo import tags

WHY = "is or was in Production and is kept for a rollback (`make ledger` shows it)"

_VERSIONS = (
    "(SELECT v.* FROM model_versions v JOIN model_version_tags t USING (workspace, name, version) "
    f"WHERE t.key = '{tags.PROMOTED}')"
)
_RUNS = (
    f"(SELECT run_id FROM {_VERSIONS} UNION SELECT substr(d.value, length('runs:/') + 1, 32) FROM {_VERSIONS} "
    f"JOIN model_version_tags d USING (workspace, name, version) WHERE d.key = '{tags.DATASET}')"
)
_OF_MODEL = f"EXISTS (SELECT 1 FROM {_VERSIONS} k WHERE (k.workspace, k.name) = (OLD.workspace, OLD.name))"
_OF_VERSION = f"{_OF_MODEL[:-1]} AND k.version = OLD.version)"
_OF_RUN = f"OLD.run_uuid IN {_RUNS}"
_OF_LOGGED = f"(OLD.source_run_id IN {_RUNS} OR 'models:/' || OLD.model_id IN (SELECT source FROM {_VERSIONS}))"
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


def guard(database: Path) -> None:
    """Have the tracking database refuse from now on. `release` comes before MLflow changes its tables."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for name in _triggers(connection):
            connection.execute(f"DROP TRIGGER {name}")
        for table, (what, refused) in _REFUSED.items():
            for event, condition in refused:
                connection.execute(
                    f"CREATE TRIGGER dsgo_kept_{table}_{event.partition(' ')[0]} BEFORE {event} ON {table} "
                    f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{what} {WHY}.'); END"
                )
        connection.execute("COMMIT")


def release(database: Path) -> None:
    """Take the triggers away. SQLite renames no table while a trigger names one that is being replaced."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for name in _triggers(connection):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("COMMIT")


def _triggers(connection: sqlite3.Connection) -> list[str]:
    query = r"SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'dsgo\_kept\_%' ESCAPE '\'"
    return [name for (name,) in connection.execute(query).fetchall()]


def say_why() -> None:
    """Have this process's MLflow answer a refusal with the sentence alone, not with the SQL around it."""
    import sqlalchemy
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_CONFLICT

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "handle_error")
    def only_the_sentence(context: sqlalchemy.ExceptionContext) -> None:
        if WHY in str(context.original_exception):
            raise MlflowException(str(context.original_exception), error_code=RESOURCE_CONFLICT) from None
