"""Which failures pass by themselves, so that trying again later helps: connections that break, servers that do not answer.

Everything else fails the same way again: data that cannot be used, a wrong setting, a refused login.
"""

from __future__ import annotations

import ftplib
from collections.abc import Iterator

from dsgo.errors import DSGoError, StepError, StoreError

# Classes of `dsgo.ftp_connection` and `dsgo.ftp_transfer`, by name: a step that imported them would count as made with them, and
# run again whenever the store's client changes.
STORE_GONE = ("ServerGone",)
STORE_WRONG = ("NotVerified",)  # a broken connection by its class: something alters files on their way


def is_transient(error: BaseException) -> bool:
    """Whether the error, or what it came of, is a failure of a connection.

    Of the errors that a user can mend only a `StoreError` may be one, or the `StepError` of a step that ended on one.
    """
    import requests

    if isinstance(error, StepError):
        return error.transient
    if isinstance(error, DSGoError) and not isinstance(error, StoreError):
        return False
    http = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.RetryError,
        requests.exceptions.ChunkedEncodingError,
    )
    passing = (ConnectionError, TimeoutError, EOFError, ftplib.error_temp, *http)
    return any(
        (isinstance(each, passing) or type(each).__name__ in STORE_GONE) and type(each).__name__ not in STORE_WRONG
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
