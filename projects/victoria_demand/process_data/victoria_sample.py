"""A generated sample of half-hourly demand and temperature in Victoria, laid out as the recorded file, and not recorded.

Temperature is a yearly and a daily cycle and spells of weather, with hot spells in summer. Demand follows clocks, calendar and
temperature: a day of work or rest by local time, hot water that is heated at night by clocks which know no daylight saving,
lighting after sunset, heating and cooling that lag behind the air, and noise. Every draw is causal.

It ends as the recorded file does, with November 2014; of the December after it there is temperature only, for the forecast.
"""

from __future__ import annotations

import holidays
import numpy as np
import pandas as pd

from dsgo.sun import sine_of_elevation

TIMEZONE = "Australia/Melbourne"
LATITUDE, LONGITUDE = -37.8, 145.0
START, RECORDED_TO, END = "2012-01-01 00:00", "2014-11-30 23:30", "2014-12-31 23:30"  # local time
SEED = 3
BURN_IN = 48 * 30  # half-hours after which a process has forgotten its start

# Shares of the day's swing by local hour, of a day of work and of one of rest.
HOURS = np.arange(0, 25, 2)
AT_WORK = np.array([0.25, 0.05, 0.05, 0.55, 0.90, 0.92, 0.95, 0.93, 0.95, 1.00, 0.92, 0.60, 0.25])
AT_REST = np.array([0.22, 0.02, 0.00, 0.12, 0.38, 0.50, 0.50, 0.45, 0.50, 0.68, 0.66, 0.46, 0.22])


def sample(seed: int = SEED) -> pd.DataFrame:
    """The raw table.

    Returns:
        Columns `Time` (ISO 8601, UTC, start of the half-hour), `Demand` (MW, NaN after `RECORDED_TO`), `Temperature` (°C), `Date`
        (local) and `Holiday` (TRUE or FALSE), as the recorded file has them.
    """
    start, end = (pd.Timestamp(at, tz=TIMEZONE).tz_convert("UTC") for at in (START, END))
    utc = pd.date_range(start, end, freq="30min")
    local = utc.tz_convert(TIMEZONE)
    temperature = _temperature(utc, np.random.default_rng([seed, 0]))
    demand = _demand(utc, local, temperature, np.random.default_rng([seed, 1]))
    demand[utc > pd.Timestamp(RECORDED_TO, tz=TIMEZONE)] = np.nan
    public = holidays.country_holidays("AU", subdiv="VIC", years=range(2012, 2015))
    return pd.DataFrame(
        {
            "Time": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Demand": demand.round(3),
            "Temperature": temperature.round(1),
            "Date": local.strftime("%Y-%m-%d"),
            "Holiday": ["TRUE" if day in public else "FALSE" for day in local.date],
        }
    )


def _temperature(utc: pd.DatetimeIndex, draws: np.random.Generator) -> np.ndarray:
    """Air temperature in °C."""
    summer = np.cos(2 * np.pi * (utc.day_of_year.to_numpy() - 25) / 365.25)  # 1 in late January
    hour = (utc.hour + utc.minute / 60).to_numpy() + LONGITUDE / 15
    day = np.cos(2 * np.pi * (hour - 15) / 24) + 0.2 * np.cos(4 * np.pi * (hour - 15) / 24)
    spells = _process(draws, len(utc), slow=48 * 1.4, fast=12)
    hot = np.maximum(spells + 0.4 * summer - 0.7, 0.0)
    return 15.0 + 4.4 * summer + (3.4 + 1.3 * summer) * day + (2.5 + 0.5 * summer) * spells + (3.0 + 1.2 * summer) * hot


def _demand(
    utc: pd.DatetimeIndex, local: pd.DatetimeIndex, temperature: np.ndarray, draws: np.random.Generator
) -> np.ndarray:
    """Demand in MW."""
    public = holidays.country_holidays("AU", subdiv="VIC", years=range(2012, 2015))
    days = pd.DatetimeIndex(local.date)
    monthday = days.month * 100 + days.day
    broken = np.where((monthday >= 1227) | (monthday <= 106), 0.75, 0.0) + np.where(monthday == 1224, 0.4, 0.0)
    rest = np.where(days.day_of_week == 6, 1.0, np.where(days.day_of_week == 5, 0.8, 0.0))
    rest = np.maximum.reduce([rest, broken, np.array([day in public for day in local.date], float)])
    hour = (local.hour + local.minute / 60).to_numpy()
    shape = (1 - rest) * np.interp(hour, HOURS, AT_WORK) + rest * np.interp(hour, HOURS, AT_REST)
    standard = (utc.hour + utc.minute / 60 + 10).to_numpy() % 24
    water = 520 * np.exp(-(((standard - 23.7 + 12) % 24 - 12) ** 2) / 1.2)
    dark = np.clip(0.1 - sine_of_elevation(utc, LATITUDE, LONGITUDE), 0, 0.3) / 0.3 * (0.3 + 0.7 * shape)
    air = _lagged(temperature, 6) * 0.65 + _lagged(temperature, 48) * 0.35  # buildings remember hours and a day
    awake = 0.35 + 0.65 * shape
    heating = 105 * np.maximum(16.5 - air, 0) * awake
    cooling = 105 * np.maximum(air - 21.5, 0) ** 1.2 * awake
    industry = 3080 * (1 - 0.016 * ((utc - utc[0]) / pd.Timedelta("365.25D")).to_numpy())
    noise = 62 * _process(draws, len(utc), slow=48 * 3, fast=3) + 18 * draws.standard_normal(len(utc))
    return industry + 2000 * shape + water + 310 * dark + heating + cooling + noise


def _process(draws: np.random.Generator, n: int, slow: float, fast: float) -> np.ndarray:
    """A stationary Gaussian process of mean 0 and variance 1: noise, low-passed twice."""
    values = _lagged(_lagged(draws.standard_normal(BURN_IN + n), slow), fast)
    a, b = np.exp(-1 / slow), np.exp(-1 / fast)
    variance = (1 - a) ** 2 * (1 - b) ** 2 * (1 + a * b) / ((1 - a * b) * (1 - a**2) * (1 - b**2))
    return values[BURN_IN:] / np.sqrt(variance)


def _lagged(values: np.ndarray, steps: float) -> np.ndarray:
    """First-order low-pass filter: each value moves the output by 1 − exp(−1/steps) of what is between them."""
    return pd.Series(values).ewm(alpha=1 - np.exp(-1 / steps), adjust=False).mean().to_numpy()
