"""Clocks and the sun as they are asked for hour by hour, whichever way they are found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsgo.hours import Hours
from dsgo.sun import clear_sky_irradiance, sine_of_elevation

ZONES = ("Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu")
PLACE = {"latitude": 51.1, "longitude": 10.4}


def hours(index: pd.DatetimeIndex, zone: str = "Europe/Berlin", late: bool = True) -> Hours:
    return Hours(index, {"timezone": zone, "location": PLACE, "inputs_late_in_summer_time": late})


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), seconds=st.lists(st.integers(-(2**31), 2**33), min_size=1, max_size=50))
def test_clocks_are_those_of_the_zone_within_and_beyond_the_years_of_requests(zone, seconds):
    for chosen in (seconds, [s for s in seconds if 315_532_800 <= s < 4_102_444_800]):
        index = pd.DatetimeIndex(np.array(chosen, dtype="datetime64[s]"), tz="UTC")
        local = index.tz_convert(zone)
        asked = hours(index, zone)
        ahead = local.tz_localize(None) - index.tz_localize(None)
        np.testing.assert_array_equal(asked.offset_s, np.asarray(ahead.total_seconds()))
        np.testing.assert_array_equal(asked.day_of_week, local.day_of_week)


@pytest.mark.parametrize("zone", ZONES[2:4])
def test_clocks_change_to_the_second(zone):
    seconds = pd.date_range("2014-01-01", "2015-01-01", freq="30min", tz="UTC", unit="s")
    for moved in (-1, 0, 1):
        index = seconds + pd.Timedelta(seconds=moved)
        ahead = index.tz_convert(zone).tz_localize(None) - index.tz_localize(None)
        np.testing.assert_array_equal(hours(index, zone).offset_s, np.asarray(ahead.total_seconds()))
        assert len(set(ahead)) == 2


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_inputs_late_in_summer_time_are_of_the_hour_before(unit):
    index = pd.date_range("2014-01-01", "2014-12-31 23:00", freq="h", tz="UTC", unit=unit)
    summer = index.tz_convert("Europe/Berlin").map(lambda time: time.dst() > pd.Timedelta(0)).to_numpy(bool)
    late, sine, clear = hours(index).of_weather
    np.testing.assert_array_equal(late, summer)
    own, before = (sine_of_elevation(at, **PLACE) for at in (index, index - pd.Timedelta(hours=1)))
    np.testing.assert_allclose(sine, np.where(summer, before, own), rtol=1e-12)
    np.testing.assert_allclose(clear, clear_sky_irradiance(sine), rtol=1e-12)
    late, sine, _ = hours(index, late=False).of_weather
    assert not late.any()
    np.testing.assert_array_equal(sine, own)


def test_the_sun_is_that_of_the_middle_of_each_interval_however_long_it_is():
    index = pd.date_range("2014-01-01", "2014-12-31", freq="30min", tz="UTC")
    of_half_hours = Hours(index, {"frequency": "30min", "timezone": "Europe/Berlin", "location": PLACE})
    assert of_half_hours.step_s == 1800
    middle = sine_of_elevation(index - pd.Timedelta("15min"), **PLACE)  # which takes each for an hour
    np.testing.assert_allclose(of_half_hours.sine, middle, rtol=1e-12)
    np.testing.assert_allclose(of_half_hours.clear_sky_W_m2, clear_sky_irradiance(middle), rtol=1e-12)
    whole = Hours(index, {"frequency": "1h", "timezone": "Europe/Berlin", "location": PLACE})
    np.testing.assert_array_equal(whole.sine, hours(index).sine)  # hours, where nothing is said
