"""The naive baseline of any horizon, and how wide its intervals are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset

from dsgo.evaluation import coverage, naive
from dsgo.persistence import persist

TABLE, INFO = dataset().table, dataset().info
DAY = pd.Timedelta("24h")
END = TABLE.index[-1]


def ahead(days: float) -> pd.DatetimeIndex:
    return pd.date_range(END + pd.Timedelta("1h"), END + days * DAY, freq="1h", unit="us")


def test_the_last_known_day_is_repeated() -> None:
    said = persist(TABLE, ahead(15), INFO)
    assert said.index.equals(ahead(15))
    for target in ("solar_GW", "wind_GW"):
        np.testing.assert_array_equal(said[target], np.tile(TABLE[target].iloc[-24:], 15))


def test_hours_of_the_table_are_forecast_as_they_are_scored() -> None:
    hours = TABLE.index[TABLE.index >= "2015-03-01"]  # one of them is absent, and with it the day before another
    said = persist(TABLE, hours, INFO)
    expected = naive(TABLE, ["solar_GW", "wind_GW"], hours, "24h")
    pd.testing.assert_frame_equal(said[["solar_GW", "wind_GW"]], expected, check_freq=False, check_names=False)


@pytest.mark.parametrize("day", [1, 6])
def test_about_four_hours_in_five_lie_inside_whatever_the_horizon(day: int) -> None:
    parts = []
    for start in pd.date_range("2014-02-01", "2015-06-20", freq="13D", tz="UTC", unit="us"):
        hours = pd.date_range(start, start + day * DAY, freq="1h", inclusive="left", unit="us")[-24:]
        parts.append(persist(TABLE[TABLE.index < start], hours, INFO).add_suffix("_said").join(TABLE, how="inner"))
    rows = pd.concat(parts)
    for target in ("solar_GW", "wind_GW"):
        columns = [target, f"{target}_p10_said", f"{target}_p90_said"]
        assert 0.70 < coverage(*(rows[column].to_numpy() for column in columns)) < 0.85


def test_an_interval_holds_its_forecast_within_what_is_possible_and_widens_with_the_horizon() -> None:
    said = persist(TABLE, ahead(7), INFO)
    for target, most in (("solar_GW", 100), ("wind_GW", 150)):
        assert (said[f"{target}_p10"] <= said[target]).all() and (said[target] <= said[f"{target}_p90"]).all()
        assert said[f"{target}_p10"].min() >= 0 and said[f"{target}_p90"].max() <= most
    width = said["wind_GW_p90"] - said["wind_GW_p10"]
    assert width.iloc[-24:].mean() > width.iloc[:24].mean()
    night = said.index.hour == 23
    assert (said.loc[night, "solar_GW_p90"] == 0).all()


def test_an_interval_knows_nothing_of_what_it_covers() -> None:
    hours = TABLE.index[-200:]
    changed = TABLE.copy()
    changed.loc[hours[24:], "wind_GW"] += 40  # errors that nobody could know of before these hours
    widths = [
        (said["wind_GW_p90"] - said["wind_GW"]).iloc[:24]
        for said in (persist(t, hours, INFO) for t in (TABLE, changed))
    ]
    np.testing.assert_array_equal(*widths)


def test_with_one_day_of_history_the_interval_is_all_that_is_possible() -> None:
    day = TABLE.iloc[:24]
    said = persist(day, day.index + DAY, INFO)
    np.testing.assert_array_equal(said["wind_GW"], day["wind_GW"])
    assert set(said["wind_GW_p10"]) == {0} and set(said["wind_GW_p90"]) == {150}


def test_without_an_earlier_hour_there_is_no_forecast() -> None:
    assert persist(TABLE, TABLE.index[:24], INFO).empty
    assert persist(TABLE, TABLE.index[:48], INFO).index.equals(TABLE.index[24:48])
