"""Scores by regime: in which seasons, hours and kinds of weather a forecast can be trusted, and in which not.

Which regimes a collection has follows from its columns (`quantity`, `dark_at_night`). The values of a regime divide the
rows: each row has exactly one. Beside the model's interval stands one that has the same width at every hour, so that a
reader sees what is gained by knowing which hours are hard.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.evaluation import month_zone, score_target
from dsgo.features import Features
from dsgo.seasons import SEASONS
from dsgo.sun import sine_of_elevation
from dsgo.weather_power import DIM_W_M2

LOWER, UPPER = 0.10, 0.90  # what the intervals' ends are called after
CALM, STORM = 0.20, 0.95  # shares of the dataset's hours that are less windy
CLOUDY, CLEAR = 0.4, 0.8  # clear-sky index
FORECAST_BINS = 10
MEASURES = ("mae", "rmse", "bias", "naive_rmse", "skill", "coverage80", "width80", "pinball")
PARTS = ("forecast", "naive", "p10", "p90")
OF_INTERVALS = ("coverage80", "width80", "pinball")


@dataclass(frozen=True)
class Rows:
    """What a regime may look at: rows of out-of-sample predictions and their weather, for one target.

    Attributes:
        index: UTC time of each row.
        weather: the dataset's inputs and the model's features at these rows.
        all_weather: the same at every row of the dataset, to tell what is much.
        forecast: of the target, shape (n,).
        target: the target's entry in `columns`.
        info: the dataset's.
    """

    index: pd.DatetimeIndex
    weather: pd.DataFrame
    all_weather: pd.DataFrame
    forecast: np.ndarray
    target: Mapping[str, Any]
    info: Mapping[str, Any]

    def input_of(self, quantity: str) -> str:
        """Name of the input with this `quantity`; empty where the collection has none."""
        columns = self.info["columns"]
        return next((n for n in columns_of(self.info, "input") if columns[n].get("quantity") == quantity), "")

    @property
    def day(self) -> np.ndarray:
        """Whether the sun's centre is above the horizon."""
        location = self.info["location"]
        return sine_of_elevation(self.index, location["latitude"], location["longitude"]) > 0


@dataclass(frozen=True)
class Regime:
    """One way of dividing rows. `applies` to a collection and target or not; `divide` gives each row its value."""

    name: str
    applies: Callable[[Rows], bool]
    divide: Callable[[Rows], np.ndarray]


def _month(rows: Rows) -> np.ndarray:
    return rows.index.tz_convert(month_zone(rows.info)).strftime("%Y-%m").to_numpy(dtype=object)  # as the folds are


def _season(rows: Rows) -> np.ndarray:
    south = rows.info["location"]["latitude"] < 0
    return np.array(SEASONS, dtype=object)[(rows.index.month % 12 // 3 + 2 * south) % 4]


def _hour(rows: Rows) -> np.ndarray:
    return rows.index.tz_convert(rows.info["timezone"]).strftime("%H").to_numpy(dtype=object)


def _wind(rows: Rows) -> np.ndarray:
    name = rows.input_of("wind_speed")
    edges = np.quantile(rows.all_weather[name], [CALM, STORM])
    return np.array(["calm", "breeze", "storm"], dtype=object)[np.searchsorted(edges, rows.weather[name])]


def _sky(rows: Rows) -> np.ndarray:
    kinds = np.array(["cloudy", "mixed", "clear"], dtype=object)
    kind = kinds[np.searchsorted([CLOUDY, CLEAR], rows.weather["clear_sky_index"])]
    return np.where(rows.weather["clear_sky_W_m2"] > DIM_W_M2, kind, "dark")


def _forecast(rows: Rows) -> np.ndarray:
    some = rows.forecast > rows.target["minimum"]
    edges = np.quantile(rows.forecast[some], np.arange(1, FORECAST_BINS) / FORECAST_BINS) if some.any() else []
    tenths = np.array([f"tenth {number:02d}" for number in range(1, FORECAST_BINS + 1)], dtype=object)
    return np.where(some, tenths[np.searchsorted(edges, rows.forecast)], "least")


def _always(rows: Rows) -> bool:
    return True


def _dark_at_night(rows: Rows) -> bool:
    return bool(rows.target.get("dark_at_night"))


REGIMES = (
    Regime("all", _always, lambda rows: np.full(len(rows.index), "all", dtype=object)),
    Regime("season", _always, _season),
    Regime("month", _always, _month),
    Regime("hour", _always, _hour),
    Regime("forecast", _always, _forecast),
    Regime("daylight", _dark_at_night, lambda rows: np.where(rows.day, "day", "night").astype(object)),
    Regime("month by day", _dark_at_night, lambda rows: np.where(rows.day, _month(rows), "night")),
    Regime("wind", lambda rows: bool(rows.input_of("wind_speed")), _wind),
    Regime("sky", lambda rows: "clear_sky_index" in rows.weather, _sky),
)

# What of the window's table is logged as a metric `window.<target>.<measure>.<value>` too.
KEY_FIGURES = {"coverage80": ("season", "daylight", "wind"), "bias": ("season",)}


def score_regimes(
    spans: Mapping[str, pd.DataFrame], table: pd.DataFrame, info: Mapping[str, Any], errors_of: str = "backtest"
) -> pd.DataFrame:
    """Scores of every regime's every value.

    Args:
        spans: out-of-sample predictions by name of the span (`T`, `T_forecast`, `T_naive`, and perhaps `T_p10`, `T_p90`).
        table: the dataset's rows.
        info: the dataset's.
        errors_of: the span whose errors set the interval of constant width.

    Returns:
        One row for each `span`, `target`, `regime` and `value`: `n`, the mean `forecast`, the metrics of
        `score_predictions` in the target's unit, the shares of recorded values below p10, forecast and p90
        (`below_p10`, …), and `constant_coverage80|width80|pinball` of the interval of constant width. NaN where a span has
        no intervals or has set the constant one, and for the skill where the naive baseline makes no error.
    """
    weather = _weather(table, info)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")  # no row of a value has a naive baseline
        parts = [
            {"span": span, **scores}
            for span, predictions in spans.items()
            for scores in _score_span(predictions, spans[errors_of], weather, info)
        ]
    return pd.DataFrame(parts).replace([np.inf, -np.inf], np.nan)


def divide(
    predictions: pd.DataFrame, target: str, regimes: Sequence[str], table: pd.DataFrame, info: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Each row's value of those of the named `regimes` that apply to the target, by name, shape (n,) each.

    Args:
        predictions: as a span of `score_regimes`.
        table, info: the dataset's.
    """
    rows = _rows(predictions, target, _weather(table, info), info)
    return {regime.name: regime.divide(rows) for regime in REGIMES if regime.name in regimes and regime.applies(rows)}


def _weather(table: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    features = Features(info)
    weather = pd.DataFrame(features.transform(table), table.index, list(features.get_feature_names_out()))
    return weather.join(table[[name for name in columns_of(info, "input") if name not in weather]])


def _rows(predictions: pd.DataFrame, target: str, weather: pd.DataFrame, info: Mapping[str, Any]) -> Rows:
    return Rows(
        index=predictions.index,
        weather=weather.loc[predictions.index],
        all_weather=weather,
        forecast=predictions[f"{target}_forecast"].to_numpy(),
        target=info["columns"][target],
        info=info,
    )


def _score_span(
    predictions: pd.DataFrame, past: pd.DataFrame, weather: pd.DataFrame, info: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for target in columns_of(info, "target"):
        columns = [target, *(f"{target}_{part}" for part in PARTS if f"{target}_{part}" in predictions)]
        arrays = {name.removeprefix(f"{target}_"): predictions[name].to_numpy() for name in columns}
        arrays["recorded"] = arrays.pop(target)
        constant = {} if predictions is past else _constant_width(past, arrays, target)
        rows = _rows(predictions, target, weather, info)
        for regime in REGIMES:
            if not regime.applies(rows):
                continue
            for value, at in pd.Series(np.arange(len(predictions))).groupby(regime.divide(rows)).indices.items():
                scores = {"target": target, "regime": regime.name, "value": value, "n": len(at)}
                scores |= _scores({name: array[at] for name, array in arrays.items()})
                if constant:
                    others = score_target(**{name: array[at] for name, array in constant.items()}, full_scale=np.nan)
                    scores |= {f"constant_{measure}": others[measure] for measure in OF_INTERVALS}
                yield scores


def key_figures(scores: pd.DataFrame) -> dict[str, float]:
    """The few of the window's scores that are logged as metrics, so that runs can be compared by them."""
    window = scores[scores["span"] == "window"].set_index("value")
    metrics = {}
    for target, rows in window.groupby("target"):
        for measure, regimes in KEY_FIGURES.items():
            chosen = rows[rows["regime"].isin(regimes)][measure].dropna()
            metrics |= {f"window.{target}.{measure}.{value}": float(number) for value, number in chosen.items()}
        for measure in OF_INTERVALS:
            metrics[f"window.{target}.constant_{measure}"] = float(rows.loc["all", f"constant_{measure}"])
    return metrics


def _scores(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    metrics = score_target(**arrays, full_scale=np.nan)  # no measure that is asked for is a share of a scale
    scores = {"forecast": float(np.mean(arrays["forecast"]))}
    scores |= {measure: metrics[measure] for measure in MEASURES if measure in metrics}
    for name in ("p10", "forecast", "p90"):
        if name in arrays:
            scores[f"below_{name}"] = float(np.mean(arrays["recorded"] < arrays[name]))
    return scores


def _constant_width(past: pd.DataFrame, arrays: Mapping[str, np.ndarray], target: str) -> dict[str, np.ndarray]:
    """The same with an interval that lies around every forecast alike, from the quantiles of the past's errors."""
    low, high = np.quantile(past[target] - past[f"{target}_forecast"], [LOWER, UPPER])
    return {**arrays, "p10": arrays["forecast"] + low, "p90": arrays["forecast"] + high}
