"""How the level of a target grows: installed capacity and the like, which no input column shows.

The target is written as `level(t) × f(inputs of t)`. `f` is first a quick linear fit; the weekly sums of the target against
those of `f` show the level, which is followed by a local level with drift (a random walk with a constant slope, as in
Durbin and Koopman, "Time Series Analysis by State Space Methods", 2nd ed. 2012, chapter 3): a Kalman filter and smoother
whose variances come from maximum likelihood. Weeks with little expected output (solar in December) say little of the level
and get little weight: the filter observes sums, not ratios. Fit and level are repeated in turn until they agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

PERIOD_DAYS = 7
ROUNDS = 3  # of fit and level in turn; a fourth changes the scores of earlier folds by less than 0.5 %
FEWEST_PERIODS = 26  # half a year: with less, a trend and a season cannot be told apart
LONGEST_DRIFT_DAYS = 365.0  # no growth is continued further than this past the data
# A fleet or a population does not change faster: without this bound the likelihood sometimes takes spells of weather that
# the linear fit misjudges for changes of the level.
LARGEST_STEP = 0.02  # standard deviation of the level's change in a week
RIDGE = 10.0
PENALTY = 1e3
DIFFUSE = 1e6  # variance of the first level, in units of the observation's: "not known"


@dataclass(frozen=True)
class Level:
    """The level of one target through time: piecewise linear between `days`, then `drift` a day for at most a year.

    Attributes:
        start: first moment of the data.
        days: middles of the periods in days after `start`, shape (periods,).
        values: the level there, shape (periods,); about 1 on average.
        drift: growth a day past the last period, in units of the level.
    """

    start: pd.Timestamp
    days: np.ndarray
    values: np.ndarray
    drift: float

    def at(self, index: pd.DatetimeIndex) -> np.ndarray:
        """Level at each moment, shape (n,); never below a tenth of the last level known."""
        days = _days_since(self.start, index)
        beyond = np.clip(days - self.days[-1], 0.0, LONGEST_DRIFT_DAYS)
        return np.maximum(np.interp(days, self.days, self.values) + self.drift * beyond, 0.1 * self.values[-1])


def constant_level(index: pd.DatetimeIndex, target: np.ndarray, design: np.ndarray) -> Level:
    """The level of a target that does not grow: 1 at all times. Takes what `fit_level` takes."""
    return Level(index[0], np.array([0.0]), np.array([1.0]), 0.0)


def fit_level(index: pd.DatetimeIndex, target: np.ndarray, design: np.ndarray) -> Level:
    """The level of one target.

    Args:
        index: moments, sorted, shape (n,).
        target: recorded values, not negative, shape (n,).
        design: what the quick linear fit uses, shape (n, k); no column may stand for the time since the start.

    Returns:
        The level; constantly 1 where the data span less than half a year.
    """
    start = index[0]
    days = _days_since(start, index)
    period = (days // PERIOD_DAYS).astype(int)
    periods = period[-1] + 1
    middles = (np.arange(periods) + 0.5) * PERIOD_DAYS
    if periods < FEWEST_PERIODS:
        return Level(start, middles, np.ones(periods), 0.0)
    observed = np.bincount(period, target, periods)
    level = Level(start, middles, np.ones(periods), 0.0)
    ridge = Ridge(RIDGE)
    for _ in range(ROUNDS):
        now = level.at(index)
        expected = np.maximum(ridge.fit(design, target / now, sample_weight=now).predict(design), 0.0)
        values, drift = _follow(observed, np.bincount(period, expected, periods))
        level = Level(start, middles, values, drift / PERIOD_DAYS)
    return level


def _follow(observed: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, float]:
    """Smoothed level of every period and its drift a period, for `observed = level × expected + noise`."""
    size = np.mean(expected**2)

    def objective(parameters: np.ndarray) -> float:
        ratio = np.exp(parameters[0]) / size
        surprise, noise, *_ = _filter(observed, expected, ratio, parameters[1])
        return surprise + PENALTY * max(0.0, np.log(ratio * noise) / 2 - np.log(LARGEST_STEP)) ** 2

    found = minimize(objective, [-6.0, 0.0], method="Nelder-Mead", options={"maxiter": 80, "initial_simplex": _SIMPLEX})
    ratio, drift = np.exp(found.x[0]) / size, float(found.x[1])
    _, _, before, before_var, after, after_var = _filter(observed, expected, ratio, drift)
    smoothed = after.copy()
    for t in range(len(smoothed) - 2, -1, -1):
        smoothed[t] = after[t] + after_var[t] / before_var[t + 1] * (smoothed[t + 1] - before[t + 1])
    return smoothed, drift


_SIMPLEX = np.array([[-6.0, 0.0], [-3.0, 0.0], [-6.0, 0.002]])  # log variance ratio, drift a period


def _filter(observed: np.ndarray, expected: np.ndarray, ratio: float, drift: float):
    """One pass of the Kalman filter; `ratio` is the level's variance over the observation's, which is profiled out.

    Returns:
        −2 log likelihood up to a constant; the observation's variance; level and variance before and after each observation.
    """
    count = len(observed)
    before, before_var, after, after_var = (np.empty(count) for _ in range(4))
    mean, variance = 1.0, DIFFUSE / np.mean(expected**2)
    squares, logs, used = 0.0, 0.0, 0
    for t in range(count):
        if t:
            mean, variance = mean + drift, variance + ratio
        before[t], before_var[t] = mean, variance
        scale = expected[t] ** 2 * variance + 1.0
        error = observed[t] - mean * expected[t]
        if t > 3:  # the first observations only settle the diffuse start
            squares, logs, used = squares + error**2 / scale, logs + np.log(scale), used + 1
        gain = variance * expected[t] / scale
        mean, variance = mean + gain * error, variance * (1.0 - gain * expected[t])
        after[t], after_var[t] = mean, variance
    noise = squares / used + 1e-12
    return used * np.log(noise) + logs, noise, before, before_var, after, after_var


def _days_since(start: pd.Timestamp, index: pd.DatetimeIndex) -> np.ndarray:
    return (index.as_unit("s").asi8 - start.timestamp()) / 86_400
