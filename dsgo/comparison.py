"""Two forecasters on the same rows: how much better is one, and how sure is that.

Differences are of the RMSE; intervals come from the paired block bootstrap (`dsgo.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo import bootstrap
from dsgo.collection import columns_of
from dsgo.errors import GateError
from dsgo.regimes import divide

REGIMES = ("all", "season", "hour", "wind", "sky")
FEWEST_ROWS, FEWEST_DAYS = 100, 20  # of a regime's value; with less, one spell of weather decides


@dataclass(frozen=True)
class Measured:
    """A figure and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the champion.

    Attributes:
        overall: RMSE of the candidate over the champion's, geometric mean over targets, minus 1.
        parts: a row for each `target`, `regime` and `value` with enough rows: `rows`, `days`, `candidate_rmse`,
            `champion_rmse`, and `difference`, `low`, `high` (candidate − champion), all in the target's unit; `share`: the
            difference as a share of the champion's RMSE over all rows.
    """

    overall: Measured
    parts: pd.DataFrame


def skill(window: pd.DataFrame, target: str, timezone: str, confidence: float) -> Measured:
    """1 − rmse / rmse of the naive baseline, on the rows where there is one."""
    there = window[f"{target}_naive"].notna().to_numpy()
    if not there.any():
        raise GateError(f"No row of the window has a naive forecast of {target}.", "Bring a longer table.")
    columns = (f"{target}_forecast", f"{target}_naive")
    squares = np.column_stack([(window[c] - window[target]).to_numpy() ** 2 for c in columns])[there]
    sums = bootstrap.daily_sums(squares, window.index[there], timezone)

    def of(drawn: np.ndarray) -> np.ndarray:
        return 1 - np.sqrt(drawn[..., 0] / drawn[..., 1])

    return _measured(of, sums, confidence)


def compare(
    window: pd.DataFrame, champion: pd.DataFrame, table: pd.DataFrame, info: Mapping[str, Any], confidence: float
) -> Comparison:
    """The candidate beside the champion, over all rows and in each regime.

    Args:
        window: the candidate's predictions (`T`, `T_forecast`).
        champion: the champion's (`T_forecast`) of the same rows.
        table, info: the dataset's.

    Raises:
        GateError: the rows differ, a value is missing, or one of them makes no error at all.
    """
    targets = columns_of(info, "target")
    check_rows("the champion", champion, window.index, [f"{t}_forecast" for t in targets])
    errors = {
        target: [(p[f"{target}_forecast"] - window[target]).to_numpy() ** 2 for p in (window, champion)]
        for target in targets
    }
    every = np.column_stack([square for pair in errors.values() for square in pair])
    if not (every.sum(axis=0) > 0).all():
        raise GateError(
            "A forecast without any error cannot be compared.", "Look whether it has seen the window's rows."
        )
    sums = bootstrap.daily_sums(every, window.index, info["timezone"])

    def of(drawn: np.ndarray) -> np.ndarray:
        return np.exp(np.mean(np.log(drawn[..., ::2] / drawn[..., 1::2]), axis=-1) / 2) - 1

    overall = _measured(of, sums, confidence)
    parts = [
        _by_regime(target, errors[target], divide(window, target, REGIMES, table, info), window.index, info, confidence)
        for target in targets
    ]
    return Comparison(overall, pd.concat(parts, ignore_index=True))


def check_rows(whose: str, predictions: pd.DataFrame, index: pd.DatetimeIndex, columns: list[str]) -> None:
    """Check that `predictions` has these rows and these columns, without a gap.

    Raises:
        GateError: it has not; says whose and what.
    """
    absent = [column for column in columns if column not in predictions]
    if absent:
        raise GateError(f"The predictions of {whose} have no column {absent[0]}.", "Run its training step again.")
    if not predictions.index.equals(index):
        missing, others = len(index.difference(predictions.index)), len(predictions.index.difference(index))
        how = f"{missing} of {len(index)} are missing, {others} are of other hours"
        if not missing and not others:
            how = "the same hours are in another order, repeated or of another time zone"
        raise GateError(
            f"The predictions of {whose} are not of the window's rows: {how}.", "Run its training step again."
        )
    finite = np.isfinite(predictions[columns].to_numpy(dtype=float))
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise GateError(
            f"The predictions of {whose} have no finite {columns[column]} at {index[row]:%Y-%m-%d %H:%M}.",
            "Run its training step again.",
        )


def _measured(of: Any, sums: np.ndarray, confidence: float) -> Measured:
    low, high = bootstrap.interval(of(bootstrap.resample(sums)), confidence)
    figures = Measured(float(of(sums.sum(axis=0))), float(low), float(high))
    if not np.isfinite([figures.value, figures.low, figures.high]).all():
        raise GateError(f"A figure is not finite: {figures}.", "Look at the predictions in the candidate's run.")
    return figures


def _by_regime(
    target: str,
    errors: list[np.ndarray],
    values: Mapping[str, np.ndarray],
    index: pd.DatetimeIndex,
    info: Mapping[str, Any],
    confidence: float,
) -> pd.DataFrame:
    """One row for each value of each regime that has enough rows."""
    chosen = [(regime, value, of == value) for regime, of in values.items() for value in np.unique(of)]
    inside = np.column_stack([rows for _, _, rows in chosen]).astype(float)
    stacked = np.concatenate([inside, inside * errors[0][:, None], inside * errors[1][:, None]], axis=1)
    sums = bootstrap.daily_sums(stacked, index, info["timezone"])
    count, ours, theirs = np.split(sums, 3, axis=1)
    rows, days = count.sum(axis=0), (count > 0).sum(axis=0)
    enough = (rows >= FEWEST_ROWS) & (days >= FEWEST_DAYS) & (ours.sum(axis=0) + theirs.sum(axis=0) > 0)
    count, ours, theirs = count[:, enough], ours[:, enough], theirs[:, enough]
    candidate, champion = (np.sqrt(part.sum(axis=0) / count.sum(axis=0)) for part in (ours, theirs))
    drawn_count, drawn_ours, drawn_theirs = np.split(bootstrap.resample(np.hstack([count, ours, theirs])), 3, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may have no day of a regime
        drawn = np.sqrt(drawn_ours / drawn_count) - np.sqrt(drawn_theirs / drawn_count)
    low, high = bootstrap.interval(drawn, confidence)
    overall = np.sqrt(np.mean(errors[1]))
    return pd.DataFrame(
        {
            "target": target,
            "regime": [regime for (regime, _, _), kept in zip(chosen, enough, strict=True) if kept],
            "value": [value for (_, value, _), kept in zip(chosen, enough, strict=True) if kept],
            "rows": rows[enough].astype(int),
            "days": days[enough],
            "candidate_rmse": candidate,
            "champion_rmse": champion,
            "difference": candidate - champion,
            "low": low,
            "high": high,
            "share": (candidate - champion) / overall,
        }
    )
