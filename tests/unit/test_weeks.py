import pandas as pd
import pytest

from dsgo.errors import DSGoError
from dsgo.weeks import Week, complete_weeks, newest_complete_week

BERLIN = "Europe/Berlin"


def hourly(start, end):
    index = pd.date_range(start, end, freq="1h", tz="UTC", name="utc_timestamp")
    return pd.DataFrame({"solar_GW": 1.0, "wind_GW": 2.0}, index=index)


@pytest.mark.parametrize(
    ("text", "monday", "words"),
    [
        ("2016-W25", "2016-06-20", "20–26 June 2016"),
        ("2016-W26", "2016-06-27", "27 June – 3 July 2016"),
        ("2015-W53", "2015-12-28", "28 December 2015 – 3 January 2016"),
    ],
)
def test_a_week_is_read_and_put_in_words(text, monday, words):
    week = Week.parse(text)
    assert (str(week), week.monday.isoformat(), week.words) == (text, monday, words)


@pytest.mark.parametrize(
    "text",
    ["2016-25", "2016W25", "16-W25", "2016-W5", "2016-W00", "2016-W54", "2014-W53", "", " 2016-W25", "２０１６-W25"],
)
def test_what_is_no_week_is_refused_with_what_to_write(text):
    with pytest.raises(DSGoError, match="week"):
        Week.parse(text)


@pytest.mark.parametrize(("text", "hours"), [("2016-W25", 168), ("2016-W12", 167), ("2016-W43", 169)])
def test_a_week_has_the_hours_of_the_local_clock(text, hours):
    index = Week.parse(text).hours(BERLIN)
    local = index.tz_convert(BERLIN)
    assert len(index) == hours
    assert (local[0].day_name(), local[0].hour) == ("Monday", 0)
    assert (local[-1].day_name(), local[-1].hour) == ("Sunday", 23)


def test_the_week_of_a_moment_is_the_local_one():
    sunday_late = pd.Timestamp("2016-06-26T22:30Z")  # Monday 00:30 in Berlin
    assert str(Week.of(sunday_late, BERLIN)) == "2016-W26"
    assert str(Week.of(sunday_late, "UTC")) == "2016-W25"


def test_the_newest_complete_week_leaves_out_the_half_one():
    table = hourly("2016-06-01", "2016-06-30T23:00")
    assert [str(week) for week in complete_weeks(table, ["solar_GW"], BERLIN)] == ["2016-W23", "2016-W24", "2016-W25"]
    assert str(newest_complete_week(table, ["solar_GW"], BERLIN)) == "2016-W25"


def test_a_week_that_ends_with_the_table_is_complete():
    table = hourly("2016-06-19T22:00", "2016-06-26T21:00")
    assert str(newest_complete_week(table, ["solar_GW"], BERLIN)) == "2016-W25"
    assert newest_complete_week(table.iloc[:-1], ["solar_GW"], BERLIN) is None
    assert newest_complete_week(table.iloc[1:], ["solar_GW"], BERLIN) is None


def test_an_absent_hour_or_an_absent_value_makes_its_week_incomplete():
    table = hourly("2016-06-01", "2016-06-30T23:00")
    absent = table.drop(pd.Timestamp("2016-06-22T10:00Z"))
    assert str(newest_complete_week(absent, ["solar_GW"], BERLIN)) == "2016-W24"
    table.loc["2016-06-22T10:00Z", "wind_GW"] = float("nan")
    assert str(newest_complete_week(table, ["solar_GW", "wind_GW"], BERLIN)) == "2016-W24"
    assert str(newest_complete_week(table, ["solar_GW"], BERLIN)) == "2016-W25"


def test_weeks_with_a_change_of_the_clock_count_as_complete():
    assert [
        str(week) for week in complete_weeks(hourly("2016-03-20T23:00", "2016-03-27T21:00"), ["solar_GW"], BERLIN)
    ] == ["2016-W12"]


def test_an_empty_table_has_no_week():
    assert newest_complete_week(hourly("2016-06-01", "2016-06-02").iloc[:0], ["solar_GW"], BERLIN) is None
