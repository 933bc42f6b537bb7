"""Numbers, moments and scores in words, the same in report and dashboard. No number goes without its unit."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dsgo.review import Score, Usual, utc

NONE = "–"
SPACE = "\N{NO-BREAK SPACE}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit, to three significant digits: `1.23 GW`, `4,530 MW`. A dash where there is none."""
    if not math.isfinite(value):
        return NONE
    return f"{_sign(f'{value:,.{_decimals(value)}f}') if value else 0}{SPACE}{unit}"


def _sign(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def _decimals(value: float) -> int:
    rounded = abs(float(f"{value:.3g}"))  # 9.999 has the decimals of 10.0
    return min(max(2 - math.floor(math.log10(rounded)), 0), 9)


def percent(share: float) -> str:
    """A share as a whole percentage: `81 %`."""
    if not math.isfinite(share):
        return NONE
    return f"{_sign(f'{round(share * 100)}')}{SPACE}%"


def moment(time: Any) -> str:
    """A moment to the minute: `4 July 2016, 12:03 UTC`."""
    time = utc(time)
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def duration(length: str | pd.Timedelta) -> str:
    """A length of time, to the minute, in the largest unit that divides it: `24 hours`, `7 days`, `90 minutes`."""
    minutes = pd.Timedelta(length) // pd.Timedelta(minutes=1)
    unit, size = "minute", 1
    if minutes % 60 == 0 and minutes:
        unit, size = "hour", 60
    if minutes % 1440 == 0 and minutes > 1440:  # one day stays 24 hours, as forecasters say
        unit, size = "day", 1440
    count = minutes // size
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def days_ago(time: Any, now: Any) -> str:
    """How many calendar days (UTC) before `now` the moment `time` was: `today`, `yesterday`, `3 days ago`."""
    days = (utc(now).normalize() - utc(time).normalize()).days
    return {0: "today", 1: "yesterday"}.get(days, f"{days:,} days ago" if days > 0 else "in the future")


def span(usual: Usual | None, unit: str) -> str:
    """The usual range of an error."""
    return "too few weeks" if usual is None else f"{quantity(usual.low, unit)} to {quantity(usual.high, unit)}"


def pair(score: Score | None, measure: str, unit: str) -> tuple[str, str]:
    """A measure (`mae` or `rmse`) of the model and of the naive baseline."""
    if score is None:
        return NONE, NONE
    return quantity(getattr(score, measure), unit), quantity(getattr(score, f"naive_{measure}"), unit)


def verdict(score: Score | None, usual: Usual | None, unit: str) -> str:
    """How the forecast did, in a sentence or two."""
    if score is None:
        return "No hour of this span can be scored."
    better = "less than" if score.rmse < score.naive_rmse else "no better than"
    rmse, naive = pair(score, "rmse", unit)
    words = f"The forecast missed by {rmse} (RMSE), {better} the naive baseline’s {naive}."
    if usual is None:
        return f"{words} There are too few other weeks to say what is usual."
    place = "below" if score.rmse < usual.low else "above" if score.rmse > usual.high else "within"
    return f"{words} That is {place} the usual weekly range of {span(usual, unit)}."
