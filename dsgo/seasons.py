"""Seasons of three whole months each, as meteorologists count them; and one so far, against the same days of earlier years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

SEASONS = ("winter", "spring", "summer", "autumn")  # of the north
ENOUGH = 0.9  # share of a span's hours that must be recorded for its mean to be compared


def season_of(month: int, latitude: float) -> str:
    """The season of a month (1 is January) at a latitude (degrees north)."""
    return SEASONS[(month % 12 // 3 + (2 if latitude < 0 else 0)) % 4]


@dataclass(frozen=True)
class Span:
    """The same days of one year: local dates, both included, and the mean of each target over the `share` recorded."""

    first: date
    last: date
    means: dict[str, float]
    share: float

    @property
    def years(self) -> str:
        """`2016`, or `2015/16` for a span across the turn of the year."""
        same = self.first.year == self.last.year
        return f"{self.last.year}" if same else f"{self.first.year}/{self.last.year % 100:02d}"


def season_so_far(
    recorded: pd.DataFrame, targets: Sequence[str], last: date, timezone: str, frequency: str
) -> list[Span]:
    """The season from its first day to the day `last`, then the same days of each earlier year, the newest first.

    Args:
        recorded: a dataset's table: index tz-aware UTC, a column for each target in its unit.

    Returns:
        Only years with enough recorded hours; empty if the season of `last` itself has too few.
    """
    first = (pd.Timestamp(last.year, last.month, 1) - pd.DateOffset(months=last.month % 3)).date()
    spans = []
    for back in range(last.year - recorded.index[0].year + 1):
        span = _span(recorded, targets, _years_before(first, back), _years_before(last, back), timezone, frequency)
        if span.share >= ENOUGH:
            spans.append(span)
        elif not back:
            return []
    return spans


def _span(
    recorded: pd.DataFrame, targets: Sequence[str], first: date, last: date, timezone: str, frequency: str
) -> Span:
    start, end = (pd.Timestamp(day).tz_localize(timezone) for day in (first, last + timedelta(days=1)))
    rows = recorded.loc[start.tz_convert("UTC") : end.tz_convert("UTC"), list(targets)]
    rows = rows[rows.index < end].dropna()
    return Span(first, last, rows.mean().to_dict(), len(rows) / ((end - start) / pd.Timedelta(frequency)))


def _years_before(day: date, years: int) -> date:
    return (pd.Timestamp(day) - pd.DateOffset(years=years)).date()  # of 29 February: the 28th
