"""Where the sun stands and what a clear sky would give, for hourly rows labelled with the start of the hour."""

from __future__ import annotations

import numpy as np
import pandas as pd

J2000_S = 946_728_000  # 2000-01-01 12:00 UTC, in seconds after 1970-01-01
DAY_S = 86_400
HALF_HOUR_S = 1_800


def sine_of_elevation(utc_index: pd.DatetimeIndex, latitude: float, longitude: float) -> np.ndarray:
    """Sine of the sun's elevation in the middle of each hour; negative at night.

    Michalsky, "The Astronomical Almanac's algorithm for approximate solar position (1950-2050)", Solar Energy 40 (1988)
    227-235: within 0.01 degrees in those years; refraction is left out.

    Args:
        utc_index: starts of hours, shape (n,), with a time zone.
        latitude: degrees north.
        longitude: degrees east.

    Returns:
        Values in -1..1, shape (n,).
    """
    return sine_at(utc_index.as_unit("s").asi8, latitude, longitude)


def sine_at(seconds: np.ndarray, latitude: float, longitude: float) -> np.ndarray:
    """The same of starts of hours given in seconds after 1970-01-01 00:00 UTC, shape (n,)."""
    days = (seconds + HALF_HOUR_S - J2000_S) / DAY_S
    mean_longitude = 280.460 + 0.9856474 * days
    mean_anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(mean_anomaly) + 0.020 * np.sin(2 * mean_anomaly))
    obliquity = np.radians(23.439 - 4e-7 * days)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    sine_of_declination = np.sin(obliquity) * np.sin(ecliptic)
    cosine_of_declination = np.sqrt(1 - sine_of_declination**2)
    hours_of_day = (days + 0.5) % 1 * 24
    sidereal_degrees = 15 * (6.697375 + 0.0657098242 * days + hours_of_day)  # Greenwich mean sidereal time
    hour_angle = np.radians(sidereal_degrees + longitude) - right_ascension
    north = np.radians(latitude)
    return np.sin(north) * sine_of_declination + np.cos(north) * cosine_of_declination * np.cos(hour_angle)


def clear_sky_irradiance(sine: np.ndarray) -> np.ndarray:
    """Global radiation on a horizontal plane under a cloudless sky, in W/m²; 0 at night.

    Haurwitz, "Insolation in relation to cloudiness and cloud density", Journal of Meteorology 2 (1945) 154-166, with the
    constants for W/m² of pvlib's `clearsky.haurwitz`; found good among models that need the sun's elevation only (Reno, Hansen
    and Stein, "Global horizontal irradiance clear sky models", SAND2012-2389 (2012)).

    Args:
        sine: sine of the sun's elevation, shape (n,).
    """
    up = np.maximum(sine, 1e-3)  # below 0.06 degrees the exponential has taken all that is left
    return np.where(sine > 0, 1098.0 * up * np.exp(-0.059 / up), 0.0)
