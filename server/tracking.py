"""The tracking server and model registry: MLflow's server on SQLite, on the loopback, artifacts in the FTP store.

    python server/tracking.py

Runs what `mlflow server --workers 1 --no-serve-artifacts …` runs, in this one process. That command imports MLflow
twice, first in a parent that prepares the database and then in the server: one process is ready in half the time, and a
killed one leaves no child behind that would hold the port against its successor.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from kept import guard, release, say_why

from dsgo import settings as dsgo_settings
from dsgo.cli import reported
from dsgo.probes import refuse_taken
from dsgo.settings import HOST, Settings

GRACE = 5  # seconds that open requests have to end when the server is stopped
Application = Callable[[dict, Callable, Callable], Awaitable[None]]  # as ASGI has it


def make_database(path: Path, artifact_root: str) -> None:
    """Make MLflow's tables in a new SQLite file at `path`, with write-ahead logging: nobody waits for a writer then.

    The file gets its name when it is finished. MLflow could not open one whose making was interrupted.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    part = path.with_suffix(".part")
    for left in path.parent.glob(f"{part.name}*"):
        left.unlink()
    SqlAlchemyStore(f"sqlite:///{part}", artifact_root).engine.dispose()
    with closing(sqlite3.connect(part)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file
    part.replace(path)


def server_environment(settings: Settings) -> dict[str, str]:
    """What MLflow's server application reads from its environment, in place of `mlflow server`'s options."""
    database = f"sqlite:///{settings.tracking_database}"
    return {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": settings.artifact_root,
        "MLFLOW_SERVER_ALLOWED_HOSTS": "127.0.0.1:*,localhost:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def whole_answers(application: Application) -> Application:
    """The ASGI application, with the head of each answer held back until its body begins, then sent right before it.

    A server killed between the two leaves an answer without its body, and that is the one thing MLflow's client does not
    try again: the run fails. MLflow makes the body in another thread than the head, milliseconds later.
    """

    async def answering(scope: dict, receive: Callable, send: Callable) -> None:
        head = None

        async def sending(message: dict) -> None:
            nonlocal head
            if message["type"] == "http.response.start":
                head = message
                return
            if head is not None:
                await send(head)
                head = None
            await send(message)

        await application(scope, receive, sending)

    return answering


def main() -> None:
    """Serve until a signal ends it."""
    settings = dsgo_settings.load()
    refuse_taken("tracking", settings.tracking_port, "DSGO_TRACKING_PORT")
    settings = dsgo_settings.prepare(settings)
    os.environ.update(server_environment(settings))

    import uvicorn  # before MLflow's server, which switches its host and origin checks on when it sees it
    from mlflow.server import _UVICORN_LOG_CONFIG, handlers

    if not settings.tracking_database.exists():
        make_database(settings.tracking_database, settings.artifact_root)
    release(settings.tracking_database)
    database = f"sqlite:///{settings.tracking_database}"
    handlers.initialize_backend_stores(database, database, settings.artifact_root)  # brings older tables up to date
    guard(settings.tracking_database)
    say_why()
    from mlflow.server.fastapi_app import app

    uvicorn.run(
        whole_answers(app),
        host=HOST,
        port=settings.tracking_port,
        log_config=str(_UVICORN_LOG_CONFIG),
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    sys.exit(reported(main))
