import dataclasses
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from standins import INFO, Production

from dsgo import figures
from dsgo.language import GERMAN
from dsgo.review import review
from dsgo.weeks import Week

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("x")</script> & $\\frac{1}$ %{y} 風'


def drawn(target="wind_GW", week="2016-W25", **changes):
    how = {name: changes.pop(name) for name in ("lines", "language", "note") if name in changes}
    info = {**INFO, "columns": {**INFO["columns"], target: {**INFO["columns"][target], **changes}}}
    reviewed = review(Production(info=info))
    return figures.describe(reviewed.over(reviewed.hours(Week.parse(week))), target, info, **how)


def test_what_is_drawn_has_title_unit_and_local_time():
    figure = drawn()
    assert (figure.title, figure.unit, figure.timezone) == ("Wind power on land and at sea", "GW", "Europe/Berlin")
    assert list(figure.table) == ["recorded", "forecast", "low", "high"]
    assert [f"{day:%a %d %H}" for day in figure.days][:2] == ["Mon 20 00", "Tue 21 00"]


def test_report_and_dashboard_draw_the_same():
    figure = drawn()
    plotly = figures.plotly_figure(figure)
    root = ElementTree.fromstring(figures.svg(figure, "f"))
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert [trace.name for trace in plotly.data] == [figures.BAND_NAME, "Forecast", "Recorded"]
    assert {figures.BAND_NAME, "Forecast", "Recorded", "GW"} <= texts
    assert plotly.layout.yaxis.title.text == "GW"
    ends = []  # of each curve: (value, height in the SVG) where it is lowest and highest
    for line, trace in zip(figures.LINES, plotly.data[1:], strict=True):
        values = figure.table[line.column]
        assert np.array_equal(trace.y, values)
        assert trace.line.color == line.colour
        curves = [path for path in root.iter(f"{SVG}path") if f"stroke: {line.colour.lower()}" in path.get("style", "")]
        curve = max(curves, key=lambda path: len(path.get("d")))  # the other one is in the legend
        heights = [float(height) for height in re.findall(r"[ML] \S+ (\S+)", curve.get("d"))]
        ends += [(values.min(), max(heights)), (values.max(), min(heights))]
    values, heights = np.array(ends).T
    assert np.allclose(np.polyval(np.polyfit(values, heights, 1), values), heights, atol=0.05), "one scale for both"
    assert list(plotly.layout.yaxis.range) == list(figure.limits)


def test_an_svg_is_the_same_each_time_and_carries_no_date():
    first, second = (figures.svg(drawn(), "f") for _ in range(2))
    assert first == second
    assert first.startswith("<svg ") and not re.search(r"<metadata|dc:date|20\d\d-\d\d-\d\dT", first)


def test_an_svg_says_in_words_what_it_shows():
    figure = drawn()
    root = ElementTree.fromstring(figures.svg(figure, "f"))
    title = root.find(f"{SVG}title")
    assert root.get("role") == "img" and root.get("aria-labelledby") == title.get("id")
    assert title.text == figure.alternative
    assert "Monday 20 June 2016 00:00 to Sunday 26 June 2016 23:00 (Europe/Berlin)" in title.text
    assert re.search(r"Recorded: [\d.]+\sGW to [\d.]+\sGW", title.text)


def test_svgs_of_one_page_share_no_id_and_every_reference_leads_somewhere():
    ids = []
    for name in ("a", "b"):
        root = ElementTree.fromstring(figures.svg(drawn(), name))
        own = [element.get("id") for element in root.iter() if element.get("id")]
        text = ElementTree.tostring(root, encoding="unicode")
        led_to = re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text)
        assert led_to and set(led_to) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_gaps_stay_gaps():
    figure = drawn(week="2016-W26")  # the table ends on its Friday
    plotly = figures.plotly_figure(figure)
    assert len(plotly.data[1].x) == 168 and np.isnan(plotly.data[1].y[-1])
    figure.table.iloc[20:30] = np.nan
    outline = figures.plotly_figure(figure).data[0].y
    breaks = [place for place, value in enumerate(outline) if value is None]
    assert breaks == [40], "twenty hours up and back, then the next stretch"
    ElementTree.fromstring(figures.svg(figure, "f"))


def test_a_figure_without_any_value_can_be_drawn():
    figure = drawn(week="2017-W25")
    assert "Forecast: no values." in figure.alternative
    assert "Recorded" in figures.svg(figure, "f")
    assert figures.plotly_figure(figure).data[0].y in ((), None, [])


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0, 10], (0, 10.5)), ([4000, 9000], (0, 9450)), ([80, 100], (79, 101)), ([5, 5], (4.75, 5.25))],
)
def test_the_axis_starts_at_zero_unless_that_squeezes_the_curves(values, limits):
    hours = pd.date_range("2016-06-20", periods=2, freq="1h", tz="Europe/Berlin")
    table = pd.DataFrame(dict.fromkeys(("recorded", "forecast", "low", "high"), values), index=hours, dtype=float)
    assert figures.ForecastFigure("x", "X", "GW", table).limits == pytest.approx(limits)


def test_names_from_data_stay_text():
    figure = drawn(description=HOSTILE, unit="<b>& $\\frac{1}$")
    root = ElementTree.fromstring(figures.svg(figure, "f"))
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in root.find(f"{SVG}title").text
    assert "<b>& $\\frac{1}$" in {element.text for element in root.iter(f"{SVG}text")}
    assert "<b>" not in json.dumps(figures.plotly_figure(figure).to_plotly_json(), default=str)


@pytest.mark.parametrize(("week", "rows"), [("2016-W12", 167), ("2016-W43", 169)])
def test_weeks_with_a_change_of_the_clock_are_drawn(week, rows):
    figure = drawn(week=week)
    assert len(figure.table) == rows and len(figure.days) == 7
    assert len(figures.plotly_figure(figure).data[1].x) == rows
    assert "Sun" in figures.svg(figure, "f")


def test_long_spans_label_no_more_days_than_fit():
    reviewed = review(Production())
    figure = figures.describe(reviewed.over(reviewed.newest(pd.Timedelta(days=60))), "wind_GW", INFO)
    assert 4 <= len(figure.days) <= figures.DAYS_LABELLED


def test_a_png_is_the_same_each_time_small_and_sharp():
    first, second = (figures.png(drawn()) for _ in range(2))
    assert first == second and len(first) < 60_000
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.size == tuple(round(inches * figures.PNG_DPI) for inches in figures.WIDE)
        assert "Software" not in picture.info


@pytest.mark.parametrize("size", [figures.WIDE, figures.HALF])
@pytest.mark.parametrize("scale", [1, 1e6])
def test_no_text_of_a_picture_leaves_it(size, scale):
    figure = drawn(lines=(figures.FORECAST, figures.RECORDED), note="version 3, synthetic data", language=GERMAN)
    figure = dataclasses.replace(figure, table=figure.table * scale)
    with figures._canvas(FigureCanvasAgg, figure, size, {}) as canvas:
        canvas.draw()
        box = canvas.figure.get_tightbbox(canvas.get_renderer())
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= size[0] and box.y1 <= size[1]


def test_a_german_figure_has_german_labels_and_decimal_commas():
    figure = drawn(language=GERMAN, note="Version 3, gemessene Daten")
    figure = dataclasses.replace(figure, table=figure.table / 10)
    texts = {element.text for element in ElementTree.fromstring(figures.svg(figure, "f")).iter(f"{SVG}text")}
    assert {"Vorhersage", "Gemessen", "80-%-Intervall", "Mo", "20. Juni"} <= texts
    assert "Ortszeit (Europe/Berlin), 2016 · Version 3, gemessene Daten" in texts
    assert any(re.fullmatch(r"\d,\d", text) for text in texts) and not any(
        re.fullmatch(r"\d\.\d", text) for text in texts
    )


def test_only_the_lines_asked_for_are_drawn_and_told():
    figure = drawn(lines=(figures.FORECAST,))
    text = figures.svg(figure, "f")
    assert ">Forecast<" in text and ">Recorded<" not in text and "Recorded" not in figure.alternative
    figure.table.recorded = 1e6
    assert figure.limits[1] < 1000, "what is not drawn does not squeeze what is"


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 2.4], {"1", "2"}),
        ([0, 9000], {"2,000", "8,000"}),
        ([0, 0.024], {"0.01", "0.02"}),
        ([1, 1.5], {"1.2", "1.4"}),
    ],
)
def test_the_value_axis_has_the_decimals_it_needs(values, labels):
    hours = pd.date_range("2016-06-20", periods=2, freq="1h", tz="Europe/Berlin")
    table = pd.DataFrame(dict.fromkeys(("recorded", "forecast", "low", "high"), values), index=hours, dtype=float)
    figure = figures.ForecastFigure("x", "X", "GW", table)
    texts = {element.text for element in ElementTree.fromstring(figures.svg(figure, "f")).iter(f"{SVG}text")}
    assert labels <= texts


def test_what_xml_cannot_hold_does_not_break_a_picture():
    ElementTree.fromstring(figures.svg(drawn(description="a\x00b\x1b"), "f"))
