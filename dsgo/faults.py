"""Faulty data: what a sensor, a unit or a feed does and the weather does not. To learn from it would do harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dsgo.checks import LIKELY_UNITS
from dsgo.climatology import Deviations, depends_on_sun, seasonal
from dsgo.collection import columns_of
from dsgo.findings import FAULT, Finding
from dsgo.hours import Hours
from dsgo.sun import DAY_S

STUCK_MARGIN = 1.5  # times the longest run of the training years
STUCK_FEWEST_H = 6.0  # hours; shorter runs are chance, in values with few digits
JUMP_MARGIN = 1.25  # times the largest jump of the training years
SMALLEST_SCALE = 0.7  # of what is usual for a jump, as a share of the median: the quietest hours are few
JUMP_MARGIN_OF_SUN = 1.5  # of radiation: a cloud more or less is a jump
UNIT_NEAR = 1.8  # usual deviations, root mean square, of a day's values that are plausible
UNIT_DAYS = 1  # one odd day is weather


def faults(
    table: pd.DataFrame,
    info: Mapping[str, Any],
    training: np.ndarray,
    usual: Mapping[tuple[str, bool], Deviations | None],
    newest_days: int,
    missing_hours: float,
    goes_on: pd.Timestamp,
) -> list[Finding]:
    """The findings on the newest days.

    Args:
        table: index tz-aware UTC, sorted; the dataset's columns.
        info: the dataset's.
        training: which rows belong to the training years, shape (n,): the first ones, none of the newest days.
        usual: of `dsgo.drift.usual_of`.
        newest_days: how many are looked at.
        missing_hours: that may be absent in them.
        goes_on: the hour after the newest with which the data go on, if only with inputs: what lies between is missing too.
    """
    newest = np.asarray(table.index > table.index[-1] - pd.Timedelta(days=newest_days))
    found = [_missing(table.index, goes_on, info, newest_days, missing_hours)]
    for name in (*columns_of(info, "target"), *columns_of(info, "input")):  # a calendar has no sensor
        found.append(_stuck(table[name], newest, training, info))
        by_season = usual[name, False]
        if by_season is not None:
            if name in columns_of(info, "input"):
                found.append(_jump(table, by_season, newest, training, info))
            found.append(_unit(table[name], by_season, newest, training, info))
    return found


def _missing(
    index: pd.DatetimeIndex, goes_on: pd.Timestamp, info: Mapping[str, Any], days: int, limit: float
) -> Finding:
    step, first = pd.Timedelta(info["frequency"]), goes_on - pd.Timedelta(days=days)
    absent = days * pd.Timedelta("1D") - (index >= first).sum() * step
    hours, last = max(absent / pd.Timedelta("1h"), 0.0), goes_on - step
    text = f"{hours:g} hours of the newest {days} days are absent (limit {limit:g})."
    return Finding(FAULT, "", "missing", first, last, hours, limit, hours > limit, text)


def _stuck(values: pd.Series, newest: np.ndarray, training: np.ndarray, info: Mapping[str, Any]) -> Finding:
    """The longest run of equal values. Where the sun is down a column that depends on it is left out, not stuck."""
    name = str(values.name)
    step_h = pd.Timedelta(info["frequency"]) / pd.Timedelta("1h")
    open_hours = np.ones(len(values), bool)
    if depends_on_sun(info, name):
        open_hours = Hours(values.index, info).of_weather[1] > 0
    runs = np.zeros(len(values))
    runs[open_hours] = step_h * run_lengths(values.to_numpy(dtype=float)[open_hours])
    longest, usual = float(runs[newest].max(initial=0)), float(runs[training].max(initial=0))
    limit = max(STUCK_MARGIN * usual, STUCK_FEWEST_H)
    rows = values.index[newest]
    text = f"{name}: the same value for at most {longest:g} hours in a row (limit {limit:g})."
    return Finding(FAULT, name, "stuck", rows[0], rows[-1], longest, limit, longest > limit, text)


def run_lengths(values: np.ndarray) -> np.ndarray:
    """How many values up to and with each are equal, shape (n,); a missing value is equal to none."""
    changed = np.r_[True, values[1:] != values[:-1]]
    starts = np.maximum.accumulate(np.where(changed, np.arange(len(values)), 0))
    return np.arange(len(values)) - starts + 1


def _jump(
    table: pd.DataFrame, usual: Deviations, newest: np.ndarray, training: np.ndarray, info: Mapping[str, Any]
) -> Finding:
    """The largest change that the hours before do not announce and the other inputs do not explain.

    A sensor that is exchanged, or a unit, changes within an hour; the weather of a country needs several.
    """
    name = usual.column
    off = table[name].to_numpy(dtype=float) - usual.usual
    surprise = _surprise(table, off, usual, training, info)
    rows = np.flatnonzero(newest & np.isfinite(surprise))
    first, last = table.index[newest][0], table.index[-1]
    known = np.abs(surprise[training & np.isfinite(surprise)])
    if not len(rows) or not len(known):
        return Finding(
            FAULT, name, "jump", first, last, None, None, False, f"{name}: too few hours in a row to look for a jump."
        )
    at = rows[np.argmax(np.abs(surprise[rows]))]
    margin = JUMP_MARGIN_OF_SUN if depends_on_sun(info, name) else JUMP_MARGIN
    measured, limit = float(surprise[at]), margin * float(known.max())
    text = (
        f"{name}: the largest jump, at {table.index[at]:%Y-%m-%d %H:%M} UTC, is {measured:+.1f} times a usual hour's change "
        f"(limit {limit:.1f}: {margin:g} times the largest of the training years)."
    )
    return Finding(FAULT, name, "jump", first, last, measured, limit, abs(measured) > limit, text)


def _surprise(
    table: pd.DataFrame, off: np.ndarray, usual: Deviations, training: np.ndarray, info: Mapping[str, Any]
) -> np.ndarray:
    """What the rows before and the changes of the other inputs do not tell of `off`, in units of what is usual then."""
    seconds = table.index.as_unit("s").asi8
    step = int(pd.Timedelta(info["frequency"]).total_seconds())
    before = [_rows_before(off, seconds, rows * step) for rows in (1, 2, 3)]
    changes = []
    for other in columns_of(info, "input"):
        if other != usual.column:
            values = table[other].to_numpy(dtype=float)
            changes.append(values - _rows_before(values, seconds, step))
    design = np.column_stack([*before, *changes])
    there = np.isfinite(design).all(axis=1) & np.isfinite(off)
    fitted = there & training
    solution = np.linalg.lstsq(design[fitted], off[fitted], rcond=None)[0]
    rest = np.full(len(off), np.nan)
    rest[there] = off[there] - design[there] @ solution
    # How large it usually is goes with season and hour, and with the value before: gusts are a share of the wind.
    values = table[usual.column].to_numpy(dtype=float)
    level = _rows_before(values, seconds, step)
    level = np.log(np.maximum(level - np.nanmin(values[training]), 0) + np.nanstd(values[training]))
    size = np.column_stack([seasonal(Hours(table.index, info), info, usual.column, 1, 2), level])
    fitted &= np.isfinite(size).all(axis=1)
    spread = np.log(np.abs(rest[fitted]) + 1e-3 * np.nanstd(rest[fitted]))
    scale = np.exp(size @ np.linalg.lstsq(size[fitted], spread, rcond=None)[0])
    scale = np.maximum(scale, SMALLEST_SCALE * np.median(scale[fitted]))
    return rest / scale / np.sqrt(np.nanmean((rest[fitted] / scale[fitted]) ** 2))


def _rows_before(values: np.ndarray, seconds: np.ndarray, ago_s: int) -> np.ndarray:
    """The value of so many seconds before, shape (n,); NaN where that row is absent."""
    at = np.searchsorted(seconds, seconds - ago_s)
    return np.where(seconds[at] == seconds - ago_s, values[at], np.nan)


def _unit(
    values: pd.Series, usual: Deviations, newest: np.ndarray, training: np.ndarray, info: Mapping[str, Any]
) -> Finding:
    """On how many days the values are implausible as they are, but plausible once converted from another unit."""
    name, unit = usual.column, info["columns"][usual.column]["unit"]
    seconds = values.index.as_unit("s").asi8
    day = (seconds[-1] - seconds) // DAY_S
    given = values.to_numpy(dtype=float)

    def by_day(of: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Size (root mean square) and spread of each day's deviations, in usual ones."""
        known = rows & np.isfinite(usual.usual)
        squares = pd.Series(((of - usual.usual) / usual.scale)[known] ** 2).groupby(day[known]).mean()
        spread = pd.Series((of / usual.scale)[known]).groupby(day[known]).std()
        return np.sqrt(squares.to_numpy()), spread.to_numpy()

    size, spread = by_day(given, newest)
    usual_size, usual_spread = by_day(given, training)
    # As they are, the values are far off; or far too alike, for a thousandth of a value varies by a thousandth.
    wrong = (size > np.nanmax(usual_size, initial=0)) | (spread < np.nanmin(usual_spread, initial=np.inf))
    best, days = "", 0
    for other, convert in LIKELY_UNITS.get(unit, []):
        right, _ = by_day(convert(given), newest)
        count = int((wrong & (right < UNIT_NEAR) & (right < size)).sum())
        if count > days:
            best, days = other, count
    rows = values.index[newest]
    text = f"{name}: no day of the newest ones looks like another unit than {unit}."
    if days:
        text = f"{name}: {days} of the newest days are implausible in {unit}, but look like {best} (limit {UNIT_DAYS})."
    return Finding(FAULT, name, "unit", rows[0], rows[-1], float(days), float(UNIT_DAYS), days > UNIT_DAYS, text)
