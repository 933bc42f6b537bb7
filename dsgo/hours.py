"""The hours of a table: where the sun stands in them and what clocks show, each found once however often it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from dsgo.sun import DAY_S, clear_sky_irradiance, sine_at

MONDAY_S = 4 * DAY_S  # the first Monday after 1970-01-01
SATURDAY = 5  # days after Monday
HOUR_S = 3600
_FIRST_S, _END_S = 315_532_800, 4_102_444_800  # 1980-01-01 and 2100-01-01: hours of requests lie between


def rows_of(info: Mapping[str, Any]) -> str:
    """What the rows of a dataset are called: `hours`, `half-hours`, or intervals of its frequency."""
    return {"1h": "hours", "30min": "half-hours"}.get(info["frequency"], f"intervals of {info['frequency']}")


class Hours:
    """Starts of hours (or of other intervals, if the dataset's frequency is another), shape (n,), at its place and in its zone.

    Args:
        index: the hours, with a time zone.
        info: `Dataset.info`: `frequency` (hourly if absent), `timezone`, `location`, and whether the inputs are late in
            summer time.
    """

    def __init__(self, index: pd.DatetimeIndex, info: Mapping[str, Any]) -> None:
        self.index = index
        self.seconds: np.ndarray = index.as_unit("s").asi8
        self._info = info
        self.step_s = int(pd.Timedelta(info.get("frequency", "1h")).total_seconds())

    @cached_property
    def sine(self) -> np.ndarray:
        """Sine of the sun's elevation in the middle of each interval."""
        return self._sine(self.seconds)

    @cached_property
    def clear_sky_W_m2(self) -> np.ndarray:
        """Global radiation under a cloudless sky."""
        return clear_sky_irradiance(self.sine)

    @cached_property
    def offset_s(self) -> np.ndarray:
        """Seconds that local clocks are ahead of UTC: people live by them, and summer time moves all that they do.

        The collection's inputs may follow them too: the radiation of wind and solar's source is labelled an hour late in summer
        time (cross-correlated with the sun's elevation it lags by one hour from the last Sunday of March to that of October).
        A calendar can tell these hours; no model has to guess them from the data.
        """
        if len(self.seconds) and (self.seconds.min() < _FIRST_S or self.seconds.max() >= _END_S):
            return _offsets(self.seconds, self._info["timezone"])
        changes, offsets = _clock_changes(self._info["timezone"])
        return offsets[np.searchsorted(changes, self.seconds, side="right")]

    @cached_property
    def local_s(self) -> np.ndarray:
        """Seconds after 1970-01-01 00:00 that local clocks show."""
        return self.seconds + self.offset_s

    @property
    def local_day(self) -> np.ndarray:
        """Days after 1970-01-01, by local clocks."""
        return self.local_s // DAY_S

    @property
    def day_of_week(self) -> np.ndarray:
        """Days after Monday, by local clocks."""
        return (self.local_s - MONDAY_S) // DAY_S % 7

    @cached_property
    def of_weather(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the hours that the inputs are really of: whether that is an earlier one, `sine` and `clear_sky_W_m2`."""
        if not self._info.get("inputs_late_in_summer_time"):
            return np.zeros(len(self.seconds), bool), self.sine, self.clear_sky_W_m2
        late_s = self.offset_s - _offset_in_winter(self._info["timezone"])
        late = late_s > 0
        sine, clear = self.sine.copy(), self.clear_sky_W_m2.copy()
        moved = late_s != 0
        sine[moved] = self._sine(self.seconds[moved] - late_s[moved])
        clear[moved] = clear_sky_irradiance(sine[moved])
        return late, sine, clear

    def _sine(self, seconds: np.ndarray) -> np.ndarray:
        return sine_at(
            seconds + (self.step_s - HOUR_S) // 2,
            self._info["location"]["latitude"],
            self._info["location"]["longitude"],
        )


def _offsets(seconds: np.ndarray, timezone: str) -> np.ndarray:
    """As pandas knows them."""
    utc = pd.DatetimeIndex(seconds.astype("datetime64[s]"), tz="UTC")
    return utc.tz_convert(timezone).tz_localize(None).asi8 - utc.asi8


@cache
def _offset_in_winter(timezone: str) -> int:
    midwinters = np.array([946_684_800, 962_409_600])  # January and July 2000: of both halves of the Earth
    return int(_offsets(midwinters, timezone).min())


@cache
def _clock_changes(timezone: str) -> tuple[np.ndarray, np.ndarray]:
    """When clocks were and will be changed from 1980 to 2100, shape (k,), and the offsets before, between and after, (k + 1,).

    Asked hour by hour; within the hour of a change, by halves. No zone changes its clocks twice within an hour.
    """
    hours = np.arange(_FIRST_S, _END_S + 1, HOUR_S)
    offsets = _offsets(hours, timezone)
    at = np.flatnonzero(np.diff(offsets))
    before, after = hours[at], hours[at + 1]
    while len(at) and (after - before).max() > 1:
        middle = (before + after) // 2
        changed = _offsets(middle, timezone) != offsets[at]
        before, after = np.where(changed, before, middle), np.where(changed, middle, after)
    return after, np.concatenate([offsets[:1], offsets[at + 1]])
