"""The watch of the model: errors count by the size of the forecast, a change is found, an estimate is called one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dsgo.findings import Finding
from dsgo.model_drift import estimated_errors, expected, model_drift

INFO = {
    "frequency": "1h",
    "columns": {
        "wind_GW": {"role": "target", "unit": "GW", "minimum": 0},
        "windspeed": {"role": "input", "unit": "m/s", "minimum": 0},
    },
}
CHANCE_A_YEAR = 0.5


def forecasts(days: int, seed: int, start: str = "2015-01-01") -> pd.DataFrame:
    """Hours of wind: spells of days, errors of a tenth of the forecast that are alike for half a day, honest intervals."""
    draws = np.random.default_rng(seed)
    index = pd.date_range(start, periods=24 * days, freq="h", tz="UTC", name="utc_timestamp")
    spells = pd.Series(draws.standard_normal(len(index))).ewm(halflife=30).mean()
    forecast = 10 * np.exp(0.7 * (spells / spells.std()).to_numpy())
    error = pd.Series(draws.standard_normal(len(index))).ewm(halflife=6).mean()
    recorded = forecast * (1 + 0.1 * (error / error.std()).to_numpy())
    low, high = (forecast * (1 + end * 1.28 * 0.1) for end in (-1, 1))
    return pd.DataFrame(
        {"wind_GW": recorded, "wind_GW_forecast": forecast, "wind_GW_p10": low, "wind_GW_p90": high}, index
    )


TEST = forecasts(540, seed=1)


def found(live: pd.DataFrame, test: pd.DataFrame = TEST) -> dict[str, Finding]:
    return {one.check: one for one in model_drift(test, live, INFO, (7, 28), CHANCE_A_YEAR)}


def alarms(live: pd.DataFrame) -> set[str]:
    return {check for check, one in found(live).items() if one.alarm}


def test_what_goes_on_as_in_the_test_is_no_drift() -> None:
    weeks = [alarms(forecasts(100, seed, "2017-01-01")) for seed in range(2, 42)]
    assert sum(map(bool, weeks)) <= 1  # of 40 checks, where one in a hundred is allowed


def test_a_stormy_week_has_larger_errors_and_is_no_drift() -> None:
    calm = forecasts(28, 50, "2017-01-01")
    storm = calm * 1.7
    plain = np.sqrt(((storm["wind_GW"] - storm["wind_GW_forecast"]) ** 2).mean())
    assert plain > 1.3 * np.sqrt(((TEST["wind_GW"] - TEST["wind_GW_forecast"]) ** 2).mean())
    assert "error" not in alarms(storm)


@pytest.mark.parametrize(
    ("change", "expected_checks"),
    [
        (lambda t: t.assign(wind_GW=t["wind_GW"] * 1.3), {"bias", "level"}),
        (lambda t: t.assign(wind_GW=t["wind_GW"] * 0.7), {"bias", "level"}),
        (lambda t: t.assign(wind_GW=3 * t["wind_GW"] - 2 * t["wind_GW_forecast"]), {"error", "coverage"}),
    ],
)
def test_a_change_is_found(change, expected_checks: set[str]) -> None:
    assert expected_checks <= alarms(change(forecasts(35, 60, "2017-01-01")))


def test_smaller_errors_and_wider_intervals_are_no_alarm() -> None:
    live = forecasts(35, 61, "2017-01-01")
    live["wind_GW"] = 0.8 * live["wind_GW_forecast"] + 0.2 * live["wind_GW"]
    assert not alarms(live) & {"error", "coverage"}


def test_a_small_change_of_the_level_is_found_within_a_quarter() -> None:
    live = forecasts(95, 62, "2017-01-01")
    live["wind_GW"] *= 1.04
    one = found(live)["level"]
    assert one.alarm and (one.last - one.first) > pd.Timedelta("90D")


def test_too_few_hours_are_not_judged() -> None:
    one = found(forecasts(3, 63, "2017-01-01"))["error"]
    assert one.measured is None and not one.alarm and "cannot be judged" in one.text
    assert model_drift(TEST, TEST.iloc[:0], INFO, (7, 28), CHANCE_A_YEAR) == []


def test_a_test_without_intervals_leaves_the_coverage_open() -> None:
    points = TEST.drop(columns=["wind_GW_p10", "wind_GW_p90"])
    checks = found(forecasts(35, 64, "2017-01-01"), points)
    assert checks["coverage"].measured is None and checks["error"].measured is not None


def test_expected_errors_grow_with_the_forecast_and_darkness_is_certain() -> None:
    of_size = expected(TEST, "wind_GW", 0)
    small, large = of_size.at(np.array([4.0, 40.0]))
    assert 0 < small < large / 4
    assert np.isnan(of_size.at(np.array([0.0]))).all()


def test_an_estimate_says_so_and_lies_near_what_then_comes() -> None:
    live = 1.5 * forecasts(30, 65, "2017-01-01")
    (one,) = estimated_errors(TEST, live[["wind_GW_forecast"]], INFO)
    came = np.sqrt(((live["wind_GW"] - live["wind_GW_forecast"]) ** 2).mean())
    assert one.estimate and not one.alarm and "estimated" in one.text
    assert one.measured == pytest.approx(came, rel=0.3)
