"""The sun's position against published values, and the clear-sky radiation it gives."""

import numpy as np
import pandas as pd
import pytest

from dsgo.sun import clear_sky_irradiance, sine_of_elevation


def hour(text: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([text], tz="UTC")


def elevation(label: str, latitude: float, longitude: float) -> float:
    return float(np.degrees(np.arcsin(sine_of_elevation(hour(label), latitude, longitude)[0])))


def test_it_agrees_with_the_worked_example_of_a_precise_algorithm():
    # Reda and Andreas, NREL/TP-560-34302 (2008), appendix A.5: 17 October 2003, 19:30:30 UTC, elevation without
    # refraction 39.872046 degrees. The label is half an hour earlier: the function looks at the middle of the hour.
    assert elevation("2003-10-17 19:00:30", 39.742476, -105.1786) == pytest.approx(39.872, abs=0.01)


@pytest.mark.parametrize(("label", "sun_over"), [("2016-06-20 22:00", 23.43), ("2016-12-21 10:00", -23.43)])
def test_at_a_solstice_the_sun_culminates_over_the_tropic(label, sun_over):
    day = pd.date_range(pd.Timestamp(label, tz="UTC").normalize(), periods=24 * 60, freq="min") - pd.Timedelta("30min")
    highest = np.degrees(np.arcsin(sine_of_elevation(day, 51.1, 10.4).max()))
    assert highest == pytest.approx(90 - 51.1 + sun_over, abs=0.01)


def test_the_poles_have_a_day_and_a_night_of_half_a_year():
    year = pd.date_range("2015-01-01", "2015-12-31 23:00", freq="h", tz="UTC")
    north, south = sine_of_elevation(year, 90, 0), sine_of_elevation(year, -90, 0)
    assert np.allclose(north, -south)
    assert 0.49 < np.mean(north > 0) < 0.52


def test_the_resolution_of_the_index_does_not_matter():
    label = hour("2015-05-05 12:00")
    results = {sine_of_elevation(label.as_unit(unit), 51, 10)[0] for unit in ("s", "ms", "us", "ns")}
    assert len(results) == 1


def test_clear_sky_radiation_is_zero_at_night_and_grows_with_the_sun():
    sines = np.array([-1, -0.01, 0, 0.01, 0.1, 0.5, 1])
    irradiance = clear_sky_irradiance(sines)
    assert (irradiance[:3] == 0).all()
    assert (np.diff(irradiance[2:]) > 0).all()
    assert irradiance[-1] == pytest.approx(1098 * np.exp(-0.059))
