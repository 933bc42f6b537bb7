"""The application database: SQLite, in a file of `DSGO_HOME`, or PostgreSQL (`DSGO_DATABASE_URL`).

A module that keeps something there has its own `Tables`, made in the database when they are first used.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from dsgo import settings as dsgo_settings
from dsgo.errors import DatabaseError, SettingError

PATIENCE = 30  # seconds to wait for a writer of SQLite, or for PostgreSQL to answer
WRITABLE = "Look whether the file can be written and the disk has space."
ADVISORY_LOCK = (
    0x0D560  # PostgreSQL's locks of this product count up from here: 0 is Production, 1 the making of tables
)


class Tables:
    """The tables of one module.

    Args:
        metadata: its tables.
        guards: statements to be executed once the tables are made, by dialect (`sqlite`, `postgresql`).
    """

    def __init__(self, metadata: sa.MetaData, guards: Mapping[str, Sequence[str]] | None = None) -> None:
        self._metadata, self._guards = metadata, guards or {}
        self._made: set[URL] = set()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """A connection to read by; None where nothing has been written yet: looking makes no file.

        Raises:
            DatabaseError: the database does not answer.
        """
        url = address()
        if url.drivername == "sqlite" and not Path(url.database).exists():
            yield None
            return
        with answering(url):
            self._make(url)
            with engine(url).connect() as connection:
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction, which is committed at the end; in SQLite other writers wait for it.

        Raises:
            DatabaseError: the database does not answer, or refuses.
        """
        url = address()
        with answering(url):
            self._make(url)
            with engine(url).connect().execution_options(writes=True) as connection, connection.begin():
                yield connection

    def _make(self, url: URL) -> None:
        """Tables, indexes and guards, in one transaction; of two that come at once the second finds them made."""
        if url in self._made and (url.drivername != "sqlite" or Path(url.database).exists()):
            return
        with _one_maker(url):
            with engine(url).connect() as connection:  # not yet as a writer, who would wait for others
                there = set(sa.inspect(connection).get_table_names())
            if not there.issuperset(self._metadata.tables):
                with engine(url).connect().execution_options(writes=True) as connection, connection.begin():
                    self._make_in(connection)
        self._made.add(url)

    def _make_in(self, connection: Connection) -> None:
        kind = connection.dialect.name
        if kind == "postgresql":  # two that make a table at once would collide, whatever the statement says
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK + 1)))
        for table in self._metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
        for guard in self._guards.get(kind, ()):
            connection.exec_driver_sql(guard)


def address() -> URL:
    """The database's address. Its parts are checked here: what a driver says of a wrong one might hold the password.

    Raises:
        SettingError: DSGO_DATABASE_URL is no such address.
    """
    wrong = SettingError(
        "DSGO_DATABASE_URL",
        "…",  # holds a password
        "postgresql://user:password@host:port/database, with %40 for @, %3A for : and %2F for / in user and password",
    )
    try:
        url = sa.make_url(dsgo_settings.load().database_url)
    except (sa.exc.ArgumentError, ValueError):
        raise wrong from None
    if not url.database or "@" in (url.host or ""):
        raise wrong
    if url.drivername == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    return url


@contextlib.contextmanager
def answering(url: URL) -> Iterator[None]:
    """What goes wrong inside becomes a DatabaseError that names the database, without the statement's parameters."""
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise DatabaseError(
            f"{_shown(url)}: {said[0] if said else type(error).__name__}.",
            "Look whether DSGO_DATABASE_URL is right and the database runs."
            if url.drivername != "sqlite"
            else WRITABLE,
        ) from None


@functools.lru_cache(maxsize=4)
def engine(url: URL) -> Engine:
    """An engine on the database. It keeps no connection: none is shared with a forked process."""
    if url.drivername == "sqlite":
        made = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": PATIENCE})
        sa.event.listen(made, "connect", _prepare_sqlite)
        sa.event.listen(made, "begin", _begin)
        return made
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise DatabaseError(
            f"{_shown(url)}: the driver psycopg is not installed.", "Install dsgo[postgresql]."
        ) from None
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": PATIENCE})


@contextlib.contextmanager
def _one_maker(url: URL) -> Iterator[None]:
    """A new SQLite file becomes one with a write-ahead log: two processes that do so at once lock each other out."""
    if url.drivername != "sqlite":
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(Path(f"{url.database}.lock").open("w"))
        except OSError as error:
            raise DatabaseError(f"{_shown(url)}: {error.strerror}.", WRITABLE) from None
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def utc(time: datetime) -> datetime:
    """A time as read: SQLite keeps no time zone, PostgreSQL answers in the session's."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _shown(url: URL) -> str:
    """The address without user, password and options."""
    if url.drivername == "sqlite":
        return f"The application database {url.database}"
    place = f"{url.host or 'its local socket'}:{url.port or 5432}"
    return f"The application database in PostgreSQL at {place}, database {url.database}"


def _prepare_sqlite(connection, _) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and commits; Python's own way leaves out DDL
    connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer
    connection.execute("PRAGMA synchronous=FULL")  # a committed row outlives a power cut
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
