"""The served model: raw columns → features → regressor × level → physical limits → intervals.

One wrapper for every regressor, so that a linear model, a forest and a neural net differ only in what they should: how the
features become numbers. The regressor learns all targets at once, each divided by its level (growth) and its scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from dsgo.collection import columns_of
from dsgo.errors import DataError
from dsgo.features import Features
from dsgo.hours import Hours
from dsgo.intervals import Intervals, fit_intervals
from dsgo.level import Level, constant_level, fit_level
from dsgo.quick import quick
from dsgo.tables import check_inputs

FORECAST, P10, P90 = "forecast", "p10", "p90"
CONSTANT = "constant"  # `level` of a dataset whose targets do not grow, or are learned from too short a time to tell
HEADROOM = 1.05  # above the largest share of the level ever recorded: a record may be broken, by a little
WEEK_S = 7 * 86_400
YEAR_S = 365.2425 * 86_400
TWILIGHT = (
    0.02  # sine of elevation below darkness whose rows a regressor still learns from, so that it ends there smoothly
)
SEASON = (  # features by which the level's linear fit lets the effect of each input change
    "year_cos1",
    "year_sin2",
    "year_cos2",
    "weekend",
    "sun",
    "sun_up",
    "clear_sky_W_m2",
    "wind_cubed",
    "clear_sky_index",
    "diffuse_share",
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
        hours = Hours(table.index, self.info)
        matrix = self.features.matrix(hours, table[self.inputs].to_numpy(dtype=float))
        self.scaler = StandardScaler().fit(matrix)
        features, names = self._scale_in_place(matrix), self.features.get_feature_names_out()
        design = _level_design(table[self.inputs].to_numpy(), features[:, : self.features.plain], names)
        recorded = table[self.targets].to_numpy()
        fit = constant_level if self.info.get("level") == CONSTANT else fit_level
        self.levels: list[Level] = [fit(table.index, recorded[:, i], design) for i in range(len(self.targets))]
        levels = self._level_at(table.index)
        relative = recorded / levels
        self.scale = relative.std(axis=0)
        self.most = relative.max(axis=0) * HEADROOM
        self.dark_below = {
            target: _dark_below(hours.sine, recorded[:, i])
            for i, target in enumerate(self.targets)
            if self._spec(target).get("dark_at_night")
        }
        regressor = self._fitted(features, relative / self.scale, levels, hours)
        if "n_jobs" in regressor.get_params(deep=False):  # threads help to train; starting them delays an answer
            regressor.set_params(n_jobs=1)
        self.regressor = quick(regressor)
        self.telling = np.array([_tells_difficulty(n, self.inputs) for n in names])
        self.trained_from, self.trained_to = table.index[0], table.index[-1]
        self.intervals = {}
        return self

    def calibrate(self, predictions: pd.DataFrame, table: pd.DataFrame) -> Forecaster:
        """Set the intervals from out-of-sample predictions.

        Args:
            predictions: index `utc_timestamp`; `T`, `T_forecast` and `T_level` of forecasters that had not seen these rows.
            table: rows with the inputs of at least those hours.
        """
        needed = self._features(Hours(table.index, self.info), table[self.inputs].to_numpy(dtype=float))
        features = needed[np.ix_(table.index.get_indexer(predictions.index), self.telling)]
        hours = Hours(predictions.index, self.info)
        weeks = hours.seconds // WEEK_S
        for i, target in enumerate(self.targets):
            unit = predictions[f"{target}_level"].to_numpy() * self.scale[i]
            forecast = predictions[f"{target}_{FORECAST}"].to_numpy() / unit
            error = predictions[target].to_numpy() / unit - forecast
            awake = ~self._dark(target, hours)  # at night the forecast is certain, no day is
            self.intervals[target] = fit_intervals(forecast[awake], error[awake], features[awake], weeks[awake])
        return self

    def forecast(self, table: pd.DataFrame) -> pd.DataFrame:
        """Forecasts of every row.

        Args:
            table: inputs with the sorted, unique index `utc_timestamp`.

        Returns:
            Same index; for each target `T_forecast`, `T_level` and, once calibrated, `T_p10` and `T_p90`.
        """
        hours = Hours(table.index, self.info)
        return pd.DataFrame(
            self._answer(self._features(hours, table[self.inputs].to_numpy(float)), hours), index=table.index
        )

    def forecast_from(self, matrix: np.ndarray, index: pd.DatetimeIndex) -> pd.DataFrame:
        """The same from features that are there already, shape (n, features), of the hours `index`, shape (n,)."""
        return pd.DataFrame(self._answer(self._scale_in_place(matrix.copy()), Hours(index, self.info)), index=index)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answer a request: `utc_timestamp` and the inputs, rows in any order.

        Returns:
            `T`, `T_p10`, `T_p90` for each target, in the order of the rows given.

        Raises:
            DataError: names column and row of what cannot be used, or of hours that come twice with different inputs.
        """
        index, inputs = check_inputs(frame, self.info)
        order = slice(None)
        moments = index.asi8
        if (moments[1:] <= moments[:-1]).any():
            order = np.argsort(moments, kind="stable")
            index, inputs, moments = index[order], inputs[order], moments[order]
        new = np.concatenate([[True], moments[1:] != moments[:-1]])
        if not new.all():
            self._refuse_contradictions(index, inputs, order)
            index, inputs = index[new], inputs[new]
        hours = Hours(index, self.info)
        answer = self._answer(self._features(hours, inputs), hours)
        values = np.empty((len(frame), 3 * len(self.targets)))
        values[order] = np.column_stack([answer[c] for t in self.targets for c in _columns(t)])[np.cumsum(new) - 1]
        return pd.DataFrame(values, columns=_answer_names(tuple(self.targets)), index=frame.index)

    def _features(self, hours: Hours, inputs: np.ndarray) -> np.ndarray:
        """What the regressor is asked with, of hours and the values of the inputs, shape (n, inputs)."""
        return self._scale_in_place(self.features.matrix(hours, inputs))

    def _scale_in_place(self, matrix: np.ndarray) -> np.ndarray:
        # StandardScaler.transform looks for NaN first and copies, which takes longer than all else that is done to a row.
        matrix -= self.scaler.mean_
        matrix /= self.scaler.scale_
        return matrix

    def _answer(self, features: np.ndarray, hours: Hours) -> dict[str, np.ndarray]:
        """The columns of `forecast`."""
        levels = self._level_at(hours.index)
        points = self._points(features, hours, levels)
        telling = features[:, self.telling]
        columns = {}
        for i, target in enumerate(self.targets):
            point = points[:, i]
            columns[f"{target}_{FORECAST}"] = point
            columns[f"{target}_level"] = levels[:, i]
            if target in self.intervals:
                centre = point / (levels[:, i] * self.scale[i])
                low, high = self.intervals[target].around(centre, telling)
                dark = self._dark(target, hours)
                columns[f"{target}_{P10}"] = np.minimum(self._limited(i, levels[:, i], dark, low), point)
                columns[f"{target}_{P90}"] = np.maximum(self._limited(i, levels[:, i], dark, high), point)
        return columns

    def _points(self, features: np.ndarray, hours: Hours, levels: np.ndarray) -> np.ndarray:
        """The forecasts alone, shape (n, targets)."""
        relative = np.asarray(self.regressor.predict(features), dtype=float).reshape(len(features), -1)
        return np.column_stack(
            [self._limited(i, levels[:, i], self._dark(t, hours), relative[:, i]) for i, t in enumerate(self.targets)]
        )

    def _fitted(self, features: np.ndarray, relative: np.ndarray, levels: np.ndarray, hours: Hours) -> BaseEstimator:
        """The regressor, trained; with `weights` (n, targets) and `ages` (n,) if its `fit` takes them.

        An error of the relative value is one of level × error in the target's unit, so squares count level² times. Hours
        when the sun is certainly down count nothing: their answer is 0 anyway. A row's age is in years to the last.
        """
        regressor, known = clone(self.regressor), {}
        if has_fit_parameter(regressor, "ages"):
            known["ages"] = (hours.seconds[-1] - hours.seconds) / YEAR_S
        if not has_fit_parameter(regressor, "weights"):
            return regressor.fit(features, relative, **known)
        weights = levels**2
        for i, target in enumerate(self.targets):
            if target in self.dark_below:
                weights[hours.sine < self.dark_below[target] - TWILIGHT, i] = 0.0
        return regressor.fit(features, relative, weights=weights, **known)

    def _refuse_contradictions(self, index: pd.DatetimeIndex, values: np.ndarray, order: np.ndarray | slice) -> None:
        same_hour = index[1:] == index[:-1]
        differs = same_hour & (values[1:] != values[:-1]).any(axis=1)
        if differs.any():
            at = int(np.argmax(differs)) + 1
            before, again = np.arange(len(index))[order][[at - 1, at]] + 1
            raise DataError(
                "request",
                f"the hour {index[at].isoformat()} is already in row {before}, with other values.",
                "Send each hour once.",
                column=self.info["timestamp"],
                row=int(again),
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

    def _dark(self, target: str, hours: Hours) -> np.ndarray:
        if target not in self.dark_below:
            return np.zeros(len(hours.seconds), dtype=bool)
        return hours.sine < self.dark_below[target]


def _tells_difficulty(feature: str, inputs: list[str]) -> bool:
    """Whether the size of an error may depend on a feature: what the hour is, not the season, seen once or twice."""
    return feature in (*inputs, "sun", "clear_sky_index", "diffuse_share", "calendar_rest")


@cache
def _answer_names(targets: tuple[str, ...]) -> pd.Index:
    """Of the columns of `predict`: to make an index of them takes a third as long as to forecast an hour."""
    return pd.Index([f"{t}{end}" for t in targets for end in ("", f"_{P10}", f"_{P90}")])


def _columns(target: str) -> list[str]:
    return [f"{target}_{name}" for name in (FORECAST, P10, P90)]


def _dark_below(sine: np.ndarray, values: np.ndarray) -> float:
    """Sine of the sun's elevation below which (almost) nothing was ever recorded; a country is wider than one place."""
    shining = sine[values > DARK_SHARE * values.max()]
    return float(min(np.quantile(shining, 1e-3), 0.0)) if len(shining) else 1.0


def _level_design(inputs: np.ndarray, features: np.ndarray, names: np.ndarray) -> np.ndarray:
    """What the level's linear fit uses: plain features, and each input bent by splines and multiplied with others and the season.

    Args:
        inputs: as recorded, shape (n, inputs).
        features: the plain ones, standardised, shape (n, k).
        names: of all features; the plain ones come first.
    """
    bent = SplineTransformer(6, extrapolation="linear").fit_transform(inputs)
    scaled = StandardScaler().fit_transform(inputs)
    season = features[:, np.isin(names[: features.shape[1]], SEASON)]
    products = [scaled[:, [i]] * np.column_stack([scaled[:, i:], season]) for i in range(scaled.shape[1])]
    return np.column_stack([features, bent, *products])
