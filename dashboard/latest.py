"""The newest answer of a slow source that may fail: read without waiting, asked again in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from dsgo.errors import DSGoError

T = TypeVar("T")
log = logging.getLogger("dashboard")

OVERDUE = 20.0  # seconds after which a question counts as unanswered; a load of a model and its data takes a few


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What is known now."""

    value: T | None = None
    """The last good answer; None before the first."""
    at: datetime | None = None
    """When `value` was last confirmed."""
    error: Exception | None = None
    """Why the newest question failed; None if it did not."""
    changes: int = 0
    """Grows whenever there is something new to show."""


class Latest(Generic[T]):
    """Asks `ask(last good answer)` at most every `every` seconds, and only while somebody reads.

    `ask` returns the same object again where nothing is new. An exception leaves the last good answer standing.
    """

    def __init__(self, ask: Callable[[T | None], T], every: float) -> None:
        self._ask = ask
        self._every = every
        self._lock = threading.Lock()
        self._reading: Reading[T] = Reading()
        self._asked: float | None = None  # on the monotonic clock
        self._asking = False
        self._answered = threading.Event()  # at least once, well or not

    def read(self) -> Reading[T]:
        """What is known now. Asks again in the background if that is due; never waits."""
        with self._lock:
            now = time.monotonic()
            if not self._asking and (self._asked is None or now - self._asked >= self._every):
                self._asking, self._asked = True, now
                threading.Thread(target=self._refresh, name="dashboard-refresh", daemon=True).start()
            elif self._asking and now - self._asked >= OVERDUE and self._reading.error is None:
                error = TimeoutError(f"no answer within {OVERDUE:.0f} seconds")
                self._reading = replace(self._reading, error=error, changes=self._reading.changes + 1)
            return self._reading

    def first(self) -> Reading[T]:
        """What is known now, but after the first answer or failure. Waits for it, until the question counts as unanswered."""
        self.read()
        self._answered.wait(OVERDUE)
        return self.read()

    def _refresh(self) -> None:
        before = self._reading.value
        try:
            value, error = self._ask(before), None
        except Exception as caught:  # whatever a source throws, the page goes on showing what it has
            value, error = before, caught
            if str(caught) != str(self._reading.error):
                log.warning("Cannot refresh: %s", caught, exc_info=not isinstance(caught, DSGoError))
        with self._lock:
            last = self._reading
            changed = value is not last.value or str(error) != str(last.error)
            self._reading = Reading(
                value=value,
                at=last.at if error else datetime.now(UTC),
                error=error,
                changes=last.changes + changed,
            )
            self._asking = False
        self._answered.set()
