"""The tracking server and model registry: MLflow's server, artifacts in the FTP store.

    python server/tracking.py

Runs what `mlflow server --workers 1 --no-serve-artifacts …` runs, in this one process. That command imports MLflow
twice, first in a parent that prepares the database and then in the server: one process is ready in half the time, and a
killed one leaves no child behind that would hold the port against its successor.

Its database is a SQLite file, or a PostgreSQL that `DSGO_TRACKING_DATABASE_URL` names. That address holds a password: only
this process reads it, and hands it to MLflow within itself.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from kept import guard, release, say_why
from sqlalchemy.engine import URL

from dsgo import database
from dsgo import settings as dsgo_settings
from dsgo.cli import reported
from dsgo.probes import refuse_taken
from dsgo.settings import HOST, Settings

SETTING, WHAT = "DSGO_TRACKING_DATABASE_URL", "The tracking server's database"
# MLflow compares whole numbers with text. psycopg 3, which SQLAlchemy 2.1 would take, has PostgreSQL check the types: no stage
# of a version could be set.
DRIVER = "postgresql+psycopg2"
THREADS = 40  # of anyio, in which MLflow answers
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


def address(settings: Settings) -> URL:
    """Where MLflow keeps everything but artifacts.

    Raises:
        SettingError: DSGO_TRACKING_DATABASE_URL is no address.
    """
    url = database.parsed(SETTING, settings.tracking_database_url or f"sqlite:///{settings.tracking_database}")
    return url if url.drivername == "sqlite" else url.set(drivername=DRIVER)


def server_environment(settings: Settings, store: str) -> dict[str, str]:
    """What MLflow's server application reads from its environment, in place of `mlflow server`'s options."""
    return {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": settings.artifact_root,
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{HOST}:*,localhost:*,{settings.servers}:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # A connection for each of the server's threads. SQLAlchemy's 15 were not enough for 32 clients: the others waited for
        # half a minute, then got an error that no client tries again.
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "5",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(THREADS - 5),
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
    url = address(settings)
    store = url.render_as_string(hide_password=False)
    os.environ.update(server_environment(settings, store))

    import uvicorn  # before MLflow's server, which switches its host and origin checks on when it sees it

    with database.answering(url, WHAT, SETTING):
        if url.drivername == "sqlite" and not settings.tracking_database.exists():
            make_database(settings.tracking_database, settings.artifact_root)
        release(url)  # also finds out, before MLflow with its minutes of patience, whether the database answers
    from mlflow.server import _UVICORN_LOG_CONFIG, handlers

    with database.answering(url, WHAT, SETTING):
        handlers.initialize_backend_stores(store, store, settings.artifact_root)  # brings older tables up to date
        guard(url)
    say_why()
    from mlflow.server.fastapi_app import app

    uvicorn.run(
        whole_answers(app),
        host=settings.listen,
        port=settings.tracking_port,
        log_config=str(_UVICORN_LOG_CONFIG),
        access_log=False,
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    sys.exit(reported(main))
