"""What people do with weather and calendar: features for a demand that they decide on, in a collection with a calendar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsgo.hours import DAY_S, HOUR_S, Hours
from dsgo.past import Past
from dsgo.working_days import WorkingDays

# Base temperatures in °C of degree days: between them hardly anything is heated or cooled.
HEATED_BELOW, COOLED_ABOVE = 16.0, 20.0
AHEAD_HOURS = (1, 3)


def shaped(given: Mapping[str, np.ndarray], hours: Hours, past: Past, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Calendar, heating and cooling, and demand that is known, of inputs by quantity."""
    columns = WorkingDays(info["calendar"]).features(hours.local_day)
    if "temperature" in given:
        columns |= _warmth(given["temperature"], hours, past, bool(info.get("inputs_known_ahead")))
    if "demand_day_before" in given:
        columns |= _known_demand(given["demand_day_before"], past)
    return columns


def _warmth(temperature: np.ndarray, hours: Hours, past: Past, ahead: bool) -> dict[str, np.ndarray]:
    """Degrees to heat and to cool, now and of the day, and the extremes of the days around by local clocks."""
    (mean24h, mean48h) = past.means(temperature, (24, 48))
    columns = {
        "warmth_heating": np.maximum(HEATED_BELOW - temperature, 0.0),
        "warmth_cooling": np.maximum(temperature - COOLED_ABOVE, 0.0),
        "warmth_heating24h": np.maximum(HEATED_BELOW - mean24h, 0.0),
        "warmth_cooling24h": np.maximum(mean24h - COOLED_ABOVE, 0.0),
        "warmth_mean48h": mean48h,
        "warmth_lag6h": past.lag(temperature, 6 * HOUR_S),
    }
    for name, day in {"before": -1, **({"same": 0, "after": 1} if ahead else {})}.items():
        columns |= {f"warmth_day_{name}_{what}": of for what, of in _of_day(temperature, hours, day).items()}
    if ahead:
        columns |= {f"warmth_ahead{span}h": past.lag(temperature, -span * HOUR_S) for span in AHEAD_HOURS}
    return columns


def _of_day(values: np.ndarray, hours: Hours, later: int) -> dict[str, np.ndarray]:
    """Highest, lowest and mean of the rows of the day so many days later; of the row's own day where that has none."""
    days, first, back = np.unique(hours.local_day, return_index=True, return_inverse=True)
    if not len(days):
        return dict.fromkeys(("highest", "lowest", "mean"), values)
    at = np.clip(np.searchsorted(days, days + later), 0, len(days) - 1)
    at = np.where(days[at] == days + later, at, np.arange(len(days)))[back]
    counts = np.diff(np.append(first, len(values)))
    return {
        "highest": np.maximum.reduceat(values, first)[at],
        "lowest": np.minimum.reduceat(values, first)[at],
        "mean": (np.add.reduceat(values, first) / counts)[at],
    }


def _known_demand(day_before: np.ndarray, past: Past) -> dict[str, np.ndarray]:
    """Demand of two days and of a week ago, and the level of the week before, from that of a day ago."""
    (week,) = past.means(day_before, (7 * 24,))
    return {
        "demand_2_days_before": past.lag(day_before, DAY_S),
        "demand_week_before": past.lag(day_before, 6 * DAY_S),
        "demand_mean_week": week,
    }
