"""What a forecast rests on: how much each group of features matters, and what it adds to single forecasts.

Features that say the same thing in several ways (an input, its lags and means) are taken together: shuffled one by one, each
would seem to be of no use, because the others still tell. A feature that is made from several groups (the clear-sky index,
from two radiations and the sun) belongs to each of them.

Everything is measured on the forecast as it is served, limits included, of rows that the model has not seen, and in the
target's unit. So it works for every regressor alike.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.inspection import permutation_importance

from dsgo.evaluation import score
from dsgo.forecaster import FORECAST, Forecaster

# Features that are made from the clock alone, by the first part of their name; others form a group of their own.
CLOCK = {"day": "time of day", "year": "time of year"}
SUN = "sun"
MOST_DAYS = 60  # drawn from the span, the same for every candidate
REPEATS = 3
ROWS = 60  # whose forecasts are taken apart
BACKGROUND = 16  # rows that stand for "not known"


@dataclass(frozen=True)
class Subject:
    """A model and rows on which to look at it.

    Attributes:
        targets: names of what it forecasts.
        groups: for each group's name which features belong to it, shape (features,).
        index: times of the rows, shape (n,).
        features: shape (n, features).
        recorded: shape (n, targets).
        forecast: from features, shape (m, features), and times, shape (m,), to forecasts, shape (m, targets).
    """

    targets: list[str]
    groups: dict[str, np.ndarray]
    index: pd.DatetimeIndex
    features: np.ndarray
    recorded: np.ndarray
    forecast: Callable[[np.ndarray, pd.DatetimeIndex], np.ndarray]


def subject(forecaster: Forecaster, table: pd.DataFrame, index: pd.DatetimeIndex) -> Subject:
    """The forecaster at the rows `index` of `table`, which also has the rows before them."""
    features = pd.DataFrame(forecaster.features.transform(table), table.index)
    names = [f"{target}_{FORECAST}" for target in forecaster.targets]

    without_intervals = copy(forecaster)
    without_intervals.intervals = {}

    def forecast(matrix: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
        return without_intervals.forecast_from(matrix, times)[names].to_numpy()

    return Subject(
        targets=forecaster.targets,
        groups=groups_of(forecaster, table.loc[index]),
        index=index,
        features=features.loc[index].to_numpy(),
        recorded=table.loc[index, forecaster.targets].to_numpy(),
        forecast=forecast,
    )


def groups_of(forecaster: Forecaster, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which features are made from which input, from the place of the sun, and from the clock.

    Found by trying: a feature is made from what changes it. `rows` should hold days and nights.
    """
    features = forecaster.features
    base = features.transform(rows)
    groups = {}
    for name in forecaster.inputs:
        changed = rows.assign(**{name: 1.1 * rows[name] + 1.0})
        groups[name] = (features.transform(changed) != base).any(axis=0)
    location = forecaster.info["location"]
    moved = {"latitude": location["latitude"] / 2, "longitude": location["longitude"] + 30.0}
    elsewhere = clone(features).set_params(info={**forecaster.info, "location": moved}).fit(rows)
    groups[SUN] = (elsewhere.transform(rows) != base).any(axis=0)
    of_clock = ~np.any(list(groups.values()), axis=0)
    for place, name in enumerate(features.get_feature_names_out()):
        if of_clock[place]:
            group = CLOCK.get(name.split("_")[0], str(name))
            groups.setdefault(group, np.zeros(len(of_clock), dtype=bool))[place] = True
    return {name: mask for name, mask in groups.items() if mask.any()}


def importance(model: Subject, seed: int = 0) -> pd.DataFrame:
    """How much the RMSE grows when one group's features are those of other days.

    Whole days are shuffled, each hour takes the same hour of another day: time within the day stays as it is, so that
    what is measured is what the group says beyond the hour. A group that is the same every day, such as the time of day
    itself, takes other hours instead, as if each day began earlier or later. (Breiman, "Random Forests", Machine Learning 45
    (2001), section 10; groups and blocks are ours.)

    Returns:
        One row for each target and group: `rmse_increase` (mean of the repeats) and `rmse_increase_sd` (their spread), in
        the target's unit.
    """
    days = model.index.normalize()
    drawn = np.random.default_rng(seed).permutation(days.unique())[:MOST_DAYS]
    chosen = days.isin(drawn)
    index, features, recorded = model.index[chosen], model.features[chosen], model.recorded[chosen]
    day, first = pd.factorize(index.normalize())
    hour, hours = pd.factorize(index - index.normalize())
    row_at = np.full((len(first), len(hours)), -1)
    row_at[day, hour] = np.arange(len(index))
    members = np.array(list(model.groups.values()))
    by_hour = pd.DataFrame(features).groupby(hour).nunique().max().to_numpy() == 1
    every_day_alike = (by_hour | ~members).all(axis=1)

    own = np.repeat(np.arange(len(first))[:, None], len(members), axis=1)

    def scores(_: object, donors: np.ndarray, __: object) -> dict[str, float]:
        """`donors`: for each day (row) and group (column) the day that the group's features come from."""
        shuffled = features.copy()
        for group in np.flatnonzero((donors != own).any(axis=0)):
            donor = donors[day, group]
            there = row_at[day, (hour + donor) % len(hours)] if every_day_alike[group] else row_at[donor, hour]
            there = np.where(there < 0, np.arange(len(index)), there)  # an hour that the other day lacks stays
            shuffled[:, members[group]] = features[there][:, members[group]]
        forecasts = model.forecast(shuffled, index)
        return {
            target: -score(recorded[:, i], forecasts[:, i], full_scale=1.0)["rmse"]
            for i, target in enumerate(model.targets)
        }

    found = permutation_importance(_Fitted(), own, None, scoring=scores, n_repeats=REPEATS, random_state=seed)
    return pd.DataFrame(
        {
            "target": target,
            "group": name,
            "rmse_increase": found[target].importances_mean[place],
            "rmse_increase_sd": found[target].importances_std[place],
        }
        for target in model.targets
        for place, name in enumerate(model.groups)
    )


class _Fitted:
    """What scikit-learn asks an estimator to look like; the scoring above brings the model."""

    def fit(self, X: object, y: object) -> _Fitted:
        """Nothing to fit."""
        return self


def contributions(model: Subject, seed: int = 0) -> pd.DataFrame:
    """What each group adds to single forecasts: Shapley values (as in SHAP), of whole groups.

    A forecast is compared with those that the model would make at the same time were all features taken from another row.
    Going from there to here, the groups take their own values one after the other, and the change of the forecast is
    credited to the one that has just taken them; a feature of several groups changes with the last of them. Credits are
    averaged over random orders, each forwards and backwards, and over the other rows (Štrumbelj and Kononenko, Knowledge
    and Information Systems 41 (2014) 647-665). For a linear model that is coefficient × (value − mean of the other rows).

    Returns:
        One row for each of some sampled times and target: `utc_timestamp`, `target`, `forecast`, `mean_forecast` (over the
        other rows), and one column for each group; these sum to `forecast` − `mean_forecast`.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(model.index), min(ROWS, len(model.index)), replace=False))
    others = rng.choice(len(model.index), min(BACKGROUND, len(model.index)), replace=False)
    members = np.array(list(model.groups.values()))
    count, times, here = len(members), model.index[rows], model.features[rows]
    credits = np.zeros((count, len(rows), len(model.targets)))
    means = np.zeros((len(rows), len(model.targets)))
    forecasts = model.forecast(here, times)
    for other in others:
        order = rng.permutation(count)
        for way in (order, order[::-1]):
            known = np.zeros(count, dtype=bool)
            steps = []
            for group in way[:-1]:
                known[group] = True
                foreign = members[~known].any(axis=0)
                steps.append(np.where(foreign, model.features[other], here))
            nothing = np.broadcast_to(model.features[other], here.shape)
            between = model.forecast(np.concatenate([nothing, *steps]), times.append([times] * len(steps)))
            path = np.concatenate([between.reshape(count, len(rows), -1), forecasts[None]])
            credits[way] += np.diff(path, axis=0) / (2 * len(others))
            means += path[0] / (2 * len(others))
    tables = []
    for i, target in enumerate(model.targets):
        first = {"target": target, "forecast": forecasts[:, i], "mean_forecast": means[:, i]}
        tables.append(pd.DataFrame(first | dict(zip(model.groups, credits[:, :, i], strict=True)), index=times))
    return pd.concat(tables).rename_axis(model.index.name).reset_index()
