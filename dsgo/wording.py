"""Numbers, moments and scores in words, the same in report and dashboard. No number goes without its unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dsgo.language import ENGLISH, Language
from dsgo.review import Score, Usual, utc

NONE = "–"
SPACE = "\N{NO-BREAK SPACE}"
LEAST_NAIVE = 0.01  # share of the naive baseline's error over all hours; a skill against less than this says nothing


def quantity(value: float, unit: str, language: Language = ENGLISH) -> str:
    """A value with its unit, to three significant digits: `1.23 GW`, `4,530 MW`. A dash where there is none."""
    if not math.isfinite(value):
        return NONE
    return f"{language.number(value, _decimals(value)) if value else 0}{SPACE}{unit}"


def _decimals(value: float) -> int:
    rounded = abs(float(f"{value:.3g}"))  # 9.999 has the decimals of 10.0
    return min(max(2 - math.floor(math.log10(rounded)), 0), 9)


def percent(share: float, language: Language = ENGLISH) -> str:
    """A share as a whole percentage: `81 %`."""
    if not math.isfinite(share):
        return NONE
    return f"{language.number(round(share * 100))}{SPACE}%"


def moment(time: Any, language: Language = ENGLISH) -> str:
    """A moment to the minute: `4 July 2016, 12:03 UTC`."""
    time = utc(time)
    return f"{language.date(time)}, {time:%H:%M} UTC"


def duration(length: str | pd.Timedelta, language: Language = ENGLISH) -> str:
    """A length of time, to the minute, in the largest unit that divides it: `24 hours`, `7 days`, `90 minutes`."""
    minutes = pd.Timedelta(length) // pd.Timedelta(minutes=1)
    unit, size = "minute", 1
    if minutes % 60 == 0 and minutes:
        unit, size = "hour", 60
    if minutes % 1440 == 0 and minutes > 1440:  # one day stays 24 hours, as forecasters say
        unit, size = "day", 1440
    count = minutes // size
    return f"{language.number(count)} {language.name(unit if count == 1 else f'{unit}s')}"


def hours(rows: int, frequency: str, language: Language = ENGLISH) -> str:
    """How many hours so many rows of a table are, without the unit: `168`, of half-hours `167.5`."""
    count = rows * (pd.Timedelta(frequency) / pd.Timedelta(hours=1))
    return language.number(count, 0 if count == round(count) else 1)


def versions(numbers: Sequence[int]) -> str:
    """`version 4`, `versions 1, 2 and 4`."""
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def days_ago(time: Any, now: Any) -> str:
    """How many calendar days (UTC) before `now` the moment `time` was: `today`, `yesterday`, `3 days ago`."""
    days = (utc(now).normalize() - utc(time).normalize()).days
    return {0: "today", 1: "yesterday"}.get(days, f"{days:,} days ago" if days > 0 else "in the future")


def between(low: float, high: float, unit: str, language: Language = ENGLISH) -> str:
    """Two ends of a range."""
    ends = {"low": quantity(low, unit, language), "high": quantity(high, unit, language)}
    return language.say("{low} to {high}", **ends)


def span(usual: Usual | None, unit: str, language: Language = ENGLISH) -> str:
    """The usual range of an error."""
    return language.say("too few weeks") if usual is None else between(usual.low, usual.high, unit, language)


def skill(share: float, naive_rmse: float, over_all: float, language: Language = ENGLISH) -> str:
    """The skill of one regime; a dash where the naive baseline hardly errs, as of solar power at night.

    Args:
        naive_rmse: the naive baseline's in the regime.
        over_all: the same over all hours.
    """
    return NONE if naive_rmse < LEAST_NAIVE * over_all else percent(share, language)


def pair(score: Score | None, measure: str, unit: str, language: Language = ENGLISH) -> tuple[str, str]:
    """A measure (`mae` or `rmse`) of the model and of the naive baseline."""
    if score is None:
        return NONE, NONE
    own, naive = getattr(score, measure), getattr(score, f"naive_{measure}")
    return quantity(own, unit, language), quantity(naive, unit, language)


def place(score: Score, usual: Usual) -> str:
    """Where an error lies: `below`, `within` or `above` its usual range."""
    return "below" if score.rmse < usual.low else "above" if score.rmse > usual.high else "within"


def verdict(score: Score | None, usual: Usual | None, unit: str, language: Language = ENGLISH) -> str:
    """How the forecast did, in a sentence or two."""
    if score is None:
        return language.say("No hour of this span can be scored.")
    rmse, naive = pair(score, "rmse", unit, language)
    words = language.say(
        "The forecast missed by {rmse} (RMSE), less than the naive baseline’s {naive}."
        if score.rmse < score.naive_rmse
        else "The forecast missed by {rmse} (RMSE), no better than the naive baseline’s {naive}.",
        rmse=rmse,
        naive=naive,
    )
    if usual is None:
        return f"{words} {language.say('There are too few other weeks to say what is usual.')}"
    where = language.say(
        f"That is {place(score, usual)} the usual weekly range of {{span}}.", span=span(usual, unit, language)
    )
    return f"{words} {where}"
