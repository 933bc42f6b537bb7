import copy
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import create_report
import numpy as np
import pytest
from standins import INFO, Production, Registry, make_table

from dsgo.review import review
from dsgo.wording import quantity

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert('x')</script>{{ 7 * 7 }} & \"q\""


def report(registry, output, *options, capsys):
    """Exit code, standard output and standard error of the command."""
    code = create_report.main(["--collection", "wind_solar", "--output", str(output), *options], registry)
    captured = capsys.readouterr()
    return code, captured.out.strip(), captured.err.strip()


class Page(HTMLParser):
    """Elements with their attributes, and the text as a reader sees it."""

    VOID = frozenset({"meta", "br", "link", "img"})

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


def test_a_report_of_the_newest_complete_week_is_written_and_its_path_printed(registry, tmp_path, capsys):
    code, path, error = report(registry, tmp_path / "new" / "folder", capsys=capsys)
    assert (code, error) == (0, "")
    assert Path(path) == tmp_path / "new" / "folder" / "wind_solar_2016-W25.html"
    page = Page(Path(path).read_text(encoding="utf-8"))
    for words in (
        "German wind and solar power",
        "20–26 June 2016",
        "version 3 (gradient boosting), in Production since 4 July 2016, 12:03 UTC",
        "4 April 2016, 00:00 UTC to 30 June 2016, 23:00 UTC",
        "the value recorded 24 hours earlier",
        "by the evaluated twin of version 3",
        "trained only on hours before 1 May 2016, 00:00 UTC",
        "repeated hour 3 27 October 2013, 01:00 UTC kept the first",
        "cd" * 32,
        "runs:/fedcba9876543210fedcba9876543210/dataset",
        "models:/wind_solar/3",
    ):
        assert words in page.text
    assert "Synthetic" not in page.text and "Incomplete" not in page.text
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["wind_solar_2016-W25.html"]


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
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], env=environment, check=True, timeout=120)
    _, here, _ = report(registry, tmp_path, capsys=capsys)
    assert (tmp_path / "other" / Path(here).name).read_bytes() == Path(here).read_bytes()


def test_the_file_needs_nothing_but_itself(registry, tmp_path, capsys):
    _, path, _ = report(registry, tmp_path, capsys=capsys)
    html = Path(path).read_text()
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed"}
    addresses = [attributes.get(name, "#") for _, attributes in page.elements for name in ("href", "src", "action")]
    assert all(address.startswith("#") for address in addresses)
    assert set(re.findall(r"https?://[^\"' <]+", html)) == {"http://www.w3.org/2000/svg"}
    assert len(html.encode()) < 1_000_000
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) == 2 and all(picture["role"] == "img" for picture in pictures)


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
    assert "The week was forecast by version 3 itself, which has learned from nothing after 22 June 2016, 21:00" in text
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


def test_the_default_folder_lies_in_the_home_of_the_copy(registry, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DSGO_HOME", str(tmp_path))
    assert create_report.main(["--collection", "wind_solar"], registry) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / "reports" / "wind_solar_2016-W25.html"


def test_a_tracking_server_that_is_down_is_said_at_once(tmp_path, free_ports, capsys, monkeypatch):
    monkeypatch.setenv("DSGO_TRACKING_PORT", str(free_ports(1)[0]))
    code, _, error = report(None, tmp_path / "reports", capsys=capsys)
    assert code == 1 and "does not answer" in error and "make up" in error
    assert not (tmp_path / "reports").exists()


def test_the_script_runs_alone_and_refuses_without_a_traceback(tmp_path):
    script = [sys.executable, str(ROOT / "report" / "create_report.py"), "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DSGO_HOME": str(tmp_path)}
    done = subprocess.run(
        [*script, "--collection", "moon"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: There is no collection 'moon'") and "Traceback" not in done.stderr
