"""What is usual for a column in a season at an hour, and given the other columns: what deviates from that can be drift.

The usual value is a linear fit to the training years on harmonics of the year times harmonics of the day, so that a winter
week is compared with winter. Given the other columns, it has these too: a relation between two columns is much narrower than
the range of each, and a change shows in it much sooner. So has its usual deviation, by season and hour.

A year's weather is in its own fit, and looks more usual there than it is. So the deviations of each training year are those
from a fit to the other years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.hours import DAY_S, HOUR_S, SATURDAY, Hours

DAYS_PER_YEAR = 365.2425
YEARLY_HARMONICS, DAILY_HARMONICS = 2, 3
RIDGE = 1.0  # in units of one row's weight: holds back what the rows do not tell
FEWEST_YEARS = 2  # a year is compared with another one
LOW_SUN = 0.05  # sine of the elevation below which radiation is next to nothing, and its ratios are noise
FAR = 8.0  # usual deviations beyond which one counts as this far: a single spike is no drift of a week


@dataclass(frozen=True)
class Deviations:
    """How far a column is from what is usual, by hour.

    Attributes:
        column: its name.
        index: all hours of the table, shape (n,).
        usual: in the column's unit, shape (n,); NaN where nothing is compared (the sun is down, a value is missing).
        scale: usual deviation at that season and hour, in the column's unit.
        standard: (value − usual) / scale, within ±`FAR`.
        given: whether the other columns are known, not the season alone.
    """

    column: str
    index: pd.DatetimeIndex
    usual: np.ndarray
    scale: np.ndarray
    standard: np.ndarray
    given: bool


def years_of(index: pd.DatetimeIndex, training: np.ndarray) -> np.ndarray:
    """Which year before the end of training an hour lies in: 0 is the last, −1 after it. A rest counts to the first whole one.

    Args:
        training: whether an hour belongs to the training rows, which come first, shape (n,).
    """
    seconds = index.as_unit("s").asi8
    last = seconds[training][-1]
    years = ((last - seconds) / (DAYS_PER_YEAR * DAY_S)).astype(int)
    whole = int((last - seconds[0]) / (DAYS_PER_YEAR * DAY_S) + 0.02)  # a week is not missed
    return np.where(training, np.minimum(years, max(whole - 1, 0)), -1)


def deviations(
    table: pd.DataFrame, info: Mapping[str, Any], hours: Hours, column: str, training: np.ndarray, *, given: bool
) -> Deviations | None:
    """How far `column` is from what is usual at every hour; None with less than `FEWEST_YEARS` years of training.

    Args:
        table: index tz-aware UTC, sorted; the dataset's columns.
        info: the dataset's.
        hours: of the table.
        column: to look at.
        training: which rows belong to the training years, shape (n,); the first ones.
        given: compare with what is usual given the other inputs, not the season alone.
    """
    years = years_of(table.index, training)
    if years.max() + 1 < FEWEST_YEARS:
        return None
    values = table[column].to_numpy(dtype=float)
    design = seasonal(hours, info, column, YEARLY_HARMONICS, DAILY_HARMONICS)
    if given:
        others = [name for name in columns_of(info, "input") if name != column]
        known = np.column_stack([_shapes(table[name].to_numpy(dtype=float), design, training) for name in others])
        design = np.hstack([design, known, _trend(hours, info, column)])
    rough = seasonal(hours, info, column, 1, 2)
    used = np.isfinite(values) & np.isfinite(design).all(axis=1)
    if depends_on_sun(info, column):
        used &= hours.of_weather[1] > LOW_SUN
    fitted = used & training
    parts = {
        year: _products(design[fitted & (years == year)], values[fitted & (years == year)])
        for year in range(years.max() + 1)
    }
    usual = np.full(len(table), np.nan)
    for year in (-1, *parts):
        asked = used & (years == year)
        usual[asked] = design[asked] @ _solution([part for other, part in parts.items() if other != year])
    off = np.log(np.abs(values - usual)[fitted] + 1e-9)
    log_scale = _solution([_products(rough[fitted], np.maximum(off, np.quantile(off, 0.05)))])
    scale = np.where(used, np.exp(rough @ log_scale), np.nan)
    standard = (values - usual) / scale
    standard /= np.sqrt(np.nanmean(np.clip(standard[training], -FAR, FAR) ** 2))
    return Deviations(column, table.index, usual, scale, np.clip(standard, -FAR, FAR), given)


def depends_on_sun(info: Mapping[str, Any], column: str) -> bool:
    """Whether the column is next to nothing while the sun is down."""
    spec = info["columns"][column]
    return bool(spec.get("dark_at_night")) or spec.get("quantity", "").startswith("radiation_")


def seasonal(hours: Hours, info: Mapping[str, Any], column: str, yearly: int, daily: int) -> np.ndarray:
    """Harmonics of the year times harmonics of the day; and of the day at weekends, for what people do."""
    spec = info["columns"][column]
    of_people = spec["role"] == "target" and not spec.get("dark_at_night")
    seconds = hours.seconds + hours.offset_s if of_people else hours.seconds - HOUR_S * hours.of_weather[0]
    year = _harmonics(hours.seconds / DAY_S / DAYS_PER_YEAR, yearly)
    day = _harmonics(seconds % DAY_S / DAY_S, daily)
    columns = [(year[:, :, None] * day[:, None, :]).reshape(len(seconds), -1)]
    if of_people:
        columns.append((hours.day_of_week >= SATURDAY)[:, None] * day)
    if depends_on_sun(info, column):
        _, sine, clear = hours.of_weather
        lit = np.column_stack([clear, clear * np.maximum(sine, 0.0)]) / 1000
        columns.append((lit[:, :, None] * year[:, None, :]).reshape(len(seconds), -1))
    return np.hstack(columns)


def _harmonics(turns: np.ndarray, count: int) -> np.ndarray:
    """1, and sine and cosine of the first multiples of an angle in turns, shape (n, 1 + 2 count)."""
    angles = 2 * np.pi * np.outer(turns, np.arange(1, count + 1))
    return np.hstack([np.ones((len(turns), 1)), np.sin(angles), np.cos(angles)])


def _shapes(values: np.ndarray, seasonal: np.ndarray, training: np.ndarray) -> np.ndarray:
    """What another column may do: first to third power, each by season, and what it did the day before."""
    centre, spread = np.nanmean(values[training]), np.nanstd(values[training]) or 1.0
    x = np.clip((values - centre) / spread, -4.0, 4.0)
    powers = np.column_stack([x, x**2, x**3])
    season = seasonal[
        :, [0, *(k * (1 + 2 * DAILY_HARMONICS) for k in (1, 3))]
    ]  # 1, and the first sine and cosine of the year
    day = pd.Series(x).rolling(24, min_periods=1).mean().to_numpy()
    return np.hstack([(powers[:, :, None] * season[:, None, :]).reshape(len(x), -1), day[:, None]])


def _trend(hours: Hours, info: Mapping[str, Any], column: str) -> np.ndarray:
    """The time, for a target: installed capacity and the like grow; the weather does not."""
    grows = info["columns"][column]["role"] == "target"
    years = (hours.seconds - hours.seconds[0]) / DAY_S / DAYS_PER_YEAR
    return years[:, None] if grows else np.empty((len(years), 0))


def _products(design: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All that least squares need of some rows; those of several parts are added."""
    return design.T @ design, design.T @ values


def _solution(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    squares, products = (sum(part[place] for part in parts) for place in (0, 1))
    return np.linalg.solve(squares + RIDGE * np.eye(len(products)), products)
