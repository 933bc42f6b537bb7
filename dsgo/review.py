"""How the model in Production did: its out-of-sample forecasts beside what was recorded, with scores of any span.

An hour counts only if the model that forecast it had not learned from it. Up to the version's `trained_to` that holds
for the hours of the window, forecast by the evaluated twin; after it, for forecasts by the version itself.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.evaluation import coverage, naive
from dsgo.tables import Dataset
from dsgo.weeks import Week, complete_weeks

PARTS = ("", "_forecast", "_p10", "_p90", "_naive")  # the columns of a target T: T, T_forecast, …
HISTORY = pd.Timedelta(days=7)  # of inputs before an hour, so that the first ones after training have what came before
FEWEST_WEEKS = 5  # with fewer, tenth and ninetieth percentile of their errors mean nothing


class Production(Protocol):
    """What is needed of `dsgo.registry.Production` here."""

    version: Any
    trained_to: Any

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame: ...
    def window(self) -> pd.DataFrame: ...
    def dataset(self) -> Dataset: ...


@dataclass(frozen=True)
class Score:
    """Errors of one target over `hours` hours, in the target's unit; the naive baseline's on the same hours."""

    hours: int
    mae: float
    rmse: float
    naive_mae: float
    naive_rmse: float
    coverage80: float
    """Share of the hours inside p10..p90, of those with p10 < p90; 0.8 is meant. NaN if there are none."""

    @property
    def skill(self) -> float:
        """1 − rmse / rmse of the naive baseline: 1 is perfect, below 0 is worse than naive."""
        return 1 - self.rmse / self.naive_rmse if self.naive_rmse else float("nan")


@dataclass(frozen=True)
class Usual:
    """Tenth and ninetieth percentile of the weekly RMSE over `weeks` complete weeks, in the target's unit."""

    low: float
    high: float
    weeks: int


@dataclass(frozen=True)
class Review:
    """Out-of-sample forecasts of one Production version.

    `table`: index `utc_timestamp`; for each target `T`, `T_forecast`, `T_p10`, `T_p90`, `T_naive`. Hours after
    `window_end` were forecast by the version itself, those up to it by its evaluated twin. `info` is the dataset's.
    """

    table: pd.DataFrame
    window_start: pd.Timestamp
    window_end: pd.Timestamp
    info: Mapping[str, Any]

    @property
    def targets(self) -> list[str]:
        """Names of the forecast columns."""
        return columns_of(self.info, "target")

    def unit(self, target: str) -> str:
        """Unit of a target, such as `GW`."""
        return self.info["columns"][target]["unit"]

    def hours(self, week: Week) -> pd.DatetimeIndex:
        """Every time stamp of the week, whether or not it was recorded."""
        return week.hours(self.info["timezone"], self.info["frequency"], self.table.index.unit)

    def newest(self, span: pd.Timedelta) -> pd.DatetimeIndex:
        """Every time stamp of the newest `span` of forecasts."""
        end = self.table.index[-1]
        step = pd.Timedelta(self.info["frequency"])
        return pd.date_range(end - span + step, end, freq=step, name=self.table.index.name, unit=self.table.index.unit)

    def over(self, hours: pd.DatetimeIndex) -> pd.DataFrame:
        """The rows of `table` at `hours`; an hour that it does not have is a row of NaN, so that a plot shows a gap."""
        return self.table.reindex(hours)

    def live(self, hours: pd.DatetimeIndex) -> int:
        """How many of `hours` were forecast by the version itself, not by its twin."""
        known = self.table.index.intersection(hours)
        return int((known > self.window_end).sum())

    @functools.cached_property
    def complete_weeks(self) -> list[Week]:
        """The weeks with every hour forecast and recorded, oldest first."""
        columns = [target + part for target in self.targets for part in ("", "_forecast")]
        return complete_weeks(self.table, columns, self.info["timezone"], self.info["frequency"])

    def counted(self, target: str, hours: pd.DatetimeIndex) -> pd.DataFrame:
        """The rows at `hours` that a score of `target` counts: recorded, forecast and naive are all there."""
        return self.over(hours).dropna(subset=[target + part for part in PARTS])

    def score(self, target: str, hours: pd.DatetimeIndex) -> Score | None:
        """Errors of `target` over `hours`; None where no hour can be counted."""
        rows = self.counted(target, hours)
        if rows.empty:
            return None
        recorded = rows[target]
        error, naive = rows[f"{target}_forecast"] - recorded, rows[f"{target}_naive"] - recorded
        return Score(
            hours=len(rows),
            mae=float(error.abs().mean()),
            rmse=_rmse(error),
            naive_mae=float(naive.abs().mean()),
            naive_rmse=_rmse(naive),
            coverage80=coverage(*(rows[column].to_numpy() for column in (target, f"{target}_p10", f"{target}_p90"))),
        )

    def usual(self, target: str, besides: pd.DatetimeIndex) -> Usual | None:
        """How large the weekly RMSE of `target` usually is, from the complete weeks that do not touch `besides`.

        None with fewer than `FEWEST_WEEKS` such weeks.
        """
        touched = {Week(*pair) for pair in self._calendar(besides).unique()}
        scores = [rmse for week, rmse in self._weekly_rmse[target].items() if week not in touched]
        if len(scores) < FEWEST_WEEKS:
            return None
        low, high = np.quantile(scores, [0.1, 0.9])
        return Usual(float(low), float(high), len(scores))

    @functools.cached_property
    def _weekly_rmse(self) -> dict[str, dict[Week, float]]:
        """RMSE of each target and complete week."""
        found = {}
        for target in self.targets:
            rows = self.counted(target, self.table.index)
            squares = np.square(rows[f"{target}_forecast"] - rows[target])
            means = squares.groupby(self._calendar(rows.index)).mean()
            weekly = {Week(*pair): float(np.sqrt(mean)) for pair, mean in means.items()}
            found[target] = {week: weekly[week] for week in self.complete_weeks if week in weekly}
        return found

    def _calendar(self, hours: pd.DatetimeIndex) -> pd.MultiIndex:
        """ISO year and week of each of `hours`, by the local calendar."""
        calendar = hours.tz_convert(self.info["timezone"]).isocalendar()
        return pd.MultiIndex.from_arrays([calendar["year"].astype(int), calendar["week"].astype(int)])


def review(production: Production, dataset: Dataset | None = None, issued: pd.DataFrame | None = None) -> Review:
    """All out-of-sample forecasts of what is in Production, from its window and from the data after `trained_to`.

    Args:
        dataset: with that data; by default the version's newest.
        issued: predictions, as `dsgo.predictions.newest` has them: where they are this version's own and have every hour, the
            model need not be loaded and asked again.
    """
    dataset, window = dataset or production.dataset(), production.window()
    columns = [target + part for target in dataset.targets for part in PARTS]
    parts = [window[columns].sort_index()]
    unseen = dataset.table[dataset.table.index > utc(production.trained_to)].dropna(subset=dataset.inputs)
    if len(unseen):
        parts.append(_live(production, dataset, unseen, issued)[columns])
    return Review(pd.concat(parts), window.index.min(), window.index.max(), dataset.info)


def _live(production: Production, dataset: Dataset, unseen: pd.DataFrame, issued: pd.DataFrame | None) -> pd.DataFrame:
    predicted = None if issued is None else _own(production, issued, unseen.index, dataset.targets)
    if predicted is None:
        predicted = forecasts(production, dataset, unseen.index)
    baseline = naive(dataset.table, dataset.targets, unseen.index, dataset.info["naive"]["lag"])
    parts = {}
    for target in dataset.targets:
        columns = (
            unseen[target],
            predicted[target],
            predicted[f"{target}_p10"],
            predicted[f"{target}_p90"],
            baseline[target],
        )
        parts |= {target + part: column for part, column in zip(PARTS, columns, strict=True)}
    return pd.DataFrame(parts, index=unseen.index)


def _own(
    production: Production, issued: pd.DataFrame, hours: pd.DatetimeIndex, targets: Sequence[str]
) -> pd.DataFrame | None:
    """What `forecasts` would say, from predictions that the version has issued; None if an hour is missing."""
    rows = issued[(issued["source"] == "production") & (issued["version"] == int(production.version))]
    wide = rows.pivot(index="utc_timestamp", columns="target", values=["forecast", "p10", "p90"]).reindex(hours)
    ends = {"forecast": "", "p10": "_p10", "p90": "_p90"}
    wide.columns = [f"{target}{ends[part]}" for part, target in wide.columns]
    columns = [f"{target}{end}" for target in targets for end in ends.values()]
    complete = wide.columns.size >= len(columns) and wide[columns].notna().all(axis=None)
    return wide[columns] if complete else None


def forecasts(production: Production, dataset: Dataset, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """What the version itself says of hours of the dataset's table or outlook, asked with the inputs of the days before them.

    Returns:
        Index `hours`, which is sorted; for each target `T`, `T_p10`, `T_p90`.
    """
    inputs = pd.concat([dataset.table[dataset.inputs].dropna(), dataset.outlook])
    inputs = inputs[inputs.index >= hours[0] - HISTORY]
    predicted = production.predict(inputs.reset_index(names=dataset.info["timestamp"])).set_index(inputs.index)
    return predicted.loc[hours]


def utc(moment: Any) -> pd.Timestamp:
    """`moment` (ISO 8601 text or a datetime; UTC where it names no zone) in UTC."""
    moment = pd.Timestamp(moment)
    return moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")


def _rmse(error: pd.Series) -> float:
    return float(np.sqrt(np.mean(np.square(error))))
