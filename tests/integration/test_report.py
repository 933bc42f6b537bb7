import base64
import copy
import itertools
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import create_report
import numpy as np
import pandas as pd
import pytest
import typst
from hypothesis import example, given, settings
from hypothesis import strategies as st
from standins import (
    INFO,
    Production,
    Registry,
    ledger_row,
    make_actions,
    make_demand,
    make_finding,
    make_findings,
    make_predictions,
    make_table,
)

from dsgo.notices import Watched
from dsgo.review import review
from dsgo.wording import quantity

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert('x')</script>{{ 7 * 7 }} & \"q\""


def report(registry, output, *options, capsys):
    """Exit code, the last line of standard output (the page's path) and standard error of the command."""
    code = create_report.main(["--collection", "wind_solar", "--output", str(output), *options], registry)
    captured = capsys.readouterr()
    lines = captured.out.strip().splitlines()
    assert len(lines) == (0 if code else 2)
    return code, lines[-1] if lines else "", captured.err.strip()


def page_of(registry, output, *options, capsys):
    """The page that the command writes."""
    code, path, error = report(registry, output, *options, capsys=capsys)
    assert (code, error) == (0, "")
    return Page(Path(path).read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Elements with their attributes, and the text as a reader sees it."""

    VOID = frozenset({"meta", "br", "link", "img", "source"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(html)
        self.close()
        assert self.open == [], "every element is closed"
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture
def registry():
    return Registry(wind_solar=Production())


def test_half_hours_of_one_quantity_in_the_south_are_told_in_hours(monkeypatch):
    monkeypatch.setattr(create_report.collections, "find", lambda name: SimpleNamespace(name=name))
    made = create_report.create_report("demand", None, Registry(demand=make_demand()))
    page = Page(made.html)
    for words in (
        "Week 2014-W48: 24–30 November 2014",
        "The data have all 168 hours of the week.",
        "168 h counted",
        "The season so far: spring 2014",
        "The forecast was closer than the naive baseline.",
        "the value recorded 7 days earlier",
    ):
        assert words in page.text
    assert not re.search(r"GW|\bwind\b", page.text), page.text
    assert len(re.findall(rb"/Type/Page\b(?!s)", made.pdf)) == 2


def test_a_report_of_the_newest_complete_week_is_written_and_its_path_printed(registry, tmp_path, capsys):
    code, path, error = report(registry, tmp_path / "new" / "folder", capsys=capsys)
    assert (code, error) == (0, "")
    assert Path(path) == tmp_path / "new" / "folder" / "wind_solar_2016-W25.html"
    page = Page(Path(path).read_text(encoding="utf-8"))
    for words in (
        "German wind and solar power",
        "20–26 June 2016",
        "version 3 (gradient boosting), in Production since 4 July 2016, 12:03 UTC",
        "learned from 4 April 2016, 00:00 UTC to 30 June 2016, 23:00 UTC",
        "Naive baseline: the value recorded 24 hours earlier.",
        "Both forecasts were closer than the naive baseline.",
        "Next week’s forecast: 27 June – 3 July 2016",
        "4 July 2016, 12:03 UTC: version 3 (gradient boosting) went into Production in place of version 2.",
        "The data have all 168 hours of the week.",
        "The season so far: summer 2016",
        "season: spring 1,234 1.50 GW 3.00 GW 50 % 79 % 2.25 GW",
        "by the evaluated twin of version 3",
        "trained only on hours before 1 May 2016, 00:00 UTC",
        "repeated hour 3 27 October 2013, 01:00 UTC kept the first",
        "cd" * 32,
        "runs:/fedcba9876543210fedcba9876543210/dataset",
        "models:/wind_solar/3",
    ):
        assert words in page.text
    assert "Synthetic" not in page.text and "Incomplete" not in page.text
    written = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert written == ["wind_solar_2016-W25.html", "wind_solar_2016-W25.pdf"]


def test_the_scores_are_those_of_the_week_in_the_targets_unit(registry, tmp_path, capsys):
    _, path, _ = report(registry, tmp_path, capsys=capsys)
    text = Page(Path(path).read_text()).text
    week = registry.productions["wind_solar"].window().loc["2016-06-19T22:00Z":"2016-06-26T21:00Z"]
    assert len(week) == 168
    for target in ("solar_GW", "wind_GW"):
        error = week[f"{target}_forecast"] - week[target]
        naive = week[f"{target}_naive"] - week[target]
        sure = week[f"{target}_p90"] == week[f"{target}_p10"]  # the dark hours
        inside = week[target].between(week[f"{target}_p10"], week[f"{target}_p90"])[~sure].mean()
        for value in (error.abs().mean(), naive.abs().mean(), np.sqrt((error**2).mean()), np.sqrt((naive**2).mean())):
            assert quantity(value, "GW").replace("\N{NO-BREAK SPACE}", " ") in text
        assert f"{inside * 100:.0f} % of the hours" in text


def test_equal_input_gives_equal_bytes_in_another_process_too(registry, tmp_path, capsys):
    code = "import sys, create_report, standins; registry = standins.Registry(wind_solar=standins.Production());"
    code += "sys.exit(create_report.main(['--collection', 'wind_solar', '--output', sys.argv[1]], registry))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "report"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], env=environment, check=True, timeout=300)
    _, here, _ = report(registry, tmp_path, capsys=capsys)
    for ending in (".html", ".pdf"):
        there = tmp_path / "other" / Path(here).with_suffix(ending).name
        assert there.read_bytes() == Path(here).with_suffix(ending).read_bytes()


def test_the_file_needs_nothing_but_itself(registry, tmp_path, capsys):
    _, path, _ = report(registry, tmp_path, capsys=capsys)
    html = Path(path).read_text()
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "svg"}
    names = ("href", "src", "srcset", "action", "background")
    addresses = [attributes[name] for _, attributes in page.elements for name in names if name in attributes]
    assert len(addresses) == 8 and all(address.startswith("data:image/") for address in addresses)
    inside = "".join(base64.b64decode(address.partition(",")[2]).decode("latin-1") for address in addresses)
    assert set(re.findall(r"https?://[^\"' <]+", html + inside)) == {"http://www.w3.org/2000/svg"}
    assert len(html.encode()) < 1_000_000
    assert len(Path(path).with_suffix(".pdf").read_bytes()) < 1_000_000


def test_the_page_says_everything_without_pictures_and_styles(registry, tmp_path, capsys):
    page = page_of(registry, tmp_path, capsys=capsys)
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 4
    for picture in pictures:
        assert re.search(
            r"(Solar|Wind) power.*Monday 2\d June 2016 .*\sGW to .*\sGW\..*version 3, recorded data", picture["alt"]
        )
    html = next(attributes for tag, attributes in page.elements if tag == "html")
    assert html["lang"] == "en"
    tables = [attributes for tag, attributes in page.elements if tag == "table"]
    layout = [table for table in tables if table.get("role") == "presentation"]
    captions = sum(tag == "caption" for tag, _ in page.elements)
    assert len(layout) == 2 and captions == len(tables) - 2
    heads = [attributes.get("scope") for tag, attributes in page.elements if tag == "th"]
    assert heads and set(heads) == {"col", "row"}
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(next_ <= level + 1 for level, next_ in itertools.pairwise(levels))
    for tag, attributes in page.elements:  # mail clients drop these
        assert not re.search(r"display:\s*(flex|grid)|position:|float:|var\(", attributes.get("style") or ""), tag


def test_colours_of_text_can_be_read(registry, tmp_path, capsys):
    html = Path(report(registry, tmp_path, capsys=capsys)[1]).read_text()
    texts = set(re.findall(r"[;\"]color:#(\w{6})", html))
    grounds = set(re.findall(r"background:#(\w{6})", html))
    assert texts and grounds

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text in texts:
        for ground in grounds:  # WCAG 2.2, 1.4.3
            assert (luminance(ground) + 0.05) / (luminance(text) + 0.05) >= 4.5, (text, ground)


def test_the_pdf_is_tagged_and_of_two_pages(registry, tmp_path, capsys):
    for code in ("en", "de"):
        _, path, _ = report(registry, tmp_path, "--language", code, capsys=capsys)
        pdf = Path(path).with_suffix(".pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert f"/Lang({code})".encode() in pdf and b"/StructTreeRoot" in pdf and b"/Marked true" in pdf
        assert len(re.findall(rb"/Type/Page\b(?!s)", pdf)) == 2
        assert pdf.count(b"/Alt") == 4
        assert b"CreationDate" not in pdf


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(exclude_categories=("Cs",))) | st.text('"\\\\#$[]{}*_`</>u\\n '))
@example('"')
@example('\\\\" + read("/etc/hostname") + "')
def test_no_value_becomes_markup_of_the_pdf(value):
    source = f"#metadata({create_report.typst_literal(value)}) <value>"
    (found,) = json.loads(typst.query(source.encode(), "<value>", ignore_system_fonts=True))
    assert found["value"].replace("\N{ZERO WIDTH SPACE}", "") == value.replace("\N{ZERO WIDTH SPACE}", "")


def test_a_german_report_is_german_throughout(tmp_path, capsys):
    repairs = [
        {"fault": "absent hours", "count": 1234, "first": "2016-05-01T10:00:00+00:00", "handling": "left absent"},
        {"fault": "wind_GW just below 0 GW", "count": 1, "first": "line 7", "handling": "set to 0: within noise"},
    ]
    registry = Registry(wind_solar=Production(info={**INFO, "repairs": repairs}))
    page = page_of(registry, tmp_path, "--language", "de", capsys=capsys)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "wind_solar_2016-W25_de.html",
        "wind_solar_2016-W25_de.pdf",
    ]
    html = next(attributes for tag, attributes in page.elements if tag == "html")
    assert html["lang"] == "de"
    for words in (
        "Wind- und Solarstrom in Deutschland",
        "Woche 2016-W25: 20.–26. Juni 2016",
        "Beide Vorhersagen waren genauer als der naive Vergleich.",
        "in Produktion seit 4. Juli 2016, 12:03 UTC",
        "fehlende Stunden 1.234 1. Mai 2016, 10:00 UTC fehlend gelassen",
        "wind_GW knapp unter 0 GW 1 line 7 auf 0 gesetzt: im Rauschen",
        "Jahreszeit: Frühling 1.234 1,50 GW 3,00 GW 50 % 79 % 2,25 GW",
    ):
        assert words in page.text
    alternatives = " ".join(attributes["alt"] for tag, attributes in page.elements if tag == "img")
    assert "80-%-Intervall, Vorhersage und Gemessen, Montag 20. Juni 2016 00:00 bis Sonntag 26. Juni" in alternatives
    pictures = [attributes["srcset"] for tag, attributes in page.elements if tag == "source"]
    drawn = " ".join(base64.b64decode(picture.partition(",")[2]).decode() for picture in pictures)
    assert {"Vorhersage", "Gemessen", "Mo", "Ortszeit (Europe/Berlin), 2016 · Version 3, gemessene Daten"} <= set(
        re.findall(r">([^<>]+)</text>", drawn)
    )
    english = re.findall(r"\b(?:the|of|and|with|hours?|week|forecast|version)\b", page.text + alternatives)
    assert english == []
    assert re.findall(r"\d\.\d+\sGW", page.text + alternatives) == [], "decimal commas only"


def test_what_cannot_be_forecast_of_the_next_week_is_said(tmp_path, capsys):
    table = make_table(end="2016-06-26T21:00")  # the last hour of the week
    page = page_of(
        Registry(wind_solar=Production(table=table, trained_to="2016-06-26T21:00Z")), tmp_path, capsys=capsys
    )
    assert (
        "There is no forecast yet: the data end on 26 June 2016, 21:00 UTC, and hold no inputs after that (wind"
        in page.text
    )
    assert sum(tag == "img" for tag, _ in page.elements) == 2
    window = Production().window()[:"2016-06-26T21:00Z"]  # the data go on, but the version has learned from the rest
    page = page_of(Registry(wind_solar=Production(window_table=window)), tmp_path, capsys=capsys)
    assert "no forecast to show: version 3 has learned from these days" in page.text


def test_the_next_weeks_forecast_is_out_of_sample_and_as_far_as_there_are_inputs(registry, tmp_path, capsys):
    page = page_of(registry, tmp_path, capsys=capsys)
    assert (
        "Forecast of 98 of the week’s 168 hours" in page.text and "by the evaluated twin of version 3 from" in page.text
    )
    forecast = registry.productions["wind_solar"].window()["2016-06-26T22:00Z":]["wind_GW_forecast"]
    peak = forecast.idxmax().tz_convert("Europe/Berlin")
    expected = f"{quantity(forecast.mean(), 'GW')} on average, at most {quantity(forecast.max(), 'GW')} on {peak:%A}"
    assert expected.replace("\N{NO-BREAK SPACE}", " ") in page.text
    pictures = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert ["Recorded" in alt for alt in pictures] == [False, False, True, True]
    early = Production(trained_to="2016-06-22T21:00:00+00:00")
    assert "made out of sample by version 3 itself" in page_of(Registry(wind_solar=early), tmp_path, capsys=capsys).text


def test_the_season_is_compared_with_the_same_days_of_earlier_years(tmp_path, capsys):
    table = make_table(start="2013-12-01", end="2016-06-30T23:00")
    table.loc[:"2016-05-31T21:00Z", "wind_GW"] += 100.0  # earlier summers had more
    page = page_of(Registry(wind_solar=Production(table=table)), tmp_path, capsys=capsys)
    assert "Wind power on land and at sea: " in page.text and "less than in any earlier year (" in page.text
    rows = re.findall(r"(201\d) 1–26 June \1 (\S+ GW) (\S+ GW)", page.text)
    assert [row[0] for row in rows] == ["2016", "2015", "2014"]
    local = table.tz_convert("Europe/Berlin")
    for year, solar, wind in rows:
        days = local[f"{year}-06-01" : f"{year}-06-26"]
        assert [solar, wind] == [
            quantity(days[name].mean(), "GW").replace("\xa0", " ") for name in ("solar_GW", "wind_GW")
        ]


def test_what_changed_is_told_from_any_ledger(registry, tmp_path, capsys):
    rows = [
        ledger_row("2016-07-05T10:00Z", 2, 3, action="rollback", reason="Asked for by the operator.", trained_to=None),
        ledger_row("2016-07-04T12:03Z", 3, None),
    ]
    registry.promoted = pd.DataFrame(rows, dtype=object)
    text = page_of(registry, tmp_path, capsys=capsys).text
    assert "5 July 2016, 10:00 UTC: rollback to version 2. Asked for by the operator." in text
    assert (
        "version 3 (gradient boosting) was the first to go into Production. It has learned from data to 30 June 2016"
        in text
    )
    registry.promoted = registry.promoted.iloc[:0]
    assert "What changed The data have all 168 hours" in page_of(registry, tmp_path, capsys=capsys).text


def test_a_system_without_a_check_says_so_and_a_quiet_one_that_nothing_is_unusual(registry, tmp_path, capsys):
    text = page_of(registry, tmp_path, capsys=capsys).text
    assert "Watch over data and model Data and model have not been checked yet." in text
    registry.watches["wind_solar"] = Watched(make_findings()[2:], make_actions("nothing"))
    text = page_of(registry, tmp_path, capsys=capsys).text
    assert "4 July 2016, 13:00 UTC, data to 30 June 2016, 23:00 UTC: nothing unusual. Technical appendix" in text


def test_alarms_are_told_with_what_was_decided_on_one_page_in_both_languages(tmp_path, capsys):
    alarms = [make_finding("data", "level", "windspeed"), make_finding("fault", "stuck", "temperature", text=HOSTILE)]
    alarms += [make_finding("model", "error", "wind_GW", estimate=True), make_finding("stale", "stale", "")]
    rows = pd.concat([make_predictions("earlier_version", 2, 24), make_predictions("naive", None, 48)])
    watched = Watched(make_findings(*alarms), make_actions("ask_a_person", HOSTILE), rows)
    info = {**INFO, "synthetic": True}
    registry = Registry(wind_solar=Production(info=info, table=make_table(start="2011-12-01")))
    registry.watches["wind_solar"] = watched
    text = page_of(registry, tmp_path, capsys=capsys).text
    for words in (
        "23:00 UTC: 4 alarms. Air temperature 2 m above ground: the same value for implausibly long",
        "more than it did when it was tested. (Estimate: no recorded values yet.) And 2 more, see the appendix.",
        "A person is asked to look; until then nothing is learned anew by itself. Technical appendix",
        "windspeed: level is +4.5 (limit 3.0).",
        f"Reason of what was decided: {HOSTILE}",
    ):
        assert words in text
    german = page_of(registry, tmp_path, "--language", "de", capsys=capsys)
    assert "23:00 UTC: 4 Warnungen. Lufttemperatur" in german.text and "Ein Mensch soll nachsehen" in german.text
    marked = [attributes for tag, attributes in german.elements if attributes.get("lang") == "en"]
    assert len(marked) == 2, "what is left in English says so"
    for path in tmp_path.glob("*.pdf"):
        assert len(re.findall(rb"/Type/Page\b(?!s)", path.read_bytes())) == 2, path.name


def test_a_decision_about_other_data_is_not_told(registry, tmp_path, capsys):
    alarm = make_findings(make_finding("data", "level", "windspeed"))
    registry.watches["wind_solar"] = Watched(alarm, make_actions("retraining", data_digest="00" * 32))
    text = page_of(registry, tmp_path, capsys=capsys).text
    assert "Nothing has been decided about it yet." in text and "retraining" not in text


def test_the_days_to_come_are_shown_as_issued_and_labelled_by_who_forecast_them(tmp_path, capsys):
    rows = [make_predictions("naive", None, 24), make_predictions(hours=48).groupby("target").tail(24)]
    registry = Registry(wind_solar=Production())
    registry.watches["wind_solar"] = Watched(predictions=pd.concat(rows, ignore_index=True))
    page = page_of(registry, tmp_path, capsys=capsys)
    for words in (
        "Forecast of 98 of the week’s 168 hours",
        "Forecast of 24 of the week’s 168 hours by version 3, issued 5 July 2016, 06:15 UTC",
        "Forecast of 24 of the week’s 168 hours by naive baseline, issued",
        "Not from the model in Production. Version 3 could not forecast: of 1 July 2016, 00:00 UTC to 1 July 2016, 23:00",
    ):
        assert words in page.text
    pictures = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert [alt.endswith("naive baseline and others, recorded data") for alt in pictures] == [
        True,
        True,
        False,
        False,
    ]
    ends = Registry(wind_solar=Production(table=make_table(end="2016-06-26T21:00"), trained_to="2016-06-26T21:00Z"))
    ends.watches["wind_solar"] = Watched(predictions=make_predictions(synthetic=True))
    page = page_of(ends, tmp_path, capsys=capsys)
    assert "There is no forecast" not in page.text and "Not from the model" not in page.text
    pictures = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 4 and pictures[0].endswith("version 3, synthetic data")


def test_a_skill_against_next_to_no_error_is_a_dash_with_its_reason(tmp_path, capsys):
    production = Production()
    scores = production.regimes()
    scores.loc[scores["value"] == "winter", ["naive_rmse", "skill"]] = [0.001, -1499.0]
    production.regimes = lambda: scores
    text = page_of(Registry(wind_solar=production), tmp_path, capsys=capsys).text
    assert "season: winter 1,234 1.50 GW 0.00100 GW – 79 %" in text and "149" not in text
    assert "the naive baseline hardly errs there" in text
    assert "hardly errs" not in page_of(Registry(wind_solar=Production()), tmp_path, capsys=capsys).text


def test_missing_hours_and_missing_scores_are_said(tmp_path, capsys):
    production = Production(table=make_table().drop(pd.date_range("2016-06-22", periods=5, freq="1h", tz="UTC")))
    production.regimes = lambda: None
    text = page_of(Registry(wind_solar=production), tmp_path, "--week", "2016-W25", capsys=capsys).text
    assert "5 of the week’s 168 hours are missing in the data." in text
    assert "The run of this version has left no scores by regime." in text


def test_synthetic_data_are_called_synthetic(tmp_path, capsys):
    production = Production(info={**INFO, "synthetic": True})
    _, path, _ = report(Registry(wind_solar=production), tmp_path, capsys=capsys)
    assert "Synthetic data." in Page(Path(path).read_text()).text


def test_a_half_week_is_shown_only_when_named_and_says_so(registry, tmp_path, capsys):
    code, path, _ = report(registry, tmp_path, "--week", "2016-W26", capsys=capsys)
    text = Page(Path(path).read_text()).text
    assert code == 0 and Path(path).name == "wind_solar_2016-W26.html"
    assert "Incomplete week. Only 98 of its 168 hours" in text and "98 h counted" in text


def test_a_week_after_training_is_forecast_by_the_version_itself(tmp_path, capsys):
    production = Production(trained_to="2016-06-22T21:00:00+00:00")
    _, path, _ = report(Registry(wind_solar=production), tmp_path, capsys=capsys)
    text = Page(Path(path).read_text()).text
    assert "72 of the 168 hours were forecast by the evaluated twin" in text
    assert "The other 96 hours were forecast by version 3 itself" in text
    _, path, _ = report(Registry(wind_solar=production), tmp_path, "--week", "2016-W26", capsys=capsys)
    text = Page(Path(path).read_text()).text
    assert "the week was forecast by version 3 itself, which has learned from nothing after 22 June 2016, 21:00" in text
    assert "twin" not in text


def test_a_week_between_the_window_and_the_end_of_training_was_learned_from(tmp_path, capsys):
    window = Production().window()[:"2016-05-31T23:00Z"]  # June is not over, so the gate's window ended before it
    registry = Registry(wind_solar=Production(window_table=window))
    code, _, error = report(registry, tmp_path, "--week", "2016-W24", capsys=capsys)
    assert code == 1 and "Version 3 learned from week 2016-W24" in error
    code, path, _ = report(registry, tmp_path, capsys=capsys)
    assert code == 0 and Path(path).name == "wind_solar_2016-W21.html"


def test_names_from_data_stay_text(tmp_path, capsys):
    info = copy.deepcopy(INFO)
    info["title"] = info["source"]["name"] = HOSTILE
    info["repairs"][0]["fault"] = info["repairs"][0]["handling"] = HOSTILE
    info["columns"]["wind_GW"] |= {"description": HOSTILE, "unit": "<i>GW</i>"}
    info["columns"]["windspeed"]["description"] = HOSTILE
    production = Production(info=info, step=HOSTILE, run_id=HOSTILE)
    _, path, error = report(Registry(wind_solar=production), tmp_path, capsys=capsys)
    assert error == ""
    page = Page(Path(path).read_text())
    assert not {tag for tag, _ in page.elements} & {"script", "i"}
    assert page.text.count("alert('x')") >= 7 and "{{ 7 * 7 }}" in page.text
    assert Path(path).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "name", ["x" * 5000, "風力 ⚡ \u202eevil\u202c ﷽", "a\x00b\x1b[31m", '#import "@preview/x:1.0.0" $1$ \\']
)
def test_odd_names_are_written_whole(name, tmp_path, capsys):
    info = copy.deepcopy(INFO)
    info["title"] = name
    info["columns"]["wind_GW"] |= {"description": name, "unit": name[:40]}
    page = page_of(Registry(wind_solar=Production(info=info, step=name)), tmp_path, capsys=capsys)
    assert name.replace("\x00", "\ufffd") in page.text.replace("\x00", "\ufffd")
    assert (tmp_path / "wind_solar_2016-W25.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--week", "2016-25"], ["'2016-25'", "2016-W25"]),
        (["--week", "2014-W53"], ["2014-W53", "52 or 53"]),
        (["--week", "2016-W40"], ["no data of week 2016-W40", "2016-W17 to 2016-W26"]),
        (["--week", "1999-W01"], ["no data of week 1999-W01", "2016-W17 to 2016-W26"]),
        (["--week", "2016-W15"], ["Version 3 learned from week 2016-W15 (11–17 April 2016)", "2016-W17 to 2016-W26"]),
        (["--collection", "moon"], ["'moon'", "Known collections:", "wind_solar"]),
        (["--collection", "../wind_solar"], ["no collection"]),
    ],
)
def test_what_cannot_be_reported_is_refused_in_words(registry, options, words, tmp_path, capsys):
    code, out, error = report(registry, tmp_path / "reports", *options, capsys=capsys)
    assert (code, out) == (1, "")
    assert error.startswith("Error: ") and len(error.splitlines()) == 1
    for word in words:
        assert word in error
    assert not (tmp_path / "reports").exists()


def test_no_production_model_is_said(tmp_path, capsys):
    code, out, error = report(Registry(), tmp_path / "reports", capsys=capsys)
    assert (code, out) == (1, "")
    assert "No model of the collection 'wind_solar' is in Production yet. Train and promote one" in error
    assert not (tmp_path / "reports").exists()


def test_where_no_week_is_complete_one_must_be_named(tmp_path, capsys):
    production = Production(table=make_table().pipe(lambda table: table[table.index.day_of_week != 3]))
    assert review(production).complete_weeks == []
    code, _, error = report(Registry(wind_solar=production), tmp_path, capsys=capsys)
    assert code == 1 and "No week from 2016-W17 to 2016-W26 has all its hours." in error and "--week" in error
    code, path, _ = report(Registry(wind_solar=production), tmp_path, "--week", "2016-W25", capsys=capsys)
    assert code == 0 and "Only 144 of its 168 hours" in Page(Path(path).read_text()).text


def test_an_output_that_cannot_be_written_is_named(registry, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    code, _, error = report(registry, tmp_path / "taken", capsys=capsys)
    assert code == 1 and str(tmp_path / "taken") in error and "--output" in error


def test_a_report_cut_short_leaves_the_old_one(registry, tmp_path, capsys, monkeypatch):
    old = tmp_path / "wind_solar_2016-W25.html"
    old.write_text("the old report")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, error = report(registry, tmp_path, capsys=capsys)
    assert code == 1 and "No space left on device" in error
    assert old.read_text() == "the old report" and list(tmp_path.iterdir()) == [old]


def test_the_report_needs_no_mlflow(tmp_path):
    code = "import sys, create_report, standins; registry = standins.Registry(wind_solar=standins.Production());"
    code += "create_report.main(['--collection', 'wind_solar', '--output', sys.argv[1]], registry);"
    code += (
        "sys.exit(', '.join({'mlflow', 'sklearn', 'scipy', 'matplotlib.pyplot', 'sqlalchemy'} & set(sys.modules)) or 0)"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "report"), str(ROOT / "tests")])
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"imported: {done.stderr}"


def test_the_default_folder_lies_in_the_home_of_the_copy(registry, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DSGO_HOME", str(tmp_path))
    assert create_report.main(["--collection", "wind_solar"], registry) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]) == tmp_path / "reports" / "wind_solar_2016-W25.html"


def test_a_tracking_server_that_is_down_is_said_at_once(tmp_path, free_ports, capsys, monkeypatch):
    monkeypatch.setenv("DSGO_TRACKING_PORT", str(free_ports(1)[0]))
    code, _, error = report(None, tmp_path / "reports", capsys=capsys)
    assert code == 1 and "does not answer" in error and "make up" in error
    assert not (tmp_path / "reports").exists()


def test_the_script_runs_alone_and_refuses_without_a_traceback(tmp_path):
    script = [sys.executable, str(ROOT / "report" / "create_report.py"), "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DSGO_HOME": str(tmp_path)}
    done = subprocess.run(
        [*script, "--collection", "moon"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: There is no collection 'moon'") and "Traceback" not in done.stderr
