"""Does the model in Production miss by more than it did when it was tested? And by how much will it, before that is known?

Measured: its errors on hours that it has not learned from, newest spans beside all spans of back-test and window. An error
counts by what the test led to expect of a forecast of its size (`Expected`): a stormy week has larger errors, and is no drift.

Estimated, where nothing is recorded yet: the errors that forecasts of such sizes have made in the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.drift import ENOUGH, WEEKS_A_YEAR, worst
from dsgo.findings import MODEL, Finding
from dsgo.hours import rows_of
from dsgo.spans import Judged, by_day, judge, judge_long, sums

TENTHS = 10
QUARTER_DAYS = 91
SOME = 0.02  # of the hours: added to a share before its logarithm is taken
FAR = 6.0  # expected errors beyond which one counts as this far


@dataclass(frozen=True)
class Expected:
    """Errors by the size of the forecast: the root mean square in each tenth of the test's open hours.

    Attributes:
        edges: between the tenths, in the target's unit, shape (9,).
        rmse: of each tenth, shape (10,).
        least: forecasts up to this are certain (no sun), and not looked at.
    """

    edges: np.ndarray
    rmse: np.ndarray
    least: float

    def at(self, forecast: np.ndarray) -> np.ndarray:
        """Expected root mean square error of each forecast; NaN where it is certain."""
        return np.where(forecast > self.least, self.rmse[np.searchsorted(self.edges, np.nan_to_num(forecast))], np.nan)


def expected(test: pd.DataFrame, target: str, minimum: float) -> Expected:
    """What back-test and window say of the errors of one target.

    Args:
        test: out-of-sample rows: `T` and `T_forecast`.
        minimum: of the target.
    """
    forecast = test[f"{target}_forecast"].to_numpy()
    error = forecast - test[target].to_numpy()
    some = (forecast > minimum) & np.isfinite(error)
    edges = np.quantile(forecast[some], np.arange(1, TENTHS) / TENTHS)
    tenth = np.searchsorted(edges, forecast[some])
    squares = pd.Series(error[some] ** 2).groupby(tenth).mean().reindex(range(TENTHS)).ffill().bfill()
    return Expected(edges, np.sqrt(squares.to_numpy()), minimum)


@dataclass(frozen=True)
class Check:
    """One figure of a span of forecasts.

    Attributes:
        name: as in the findings.
        words: what `shown` is.
        of: from sums over spans to the figure that is compared.
        side: +1 if only a larger one is an alarm, −1 a smaller one, 0 both.
        shown: from sums over spans to a figure for people.
        growth: by what factor its spread differs from that of spans so many times shorter, if these were independent. Where
            it is known, a quarter is looked at too: a target's level changes by little, and stays.
    """

    name: str
    words: str
    of: Callable[[np.ndarray], np.ndarray]
    side: int
    shown: Callable[[np.ndarray], np.ndarray]
    growth: Callable[[float], float] | None = None


# Sums over a span: hours, errors, their squares (both by what was expected), open hours, those inside the interval, recorded
# times forecast, forecast squared (both by the square of what was expected).
def _error(s: np.ndarray) -> np.ndarray:
    return 0.5 * np.log(s[:, 2] / s[:, 0])


def _bias(s: np.ndarray) -> np.ndarray:
    return s[:, 1] / s[:, 0]


def _level(s: np.ndarray) -> np.ndarray:
    """How far recorded is from forecast, as the factor that fits best tells it: not by the factor, which dim weeks tell badly."""
    return (s[:, 5] - s[:, 6]) / np.sqrt(s[:, 6])


def _coverage(s: np.ndarray) -> np.ndarray:
    return s[:, 4] / s[:, 3]


def _covered(s: np.ndarray) -> np.ndarray:
    """As logarithm of the share outside: it has no long tail."""
    return -np.log(1 - _coverage(s) + SOME)


CHECKS = (
    Check("error", "RMSE by what was expected", _error, 1, lambda s: np.sqrt(s[:, 2] / s[:, 0])),
    Check("bias", "mean error by what was expected", _bias, 0, _bias, lambda times: times**-0.5),
    Check("level", "recorded by forecast", _level, 0, lambda s: s[:, 5] / s[:, 6], lambda times: 1.0),
    Check("coverage", "share of hours inside the interval", _covered, -1, _coverage),
)


def model_drift(
    test: pd.DataFrame,
    live: pd.DataFrame,
    info: Mapping[str, Any],
    spans_days: tuple[int, ...],
    false_alarms_a_year: float,
) -> list[Finding]:
    """The findings on all targets.

    Args:
        test: the version's back-test and window, sorted: `T`, `T_forecast`, and where they are known `T_p10`, `T_p90`.
        live: the same columns on hours that the version has not learned from, sorted; may be empty.
        info: the dataset's.
        spans_days: lengths of the newest spans, the shorter first.
        false_alarms_a_year: of all these checks together, made weekly.
    """
    if live.empty:
        return []
    targets = columns_of(info, "target")
    figures = sum(len(spans_days) + (check.growth is not None) for check in CHECKS)
    chance = false_alarms_a_year / WEEKS_A_YEAR / (len(targets) * figures)
    found = []
    for target in targets:
        of_errors = expected(test, target, info["columns"][target]["minimum"])
        usual, newest = (_daily(rows, target, of_errors) for rows in (test, live))
        for check in CHECKS:
            found.append(_finding(target, check, usual, newest, live.index, spans_days, chance, info))
    return found


def _daily(rows: pd.DataFrame, target: str, of_errors: Expected) -> np.ndarray:
    """Sums by day of all that `CHECKS` use."""
    recorded, forecast = (rows[name].to_numpy(dtype=float) for name in (target, f"{target}_forecast"))
    size = of_errors.at(forecast)
    error = np.clip((forecast - recorded) / size, -FAR, FAR)
    there = np.isfinite(error)
    open_hours = inside = np.zeros(len(rows))
    if f"{target}_p10" in rows:
        low, high = (rows[f"{target}_{end}"].to_numpy(dtype=float) for end in ("p10", "p90"))
        open_hours = (high > low) & np.isfinite(recorded)
        inside = open_hours & (low <= recorded) & (recorded <= high)
    series = [there, error, error**2, open_hours, inside, recorded * forecast / size**2, forecast**2 / size**2]
    table = np.column_stack([np.where(there | (number in (3, 4)), one, 0.0) for number, one in enumerate(series)])
    return by_day(rows.index.as_unit("s").asi8, table.astype(float))


def _finding(
    target: str,
    check: Check,
    usual: np.ndarray,
    newest: np.ndarray,
    index: pd.DatetimeIndex,
    spans_days: tuple[int, ...],
    chance: float,
    info: Mapping[str, Any],
) -> Finding:
    judged: dict[int, Judged] = {}
    values = {}
    quarter = (QUARTER_DAYS,) if check.growth else ()
    for days in (*spans_days, *quarter):
        if days <= min(len(usual) - 1, len(newest)):
            figures = _figures(check, sums(usual, days))
            span = sums(newest[-days:], days)
            (figure,) = _figures(check, span, np.median(sums(usual, days)[:, 0]))
            if days == QUARTER_DAYS:
                short = spans_days[0]
                weekly = _figures(check, sums(usual, short))
                one = judge_long(figures, figure, days, weekly, short, check.growth(days / short), chance)
            else:
                one = judge(figures, figure, days, chance if check.side == 0 else 2 * chance)
            if one:
                judged[days] = one
                values[days] = float(check.shown(span)[0]), float(check.shown(usual.sum(axis=0)[None])[0])
    step, last = pd.Timedelta(info["frequency"]), index[-1]
    if not judged:
        text = f"{target}: {check.words} cannot be judged, there are too few hours since the version was trained or in its test."
        return Finding(MODEL, target, check.name, index[0], last, None, None, False, text)
    signed = {days: Judged(one.measured * (check.side or 1), one.limit) for days, one in judged.items()}
    days, _ = worst(signed, upward=check.side != 0)
    one, (value, before) = judged[days], values[days]
    alarm = signed[days].measured > one.limit if check.side else one.beyond
    text = (
        (
            f"{target}: {check.words} of the newest {days} days is {value:.2f}, in back-test and window "
            f"{before:.2f}: {one.measured:+.1f} usual deviations of such spans (limit {one.limit:.1f})."
        )
        .replace("-", "−")
        .replace("back−test", "back-test")
    )
    first = last - pd.Timedelta(days=days) + step
    return Finding(MODEL, target, check.name, first, last, one.measured, one.limit, alarm, text)


def _figures(check: Check, sums_: np.ndarray, usual_hours: float | None = None) -> np.ndarray:
    """The figure of each span; NaN where it has too few hours."""
    hours = sums_[:, 3] if check.name == "coverage" else sums_[:, 0]
    enough = hours > ENOUGH * (np.median(sums_[:, 0]) if usual_hours is None else usual_hours)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(enough, check.of(sums_), np.nan)


def estimated_errors(test: pd.DataFrame, forecasts: pd.DataFrame, info: Mapping[str, Any]) -> list[Finding]:
    """What RMSE forecasts of such sizes have had in the test: an estimate, for hours of which nothing is recorded yet.

    The limit is the largest RMSE of any span of that length in the test: the estimate tells of hard weather ahead, not of a
    model that has become worse, and is no alarm.

    Args:
        test: as for `model_drift`.
        forecasts: `T_forecast` of the hours in question, sorted.
        info: the dataset's.
    """
    found = []
    for target in columns_of(info, "target"):
        of_errors = expected(test, target, info["columns"][target]["minimum"])
        size = of_errors.at(forecasts[f"{target}_forecast"].to_numpy(dtype=float))
        rmse = float(np.sqrt(np.mean(np.nan_to_num(size) ** 2)))
        whole = float(np.sqrt(np.nanmean((test[f"{target}_forecast"] - test[target]) ** 2)))
        unit = info["columns"][target]["unit"]
        text = (
            f"{target}: an RMSE of {rmse:.3g} {unit} is estimated for these {len(forecasts)} {rows_of(info)}, from errors of "
            f"forecasts of such sizes; over all of back-test and window it was {whole:.3g} {unit}."
        )
        first, last = forecasts.index[0], forecasts.index[-1]
        found.append(Finding(MODEL, target, "error", first, last, rmse, None, False, text, estimate=True))
    return found
