"""A generated sample with the columns, units and faults of the German wind and solar table; no recorded value is in it.

Made from physics: the sun's path and a clear sky, a cloudy sky that lets part of it through, wind and temperature as
autocorrelated processes, installed capacity growing as Germany's did, power curves, noise. Every draw is causal: a
sample that ends later begins with the same rows.

Its faults are those of the table that it stands for. The published weather is labelled with German *local* time less
one hour, not with UTC (github.com/Open-Power-System-Data/weather_data/issues/7): in summer each weather row carries the
label of the hour after, an hour is absent each March and one comes twice each October, with one power value and two
weathers. The power series has lost hours of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dsgo.settings import Settings
from dsgo.sources import RawTable, generated, to_csv
from dsgo.sun import clear_sky_irradiance, sine_of_elevation

START, END = "2013-01-01 00:00", "2016-12-31 23:00"
OUTLOOK_END = "2017-01-07 23:00"
SEED = 4
TIMEZONE = "Europe/Berlin"

# Germany as nine points: the mean over them rises earlier, sets later and changes slower than one place would.
LATITUDES, LONGITUDES = (48.5, 51.0, 53.5), (7.5, 10.4, 13.3)

# Installed capacity in GW at the start of each year, wind on land and at sea together, rounded. AGEE-Stat, "Zeitreihen
# zur Entwicklung der erneuerbaren Energien in Deutschland", German Federal Ministry for Economic Affairs.
YEARS = ("2013-01-01", "2014-01-01", "2015-01-01", "2016-01-01", "2017-01-01")
SOLAR_CAPACITY_GW = (32.6, 36.3, 38.2, 39.8, 40.7)
WIND_CAPACITY_GW = (31.0, 33.8, 38.6, 44.6, 49.6)

# The published wind series covers few plants at first and steps up at the start of 2015: share of the capacity in it.
COVERED_FROM = ("2013-01-01", "2014-01-01", "2014-12-15", "2015-01-15", "2017-01-01")
COVERED_SHARE = (0.86, 0.84, 0.88, 0.97, 0.92)

# Hours that the power series lacks, first and last, besides what the late labels of the weather take away.
LOST_HOURS = (
    ("2013-03-30 23:00", "2013-03-31 21:00"),
    ("2014-03-12 19:00", "2014-03-12 22:00"),
    ("2014-03-29 23:00", "2014-03-30 21:00"),
)

BURN_IN_H = 24 * 60  # hours drawn before the first row, after which a process has forgotten its start
PANEL_TILT = 20.0  # degrees to the south


def sample(seed: int = SEED, start: str = START, end: str = END) -> pd.DataFrame:
    """The raw table, faults included.

    Args:
        seed: another seed gives other weather in the same climate.
        start: first hour, UTC, not before 2013.
        end: last hour, UTC.

    Returns:
        Columns `utc_timestamp` (`datetime64[us, UTC]`), `solar_GW`, `wind_GW`, `windspeed` (m/s), `temperature` (°C),
        `rad_horizontal`, `rad_diffuse` (W/m²), one row an hour, sorted.
    """
    first, last = pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC")
    if not pd.Timestamp(START, tz="UTC") <= first < last:
        raise ValueError(f"The sample runs from {START} on, and start comes before end: {start} to {end}.")
    hours = pd.date_range(pd.Timestamp(START, tz="UTC"), last, freq="h", unit="us")
    weather, power = _physics(hours, seed)
    rows = _with_faults(weather, power)
    return rows[rows["utc_timestamp"] >= first].reset_index(drop=True)


def raw_table(_: Settings) -> RawTable:
    """The sample as a source of raw data."""
    return generated(with_outlook(), SEED)


def with_outlook() -> pd.DataFrame:
    """The sample, and after its end a week of weather whose power nobody has recorded yet."""
    rows = sample(end=OUTLOOK_END)
    rows.loc[rows["utc_timestamp"] > pd.Timestamp(END, tz="UTC"), ["solar_GW", "wind_GW"]] = np.nan
    return rows


def write_sample(path: Path | str, **options: str | int) -> Path:
    """Write `sample(**options)` as a CSV file of the layout of the recorded table; returns its path."""
    path = Path(path)
    path.write_bytes(to_csv(sample(**options)))
    return path


def _physics(hours: pd.DatetimeIndex, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weather and power by true hour."""
    n = len(hours)
    draws = {
        name: np.random.default_rng([seed, number])
        for number, name in enumerate(("wind", "gusts", "sky", "clouds", "air", "panels", "fog", "fleet"))
    }
    since_winter = 2 * np.pi * (hours.as_unit("s").asi8 / 86_400 % 365.25 - 20) / 365.25  # 0 on 21 January
    winter = np.cos(since_winter)  # 1 in late January, -1 in late July
    sun = np.maximum(_national(hours, sine_of_elevation), 0)

    # Wind: lognormal with a yearly cycle; near the ground the day's mixing adds to it and blurs it.
    synoptic = _process(draws["wind"], n, slow_h=32, fast_h=4)
    spread = 0.345 + 0.03 * winter
    wind_aloft = 3.82 * (1 + 0.19 * winter) * np.exp(spread * synoptic)
    mixing = 1 + 0.45 * (sun - _mean_of_last_day(sun))
    windspeed = wind_aloft * mixing * np.exp(0.09 * _process(draws["gusts"], n, slow_h=5, fast_h=1.5))

    # Sky: the share of the clear-sky radiation that comes down, and how much of that is diffuse.
    slow_sky, clouds = (
        _process(draws["sky"], n, slow_h=60, fast_h=3),
        _process(draws["clouds"], n, slow_h=2.5, fast_h=1.5),
    )
    sky = 0.95 * (0.79 * slow_sky + 0.61 * clouds) - 0.31 * synoptic
    through = (0.20 + 0.82 * _logistic(1.7 * (0.30 - 0.34 * winter + 0.68 * sky))) * (0.88 + 0.19 * sun)
    radiation = through * _national(hours, lambda *at: clear_sky_irradiance(sine_of_elevation(*at)))
    # Logistic in the share that comes through, as in Boland, Ridley and Brown, Renewable Energy 33 (2008) 625-632.
    diffuse = radiation * _logistic(-7.0 * (through - 0.87 + 0.19 * sun))
    direct = radiation - diffuse

    # Air: the year, the day (lagging behind the sun), and spells that are mild and windy or clear and cold in winter.
    warmed = _lagged(radiation, lag_h=3)
    spells = 0.84 * _process(draws["air"], n, slow_h=85, fast_h=2) + 0.4 * winter * synoptic - 0.25 * winter * sky
    temperature = 9.3 - 9.2 * winter + 0.0205 * (warmed - _mean_of_last_day(warmed)) + 3.3 * spells

    # Solar power: direct radiation on a tilted plane, less in heat (0.4 % a kelvin) and in winter (snow, long shadows).
    facing = np.maximum(_national(hours, sine_of_elevation, south=PANEL_TILT), 0)
    on_panel = direct * np.minimum(facing / np.maximum(sun, 0.02), 3) * 0.66e-3 + diffuse * 0.67e-3
    cell = temperature + 0.03 * radiation
    haze = _process(draws["panels"], n, slow_h=60, fast_h=3) + _process(draws["fog"], n, slow_h=5, fast_h=1)
    luck = 0.16 * haze * (1.2 - sun)  # the lower the sun, the less the radiation on the ground says about the panels
    solar = (
        _grown(hours, YEARS, SOLAR_CAPACITY_GW)
        * on_panel
        * (1 - 0.004 * (cell - 25))
        * (0.90 - 0.17 * winter)
        * np.exp(luck)
    )

    # Wind power: one curve for plants that stand in many winds at once, none of them the mean wind. Up there it is
    # strongest at noon (mixing) and in the evening (nocturnal jet), weakest in the morning.
    turn = 2 * np.pi * (hours.as_unit("s").asi8 % 86_400) / 86_400
    aloft = 1 + 0.016 * np.cos(turn - 2 * np.pi * 19 / 24) + 0.012 * np.cos(2 * turn - 2 * np.pi * 11.5 / 12)
    at_plants = wind_aloft * aloft * np.exp(0.08 * _process(draws["fleet"], n, slow_h=60, fast_h=4))
    share = 0.83 * (1 - np.exp(-((at_plants / 7.0) ** 2.5)))
    wind = _grown(hours, YEARS, WIND_CAPACITY_GW) * _grown(hours, COVERED_FROM, COVERED_SHARE) * share

    weather = {"windspeed": windspeed, "temperature": temperature, "rad_horizontal": direct, "rad_diffuse": diffuse}
    decimals = {"windspeed": 4, "temperature": 3, "rad_horizontal": 4, "rad_diffuse": 4}
    power = {"solar_GW": np.round(solar * 1000) * 0.001, "wind_GW": np.round(wind * 1000) * 0.001}  # from whole MW
    return pd.DataFrame(weather, hours).round(decimals), pd.DataFrame(power, hours)


def _with_faults(weather: pd.DataFrame, power: pd.DataFrame) -> pd.DataFrame:
    """Weather under its late labels, joined to a power series with holes."""
    local = weather.index.tz_convert(TIMEZONE).tz_localize(None)
    late = (local - pd.Timedelta(hours=1)).tz_localize("UTC")
    for first, last in LOST_HOURS:
        lost = (power.index >= pd.Timestamp(first, tz="UTC")) & (power.index <= pd.Timestamp(last, tz="UTC"))
        power = power[~lost]
    rows = power.join(weather.set_axis(late), how="inner")
    return rows.rename_axis("utc_timestamp").reset_index()


def _process(draws: np.random.Generator, n: int, slow_h: float, fast_h: float) -> np.ndarray:
    """A stationary Gaussian process of mean 0 and variance 1: white noise through two first-order low-pass filters.

    Its autocorrelation after t hours is near (slow exp(-t/slow) - fast exp(-t/fast)) / (slow - fast).
    """
    a, b = np.exp(-1 / slow_h), np.exp(-1 / fast_h)
    variance = (1 - a) ** 2 * (1 - b) ** 2 * (1 + a * b) / ((1 - a * b) * (1 - a**2) * (1 - b**2))
    noise = draws.standard_normal(BURN_IN_H + n)
    return _lagged(_lagged(noise, slow_h), fast_h)[BURN_IN_H:] / np.sqrt(variance)


def _lagged(values: np.ndarray, lag_h: float) -> np.ndarray:
    """First-order low-pass filter: each value moves the output by 1 - exp(-1/lag) of what is between them."""
    return pd.Series(values).ewm(alpha=1 - np.exp(-1 / lag_h), adjust=False).mean().to_numpy()


def _national(hours: pd.DatetimeIndex, of_place, south: float = 0.0) -> np.ndarray:
    """Mean over Germany of a function of hours, latitude and longitude; `south` moves every place, in degrees."""
    return np.mean([of_place(hours, lat - south, lon) for lat in LATITUDES for lon in LONGITUDES], axis=0)


def _mean_of_last_day(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).rolling(24, min_periods=1).mean().to_numpy()


def _grown(hours: pd.DatetimeIndex, dates: tuple[str, ...], values: tuple[float, ...]) -> np.ndarray:
    """Straight lines between the values at the dates, level before the first and after the last."""
    at = pd.DatetimeIndex(dates, tz="UTC").as_unit("s").asi8
    return np.interp(hours.as_unit("s").asi8, at, values)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
