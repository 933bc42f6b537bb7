"""What the weather does to panels and turbines: features for inputs of the quantities that these need."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsgo.hours import Hours
from dsgo.past import Past

DIM_W_M2 = 20.0  # below this a ratio of radiations is noise
BRIGHTEST_INDEX = 1.6  # of clear-sky indices: what is above is the ratio of two small numbers
GAS_CONSTANT_OF_DRY_AIR = 287.05  # J/(kg K)
PRESSURE_PA = 101_325.0
KELVIN = 273.15  # of 0 °C


def plain(given: Mapping[str, np.ndarray], hours: Hours) -> dict[str, np.ndarray]:
    """Power in moving air, clear-sky index and share of diffuse radiation, of inputs by quantity."""
    columns = {}
    if "wind_speed" in given:
        columns["wind_cubed"] = given["wind_speed"] ** 3
    if "radiation_direct" in given and "radiation_diffuse" in given:
        diffuse, clear = given["radiation_diffuse"], hours.clear_sky_W_m2
        total = given["radiation_direct"] + diffuse
        columns["clear_sky_index"] = np.where(clear > DIM_W_M2, total / np.maximum(clear, DIM_W_M2), 0.0)
        columns["diffuse_share"] = np.where(total > DIM_W_M2, diffuse / np.maximum(total, DIM_W_M2), 1.0)
    return columns


def shaped(
    given: Mapping[str, np.ndarray], plain: Mapping[str, np.ndarray], hours: Hours, past: Past
) -> dict[str, np.ndarray]:
    """Curves of panels and turbines, of inputs by quantity.

    Args:
        plain: what the function of that name has made.
    """
    wind, temperature = given.get("wind_speed"), given.get("temperature")
    direct, diffuse = given.get("radiation_direct"), given.get("radiation_diffuse")
    columns = {}
    if wind is not None:
        cubed = plain["wind_cubed"]
        columns |= _moving_air(wind, cubed, past)
        if temperature is not None:
            density = PRESSURE_PA / (GAS_CONSTANT_OF_DRY_AIR * (temperature + KELVIN))
            columns["wind_power_density"] = density * cubed / 2
    if direct is not None and diffuse is not None:
        columns |= _radiation_of_the_hour(direct, diffuse, temperature, hours, past)
        if wind is not None:
            columns |= _stability(wind, direct + diffuse, hours.sine)
    return columns


def _radiation_of_the_hour(
    direct: np.ndarray, diffuse: np.ndarray, temperature: np.ndarray | None, hours: Hours, past: Past
) -> dict[str, np.ndarray]:
    """Radiation brought to the middle of the hour, and what panels make of it.

    Clouds last longer than the sun stands still: the clear-sky index is carried from the hour of the weather to the row's
    (the day's own index where the sun is too low to tell), times the clear sky of the row (Lauret and others,
    "Verification of deterministic solar forecasts", Solar Energy 210 (2020), section 3.2: persistence of the index).
    Panels lose 0.4 % of their power a degree above 25 °C (usual for crystalline silicon), and are warmer than the air by
    (NOCT − 20 °C) / 800 W/m² for each W/m² (Ross, "Design techniques for flat-plate photovoltaic arrays", 15th IEEE Photovoltaic
    Specialists Conf. (1981)): 0.03 °C with a nominal operating cell temperature of 44 °C.
    """
    total = direct + diffuse
    sine, clear = hours.sine, hours.clear_sky_W_m2
    late, sine_then, clear_then = hours.of_weather
    mean24h, mean72h = past.means(total, (24, 72))
    (clear24h,) = past.means(clear_then, (24,))
    day = np.clip(mean24h / np.maximum(clear24h, 5.0), 0.0, BRIGHTEST_INDEX)
    told = clear_then > DIM_W_M2
    hour = np.where(told, np.clip(total / np.maximum(clear_then, DIM_W_M2), 0.0, BRIGHTEST_INDEX), day)
    before = past.lag(hour, 3600)
    ahead = hour * clear
    risen = np.clip((np.maximum(sine, 0) + 0.02) / (np.maximum(sine_then, 0) + 0.02), 0.0, 4.0)
    moved = np.where(late, risen, 1.0)
    columns = {
        "ahead_index": hour,
        "ahead_index_before": before,
        "ahead_W_m2": ahead,
        "ahead_direct_W_m2": np.minimum(direct * moved, 900 * np.maximum(sine, 0) ** 0.9 + 5),
        "ahead_diffuse_W_m2": np.minimum(diffuse * moved, 500.0),
        "ahead_trend_W_m2": np.clip(2 * hour - before, 0.0, BRIGHTEST_INDEX) * clear,
        "ahead_squared": ahead**2 / 1000,
        "past_sky_mean24h": mean24h,
        "past_sky_mean72h": mean72h,
        "past_sky_index24h": day,
    }
    if temperature is not None:
        columns["ahead_warm_W_m2"] = ahead * (1 - 0.004 * (temperature + 0.03 * ahead - 25.0))
    return columns


def _moving_air(wind: np.ndarray, cubed: np.ndarray, past: Past) -> dict[str, np.ndarray]:
    """Shapes of a fleet's power curve: cubic at first, saturated from about 6 m/s at 10 m on, and the hour to come.

    The power curve of many turbines is that of one, smoothed (Nørgaard and Holttinen, "A multi-turbine power curve
    approach", Nordic Wind Power Conference (2004)); wind goes on as in the hour before, to first order.
    """
    onward = np.maximum(2 * wind - past.lag(wind, 3600), 0.0)
    mean3h, mean6h = past.means(cubed, (3, 6))
    return {
        "wind_squared": wind**2,
        "wind_cubed_mean3h": mean3h,
        "wind_cubed_mean6h": mean6h,
        "wind_saturated": 1 / (1 + np.exp(-(wind - 6.0) / 1.3)),
        "wind_onward": onward,
        "wind_onward_cubed": onward**3,
    }


def _stability(wind: np.ndarray, radiation: np.ndarray, sine: np.ndarray) -> dict[str, np.ndarray]:
    """Wind by day and by night: warm ground mixes the air, so at hub height less is added to the wind at 10 m.

    Stull, "An Introduction to Boundary Layer Meteorology" (1988), section 1.6: the residual layer and the nocturnal jet.
    """
    return {
        "wind_by_radiation": wind * radiation / 300,
        "wind_at_night": wind * (radiation < 1.0),
        "wind_by_sun": wind * sine,
    }
