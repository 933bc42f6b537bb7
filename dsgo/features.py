"""Features of a forecasting model: from timestamps and raw inputs to a matrix of numbers.

A row's features look at its own hour and at earlier rows of the same table only. Rows that a table does not have are
replaced by what is nearest: a lag that is missing takes the row's own value, a mean is taken over the rows that are there.
So one row alone has features too, and they are the better the more of the day before it comes along.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        return np.column_stack(list(self._columns(table).values()))

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features in the order of the matrix."""
        inputs = columns_of(self.info, "input")
        one = pd.DataFrame(0.0, index=pd.DatetimeIndex(["2000-01-01"], tz="UTC"), columns=inputs)
        return np.array(list(self._columns(one)))

    def _columns(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
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
        by_quantity = {self.info["columns"][name].get("quantity"): values for name, values in inputs.items()}
        location = self.info["location"]
        sine = sine_of_elevation(index, location["latitude"], location["longitude"])
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
