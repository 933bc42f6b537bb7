"""The served model: raw columns → features → regressor × level → physical limits → intervals.

One wrapper for every regressor, so that a linear model, a forest and a neural net differ only in what they should: how the
features become numbers. The regressor learns all targets at once, each divided by its level (growth) and its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from dsgo.collection import columns_of
from dsgo.errors import DataError
from dsgo.features import Features
from dsgo.intervals import Intervals, fit_intervals
from dsgo.level import Level, fit_level
from dsgo.sun import sine_of_elevation
from dsgo.tables import check_inputs

FORECAST, P10, P90 = "forecast", "p10", "p90"
HEADROOM = 1.05  # above the largest share of the level ever recorded: a record may be broken, by a little
WEEK_S = 7 * 86_400
YEAR_S = 365.2425 * 86_400
TWILIGHT = (
    0.02  # sine of elevation below darkness whose rows a regressor still learns from, so that it ends there smoothly
)
DARK_SHARE = 1e-3  # a share of the scale below which a recorded value counts as nothing


class Forecaster:
    """A regressor with all that makes its numbers forecasts.

    Args:
        info: `Dataset.info`: schema, location, frequency, and where the data came from.
        regressor: a scikit-learn regressor that takes (n, features) and (n, targets).
    """

    def __init__(self, info: Mapping[str, Any], regressor: BaseEstimator) -> None:
        self.info = dict(info)
        self.regressor = regressor
        self.targets = columns_of(info, "target")
        self.inputs = columns_of(info, "input")
        self.features = Features(self.info)
        self.intervals: dict[str, Intervals] = {}

    def fit(self, table: pd.DataFrame) -> Forecaster:
        """Learn from `table` (index `utc_timestamp`; inputs and targets), all of it."""
        matrix = self.features.transform(table)
        self.scaler = StandardScaler().fit(matrix)
        design = _level_design(table[self.inputs], self.scaler.transform(matrix)[:, : self.features.plain])
        recorded = table[self.targets].to_numpy()
        self.levels: list[Level] = [fit_level(table.index, recorded[:, i], design) for i in range(len(self.targets))]
        relative = recorded / self._level_at(table.index)
        self.scale = relative.std(axis=0)
        self.most = relative.max(axis=0) * HEADROOM
        self.dark_below = {
            t: _dark_below(table, t, self.info) for t in self.targets if self._spec(t).get("dark_at_night")
        }
        self.regressor = self._fitted(self.scaler.transform(matrix), relative / self.scale, table.index)
        if "n_jobs" in self.regressor.get_params(deep=False):  # threads help to train; starting them delays an answer
            self.regressor.set_params(n_jobs=1)
        self.telling = np.array([_tells_difficulty(n, self.inputs) for n in self.features.get_feature_names_out()])
        self.trained_from, self.trained_to = table.index[0], table.index[-1]
        self.intervals = {}
        return self

    def calibrate(self, predictions: pd.DataFrame, table: pd.DataFrame) -> Forecaster:
        """Set the intervals from out-of-sample predictions.

        Args:
            predictions: index `utc_timestamp`; `T`, `T_forecast` and `T_level` of forecasters that had not seen these rows.
            table: rows with the inputs of at least those hours.
        """
        features = pd.DataFrame(self.scaler.transform(self.features.transform(table)), index=table.index)
        features = features.loc[predictions.index].to_numpy()[:, self.telling]
        weeks = predictions.index.as_unit("s").asi8 // WEEK_S
        for i, target in enumerate(self.targets):
            unit = predictions[f"{target}_level"].to_numpy() * self.scale[i]
            forecast = predictions[f"{target}_{FORECAST}"].to_numpy() / unit
            error = predictions[target].to_numpy() / unit - forecast
            awake = ~self._dark(target, predictions.index)  # at night the forecast is certain, no day is
            self.intervals[target] = fit_intervals(forecast[awake], error[awake], features[awake], weeks[awake])
        return self

    def forecast(self, table: pd.DataFrame) -> pd.DataFrame:
        """Forecasts of every row.

        Args:
            table: inputs with the sorted, unique index `utc_timestamp`.

        Returns:
            Same index; for each target `T_forecast`, `T_level` and, once calibrated, `T_p10` and `T_p90`.
        """
        return self.forecast_from(self.features.transform(table), table.index)

    def forecast_from(self, matrix: np.ndarray, index: pd.DatetimeIndex) -> pd.DataFrame:
        """The same from features that are there already, shape (n, features), of the hours `index`, shape (n,)."""
        features = self.scaler.transform(matrix)
        relative = np.asarray(self.regressor.predict(features), dtype=float).reshape(len(index), -1)
        levels = self._level_at(index)
        columns = {}
        for i, target in enumerate(self.targets):
            limited = partial(self._limited, i, levels[:, i], self._dark(target, index))
            point = limited(relative[:, i])
            columns[f"{target}_{FORECAST}"] = point
            columns[f"{target}_level"] = levels[:, i]
            if target in self.intervals:
                centre = point / (levels[:, i] * self.scale[i])
                low, high = self.intervals[target].around(centre, features[:, self.telling])
                columns[f"{target}_{P10}"] = np.minimum(limited(low), point)
                columns[f"{target}_{P90}"] = np.maximum(limited(high), point)
        return pd.DataFrame(columns, index=index)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answer a request: `utc_timestamp` and the inputs, rows in any order.

        Returns:
            `T`, `T_p10`, `T_p90` for each target, in the order of the rows given.

        Raises:
            DataError: names column and row of what cannot be used, or of hours that come twice with different inputs.
        """
        checked = check_inputs(frame, self.info)
        time = self.info["timestamp"]
        order = np.argsort(pd.DatetimeIndex(checked[time]).asi8, kind="stable")  # to_numpy() would make objects of them
        ordered = checked.iloc[order].set_index(time)
        again = ordered.index.duplicated()
        if again.any():
            self._refuse_contradictions(ordered, order)
        forecasts = self.forecast(ordered[~again])
        names = {f"{t}_{FORECAST}": t for t in self.targets}
        wanted = [c for t in self.targets for c in (f"{t}_{FORECAST}", f"{t}_{P10}", f"{t}_{P90}")]
        values = forecasts[wanted].to_numpy()[np.cumsum(~again) - 1]
        answer = np.empty_like(values)
        answer[order] = values
        return pd.DataFrame(answer, columns=[names.get(c, c) for c in wanted], index=frame.index)

    def _fitted(self, features: np.ndarray, relative: np.ndarray, index: pd.DatetimeIndex) -> BaseEstimator:
        """The regressor, trained; with `weights` (n, targets) and `ages` (n,) if its `fit` takes them.

        An error of the relative value is one of level × error in the target's unit, so squares count level² times. Hours
        when the sun is certainly down count nothing: their answer is 0 anyway. A row's age is in years to the last.
        """
        regressor, known = clone(self.regressor), {}
        if has_fit_parameter(regressor, "ages"):
            known["ages"] = np.asarray((index[-1] - index).total_seconds()) / YEAR_S
        if not has_fit_parameter(regressor, "weights"):
            return regressor.fit(features, relative, **known)
        weights = self._level_at(index) ** 2
        for i, target in enumerate(self.targets):
            if target in self.dark_below:
                weights[_sine(index, self.info) < self.dark_below[target] - TWILIGHT, i] = 0.0
        return regressor.fit(features, relative, weights=weights, **known)

    def _refuse_contradictions(self, ordered: pd.DataFrame, order: np.ndarray) -> None:
        values = ordered[self.inputs].to_numpy()
        same_hour = ordered.index[1:] == ordered.index[:-1]
        differs = same_hour & (values[1:] != values[:-1]).any(axis=1)
        if differs.any():
            at = int(np.argmax(differs)) + 1
            raise DataError(
                "request",
                f"the hour {ordered.index[at].isoformat()} is already in row {order[at - 1] + 1}, with other values.",
                "Send each hour once.",
                column=self.info["timestamp"],
                row=int(order[at]) + 1,
            )

    def _limited(self, target: int, level: np.ndarray, dark: np.ndarray, relative: np.ndarray) -> np.ndarray:
        """What the regressor says (divided by level and scale) in the target's unit, within what is physically possible."""
        least = self._spec(self.targets[target])["minimum"]
        values = np.clip(relative * level * self.scale[target], least, self.most[target] * level)
        return np.where(dark, 0.0, values)

    def _level_at(self, index: pd.DatetimeIndex) -> np.ndarray:
        return np.column_stack([level.at(index) for level in self.levels])

    def _spec(self, target: str) -> Mapping[str, Any]:
        return self.info["columns"][target]

    def _dark(self, target: str, index: pd.DatetimeIndex) -> np.ndarray:
        if target not in self.dark_below:
            return np.zeros(len(index), dtype=bool)
        return _sine(index, self.info) < self.dark_below[target]


def _tells_difficulty(feature: str, inputs: list[str]) -> bool:
    """Whether the size of an error may depend on a feature: what the hour is, not the season, seen once or twice."""
    return feature in (*inputs, "sun", "clear_sky_index", "diffuse_share")


def _sine(index: pd.DatetimeIndex, info: Mapping[str, Any]) -> np.ndarray:
    return sine_of_elevation(index, info["location"]["latitude"], info["location"]["longitude"])


def _dark_below(table: pd.DataFrame, target: str, info: Mapping[str, Any]) -> float:
    """Sine of the sun's elevation below which (almost) nothing was ever recorded; a country is wider than one place."""
    sine, values = _sine(table.index, info), table[target].to_numpy()
    shining = sine[values > DARK_SHARE * values.max()]
    return float(min(np.quantile(shining, 1e-3), 0.0)) if len(shining) else 1.0


def _level_design(inputs: pd.DataFrame, features: np.ndarray) -> np.ndarray:
    """What the level's linear fit uses: all features, and each input bent by splines and multiplied with each other."""
    bent = SplineTransformer(6, extrapolation="linear").fit_transform(inputs.to_numpy())
    scaled = StandardScaler().fit_transform(inputs.to_numpy())
    season = features[:, -10:]
    products = [scaled[:, [i]] * np.column_stack([scaled[:, i:], season]) for i in range(scaled.shape[1])]
    return np.column_stack([features, bent, *products])
