"""The weekly watch of one dataset and of what is in Production: all checks in one list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dsgo.climatology import Deviations
from dsgo.drift import data_drift, usual_of
from dsgo.faults import faults
from dsgo.findings import STALE, Finding
from dsgo.model_drift import estimated_errors, model_drift
from dsgo.tables import Dataset
from dsgo.watching import Watching

# Of the false alarms that `watch:` allows: a change of the weather is seen in many columns, one of the model in few.
SHARE_OF_DATA = 0.5


def training_rows(index: pd.DatetimeIndex, trained_to: pd.Timestamp | None, newest_days: int) -> np.ndarray:
    """Which rows are compared with, shape (n,): up to where Production has learned, and none of the newest span.

    Args:
        trained_to: last hour that the version has learned from; None if nothing is in Production.
        newest_days: length of the newest span.
    """
    last = index[-1] - pd.Timedelta(days=newest_days)
    return np.asarray(index <= (last if trained_to is None else min(last, trained_to)))


def watch_data(
    dataset: Dataset, trained_to: pd.Timestamp | None, limits: Watching
) -> tuple[list[Finding], dict[tuple[str, bool], Deviations | None]]:
    """The findings on the data, faults first; and what they were compared with, of `dsgo.drift.usual_of`."""
    table, info = dataset.table, dataset.info
    training = training_rows(table.index, trained_to, limits.long_days)
    if not training.any():
        return [], {}
    usual = usual_of(table, info, training)
    spans_days = (limits.short_days, limits.long_days)
    allowed = SHARE_OF_DATA * limits.false_alarms_a_year
    step = pd.Timedelta(info["frequency"])
    goes_on = dataset.outlook.index[0] if len(dataset.outlook) else table.index[-1] + step
    found = [
        *faults(table, info, training, usual, limits.short_days, limits.missing_hours, goes_on),
        *data_drift(usual, info, training, spans_days, allowed),
    ]
    return found, usual


def watch_model(
    test: pd.DataFrame, live: pd.DataFrame, outlook: pd.DataFrame, info: Mapping[str, Any], limits: Watching
) -> list[Finding]:
    """The findings on the version in Production.

    Args:
        test: its back-test and window.
        live: its forecasts of hours that it has not learned from, with what was recorded; may be empty.
        outlook: its forecasts of hours of which nothing is recorded yet; may be empty.
        info: the dataset's.
    """
    spans_days = (limits.short_days, limits.long_days)
    found = model_drift(test, live, info, spans_days, (1 - SHARE_OF_DATA) * limits.false_alarms_a_year)
    return found + (estimated_errors(test, outlook, info) if len(outlook) else [])


def watch_clock(dataset: Dataset, now: pd.Timestamp, limits: Watching) -> Finding:
    """How old the newest recorded hour is. A generated sample has no clock, and is never stale."""
    last = dataset.table.index[-1]
    if dataset.synthetic:
        text = f"The newest hour is {last:%Y-%m-%d %H:%M} UTC of a generated sample, which has no clock."
        return Finding(STALE, "", "stale", last, last, None, limits.stale_hours, False, text)
    hours = (now - last - pd.Timedelta(dataset.info["frequency"])) / pd.Timedelta("1h")
    text = (
        f"The newest hour is {last:%Y-%m-%d %H:%M} UTC, it ended {hours:.0f} hours ago (limit {limits.stale_hours:g})."
    )
    return Finding(STALE, "", "stale", last, last, hours, limits.stale_hours, hours > limits.stale_hours, text)
