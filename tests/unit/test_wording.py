import math

import pytest

from dsgo import wording
from dsgo.language import GERMAN
from dsgo.review import Score, Usual


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234, "1.23 GW"),
        (12.34, "12.3 GW"),
        (123.4, "123 GW"),
        (4530.4, "4,530 GW"),
        (0.0512, "0.0512 GW"),
        (9.999, "10.0 GW"),
        (0.0, "0 GW"),
        (-0.0, "0 GW"),
        (-1.5, "−1.50 GW"),
        (1e-30, "0.000000000 GW"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_quantity_has_three_significant_digits_and_its_unit(value, text):
    assert wording.quantity(value, "GW").replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("share", "text"), [(0.814, "81 %"), (-0.001, "0 %"), (-0.25, "−25 %"), (math.nan, "–")])
def test_a_share_is_a_percentage(share, text):
    assert wording.percent(share).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("length", "text"),
    [("1h", "1 hour"), ("24h", "24 hours"), ("7D", "7 days"), ("90min", "90 minutes"), ("36h", "36 hours")],
)
def test_a_duration_is_exact(length, text):
    assert wording.duration(length) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2016-07-04T00:00Z", "today"),
        ("2016-07-03T23:59Z", "yesterday"),
        ("2016-07-01T12:00Z", "3 days ago"),
        ("2013-07-04T12:00Z", "1,096 days ago"),
        ("2016-07-05T00:00Z", "in the future"),
    ],
)
def test_an_age_is_told_in_calendar_days(time, text):
    # Pages are drawn anew once a day: anything finer would be wrong by the evening.
    assert wording.days_ago(time, "2016-07-04T01:30Z") == text


def test_a_moment_is_told_in_utc():
    assert wording.moment("2016-07-04T14:03:59+02:00") == "4 July 2016, 12:03 UTC"


def score(rmse, naive):
    return Score(hours=168, mae=0.5, rmse=rmse, naive_mae=1.0, naive_rmse=naive, coverage80=0.8)


def test_the_verdict_compares_with_naive_and_with_the_usual_range():
    usual = Usual(0.8, 1.2, 20)
    words = [wording.verdict(score(*case), usual, "GW") for case in [(0.5, 2.0), (1.0, 2.0), (1.5, 1.0)]]
    assert "less than the naive baseline’s" in words[0] and "below the usual" in words[0]
    assert "within the usual" in words[1]
    assert "no better than the naive baseline’s" in words[2] and "above the usual" in words[2]
    assert "too few other weeks" in wording.verdict(score(1, 2), None, "GW")
    assert "can be scored" in wording.verdict(None, usual, "GW")


def test_rows_are_told_in_hours():
    assert [wording.hours(168, "1h"), wording.hours(336, "30min"), wording.hours(2184 * 2, "30min")] == [
        "168",
        "168",
        "2,184",
    ]
    assert wording.hours(335, "30min") == "167.5" and wording.hours(335, "30min", GERMAN) == "167,5"
