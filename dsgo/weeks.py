"""Weeks as clients count them: ISO 8601 weeks, Monday to Sunday, in the time zone of the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from dsgo.errors import DSGoError
from dsgo.language import ENGLISH, Language


@dataclass(frozen=True, order=True)
class Week:
    """One ISO week, such as 2016-W25: the Monday-to-Sunday week `number` of the ISO year `year`.

    Raises:
        DSGoError: the year has no such week.
    """

    year: int
    number: int

    def __post_init__(self) -> None:
        try:
            date.fromisocalendar(self.year, self.number, 7)
        except ValueError as error:
            raise DSGoError(
                f"There is no week {self}.", "ISO years run from 0001 to 9999 and have 52 or 53 weeks."
            ) from error

    def __str__(self) -> str:
        return f"{self.year:04d}-W{self.number:02d}"

    @classmethod
    def parse(cls, text: str) -> Week:
        """The week that `text` names as `YYYY-Www`.

        Raises:
            DSGoError: `text` has another form, or the year has no such week.
        """
        match = re.fullmatch(r"([0-9]{4})-W([0-9]{2})", text)
        if match is None:
            raise DSGoError(f"{text!r} names no week.", "Write year and ISO week such as 2016-W25.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, time: pd.Timestamp, timezone: str) -> Week:
        """The week that the moment `time` (with a zone) falls in, by the calendar of `timezone`."""
        year, number, _ = time.tz_convert(timezone).isocalendar()
        return cls(year, number)

    @property
    def monday(self) -> date:
        """First day of the week."""
        return date.fromisocalendar(self.year, self.number, 1)

    @property
    def sunday(self) -> date:
        """Last day of the week."""
        return self.monday + timedelta(days=6)

    @property
    def words(self) -> str:
        """The days of the week, such as `20–26 June 2016`."""
        return self.days(ENGLISH)

    def days(self, language: Language) -> str:
        """The days of the week in a language."""
        return language.days(self.monday, self.sunday)

    @property
    def next(self) -> Week:
        """The week after."""
        return Week(*(self.monday + timedelta(days=7)).isocalendar()[:2])

    def hours(self, timezone: str, frequency: str = "1h", unit: str = "us") -> pd.DatetimeIndex:
        """Every time stamp of the week in UTC: 168 when hourly, one less or more when the clocks change.

        `unit` is the resolution; pandas is ten times as fast where it is that of the table to look them up in.
        """
        ends = [pd.Timestamp(day).tz_localize(timezone) for day in (self.monday, self.sunday + timedelta(days=1))]
        start, end = (moment.tz_convert("UTC") for moment in ends)
        return pd.date_range(start, end, freq=frequency, inclusive="left", name="utc_timestamp", unit=unit)


def complete_weeks(table: pd.DataFrame, columns: Sequence[str], timezone: str, frequency: str = "1h") -> list[Week]:
    """The weeks of which `table` (index: tz-aware, unique) has every time stamp with a value in each of `columns`.

    Oldest first. An hour that the source does not have makes its week incomplete.
    """
    whole = table.index[table[list(columns)].notna().all(axis=1)]
    calendar = whole.tz_convert(timezone).isocalendar()
    counts = calendar.groupby(["year", "week"]).size()
    weeks = [(Week(int(year), int(number)), count) for (year, number), count in counts.items()]
    # Counting first spares building the hours of weeks that cannot be complete: the shortest has 167 of 168.
    least = pd.Timedelta(days=6) / pd.Timedelta(frequency)
    return [
        week
        for week, count in weeks
        if count >= least and week.hours(timezone, frequency, whole.unit).isin(whole).all()
    ]


def newest_complete_week(
    table: pd.DataFrame, columns: Sequence[str], timezone: str, frequency: str = "1h"
) -> Week | None:
    """The newest of `complete_weeks`, or None where there is none."""
    weeks = complete_weeks(table, columns, timezone, frequency)
    return weeks[-1] if weeks else None
