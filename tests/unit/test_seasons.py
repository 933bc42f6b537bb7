from datetime import date

import pandas as pd
import pytest

from dsgo.seasons import season_of, season_so_far

BERLIN = "Europe/Berlin"


def hourly(start, end):
    index = pd.date_range(start, end, freq="1h", tz="UTC", name="utc_timestamp")
    return pd.DataFrame({"wind_GW": index.tz_convert(BERLIN).day.astype(float)}, index=index)


@pytest.mark.parametrize(
    ("month", "north"), [(12, "winter"), (2, "winter"), (3, "spring"), (8, "summer"), (11, "autumn")]
)
def test_seasons_are_turned_in_the_south(month, north):
    south = {"winter": "summer", "summer": "winter", "spring": "autumn", "autumn": "spring"}[north]
    assert (season_of(month, 51.0), season_of(month, -37.0)) == (north, south)


def test_the_same_local_days_of_each_year_are_compared():
    spans = season_so_far(hourly("2013-01-01", "2016-06-30T23:00"), ["wind_GW"], date(2016, 6, 26), BERLIN, "1h")
    assert [(span.first, span.last) for span in spans] == [
        (date(y, 6, 1), date(y, 6, 26)) for y in (2016, 2015, 2014, 2013)
    ]
    assert [span.years for span in spans] == ["2016", "2015", "2014", "2013"]
    assert all(span.means["wind_GW"] == pytest.approx(13.5) and span.share == 1 for span in spans), "of days 1 to 26"


def test_a_winter_crosses_the_turn_of_the_year_and_leap_days_are_no_fault():
    spans = season_so_far(hourly("2013-06-01", "2016-03-01"), ["wind_GW"], date(2016, 2, 29), BERLIN, "1h")
    assert [(span.first, span.last, span.years) for span in spans] == [
        (date(2015, 12, 1), date(2016, 2, 29), "2015/16"),
        (date(2014, 12, 1), date(2015, 2, 28), "2014/15"),
        (date(2013, 12, 1), date(2014, 2, 28), "2013/14"),
    ]


def test_years_with_too_few_hours_are_left_out():
    table = hourly("2013-06-15", "2016-06-30T23:00")
    table.loc["2015-06-05":"2015-06-20", "wind_GW"] = float("nan")
    spans = season_so_far(table, ["wind_GW"], date(2016, 6, 26), BERLIN, "1h")
    assert [span.years for span in spans] == ["2016", "2014"]
    assert season_so_far(table[:"2016-06-10"], ["wind_GW"], date(2016, 6, 26), BERLIN, "1h") == []


def test_a_season_of_one_day():
    spans = season_so_far(hourly("2015-01-01", "2016-06-30"), ["wind_GW"], date(2016, 6, 1), BERLIN, "1h")
    assert [(span.first, span.last) for span in spans] == [(date(y, 6, 1),) * 2 for y in (2016, 2015)]
