"""Features of a forecasting model: from timestamps and raw inputs to a matrix of numbers.

A row's features look at its own hour and at earlier rows of the same table only; in a collection whose inputs are known ahead
(`inputs_known_ahead`), at inputs of later rows, too, never at targets. Rows that a table does not have are
replaced by what is nearest: a lag that is missing takes the row's own value, a mean is taken over the rows that are there.
So one row alone has features too, and they are the better the more of the days around it comes along.

The plain features are the inputs, their windows, clock and sun. The shaped ones follow them: what the weather does to panels
and turbines (`dsgo.weather_power`), and, in a collection with a calendar, what people do (`dsgo.demand`), for inputs of the
quantities that they need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from dsgo import demand, weather_power
from dsgo.collection import columns_of
from dsgo.hours import DAY_S, SATURDAY, Hours
from dsgo.past import Past

LAGS = (1, 2, 3)  # rows before
MEANS_HOURS = (3, 6, 24)
DAILY_HARMONICS = (1, 2, 3)
LOCAL_HARMONICS = (1, 2, 3, 4, 5, 6)  # of how people live: mornings and evenings are steeper than the sun's
YEARLY_HARMONICS = (1, 2)
DAYS_PER_YEAR = 365.2425


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
        return self.matrix(Hours(table.index, self.info), table[columns_of(self.info, "input")].to_numpy(dtype=float))

    def matrix(self, hours: Hours, inputs: np.ndarray) -> np.ndarray:
        """The same from hours, sorted and unique, and the inputs' values, shape (n, inputs)."""
        columns = self._columns(hours, inputs)
        matrix = np.empty((len(inputs), len(columns)), order="F")  # written by columns, and most of it is read by them
        for place, values in enumerate(columns.values()):
            matrix[:, place] = values
        return matrix

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features in the order of the matrix."""
        return np.array(list(self._columns(*self._one_row())))

    @property
    def plain(self) -> int:
        """How many features are plain: the first ones of the matrix."""
        hours, inputs = self._one_row()
        return len(self._plain(hours, self._by_name(inputs), Past(hours.seconds)))

    def _one_row(self) -> tuple[Hours, np.ndarray]:
        index = pd.DatetimeIndex(["2000-01-01"], tz="UTC")
        return Hours(index, self.info), np.zeros((1, len(columns_of(self.info, "input"))))

    def _columns(self, hours: Hours, inputs: np.ndarray) -> dict[str, np.ndarray]:
        named, past = self._by_name(inputs), Past(hours.seconds)
        plain = self._plain(hours, named, past)
        return plain | self._shaped(hours, self._by_quantity(named), past, plain)

    def _plain(self, hours: Hours, inputs: Mapping[str, np.ndarray], past: Past) -> dict[str, np.ndarray]:
        step_s = int(pd.Timedelta(self.info["frequency"]).total_seconds())
        together = np.array(list(inputs.values()))
        lagged = [past.lag(together, lag * step_s) for lag in LAGS]
        means = past.means(together, MEANS_HOURS)
        columns: dict[str, np.ndarray] = {}
        for i, name in enumerate(inputs):
            columns[name] = together[i]
            columns |= {f"{name}_lag{lag}": values[i] for lag, values in zip(LAGS, lagged, strict=True)}
            columns |= {f"{name}_mean{span}h": values[i] for span, values in zip(MEANS_HOURS, means, strict=True)}
        columns |= _clock(hours, by_local_time="calendar" in self.info)
        columns |= {"sun": hours.sine, "sun_up": np.maximum(hours.sine, 0.0), "clear_sky_W_m2": hours.clear_sky_W_m2}
        columns |= weather_power.plain(self._by_quantity(inputs), hours)
        return columns

    def _shaped(
        self, hours: Hours, given: Mapping[str, np.ndarray], past: Past, plain: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        columns = {"utc_offset_h": hours.offset_s / 3600}
        if "temperature" in given:
            columns |= _spells_of_warmth(given["temperature"], past)
        columns |= weather_power.shaped(given, plain, hours, past)
        if "calendar" in self.info:
            columns |= demand.shaped(given, hours, past, self.info)
        return columns

    def _by_name(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(columns_of(self.info, "input"), np.asfortranarray(inputs).T, strict=True))

    def _by_quantity(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {self.info["columns"][name].get("quantity"): values for name, values in inputs.items()}


def group_of(feature: str, info: Mapping[str, Any]) -> str:
    """What a feature is about: `year`, `week`, `day`, `calendar`, `sky`, `sky_past`, or the quantity of the input it comes from.

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
    "calendar_": "calendar",
    "demand_": "demand_day_before",
}


def _spells_of_warmth(temperature: np.ndarray, past: Past) -> dict[str, np.ndarray]:
    """Frost, warm spells and changes of air mass, which snow on panels, heating and cooling follow."""
    highest = -past.lowest(-temperature, 24)
    lowest = past.lowest(temperature, 24)
    mean24h, mean72h = past.means(temperature, (24, 72))
    return {
        "warmth_frost": np.maximum(-temperature, 0.0),
        "warmth_low24h": lowest,
        "warmth_range24h": highest - lowest,
        "warmth_mean72h": mean72h,
        "warmth_above_mean24h": temperature - mean24h,
        "warmth_change12h": temperature - past.lag(temperature, 12 * 3600),
        "warmth_change24h": temperature - past.lag(temperature, 24 * 3600),
    }


def _clock(hours: Hours, by_local_time: bool) -> dict[str, np.ndarray]:
    """Time of day and year, smooth and periodic. By local time where people decide what is forecast, not the sun."""
    seconds, harmonics = (hours.local_s, LOCAL_HARMONICS) if by_local_time else (hours.seconds, DAILY_HARMONICS)
    day = 2 * np.pi * (seconds % DAY_S) / DAY_S
    year = 2 * np.pi * (hours.seconds / DAY_S % DAYS_PER_YEAR) / DAYS_PER_YEAR
    columns = {}
    for k in harmonics:
        columns |= {f"day_sin{k}": np.sin(k * day), f"day_cos{k}": np.cos(k * day)}
    for k in YEARLY_HARMONICS:
        columns |= {f"year_sin{k}": np.sin(k * year), f"year_cos{k}": np.cos(k * year)}
    columns["weekend"] = (hours.day_of_week >= SATURDAY).astype(float)
    return columns
