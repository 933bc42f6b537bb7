import io

import numpy as np
import pandas as pd
import pytest
import view as views
from history import History
from standins import INFO, make_table, make_window
from view import TIME, YEARS


def make(start="2016-01-01", end="2016-06-30T23:00", info=INFO):
    table = make_table(start, end)
    return History(table, make_window(table), info), table


def local(moment):
    return pd.Timestamp(moment)


def test_few_values_are_shown_one_by_one_in_local_time():
    history, table = make()
    shown = history.buckets("wind_GW", local("2016-06-01"), local("2016-06-03"), 800)
    assert shown.width == "" and len(shown.mean) == 48
    assert shown.times[0] == np.datetime64("2016-06-01T00:00")
    assert shown.mean[0] == table.loc["2016-05-31T22:00Z", "wind_GW"], "Berlin is two hours ahead of UTC"


@pytest.mark.parametrize(
    ("points", "width"), [(800, "6 hours"), (300, "day"), (100, "2 days"), (40, "week"), (10, "month"), (5, "quarter")]
)
def test_many_values_are_shown_as_buckets_that_lose_neither_sum_nor_peak(points, width):
    history, table = make()
    shown = history.buckets("wind_GW", history.first, history.last, points)
    assert shown.width == width and len(shown.times) <= points
    assert shown.high.max() == table["wind_GW"].max() and shown.low.min() == table["wind_GW"].min()
    assert (np.diff(shown.times) > np.timedelta64(0)).all()
    days = pd.DatetimeIndex(shown.times[1:])
    if width.endswith(("day", "days", "week", "month", "quarter")):
        assert (days == days.normalize()).all(), "local midnights, in summer time too"


def test_a_day_s_bucket_is_the_local_day_also_when_the_clock_changes():
    history, table = make()
    clock = table["wind_GW"].tz_convert("Europe/Berlin")
    days = history.days("wind_GW")
    for day, hours in (("2016-03-26", 24), ("2016-03-27", 23), ("2016-06-30", 24)):
        assert len(clock[day]) == hours
        assert days[day] == pytest.approx(clock[day].mean())


def test_gaps_stay_gaps():
    table = make_table("2016-01-01", "2016-06-30T23:00")
    table.loc["2016-02-01":"2016-02-20", "wind_GW"] = np.nan
    absent = table.drop(table.loc["2016-03-01":"2016-03-10"].index)
    history = History(absent, make_window(table), INFO)
    shown = history.buckets("wind_GW", history.first, history.last, 300)
    by_day = pd.Series(shown.mean, pd.DatetimeIndex(shown.times))
    assert by_day["2016-02-02":"2016-02-20"].isna().all() and by_day["2016-03-02":"2016-03-10"].isna().all()
    assert by_day["2016-02-22":"2016-02-28"].notna().all()
    share = history.completeness
    assert share.loc["2016-02-01", "wind_GW"] == pytest.approx(1 - 480 / (29 * 24), abs=0.01)
    assert share.loc["2016-04-01", "wind_GW"] == 1.0


def test_hours_that_only_the_forecasts_have_are_shown_too():
    table = make_table("2016-01-01", "2016-07-10T23:00")
    history = History(table[:"2016-06-30"], make_window(table), INFO)
    assert history.end == table.index[-1]
    assert np.isfinite(history.values["wind_GW"]).all()


def test_values_that_are_not_hourly_have_no_buckets_narrower_than_they_are():
    table = make_table("2012-01-01", "2016-06-30T23:00").resample("1D").mean()
    history = History(table, make_window(table), {**INFO, "frequency": "1D"})
    assert history.buckets("wind_GW", history.first, history.last, 2000).width == ""
    assert history.buckets("wind_GW", history.first, history.last, 1000).width == "2 days"


def test_years_beside_each_other_have_no_hole_on_29_february():
    history, _ = make("2014-01-01")
    table = history.smooth_years["wind_GW"]
    assert list(table) == history.years == [2014, 2015, 2016], "an hour of 2017 or so would be no year"
    assert table[2014].notna().all() and len(table) == 366


def test_a_file_has_the_values_as_they_are_and_says_where_they_are_from():
    history, table = make()
    first, last = local("2016-06-01"), local("2016-06-02")
    text = "".join(history.csv(["wind_GW"], first, last, ["data\nof <nobody>"]))
    assert text.startswith("# data of <nobody>\nutc_timestamp,wind_GW,wind_GW_forecast,")
    read = pd.read_csv(io.StringIO(text), comment="#", index_col=0, parse_dates=True)
    assert len(read) == 24 and np.allclose(read["wind_GW"], table.loc[read.index, "wind_GW"], rtol=1e-5)


def test_a_name_is_no_formula_in_a_spreadsheet():
    info = {**INFO, "columns": {**INFO["columns"], '=cmd|"a"': {"role": "input", "unit": "1"}}}
    table = make_table().assign(**{'=cmd|"a"': 1.0})
    history = History(table, make_window(table), info)
    head = list(history.csv(['=cmd|"a"'], history.first, history.last, []))[1]
    assert head == 'utc_timestamp,"\'=cmd|""a"""\n'


def test_an_address_holds_the_whole_view():
    history, _ = make("2014-01-01")
    view, problems = views.read(
        "?show=windspeed&show=wind_GW&from=2015-03-01&to=2015-03-08T12:30&by=years&year=2014", history
    )
    assert problems == [] and view.columns == ("windspeed", "wind_GW") and view.by == YEARS and view.years == (2014,)
    again, _ = views.read(view.query("wind_solar"), history)
    assert again == view


@pytest.mark.parametrize(
    "search",
    [
        "?from=nonsense",
        "?from=2015-01-01T00:00Z",
        "?show=moon",
        "?from=1999&to=2000",
        "?year=x",
        "?to=9999999999999-01-01",
    ],
)
def test_what_an_address_names_in_vain_is_said_and_everything_shown(search):
    history, _ = make("2014-01-01")
    view, problems = views.read(search, history)
    assert len(problems) == 1 and view == views.whole(history)


def test_moving_and_zooming_stay_within_the_history():
    history, _ = make("2014-01-01")
    view = views.whole(history)
    assert view.by == TIME and view.zoomed(2, history) == view.moved(0.5, history) == view
    week = view.between(history.last - pd.Timedelta("7D"), history.last, history)
    assert week.moved(0.5, history) == week
    assert week.moved(-0.5, history).last == week.last - pd.Timedelta("3.5D")
    for _ in range(40):
        week = week.zoomed(0.5, history)
    assert week.last - week.first == views.SHORTEST * history.step
