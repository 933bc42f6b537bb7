"""What the watch, whoever acts and whoever predicts have left, in words."""

import pandas as pd
import pytest
from standins import INFO, Production, make_finding, make_findings, make_predictions

from dsgo import actions, findings, notices, predictions
from dsgo.german import GERMAN_TEXTS
from dsgo.language import ENGLISH, GERMAN


def test_the_words_are_of_what_the_tables_hold():
    assert set(notices.KINDS) == {findings.FAULT, findings.MODEL, findings.DATA, findings.STALE}
    assert (notices.PRODUCTION, notices.EARLIER_VERSION, notices.NAIVE) == (
        predictions.PRODUCTION,
        predictions.EARLIER_VERSION,
        predictions.NAIVE,
    )
    decided = {actions.RETRAINING, actions.WAIT, actions.ASK, actions.NOTHING, actions.FAILED, actions.GO_ON}
    assert set(notices.DECISIONS) == set(notices.NAMES) == decided


@pytest.mark.parametrize("text", [*notices.ALARMS.values(), *notices.DECISIONS.values()])
def test_every_alarm_and_decision_is_translated(text):
    assert GERMAN_TEXTS[text] != text


def test_faults_come_first_and_quiet_findings_are_no_alarms():
    rows = [
        make_finding("stale", "stale", ""),
        make_finding("data", "level", "windspeed"),
        make_finding("model", "bias", "wind_GW", alarm=False),
        make_finding("fault", "stuck", "temperature"),
    ]
    assert [row["kind"] for row in notices.alarms(make_findings(*rows))] == ["fault", "data", "stale"]
    assert notices.alarms(make_findings().iloc[:0]) == notices.alarms(pd.DataFrame()) == []


def test_an_alarm_names_the_quantity_and_says_if_it_is_an_estimate():
    drift = make_finding("data", "level", "windspeed")
    assert notices.alarm(drift, INFO) == "Wind speed 10 m above ground: lower or higher than is usual in this season."
    estimate = notices.alarm(make_finding("model", "error", "wind_GW", estimate=True), INFO)
    assert estimate.startswith("Wind power on land and at sea: the forecast misses") and "(Estimate" in estimate
    assert "(Estimate" not in notices.alarm(make_finding("model", "error", "wind_GW"), INFO)
    unknown = notices.alarm(make_finding("model", "a check of tomorrow", "no such column"), INFO, GERMAN)
    assert unknown.startswith("No such column: Die Vorhersage verlässt")


def test_who_has_forecast_in_place_of_production_is_said_with_hours_and_time():
    earlier, naive = make_predictions("earlier_version", 2, hours=24), make_predictions("naive", None, hours=48)
    rows = pd.concat([naive.groupby("target").tail(24), earlier, make_predictions(hours=1)])
    first, second = notices.substitutes(rows, Production())
    assert first == (
        "Version 3 could not forecast: of 1 July 2016, 00:00 UTC to 1 July 2016, 23:00 UTC there are forecasts of the "
        "earlier version 2 instead, issued 5 July 2016, 06:15 UTC."
    )
    assert "of 2 July 2016, 00:00 UTC to 2 July 2016, 23:00 UTC there are forecasts of the naive baseline" in second
    assert [row["source"] for row, _ in notices.sources(rows)] == ["production", "earlier_version", "naive"]
    assert notices.substitutes(make_predictions(), Production()) == []


def test_a_version_promoted_since_is_not_said_to_have_failed():
    rows = make_predictions("naive", None)
    for production in (Production(promoted_at="2016-07-05T06:16Z"), None):
        (words,) = notices.substitutes(rows, production)
        assert words.startswith("No version in Production could forecast") and "3" not in words.partition(":")[0]
    assert notices.substitutes(rows, None, GERMAN)[0].startswith("Keine Version in Produktion")


def test_an_estimate_of_hours_ahead_does_not_tell_how_far_the_data_go():
    ahead = make_finding("model", "error", "wind_GW", estimate=True, last=pd.Timestamp("2016-07-09T00:00Z"))
    found = make_findings(ahead, make_finding("data", "level", "windspeed"))
    assert notices.data_end(found) == pd.Timestamp("2016-06-30T23:00Z")
    assert notices.data_end(found[:1]) == pd.Timestamp("2016-07-09T00:00Z")


def test_only_later_hours_are_ahead():
    rows = make_predictions(hours=3)
    assert len(notices.ahead(rows, "2016-07-01T00:00Z")) == 4
    assert notices.ahead(pd.DataFrame(), "2016-07-01T00:00Z").empty
    assert notices.source(rows.iloc[0], ENGLISH) == "version 3"
