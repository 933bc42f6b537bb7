"""Honest scores: rows in order of time, baselines on the same rows.

A shuffled split puts the hours around a test row into training, and the last year's level too; it hides what a forecast
of coming months meets (here: a growth of wind output that costs 1 GW of RMSE). So every fold trains on what lies before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.errors import DataError

YEAR_DAYS = 365


@dataclass(frozen=True)
class Fold:
    """Rows from `start` (included) to `end` (left out) are forecast by a model trained on rows before `start`."""

    name: str
    start: pd.Timestamp
    end: pd.Timestamp

    def split(self, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Training rows and test rows."""
        return table[table.index < self.start], table[(table.index >= self.start) & (table.index < self.end)]


def plan(index: pd.DatetimeIndex, info: Mapping[str, Any]) -> tuple[list[Fold], Fold]:
    """The rolling-origin folds for choosing, and the last window for the gate, which no choice may look at.

    The window is the last whole months of the data; the folds lie before it, without gaps, the oldest first. Months begin by
    UTC, or by local clocks where the dataset says `months_by: local`. There is no gap between training and test: features
    look at inputs, never at targets.

    Raises:
        DataError: less than a year of rows, or `backtest.least_days`, would be left for the first fold's training.
    """
    end = (index[-1] + pd.Timedelta(info["frequency"])).tz_convert(month_zone(info))
    if not end.is_month_start or end != end.normalize():
        end = end.normalize().replace(day=1)  # a month that is not complete stays out of the scores
    starts = [end - pd.DateOffset(months=info["window"]["months"])]
    for _ in range(info["backtest"]["folds"]):
        starts.append(starts[-1] - pd.DateOffset(months=info["backtest"]["months"]))
    edges = [moment.tz_convert("UTC") for moment in reversed([end, *starts])]
    spans = list(itertools.pairwise(edges))
    folds = [Fold(f"fold{number}", *span) for number, span in enumerate(spans[:-1], start=1)]
    window, edge = Fold("window", *spans[-1]), edges[0]
    least_days = info["backtest"].get("least_days", YEAR_DAYS)
    least = "a year" if least_days == YEAR_DAYS else f"{least_days} days"
    if edge - index[0] < pd.Timedelta(days=least_days):
        raise DataError(
            info["source"]["name"],
            f"has rows from {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}, too few to score a model fairly: the first fold "
            f"starts at {edge:%Y-%m-%d} and needs {least} of rows before it.",
            "Bring a longer table, or set fewer or shorter folds in collection.yaml.",
        )
    return folds, window


def months(fold: Fold, info: Mapping[str, Any]) -> str:
    """The months that a fold is tested on, by the clocks that begin them: `2016-01 to 2016-06`, or `2012-12` alone."""
    zone = month_zone(info)
    first, last = (f"{t.tz_convert(zone):%Y-%m}" for t in (fold.start, fold.end - pd.Timedelta(info["frequency"])))
    return first if first == last else f"{first} to {last}"


def month_zone(info: Mapping[str, Any]) -> str:
    """The time zone by which a dataset's months begin and end."""
    return info["timezone"] if info.get("months_by") == "local" else "UTC"


def naive(
    table: pd.DataFrame, targets: list[str], rows: pd.DatetimeIndex, lag: str | pd.Timedelta, most: int = 10
) -> pd.DataFrame:
    """The naive baseline: the value of `lag` before, or of a multiple of it where that row is absent.

    Returns:
        Columns `targets` at `rows`; NaN only where no earlier row exists within `most` lags.
    """
    result = pd.DataFrame(np.nan, index=rows, columns=targets)
    for times in range(1, most + 1):
        missing = result[targets[0]].isna()
        if not missing.any():
            break
        values = table[targets].reindex(rows[missing] - times * pd.Timedelta(lag)).to_numpy()
        result.loc[missing] = values
    return result


def score(recorded: np.ndarray, forecast: np.ndarray, *, full_scale: float) -> dict[str, float]:
    """MAE, RMSE, bias (forecast − recorded) in the target's unit; nRMSE as a share of `full_scale`; R²."""
    error = forecast - recorded
    rmse = float(np.sqrt(np.mean(error**2)))
    return {
        "mae": float(np.mean(np.abs(error))),
        "rmse": rmse,
        "nrmse": rmse / full_scale,
        "r2": float(1 - np.mean(error**2) / np.var(recorded)),
        "bias": float(np.mean(error)),
    }


def coverage(recorded: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the hours inside low..high, of those whose interval has a width; NaN if there are none.

    Where the forecast is certain (no solar power while the sun is down) low and high are both that value. Such hours can
    hardly miss: counted in, they would let an interval look four fifths right that holds two thirds of the daylight.
    """
    open_hours = high > low
    inside = (low <= recorded) & (recorded <= high)
    return float(np.mean(inside[open_hours])) if open_hours.any() else float("nan")


def score_predictions(
    predictions: pd.DataFrame, targets: list[str], prefix: str, full_scale: Mapping[str, float]
) -> dict:
    """All metrics of one table of predictions (`T`, `T_forecast`, `T_naive` and perhaps `T_p10`, `T_p90`).

    Returns:
        `<prefix>.<target>.mae|rmse|nrmse|r2|bias|naive_rmse|skill|…`; skill is 1 − rmse / rmse of the naive baseline on
        the rows where there is one. Where the table has intervals: `coverage80` (see `coverage`), and over all rows
        `width80` (mean, in the target's unit) and `pinball` (mean of the 10 % and 90 % pinball losses).
    """
    metrics = {}
    for target in targets:
        parts = {name: predictions[f"{target}_{name}"].to_numpy() for name in ("forecast", "naive")}
        if f"{target}_p10" in predictions:
            parts |= {name: predictions[f"{target}_{name}"].to_numpy() for name in ("p10", "p90")}
        scores = score_target(predictions[target].to_numpy(), **parts, full_scale=full_scale[target])
        metrics |= {f"{prefix}.{target}.{name}": value for name, value in scores.items()}
    return metrics


def score_target(
    recorded: np.ndarray,
    forecast: np.ndarray,
    naive: np.ndarray,
    p10: np.ndarray | None = None,
    p90: np.ndarray | None = None,
    *,
    full_scale: float,
) -> dict[str, float]:
    """All metrics of one target (see `score_predictions`) from arrays of shape (n,); those of the interval if it is given."""
    scores = score(recorded, forecast, full_scale=full_scale)
    there = ~np.isnan(naive)
    naive_rmse = np.sqrt(np.mean((naive[there] - recorded[there]) ** 2))
    own_rmse = np.sqrt(np.mean((forecast[there] - recorded[there]) ** 2))
    scores |= {"naive_rmse": float(naive_rmse), "skill": float(1 - own_rmse / naive_rmse)}
    if p10 is not None and p90 is not None:
        scores["coverage80"] = coverage(recorded, p10, p90)
        scores["width80"] = float(np.mean(p90 - p10))
        scores["pinball"] = float((_pinball(recorded, p10, 0.1) + _pinball(recorded, p90, 0.9)) / 2)
    return scores


def _pinball(recorded: np.ndarray, quantile: np.ndarray, share: float) -> float:
    error = recorded - quantile
    return float(np.mean(np.maximum(share * error, (share - 1) * error)))
