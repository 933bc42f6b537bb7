"""Languages: numbers, dates, and that no text of a report is left in English."""

import re
import string
from datetime import date
from pathlib import Path

import create_report
import pandas as pd
import pytest
from contents import headline
from standins import INFO, Production, Registry, ledger_row, make_table

from dsgo import wording
from dsgo.german import GERMAN_TEXTS
from dsgo.language import ENGLISH, GERMAN
from dsgo.review import Score, Usual
from dsgo.weeks import Week

TEMPLATES = Path(create_report.__file__).parent / "templates"


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_numbers_have_the_separators_of_the_language():
    assert (ENGLISH.number(-1234567.891, 2), GERMAN.number(-1234567.891, 2)) == ("−1,234,567.89", "−1.234.567,89")
    assert plain(wording.quantity(4530.4, "MW", GERMAN)) == "4.530 MW"
    assert plain(wording.quantity(-1.5, "GW", GERMAN)) == "−1,50 GW"
    assert plain(wording.percent(-12.345, GERMAN)) == "−1.234 %"


@pytest.mark.parametrize(
    ("week", "english", "german"),
    [
        ("2016-W25", "20–26 June 2016", "20.–26. Juni 2016"),
        ("2016-W26", "27 June – 3 July 2016", "27. Juni – 3. Juli 2016"),
        ("2015-W53", "28 December 2015 – 3 January 2016", "28. Dezember 2015 – 3. Januar 2016"),
    ],
)
def test_weeks_are_told_in_days(week, english, german):
    assert (Week.parse(week).days(ENGLISH), Week.parse(week).days(GERMAN)) == (english, german)


def test_a_day_alone_a_moment_and_a_length_of_time():
    first = date(2016, 3, 1)
    assert (ENGLISH.days(first, first), GERMAN.days(first, first)) == ("1 March 2016", "1. März 2016")
    assert wording.moment("2016-07-04T14:03:59+02:00", GERMAN) == "4. Juli 2016, 12:03 UTC"
    assert [wording.duration(length, GERMAN) for length in ("1h", "24h", "7D")] == ["1 Stunde", "24 Stunden", "7 Tage"]
    assert GERMAN.weekday(first) == "Dienstag" and ENGLISH.weekday(first) == "Tuesday"


def test_words_are_listed():
    assert [ENGLISH.listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert GERMAN.listed(["a", "b"]) == "a und b"


def test_what_has_no_translation_is_a_fault_of_the_program_but_a_name_stays():
    with pytest.raises(KeyError):
        GERMAN.say("No such text.")
    assert GERMAN.name("no such name") == "no such name"


def test_values_are_not_read_as_text_to_be_filled():
    assert (
        ENGLISH.say("Source: {kind}, {name}.", kind="{name}", name="{kind.__class__}")
        == "Source: {name}, {kind.__class__}."
    )


@pytest.mark.parametrize("text", GERMAN_TEXTS)
def test_a_translation_has_the_values_of_its_original(text):
    def fields(form):
        return {name for _, name, _, _ in string.Formatter().parse(form) if name}

    assert fields(text) == fields(GERMAN_TEXTS[text])


def test_every_text_of_the_templates_is_translated():
    found = set()
    for path in TEMPLATES.glob("*.j2"):
        source = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'say\("([^"]+)"', source))
        for listed in re.findall(r"for text in \(([^)]*(?:\([^)]*\)[^)]*)*)\) %}", source):
            found |= set(re.findall(r'"([^"]+)"', listed))
    assert len(found) > 50
    assert found - set(GERMAN_TEXTS) == set()


def production(**changes):
    return Production(**{"info": {**INFO, "synthetic": "table" in changes}, **changes})


FIRST, ROLLED_BACK = ledger_row("2016-07-04T12:03Z", 1, None), ledger_row("2016-07-04", 2, 3, action="x")


@pytest.mark.parametrize(
    ("shown", "week", "entries"),
    [
        (production(), "2016-W26", [FIRST]),
        (production(table=make_table(end="2016-06-26T21:00"), trained_to="2016-06-26T21:00Z"), None, [ROLLED_BACK]),
        (production(window_table=Production().window()[:"2016-06-26T21:00Z"]), None, []),
        (production(trained_to="2016-06-22T21:00:00+00:00"), None, [FIRST]),
        (production(trained_to="2016-06-22T21:00:00+00:00"), "2016-W26", [FIRST]),
        (production(table=make_table(start="2013-12-01")), None, [FIRST]),
        (production(info={**INFO, "repairs": []}), "2016-W17", [FIRST]),
    ],
)
def test_no_sentence_of_a_report_lacks_a_translation(shown, week, entries):
    registry = Registry(wind_solar=shown)
    registry.promoted = pd.DataFrame(entries, columns=list(FIRST), dtype=object)
    report = create_report.create_report("wind_solar", week and Week.parse(week), registry, GERMAN)
    assert "Bewertung" in report.html


def score(rmse, naive):
    return Score(hours=168, mae=0.5, rmse=rmse, naive_mae=1.0, naive_rmse=naive, coverage80=0.8)


def test_the_headline_says_how_many_were_better_and_what_was_unusual():
    good, bad, usual = score(1.0, 2.0), score(3.0, 2.0), Usual(0.8, 1.2, 20)
    cases = {
        (("a", good, usual),): "The forecast was closer than the naive baseline. The errors were of the usual size.",
        (("a", bad, usual),): "The forecast was no closer than the naive baseline. Less accurate than usual: a.",
        (("a", good, usual), ("b", good, None)): "Both forecasts were closer than the naive baseline.",
        (
            ("a", good, usual),
            ("b", bad, usual),
        ): "One of 2 forecasts was closer than the naive baseline, the others were not. Less accurate than usual: b.",
        (("a", bad, usual), ("b", bad, usual)): "No forecast was closer than the naive baseline. "
        "Less accurate than usual: a and b.",
        tuple(("a", score(0.5, 2.0), usual) for _ in range(3)): "All 3 forecasts were closer than the naive baseline. "
        "More accurate than usual: a, a and a.",
        (
            ("a", good, usual),
            ("b", good, usual),
            ("c", bad, None),
        ): "2 of 3 forecasts were closer than the naive baseline, the others were not.",
        (("a", None, usual),): "No hour of this span can be scored.",
    }
    for targets, words in cases.items():
        assert headline(list(targets), ENGLISH) == words
        assert headline(list(targets), GERMAN)
    for place in (0.5, 1.0, 1.5):
        assert wording.verdict(score(place, 1.0), usual, "GW", GERMAN) != wording.verdict(
            score(place, 1.0), usual, "GW"
        )
