"""Does the weather, or what a target makes of it, behave as in the same season of the training years?

Of each input the level, the spread and the shape of the newest spans are compared, and its level given the other inputs; of
each target its level given the inputs. Everything is compared in usual deviations (`dsgo.climatology`), as one span beside all
spans of the training years (`dsgo.spans`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.climatology import Deviations, deviations
from dsgo.collection import columns_of
from dsgo.findings import DATA, Finding
from dsgo.hours import Hours
from dsgo.spans import Judged, by_day, judge, sums
from dsgo.sun import DAY_S

TENTHS = 10
ENOUGH = 0.3  # share of the usual number of hours that a span must have
WEEKS_A_YEAR = 52


@dataclass(frozen=True)
class Check:
    """One figure of a span.

    Attributes:
        name: as in the findings.
        words: what it is, for the sentence.
        of: from sums over spans (hours, deviations, their squares, hours in each tenth) to the figure of each.
        upward: only a larger figure is an alarm.
    """

    name: str
    words: str
    of: Callable[[np.ndarray], np.ndarray]
    upward: bool = False


def _level(sums_: np.ndarray) -> np.ndarray:
    return sums_[:, 1] / sums_[:, 0]


def _spread(sums_: np.ndarray) -> np.ndarray:
    return 0.5 * np.log(np.maximum(sums_[:, 2] / sums_[:, 0] - _level(sums_) ** 2, 1e-9))


def _shape(sums_: np.ndarray) -> np.ndarray:
    shares = sums_[:, 3:] / sums_[:, :1]
    return 0.5 * np.log(np.sum((shares - 1 / TENTHS) ** 2, axis=1) + 1e-6)


OF_AN_INPUT = (
    Check("level", "the mean", _level),
    Check("spread", "the spread", _spread),
    Check("shape", "the distribution over the tenths of the training years", _shape, upward=True),
)
GIVEN_OTHERS = Check("relation", "the mean given the other inputs", _level)
OF_A_TARGET = Check("level", "the mean given the inputs", _level)


def usual_of(
    table: pd.DataFrame, info: Mapping[str, Any], training: np.ndarray
) -> dict[tuple[str, bool], Deviations | None]:
    """How far each column is from what is usual: by its name, and whether the other inputs are known.

    Args:
        table: index tz-aware UTC, sorted; the dataset's columns.
        info: the dataset's.
        training: which rows belong to the training years, shape (n,): the first ones, and none of the newest spans.
    """
    hours = Hours(table.index, info)
    return {
        (name, given): deviations(table, info, hours, name, training, given=given) for name, given in _compared(info)
    }


def _compared(info: Mapping[str, Any]) -> dict[tuple[str, bool], tuple[Check, ...]]:
    """What is compared of each column, given the other inputs or not."""
    inputs = columns_of(info, "input")
    asked = {(name, False): OF_AN_INPUT for name in inputs}
    if len(inputs) > 1:
        asked |= {(name, True): (GIVEN_OTHERS,) for name in inputs}
    for name in columns_of(info, "target"):
        asked |= {(name, True): (OF_A_TARGET,), (name, False): ()}  # the latter for `dsgo.faults`
    return asked


def data_drift(
    usual: Mapping[tuple[str, bool], Deviations | None],
    info: Mapping[str, Any],
    training: np.ndarray,
    spans_days: tuple[int, ...],
    false_alarms_a_year: float,
) -> list[Finding]:
    """The findings on all columns, inputs first.

    Args:
        usual: of `usual_of`.
        info, training: as there.
        spans_days: lengths of the newest spans, the shorter first.
        false_alarms_a_year: of all these checks together, made weekly.
    """
    asked = _compared(info)
    number = sum(len(checks) for checks in asked.values()) * len(spans_days)
    chance = false_alarms_a_year / WEEKS_A_YEAR / number
    found = []
    for (name, given), checks in asked.items():
        deviation = usual[name, given]
        if deviation is not None and checks:
            days = Days.of(deviation, training)
            found += [_finding(check, deviation, days, info, spans_days, chance) for check in checks]
    return found


@dataclass(frozen=True)
class Days:
    """Sums of each day of one column.

    Attributes:
        daily: hours, deviations, their squares, hours in each tenth of the training years, shape (days, 13).
        after: whole days after the training years.
    """

    daily: np.ndarray
    after: int

    @classmethod
    def of(cls, usual: Deviations, training: np.ndarray) -> Days:
        """Of all rows."""
        seconds = usual.index.as_unit("s").asi8
        known = np.isfinite(usual.standard)
        edges = np.quantile(usual.standard[training & known], np.arange(1, TENTHS) / TENTHS)
        standard = np.nan_to_num(usual.standard)
        inside = (np.searchsorted(edges, standard)[:, None] == np.arange(TENTHS)) & known[:, None]
        series = np.column_stack([known, standard, standard**2, inside]).astype(float)
        return cls(by_day(seconds, series), int((seconds[-1] - seconds[training][-1]) // DAY_S))

    def judged(self, check: Check, spans_days: tuple[int, ...], chance: float) -> dict[int, Judged]:
        """The figure of the newest span of each length beside those of the training years, as far as it can be judged."""
        judged = {}
        for days in spans_days:
            if days >= len(self.daily):
                continue
            span = sums(self.daily, days)
            with np.errstate(divide="ignore", invalid="ignore"):
                hours = span[:, 0] / np.median(span[:, 0])
                figures = np.where(hours > ENOUGH, check.of(span), np.nan)
                # The fewer hours of sun a span has, the further its figure may lie from the mean.
                centre = np.nanmean(figures[: len(figures) - max(self.after, days)])
                figures = centre + (figures - centre) * np.sqrt(np.minimum(hours, 1.0))
            one = judge(figures[: len(figures) - max(self.after, days)], float(figures[-1]), days, chance)
            if one:
                judged[days] = one
        return judged


def _finding(
    check: Check,
    usual: Deviations,
    of_days: Days,
    info: Mapping[str, Any],
    spans_days: tuple[int, ...],
    chance: float,
) -> Finding:
    name, end = usual.column, usual.index[-1]
    judged = of_days.judged(check, spans_days, chance)
    if not judged:
        first = end - pd.Timedelta(days=spans_days[0])
        text = f"{name}: {check.words} cannot be judged: the training years or the newest rows are too few."
        return Finding(DATA, name, check.name, first, end, None, None, False, text)
    days, one = worst(judged, check.upward)
    first = end - pd.Timedelta(days=days) + pd.Timedelta(info["frequency"])
    alarm = one.measured > one.limit if check.upward else one.beyond
    text = (
        f"{name}: {check.words} over the newest {days} days lies {one.measured:+.1f} usual deviations from that of such spans in "
        f"the training years, season and hour allowed for (limit {one.limit:.1f}){_in_units(check, usual, days, info)}."
    ).replace("-", "−")
    return Finding(DATA, name, check.name, first, end, one.measured, one.limit, alarm, text)


def worst(judged: Mapping[int, Judged], upward: bool = False) -> tuple[int, Judged]:
    """The span whose figure comes nearest to its limit or is furthest beyond, and its length in days."""
    return max(judged.items(), key=lambda pair: (pair[1].measured if upward else abs(pair[1].measured)) / pair[1].limit)


def _in_units(check: Check, usual: Deviations, days: int, info: Mapping[str, Any]) -> str:
    if check.of is not _level:
        return ""
    newest = usual.index > usual.index[-1] - pd.Timedelta(days=days)
    shift = float(np.nanmean((usual.standard * usual.scale)[newest]))
    return f", {shift:+.3g} {info['columns'][usual.column]['unit']} from what is usual"
