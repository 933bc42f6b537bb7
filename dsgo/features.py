"""Features of a forecasting model: from timestamps and raw inputs to a matrix of numbers.

A row's features look at its own hour and at earlier rows of the same table only. Rows that a table does not have are
replaced by what is nearest: a lag that is missing takes the row's own value, a mean is taken over the rows that are there.
So one row alone has features too, and they are the better the more of the day before it comes along.

The plain features are the inputs, their windows, calendar and sun. The shaped ones follow them and say what the weather
does to panels and turbines, for inputs of the quantities that they need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from dsgo.collection import columns_of
from dsgo.hours import DAY_S, SATURDAY, Hours

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
        return len(self._plain(hours, self._by_name(inputs), _Past(hours.seconds)))

    def _one_row(self) -> tuple[Hours, np.ndarray]:
        index = pd.DatetimeIndex(["2000-01-01"], tz="UTC")
        return Hours(index, self.info), np.zeros((1, len(columns_of(self.info, "input"))))

    def _columns(self, hours: Hours, inputs: np.ndarray) -> dict[str, np.ndarray]:
        named, past = self._by_name(inputs), _Past(hours.seconds)
        plain = self._plain(hours, named, past)
        return plain | self._shaped(hours, self._by_quantity(named), past, plain)

    def _plain(self, hours: Hours, inputs: Mapping[str, np.ndarray], past: _Past) -> dict[str, np.ndarray]:
        step_s = int(pd.Timedelta(self.info["frequency"]).total_seconds())
        together = np.array(list(inputs.values()))
        lagged = [past.lag(together, lag * step_s) for lag in LAGS]
        means = past.means(together, MEANS_HOURS)
        columns: dict[str, np.ndarray] = {}
        for i, name in enumerate(inputs):
            columns[name] = together[i]
            columns |= {f"{name}_lag{lag}": values[i] for lag, values in zip(LAGS, lagged, strict=True)}
            columns |= {f"{name}_mean{span}h": values[i] for span, values in zip(MEANS_HOURS, means, strict=True)}
        columns |= _calendar(hours)
        columns |= self._physics(hours, self._by_quantity(inputs))
        return columns

    def _physics(self, hours: Hours, by_quantity: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        clear = hours.clear_sky_W_m2
        columns = {"sun": hours.sine, "sun_up": np.maximum(hours.sine, 0.0), "clear_sky_W_m2": clear}
        if (wind := by_quantity.get("wind_speed")) is not None:
            columns["wind_cubed"] = wind**3  # the power in moving air
        direct, diffuse = by_quantity.get("radiation_direct"), by_quantity.get("radiation_diffuse")
        if direct is not None and diffuse is not None:
            total = direct + diffuse
            columns["clear_sky_index"] = np.where(clear > DIM_W_M2, total / np.maximum(clear, DIM_W_M2), 0.0)
            columns["diffuse_share"] = np.where(total > DIM_W_M2, diffuse / np.maximum(total, DIM_W_M2), 1.0)
        return columns

    def _shaped(
        self, hours: Hours, given: Mapping[str, np.ndarray], past: _Past, plain: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        wind, temperature = given.get("wind_speed"), given.get("temperature")
        direct, diffuse = given.get("radiation_direct"), given.get("radiation_diffuse")
        columns = {"utc_offset_h": hours.offset_s / 3600}
        if temperature is not None:
            columns |= _spells_of_warmth(temperature, past)
        if wind is not None:
            cubed = plain["wind_cubed"]
            columns |= _moving_air(wind, cubed, past)
            if temperature is not None:
                density = PRESSURE_PA / (GAS_CONSTANT_OF_DRY_AIR * (temperature + KELVIN))
                columns["wind_power_density"] = density * cubed / 2
        if direct is not None and diffuse is not None:
            columns |= _radiation_of_the_hour(direct, diffuse, temperature, hours, past)
            if wind is not None:
                columns |= _stability(wind, direct + diffuse, hours.sine)
        return columns

    def _by_name(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(columns_of(self.info, "input"), np.asfortranarray(inputs).T, strict=True))

    def _by_quantity(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {self.info["columns"][name].get("quantity"): values for name, values in inputs.items()}


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


@dataclass(frozen=True)
class _Past:
    """Windows that end with each row, over the rows that are there. What rows they hold is found once for all inputs."""

    seconds: np.ndarray
    _found: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def lag(self, values: np.ndarray, lag_s: int) -> np.ndarray:
        """`values`, shape (…, n), of `lag_s` seconds earlier, or the row's own where that row is not in the table."""
        return values[..., self._once("lag", lag_s, self._rows_before)]

    def means(self, values: np.ndarray, spans_hours: Sequence[int]) -> list[np.ndarray]:
        """Means of `values`, shape (…, n), over the rows of the last hours, the row's own included, for each span.

        A window is the sum of blocks whose lengths are powers of two. Differences of running sums would be quicker, but their
        last digits depend on the rows before the window, and a tree may split between such digits.
        """
        counts = [self._once("count", hours * 3600, self._counts) for hours in spans_hours]
        sums, ends = [np.zeros(values.shape) for _ in counts], [np.arange(1, values.shape[-1] + 1) for _ in counts]
        blocks, length = values, 1  # sums of so many rows, by the first
        while length <= max(count.max() for count in counts):
            for count, total, end in zip(counts, sums, ends, strict=True):
                rows = np.flatnonzero(count & length)
                if len(rows):
                    end[rows] -= length
                    total[..., rows] += blocks[..., end[rows]]
            blocks, length = blocks[..., :-length] + blocks[..., length:], 2 * length
        return [total / count for total, count in zip(sums, counts, strict=True)]

    def lowest(self, values: np.ndarray, hours: int) -> np.ndarray:
        """The least of the rows of the last hours, the row's own included.

        A window is covered by two that are as long as the largest power of two within it: one ends with it, one begins with it
        (Bender and Farach-Colton, "The LCA problem revisited", LATIN (2000), section 3: sparse tables).
        """
        first = self._once("first", hours * 3600, self._first_rows)
        count = self._once("count", hours * 3600, self._counts)
        lowest, answer, length = values, values.copy(), 1
        while length <= count.max():
            rows = np.flatnonzero((count >= length) & (count < 2 * length))
            answer[rows] = np.minimum(lowest[rows], lowest[first[rows] + length - 1])
            longer = lowest.copy()  # of twice the length; the first rows have no such window, and it is not asked for
            np.minimum(lowest[length:], lowest[:-length], out=longer[length:])
            lowest, length = longer, 2 * length
        return answer

    def _once(self, what: str, span_s: int, find: Callable[[int], np.ndarray]) -> np.ndarray:
        if (what, span_s) not in self._found:
            self._found[what, span_s] = find(span_s)
        return self._found[what, span_s]

    def _rows_before(self, lag_s: int) -> np.ndarray:
        at = np.searchsorted(self.seconds, self.seconds - lag_s)
        return np.where(self.seconds[at] == self.seconds - lag_s, at, np.arange(len(at)))

    def _first_rows(self, span_s: int) -> np.ndarray:
        return np.searchsorted(self.seconds, self.seconds - span_s, side="right")

    def _counts(self, span_s: int) -> np.ndarray:
        return np.arange(1, len(self.seconds) + 1) - self._once("first", span_s, self._first_rows)


def _radiation_of_the_hour(
    direct: np.ndarray, diffuse: np.ndarray, temperature: np.ndarray | None, hours: Hours, past: _Past
) -> dict[str, np.ndarray]:
    """Radiation brought to the middle of the hour, and what panels make of it.

    Clouds last longer than the sun stands still: the clear-sky index is carried from the hour of the weather to the row's
    (the day's own index where the sun is too low to tell), times the clear sky of the row (Lauret and others,
    "Verification of deterministic solar forecasts", Solar Energy 210 (2020), section 3.2: persistence of the index).
    Panels lose 0.4 % of their power a degree above 25 °C (usual for crystalline silicon), and are warmer than the air by
    (NOCT − 20 °C) / 800 W/m² for each W/m² (Ross, "Design techniques for flat-plate photovoltaic arrays", 15th IEEE Photovoltaic
    Specialists Conf. (1981)): 0.03 °C with a nominal operating cell temperature of 44 °C.
    """
    total = direct + diffuse
    sine, clear = hours.sine, hours.clear_sky_W_m2
    late, sine_then, clear_then = hours.of_weather
    mean24h, mean72h = past.means(total, (24, 72))
    (clear24h,) = past.means(clear_then, (24,))
    day = np.clip(mean24h / np.maximum(clear24h, 5.0), 0.0, BRIGHTEST_INDEX)
    told = clear_then > DIM_W_M2
    hour = np.where(told, np.clip(total / np.maximum(clear_then, DIM_W_M2), 0.0, BRIGHTEST_INDEX), day)
    before = past.lag(hour, 3600)
    ahead = hour * clear
    risen = np.clip((np.maximum(sine, 0) + 0.02) / (np.maximum(sine_then, 0) + 0.02), 0.0, 4.0)
    moved = np.where(late, risen, 1.0)
    columns = {
        "ahead_index": hour,
        "ahead_index_before": before,
        "ahead_W_m2": ahead,
        "ahead_direct_W_m2": np.minimum(direct * moved, 900 * np.maximum(sine, 0) ** 0.9 + 5),
        "ahead_diffuse_W_m2": np.minimum(diffuse * moved, 500.0),
        "ahead_trend_W_m2": np.clip(2 * hour - before, 0.0, BRIGHTEST_INDEX) * clear,
        "ahead_squared": ahead**2 / 1000,
        "past_sky_mean24h": mean24h,
        "past_sky_mean72h": mean72h,
        "past_sky_index24h": day,
    }
    if temperature is not None:
        columns["ahead_warm_W_m2"] = ahead * (1 - 0.004 * (temperature + 0.03 * ahead - 25.0))
    return columns


def _spells_of_warmth(temperature: np.ndarray, past: _Past) -> dict[str, np.ndarray]:
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


def _moving_air(wind: np.ndarray, cubed: np.ndarray, past: _Past) -> dict[str, np.ndarray]:
    """Shapes of a fleet's power curve: cubic at first, saturated from about 6 m/s at 10 m on, and the hour to come.

    The power curve of many turbines is that of one, smoothed (Nørgaard and Holttinen, "A multi-turbine power curve
    approach", Nordic Wind Power Conference (2004)); wind goes on as in the hour before, to first order.
    """
    onward = np.maximum(2 * wind - past.lag(wind, 3600), 0.0)
    mean3h, mean6h = past.means(cubed, (3, 6))
    return {
        "wind_squared": wind**2,
        "wind_cubed_mean3h": mean3h,
        "wind_cubed_mean6h": mean6h,
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


def _calendar(hours: Hours) -> dict[str, np.ndarray]:
    day = 2 * np.pi * (hours.seconds % DAY_S) / DAY_S
    year = 2 * np.pi * (hours.seconds / DAY_S % DAYS_PER_YEAR) / DAYS_PER_YEAR
    columns = {}
    for k in DAILY_HARMONICS:
        columns |= {f"day_sin{k}": np.sin(k * day), f"day_cos{k}": np.cos(k * day)}
    for k in YEARLY_HARMONICS:
        columns |= {f"year_sin{k}": np.sin(k * year), f"year_cos{k}": np.cos(k * year)}
    columns["weekend"] = (hours.day_of_week >= SATURDAY).astype(float)
    return columns
