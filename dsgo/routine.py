"""What a collection does by itself: when (`schedule:` of its collection.yaml), and how eagerly it learns anew (`act:`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dsgo.errors import DataError
from dsgo.exactly import exactly

NEVER = "never"
CRON = re.compile(r"\S+( \S+){4}")  # whether the five fields make sense is told by the orchestrator


@dataclass(frozen=True)
class Schedule:
    """When jobs start, in cron's five fields and the collection's time zone; `never` for one that is only started by hand.

    Attributes:
        production: predictions, hourly or daily.
        validation: the watch over data and model.
        report: the weekly report; it is mailed where a mail server is set.
    """

    production: str
    validation: str
    report: str


@dataclass(frozen=True)
class Act:
    """What may follow from an alarm.

    Attributes:
        cool_down_days: after a retraining, so many days of new data must come before the next.
        refusals: after so many retrainings in a row that brought nothing better, a person is asked.
    """

    cool_down_days: float
    refusals: int


def read_schedule(given: object, path: Path) -> Schedule:
    """`schedule:` of the file at `path`.

    Raises:
        DataError: a key is missing, unknown, or no five fields.
    """
    values = exactly(given, Schedule, "schedule", "key", partial(DataError, path))
    for name, value in values.items():
        if not isinstance(value, str) or (value != NEVER and not CRON.fullmatch(value)):
            raise DataError(
                path, f"schedule.{name}: {value!r} is no time.", f'Write five fields, "15 6 * * *", or {NEVER}.'
            )
    return Schedule(**values)


def read_act(given: object, path: Path) -> Act:
    """`act:` of the file at `path`.

    Raises:
        DataError: a key is missing, unknown, or out of its bounds.
    """
    values = exactly(given, Act, "act", "key", partial(DataError, path))
    days, refusals = values["cool_down_days"], values["refusals"]
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 <= days <= 3660:
        raise DataError(path, f"act.cool_down_days: {days!r} cannot be used.", "Write a number from 0 to 3660.")
    if isinstance(refusals, bool) or not isinstance(refusals, int) or not 1 <= refusals <= 1000:
        raise DataError(path, f"act.refusals: {refusals!r} cannot be used.", "Write a whole number from 1 to 1000.")
    return Act(float(days), refusals)
