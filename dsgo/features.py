"""Features of a forecasting model: from timestamps and raw inputs to a matrix of numbers.

A row's features look at its own hour and at earlier rows of the same table only. Rows that a table does not have are
replaced by what is nearest: a lag that is missing takes the row's own value, a mean is taken over the rows that are there.
So one row alone has features too, and they are the better the more of the day before it comes along.

The plain features are the inputs, their windows, calendar and sun. The shaped ones follow them and say what the weather
does to panels and turbines, for inputs of the quantities that they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from dsgo.collection import columns_of
from dsgo.sun import clear_sky_irradiance, sine_of_elevation

LAGS = (1, 2, 3)  # rows before
MEANS_HOURS = (3, 6, 24)
DAILY_HARMONICS = (1, 2, 3)
YEARLY_HARMONICS = (1, 2)
DAYS_PER_YEAR = 365.2425
DIM_W_M2 = 20.0  # below this a ratio of radiations is noise
BRIGHTEST_INDEX = 1.6  # of clear-sky indices: what is above is the ratio of two small numbers
GAS_CONSTANT_OF_DRY_AIR = 287.05  # J/(kg K)
PRESSURE_PA = 101_325.0
KELVIN = 273.15  # of 0 °C


class Features(BaseEstimator, TransformerMixin):
    """Calendar, sun and windows of past inputs, as a scikit-learn transformer without anything to learn.

    `transform` takes a frame with the index `utc_timestamp` (sorted, unique) and the input columns, and returns a float64
    array of shape (n, number of features) without NaN; `get_feature_names_out` has their names.
    """

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.info = info

    def fit(self, table: pd.DataFrame, y: object = None) -> Features:
        """Nothing to learn."""
        return self

    def transform(self, table: pd.DataFrame) -> np.ndarray:
        """Matrix of features, shape (n, features)."""
        return np.column_stack(list((self._plain(table) | self._shaped(table)).values()))

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features in the order of the matrix."""
        return np.array(list(self._plain(self._one_row()) | self._shaped(self._one_row())))

    @property
    def plain(self) -> int:
        """How many features are plain: the first ones of the matrix."""
        return len(self._plain(self._one_row()))

    def _one_row(self) -> pd.DataFrame:
        inputs = columns_of(self.info, "input")
        return pd.DataFrame(0.0, index=pd.DatetimeIndex(["2000-01-01"], tz="UTC"), columns=inputs)

    def _plain(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        index = table.index
        seconds = index.as_unit("s").asi8
        step = int(pd.Timedelta(self.info["frequency"]).total_seconds())
        inputs = {name: table[name].to_numpy(dtype=float) for name in columns_of(self.info, "input")}
        columns: dict[str, np.ndarray] = {}
        for name, values in inputs.items():
            columns[name] = values
            for lag in LAGS:
                columns[f"{name}_lag{lag}"] = _lagged(seconds, values, lag * step)
            for hours in MEANS_HOURS:
                columns[f"{name}_mean{hours}h"] = _mean_of_last(seconds, values, hours * 3600)
        columns |= _calendar(index, self.info["timezone"])
        columns |= self._physics(index, inputs)
        return columns

    def _physics(self, index: pd.DatetimeIndex, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        by_quantity = self._by_quantity(inputs)
        sine = self._sine(index)
        clear = clear_sky_irradiance(sine)
        columns = {"sun": sine, "sun_up": np.maximum(sine, 0.0), "clear_sky_W_m2": clear}
        if (wind := by_quantity.get("wind_speed")) is not None:
            columns["wind_cubed"] = wind**3  # the power in moving air
        direct, diffuse = by_quantity.get("radiation_direct"), by_quantity.get("radiation_diffuse")
        if direct is not None and diffuse is not None:
            total = direct + diffuse
            columns["clear_sky_index"] = np.where(clear > DIM_W_M2, total / np.maximum(clear, DIM_W_M2), 0.0)
            columns["diffuse_share"] = np.where(total > DIM_W_M2, diffuse / np.maximum(total, DIM_W_M2), 1.0)
        return columns

    def _shaped(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        past = _Past(table.index.as_unit("s").asi8)
        given = self._by_quantity({name: table[name].to_numpy(dtype=float) for name in columns_of(self.info, "input")})
        wind, temperature = given.get("wind_speed"), given.get("temperature")
        direct, diffuse = given.get("radiation_direct"), given.get("radiation_diffuse")
        offset = _utc_offset_hours(table.index, self.info["timezone"])
        columns = {"utc_offset_h": offset}
        if temperature is not None:
            columns |= _spells_of_warmth(temperature, past)
        if wind is not None:
            columns |= _moving_air(wind, past)
            if temperature is not None:
                density = PRESSURE_PA / (GAS_CONSTANT_OF_DRY_AIR * (temperature + KELVIN))
                columns["wind_power_density"] = density * wind**3 / 2
        if direct is not None and diffuse is not None:
            late = np.zeros(len(table))
            if self.info.get("inputs_late_in_summer_time"):
                late = offset - min(_utc_offset_hours(_MIDWINTERS, self.info["timezone"]))
            sky = _Sky(self._sine(table.index), self._sine(table.index - pd.to_timedelta(late, unit="h")), late > 0)
            columns |= _radiation_of_the_hour(direct, diffuse, temperature, sky, past)
            if wind is not None:
                columns |= _stability(wind, direct + diffuse, sky.sine)
        return columns

    def _by_quantity(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {self.info["columns"][name].get("quantity"): values for name, values in inputs.items()}

    def _sine(self, index: pd.DatetimeIndex) -> np.ndarray:
        return sine_of_elevation(index, self.info["location"]["latitude"], self.info["location"]["longitude"])


def group_of(feature: str, info: Mapping[str, Any]) -> str:
    """What a feature is about: `year`, `week`, `day`, `sky`, `sky_past`, or the quantity of the input that it comes from.

    Radiation is `sky` in the row's own hour, `sky_past` over earlier ones, and `ahead` brought to the hour.
    """
    for prefix, group in _GROUPS.items():
        if feature.startswith(prefix):
            return group
    source = next(name for name in columns_of(info, "input") if feature == name or feature.startswith(f"{name}_"))
    quantity = info["columns"][source].get("quantity", source)
    if quantity.startswith("radiation"):
        return "sky" if feature == source else "sky_past"
    return quantity


_GROUPS = {  # by how names start
    "year_": "year",
    "weekend": "week",
    "day_": "day",
    "sun": "day",
    "clear_sky_W_m2": "day",
    "utc_offset_h": "day",
    "clear_sky_index": "sky",
    "diffuse_share": "sky",
    "past_sky_": "sky_past",
    "ahead_": "ahead",
    "wind_": "wind_speed",
    "warmth_": "temperature",
}
_MIDWINTERS = pd.DatetimeIndex(["2000-01-01", "2000-07-01"], tz="UTC")  # of both halves of the Earth


@dataclass(frozen=True)
class _Past:
    """Windows that end with each row, over the rows that are there."""

    seconds: np.ndarray

    def lag(self, values: np.ndarray, hours: int) -> np.ndarray:
        return _lagged(self.seconds, values, hours * 3600)

    def mean(self, values: np.ndarray, hours: int) -> np.ndarray:
        return _mean_of_last(self.seconds, values, hours * 3600)

    def lowest(self, values: np.ndarray, hours: int) -> np.ndarray:
        rows = pd.Series(values, index=pd.DatetimeIndex(self.seconds.astype("datetime64[s]")))
        return rows.rolling(f"{hours}h").min().to_numpy()


@dataclass(frozen=True)
class _Sky:
    """Sines of the sun's elevation in each hour, and in the hour that its weather is really of (`late`: not the same)."""

    sine: np.ndarray
    sine_of_weather: np.ndarray
    late: np.ndarray


def _utc_offset_hours(index: pd.DatetimeIndex, timezone: str) -> np.ndarray:
    """Hours that local clocks are ahead of UTC: people live by them, and summer time moves all that they do.

    The collection's inputs may follow them too: the radiation of wind and solar's source is labelled an hour late in summer
    time (cross-correlated with the sun's elevation it lags by one hour from the last Sunday of March to that of October).
    A calendar can tell these hours; no model has to guess them from the data.
    """
    local = index.tz_convert(timezone).tz_localize(None) - index.tz_convert("UTC").tz_localize(None)
    return np.asarray(local.total_seconds()) / 3600


def _radiation_of_the_hour(
    direct: np.ndarray, diffuse: np.ndarray, temperature: np.ndarray | None, sky: _Sky, past: _Past
) -> dict[str, np.ndarray]:
    """Radiation brought to the middle of the hour, and what panels make of it.

    Clouds last longer than the sun stands still: the clear-sky index is carried from the hour of the weather to the row's
    (the day's own index where the sun is too low to tell), times the clear sky of the row (Lauret and others,
    "Verification of deterministic solar forecasts", Solar Energy 210 (2020), section 3.2: persistence of the index).
    Panels lose 0.4 % of their power a degree above 25 °C, and are warmer than the air by 0.03 °C for each W/m² (Ross,
    "Interface design considerations for terrestrial solar cell modules", 12th IEEE Photovoltaic Specialists Conf. (1976)).
    """
    total = direct + diffuse
    clear = clear_sky_irradiance(sky.sine)
    clear_then = clear_sky_irradiance(sky.sine_of_weather)
    day = np.clip(past.mean(total, 24) / np.maximum(past.mean(clear_then, 24), 5.0), 0.0, BRIGHTEST_INDEX)
    told = clear_then > DIM_W_M2
    hour = np.where(told, np.clip(total / np.maximum(clear_then, DIM_W_M2), 0.0, BRIGHTEST_INDEX), day)
    before = past.lag(hour, 1)
    ahead = hour * clear
    risen = np.clip((np.maximum(sky.sine, 0) + 0.02) / (np.maximum(sky.sine_of_weather, 0) + 0.02), 0.0, 4.0)
    moved = np.where(sky.late, risen, 1.0)
    columns = {
        "ahead_index": hour,
        "ahead_index_before": before,
        "ahead_W_m2": ahead,
        "ahead_direct_W_m2": np.minimum(direct * moved, 900 * np.maximum(sky.sine, 0) ** 0.9 + 5),
        "ahead_diffuse_W_m2": np.minimum(diffuse * moved, 500.0),
        "ahead_trend_W_m2": np.clip(2 * hour - before, 0.0, BRIGHTEST_INDEX) * clear,
        "ahead_squared": ahead**2 / 1000,
        "past_sky_mean24h": past.mean(total, 24),
        "past_sky_mean72h": past.mean(total, 72),
        "past_sky_index24h": day,
    }
    if temperature is not None:
        columns["ahead_warm_W_m2"] = ahead * (1 - 0.004 * (temperature + 0.03 * ahead - 25.0))
    return columns


def _spells_of_warmth(temperature: np.ndarray, past: _Past) -> dict[str, np.ndarray]:
    """Frost, warm spells and changes of air mass, which snow on panels, heating and cooling follow."""
    highest = -past.lowest(-temperature, 24)
    lowest = past.lowest(temperature, 24)
    return {
        "warmth_frost": np.maximum(-temperature, 0.0),
        "warmth_low24h": lowest,
        "warmth_range24h": highest - lowest,
        "warmth_mean72h": past.mean(temperature, 72),
        "warmth_above_mean24h": temperature - past.mean(temperature, 24),
        "warmth_change12h": temperature - past.lag(temperature, 12),
        "warmth_change24h": temperature - past.lag(temperature, 24),
    }


def _moving_air(wind: np.ndarray, past: _Past) -> dict[str, np.ndarray]:
    """Shapes of a fleet's power curve: cubic at first, saturated from about 6 m/s at 10 m on, and the hour to come.

    The power curve of many turbines is that of one, smoothed (Nørgaard and Holttinen, "A multi-turbine power curve
    approach", Nordic Wind Power Conference (2004)); wind goes on as in the hour before, to first order.
    """
    onward = np.maximum(2 * wind - past.lag(wind, 1), 0.0)
    return {
        "wind_squared": wind**2,
        "wind_cubed_mean3h": past.mean(wind**3, 3),
        "wind_cubed_mean6h": past.mean(wind**3, 6),
        "wind_saturated": 1 / (1 + np.exp(-(wind - 6.0) / 1.3)),
        "wind_onward": onward,
        "wind_onward_cubed": onward**3,
    }


def _stability(wind: np.ndarray, radiation: np.ndarray, sine: np.ndarray) -> dict[str, np.ndarray]:
    """Wind by day and by night: warm ground mixes the air, so at hub height less is added to the wind at 10 m.

    Stull, "An Introduction to Boundary Layer Meteorology" (1988), section 1.6: the residual layer and the nocturnal jet.
    """
    return {
        "wind_by_radiation": wind * radiation / 300,
        "wind_at_night": wind * (radiation < 1.0),
        "wind_by_sun": wind * sine,
    }


def _lagged(seconds: np.ndarray, values: np.ndarray, lag_s: int) -> np.ndarray:
    """`values` of `lag_s` seconds earlier, or the row's own where that row is not in the table."""
    at = np.searchsorted(seconds, seconds - lag_s)
    return np.where(seconds[at] == seconds - lag_s, values[at], values)


def _mean_of_last(seconds: np.ndarray, values: np.ndarray, span_s: int) -> np.ndarray:
    """Mean of the rows of the last `span_s` seconds, the row's own included."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.searchsorted(seconds, seconds - span_s, side="right")
    return (sums[last] - sums[first]) / (last - first)


def _calendar(index: pd.DatetimeIndex, timezone: str) -> dict[str, np.ndarray]:
    seconds = index.as_unit("s").asi8
    day = 2 * np.pi * (seconds % 86_400) / 86_400
    year = 2 * np.pi * (seconds / 86_400 % DAYS_PER_YEAR) / DAYS_PER_YEAR
    columns = {}
    for k in DAILY_HARMONICS:
        columns |= {f"day_sin{k}": np.sin(k * day), f"day_cos{k}": np.cos(k * day)}
    for k in YEARLY_HARMONICS:
        columns |= {f"year_sin{k}": np.sin(k * year), f"year_cos{k}": np.cos(k * year)}
    columns["weekend"] = (index.tz_convert(timezone).day_of_week >= 5).astype(float)
    return columns
