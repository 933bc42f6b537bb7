"""The exceptions of DSGo. Each class takes facts and writes its own message.

DSGoError                 anything a user can mend: shown as one message, without a traceback
├── SettingError          a setting is missing or wrong
├── DataError             a table cannot be used: names file, column, first row and what to do
├── SourceError           raw data cannot be fetched or read
├── StoreError            the FTP store refused or failed
├── ServiceError          a server does not start, answer or stop
├── BackupError           a backup cannot be written or restored
├── MailError             a report cannot be sent
├── StepError             a step of a pipeline failed
├── RegistryError         the registry has not what was asked for
│   └── NoProductionModel no version is in Production yet
├── DatabaseError         the application database does not answer, or refuses
├── WatchError            a limit of the watch is missing or wrong
└── GateError             a promotion cannot be judged
    └── WindowSeen        the champion has learned from the rows to compare on
"""

from __future__ import annotations


class DSGoError(Exception):
    """Base of all errors that a user can mend."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} {remedy}".strip())


class SettingError(DSGoError):
    """A setting is missing or has a value that cannot be used."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name = name
        super().__init__(f"The setting {name}={value!r} cannot be used: it must be {expected}.")


class DataError(DSGoError):
    """A table cannot be used. `file`, `column` and `row` (1 is the first data row) say where."""

    def __init__(
        self, file: object, problem: str, remedy: str = "", *, column: str | None = None, row: int | None = None
    ) -> None:
        self.file, self.column, self.row = str(file), column, row
        where = [str(file)]
        if column is not None:
            where.append(f"column {column}")
        if row is not None:
            where.append(f"row {row}")
        super().__init__(f"{', '.join(where)}: {problem}", remedy)


class SourceError(DSGoError):
    """Raw data cannot be fetched or read."""

    def __init__(self, source: str, problem: str, remedy: str = "") -> None:
        self.source = source
        super().__init__(f"{source}: {problem}", remedy)


class StoreError(DSGoError):
    """The FTP store refused or failed. Never carries a credential."""

    def __init__(self, server: str, path: str, reply: object, remedy: str = "") -> None:
        self.server, self.path = server, path
        super().__init__(f"FTP store {server}, path {path!r}: {reply}", remedy)


class ServiceError(DSGoError):
    """A server does not start, answer or stop."""

    def __init__(self, service: str, problem: str, remedy: str = "") -> None:
        self.service = service
        super().__init__(f"{service}: {problem}", remedy)


class BackupError(DSGoError):
    """A backup cannot be written or restored. `file` is the one at fault."""

    def __init__(self, file: object, problem: str, remedy: str = "") -> None:
        self.file = str(file)
        super().__init__(f"{file}: {problem}", remedy)


class MailError(DSGoError):
    """A report cannot be sent. Never carries a credential."""


class StepError(DSGoError):
    """A step of a pipeline failed. `transient`: by something that passes by itself (`dsgo.transient`)."""

    def __init__(self, step: str, problem: str, remedy: str = "", *, transient: bool = False) -> None:
        self.step, self.transient = step, transient
        super().__init__(f"Step {step}: {problem}", remedy)


class RegistryError(DSGoError):
    """The model registry has not what was asked for."""


class NoProductionModel(RegistryError):
    """No version of the collection's model is in Production."""

    def __init__(self, collection: str) -> None:
        self.collection = collection
        super().__init__(
            f"No model of the collection {collection!r} is in Production yet.",
            f"Train and promote one with `make run COLLECTION={collection}`.",
        )


class DatabaseError(DSGoError):
    """The application database does not answer, or refuses. Never carries a credential."""


class WatchError(DSGoError):
    """A limit of `watch:` is missing or cannot be used."""


class GateError(DSGoError):
    """A promotion cannot be judged, so it is refused."""


class WindowSeen(GateError):
    """The champion has learned from the rows on which it should be compared."""

    def __init__(self, version: int, learned_to: object, window_start: object) -> None:
        super().__init__(
            f"version {version} has learned up to {learned_to:%Y-%m-%d}, the window starts {window_start:%Y-%m-%d}",
            "Judge on newer data.",
        )
