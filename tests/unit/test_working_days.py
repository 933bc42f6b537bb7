"""Days of work, rest, holidays, school and the break around the turn of the year, day by day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from dsgo.working_days import WorkingDays

CALENDAR = {
    # New Year, Australia Day on a Saturday, a Thursday, a Tuesday, Christmas and Boxing Day; one as YAML reads it.
    "holidays": [date(2013, 1, 1), "2013-01-26", "2013-04-25", "2013-11-05", "2013-12-25", "2013-12-26"],
    "school_holidays": [["2013-03-29", "2013-04-14"], [date(2013, 12, 21), date(2014, 1, 28)]],
    "break": ["12-24", "01-06"],
}
DAYS = WorkingDays(CALENDAR)


def number(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def said(day: str, calendar: WorkingDays = DAYS) -> dict[str, float]:
    """What a model is told of one day, by the names without their prefix."""
    return {
        name.removeprefix("calendar_"): values[0] for name, values in calendar.features(np.array([number(day)])).items()
    }


def shown(day: str) -> set[str]:
    """What a dataset shows of one day: the columns that hold."""
    return {name for name, values in DAYS.named(np.array([number(day)])).items() if values[0]}


@pytest.mark.parametrize(
    ("day", "holds"),
    [
        ("2013-03-06", {"workday"}),  # a Wednesday
        ("2013-03-09", set()),  # a Saturday
        ("2013-01-26", {"holiday"}),
        ("2013-04-25", {"holiday"}),
        ("2013-03-28", {"workday"}),
        ("2013-04-10", {"workday", "school_holiday"}),
        ("2013-04-14", {"school_holiday"}),
        ("2013-04-15", {"workday"}),
        ("2013-12-23", {"workday", "school_holiday"}),
        ("2013-12-24", {"workday", "school_holiday", "year_end_break"}),
        ("2013-12-25", {"holiday", "school_holiday", "year_end_break"}),
        ("2014-01-06", {"workday", "school_holiday", "year_end_break"}),
        ("2014-01-07", {"workday", "school_holiday"}),
        ("2014-01-29", {"workday"}),
    ],
)
def test_a_dataset_shows_what_a_day_is(day, holds):
    assert shown(day) == holds


def test_days_of_the_week():
    week = {day: said(f"2013-03-{day:02}") for day in range(4, 11)}  # from a Monday on
    kinds = ("monday", "friday", "saturday", "sunday", "off", "after_off", "before_off")
    holds = {day: {kind for kind in kinds if told[kind]} for day, told in week.items()}
    assert holds == {
        4: {"monday", "after_off"},
        **{day: set() for day in (5, 6, 7)},
        8: {"friday", "before_off"},
        9: {"saturday", "off", "before_off"},
        10: {"sunday", "off", "after_off"},
    }


def test_a_holiday_is_a_sunday_whatever_the_day_of_the_week():
    thursday = said("2013-04-25")
    assert [thursday[name] for name in ("sunday", "off", "holiday", "rest")] == [1, 1, 1, 1]
    monday = said("2013-01-07", WorkingDays({**CALENDAR, "holidays": ["2013-01-07"]}))
    assert (monday["monday"], monday["sunday"]) == (0, 1)


def test_a_day_of_work_between_two_of_rest_is_a_bridge():
    assert said("2013-04-26")["bridge"] == 1  # the Friday after a holiday
    assert said("2013-11-04")["bridge"] == 1  # the Monday before a Tuesday
    for day in ("2013-04-25", "2013-04-24", "2013-11-06", "2013-11-03"):
        assert said(day)["bridge"] == 0, day


def test_the_break_goes_across_the_turn_of_the_year():
    days = [
        "2013-12-23",
        "2013-12-24",
        "2013-12-25",
        "2013-12-31",
        "2014-01-01",
        "2014-01-02",
        "2014-01-06",
        "2014-01-07",
    ]
    assert [said(day)["break"] for day in days] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert [said(day)["rest"] for day in days] == [0, 0.5, 1, 1, 1, 0.7, 0.7, 0]
    assert said("2014-01-04")["rest"] == 1  # a Saturday of the break is one of rest, not less


def test_a_leap_year_and_days_before_1970_are_no_exception():
    assert said("2012-02-29")["off"] == 0 and said("2012-02-29")["break"] == 0
    assert said("1969-12-28")["sunday"] == 1 and said("1969-12-25")["rest"] == 1  # by the break: no holiday is listed


def test_without_school_holidays_there_are_none():
    days = np.array([number("2013-04-01"), number("2013-12-30")])
    calendar = WorkingDays({**CALENDAR, "school_holidays": [], "holidays": []})
    assert not calendar.named(days)["school_holiday"].any() and not calendar.named(days)["holiday"].any()
    assert not calendar.features(days)["calendar_school_holiday"].any()


def test_many_rows_of_a_day_are_told_the_same_in_any_order():
    days = number("2013-12-20") + np.array([5, 1, 5, 4, 0, 1, 12])
    for name, values in DAYS.features(days).items():
        alone = [DAYS.features(days[[place]])[name][0] for place in range(len(days))]
        np.testing.assert_array_equal(values, alone, err_msg=name)
