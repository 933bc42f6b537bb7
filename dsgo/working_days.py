"""How people live through the days of a calendar: work, rest, holidays, the break around the turn of the year, school holidays.

A dataset brings its calendar with it (`dataset.yaml`, key `calendar`): the dates of public holidays, which `process_data` has
from the library `holidays`, and of school holidays, and the first and last day of the break. So a model that is served needs
no library to know them, and a table of other years is asked with the same dates that it was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6
FIRST_MONDAY = 4  # days after 1970-01-01
EPOCH = date(1970, 1, 1)
# How much of a Sunday the days of the break are: Christmas Eve, the days to New Year, the days after it.
BREAK_SHARES = {"eve": 0.5, "feast": 1.0, "after": 0.7}


class WorkingDays:
    """A dataset's calendar, asked by days after 1970-01-01 by local clocks.

    Args:
        calendar: `holidays` and `school_holidays`, the first a list of dates, the second of pairs of first and last dates, and
            `break`, the first and the last day of the break as `MM-DD`, across the turn of the year.
    """

    def __init__(self, calendar: Mapping[str, Any]) -> None:
        self._holidays = np.array(sorted(_days(day) for day in calendar["holidays"]), dtype=np.int64)
        self._school = np.array([[_days(day) for day in pair] for pair in calendar["school_holidays"]], dtype=np.int64)
        self._break = tuple(int(day.replace("-", "")) for day in calendar["break"])

    def named(self, days: np.ndarray) -> dict[str, np.ndarray]:
        """What a dataset shows of its calendar: 0 or 1 for each of `days`, shape (n,)."""
        return {
            "workday": ~self._off(days),
            "holiday": self._holiday(days),
            "school_holiday": self._school_holiday(days),
            "year_end_break": self._turn(days) > 0,
        }

    def features(self, days: np.ndarray) -> dict[str, np.ndarray]:
        """What a model is told of each of `days`, shape (n,): numbers from 0 to 1."""
        unique, back = np.unique(days, return_inverse=True)
        weekday, holiday, off = (unique - FIRST_MONDAY) % 7, self._holiday(unique), self._off(unique)
        before, after = self._off(unique - 1), self._off(unique + 1)
        turn = self._turn(unique)
        columns = {
            "off": off,
            "holiday": holiday,
            "saturday": weekday == SATURDAY,
            "sunday": (weekday == SUNDAY) | holiday,
            "monday": (weekday == MONDAY) & ~holiday,
            "friday": (weekday == FRIDAY) & ~holiday,
            "after_off": before,
            "before_off": after,
            "bridge": before & after & ~off,
            "break": turn > 0,
            "rest": np.maximum(off, turn),
            "school_holiday": self._school_holiday(unique),
        }
        return {f"calendar_{name}": np.asarray(values, dtype=float)[back] for name, values in columns.items()}

    def _holiday(self, days: np.ndarray) -> np.ndarray:
        return np.isin(days, self._holidays)

    def _off(self, days: np.ndarray) -> np.ndarray:
        return ((days - FIRST_MONDAY) % 7 >= SATURDAY) | self._holiday(days)

    def _school_holiday(self, days: np.ndarray) -> np.ndarray:
        if not len(self._school):
            return np.zeros(len(days), bool)
        return ((days[:, None] >= self._school[:, 0]) & (days[:, None] <= self._school[:, 1])).any(axis=1)

    def _turn(self, days: np.ndarray) -> np.ndarray:
        """How much a day of the break is one of rest, 0 outside of it."""
        return np.array([_turn(int(day), *self._break) for day in days], dtype=float)


def _days(day: date | str) -> int:
    return (date.fromisoformat(str(day)) - EPOCH).days


@lru_cache(maxsize=10_000)
def _turn(day: int, first: int, last: int) -> float:
    at = EPOCH + timedelta(days=day)
    number = 100 * at.month + at.day
    if last < number < first:
        return 0.0
    if number == 1224:
        return BREAK_SHARES["eve"]
    return BREAK_SHARES["feast" if number > 1224 or number == 101 else "after"]
