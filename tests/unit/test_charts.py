"""Pictures that only the dashboard has: what is in them, not how they look."""

import base64

import charts
import numpy as np
import pandas as pd
import pytest
import view as views
from history import History
from standins import INFO, make_finding, make_findings, make_predictions, make_table, make_window

from dsgo import figures

HOSTILE = "<b>x</b>"


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["bdata"]), dtype=f"<{packed['dtype']}")


def drawn(view_of=None, issued=None, points=800):
    table = make_table()
    history = History(table, make_window(table), INFO, issued)
    view = views.whole(history)
    first, last = view_of or (history.first, history.last)
    view = view.between(pd.Timestamp(first), pd.Timestamp(last), history)
    figure, width = charts.explore(history, view, points)
    return history, [curve for curve in figure["data"] if curve["xaxis"] == "x"], width


def test_single_values_have_an_interval_and_no_lowest_to_highest():
    history, curves, width = drawn(("2016-06-01", "2016-06-08"))
    assert width == "" and [curve["name"] for curve in curves] == ["80 % interval", "Forecast", "Recorded"]
    begin, end = history.between(pd.Timestamp("2016-06-01"), pd.Timestamp("2016-06-08"))
    assert np.allclose(unpacked(curves[2]["y"]), history.values["solar_GW"][begin:end])
    first = pd.Timestamp(unpacked(curves[2]["x"])[0], unit="ms")
    assert first == pd.Timestamp("2016-06-01"), "the clock's time, as if it were UTC"


def test_wide_buckets_show_lowest_to_highest_and_no_interval():
    _, curves, width = drawn(points=100)
    assert width == "day" and [curve["name"] for curve in curves] == ["Lowest to highest", "Forecast", "Recorded"]
    assert len(unpacked(curves[2]["y"])) <= 100


@pytest.mark.parametrize(
    ("values", "written"), [([0.0123, 43.21], ",.3~r"), ([np.nan, -4532.1], ",.0f"), ([np.nan], ",.3~r")]
)
def test_hovering_leaves_out_no_digit_before_the_decimal_point(values, written):
    assert charts._number(np.array(values)) == written


def test_a_band_is_closed_around_each_stretch_and_parted_by_gaps():
    times = pd.date_range("2016-06-01", periods=5, freq="1h").to_numpy()
    low = np.array([1, 2, np.nan, 4, 5])
    band = charts._band(times, low, low + 1, "band", charts.BLUE, 0.3, {})
    y = unpacked(band["y"])
    assert np.array_equal(y, [2, 3, 2, 1, np.nan, 5, 6, 5, 4, np.nan], equal_nan=True)


def test_what_was_issued_is_drawn_where_nothing_is_out_of_sample_each_source_its_own_way():
    earlier = make_predictions("earlier_version", 2, hours=24)
    naive = make_predictions("naive", None, hours=48).groupby("target").tail(24)
    known = make_predictions(hours=1).assign(utc_timestamp=pd.Timestamp("2016-06-30T12:00Z"))  # has a forecast already
    issued = pd.concat([earlier, naive, known], ignore_index=True)
    history, curves, _ = drawn(("2016-06-28", "2016-07-03T02:00"), issued)
    lines = {curve["name"]: curve for curve in curves if "dash" in curve["line"]}
    assert list(lines) == ["Issued, earlier version 2", "Issued, naive baseline"]
    assert len({(line["line"]["color"], line["line"]["dash"]) for line in lines.values()}) == 2
    for name, rows in (("Issued, earlier version 2", earlier), ("Issued, naive baseline", naive)):
        values = unpacked(lines[name]["y"])
        assert np.allclose(values[np.isfinite(values)], rows.loc[rows["target"] == "solar_GW", "forecast"])
    bands = [curve for curve in curves if "fillpattern" in curve]
    assert len(bands) == 2 and not any(band["showlegend"] for band in bands)
    assert history.known_last == pd.Timestamp("2016-07-01T02:00") and history.last == pd.Timestamp("2016-07-03T02:00")


def test_hours_ahead_are_added_to_a_picture_in_other_lines_and_in_words():
    hours = make_table().index[-48:]
    table = make_window(make_table()).reindex(hours.union(hours + pd.Timedelta("72h")))
    figure = figures.describe(table, "wind_GW", INFO)
    picture = figures.plotly_figure(figure)
    before = len(picture.data)
    rows = make_predictions("naive", None, p90=99.0)
    local = rows[rows["target"] == "wind_GW"].set_index("utc_timestamp").tz_convert(None)
    words = charts.add_ahead(picture, [("naive", "naive baseline", local)], "<GW>", local.index[0])
    assert len(picture.data) == before + 2 and picture.data[-1].name == "Ahead, naive baseline"
    assert picture.data[-1].line.dash == "dot" and picture.data[-2].fillpattern.shape == "/"
    assert "&lt;GW&gt;" in picture.data[-1].text[0], "a unit from data is no markup"
    assert picture.layout.yaxis.range[1] > 99 and len(picture.layout.shapes) == 1
    assert words.startswith(" Ahead, naive baseline: ") and words.endswith("<GW>.")


def checks(*weeks):
    """One check a week of the newest data, each with as many alarms of drift as told."""
    rows = []
    for place, alarms in enumerate(weeks):
        last = pd.Timestamp("2016-06-05T22:59Z") + place * pd.Timedelta(days=7)  # Monday 0:59 in Berlin
        of = {"time": pd.Timestamp("2016-07-04") + place * pd.Timedelta(hours=1), "last": last}
        of["time"] = of["time"].tz_localize("UTC")
        rows += [make_finding("data", check, "x", **of) for check in ("level", "spread", "shape")[:alarms]]
        ahead = of | {"last": last + pd.Timedelta(days=9), "estimate": True}
        rows.append(make_finding("model", "error", "y", **ahead, alarm=False))
        rows += [make_finding("model", "error", HOSTILE, alarm=False, measured=1 + place, limit=2, **of)]
    return make_findings(*rows)


def test_alarms_are_counted_by_the_week_of_the_data_not_of_the_clock():
    weeks = charts.weekly_alarms(checks(2, 0, 3), "Europe/Berlin")
    assert list(weeks["data"]) == [2, 0, 3] and list(weeks["model"]) == [0, 0, 0]
    assert list(weeks.index) == list(pd.to_datetime(["2016-06-06", "2016-06-13", "2016-06-20"]))


def test_of_several_checks_of_a_week_the_newest_counts():
    again = checks(2).assign(time=pd.Timestamp("2016-07-09T00:00Z"), alarm=False)
    weeks = charts.weekly_alarms(pd.concat([checks(2), again], ignore_index=True), "Europe/Berlin")
    assert weeks.shape == (1, 4) and weeks.to_numpy().sum() == 0


def test_realised_errors_are_shares_of_their_limit_and_names_no_markup():
    figure = charts.realised_errors(checks(0, 0), "Europe/Berlin")
    assert list(figure.data[0].y) == [50, 100] and "<b>" not in figure.data[0].name
    assert charts.realised_errors(checks(1).assign(estimate=True), "UTC") is None
    assert charts.realised_errors(checks(1).assign(limit=np.nan), "UTC") is None


@pytest.mark.parametrize("rows", [1, 3])
def test_importances_durations_and_completeness_name_their_rows_without_markup(rows):
    names = [f"{HOSTILE}{place}" for place in range(rows)]
    table = pd.DataFrame({"group": names, "rmse_increase": range(rows), "rmse_increase_sd": 0.1})
    complete = pd.DataFrame(1.0, index=pd.date_range("2016-01-01", periods=2, freq="MS"), columns=names)
    for figure in (
        charts.importances(table, HOSTILE),
        charts.durations(names, [1.0] * rows),
        charts.completeness(complete),
    ):
        assert len(figure.data[0].y) == rows and "<b>" not in "".join(figure.data[0].y)
        assert "<b>" not in figure.data[0].hovertemplate
