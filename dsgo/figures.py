"""Table → figure, the same for the report (PNG, SVG) and the dashboard (Plotly).

`describe` decides what is drawn and how; `png`, `svg` and `plotly_figure` only draw it.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dsgo.language import ENGLISH, Language
from dsgo.palette import BLUE, STYLE, VERMILION
from dsgo.wording import between, quantity

if TYPE_CHECKING:
    import plotly.graph_objects as go

BAND_OPACITY = 0.3
DAYS_LABELLED = 8  # more labels than these run into each other on a phone
WIDE = (7.2, 2.3)  # inches: the width of a page
HALF = (3.6, 1.6)  # two beside each other, or a phone
FLAT = (3.6, 1.3)  # the same where a page has more to say than usual
SMALL_PT = 7.0  # of the texts of a figure narrower than WIDE
PNG_DPI = 200
NOT_OF_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
PNG_COLOURS = 64


@dataclass(frozen=True)
class Line:
    """How one column of a figure's table is drawn."""

    column: str
    name: str
    colour: str
    width: float  # in px of the SVG


FORECAST = Line("forecast", "Forecast", BLUE, 2.0)
RECORDED = Line("recorded", "Recorded", VERMILION, 1.6)
LINES = (FORECAST, RECORDED)
BAND_NAME = "80 % interval"  # p10 to p90
# Of a Plotly axis of values: `12,000`, not `12k`, and room for it.
AMOUNTS = {"exponentformat": "none", "separatethousands": True, "automargin": True}


@dataclass(frozen=True)
class ForecastFigure:
    """One target's forecast with its band against what was recorded.

    `table`: index in local time (tz-aware, one row an hour, also for hours without data); float columns `recorded`,
    `forecast`, `low`, `high` in `unit`, NaN where there is nothing to draw.
    """

    target: str
    title: str
    unit: str
    table: pd.DataFrame
    lines: tuple[Line, ...] = LINES
    language: Language = ENGLISH
    note: str = ""
    """What a picture that is passed on alone should say besides, such as the model's version."""

    @property
    def timezone(self) -> str:
        """Name of the time zone of the time axis."""
        return str(self.table.index.tz)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the value axis. It starts at zero unless that would squeeze the curves into its upper part."""
        values = self.table[["low", "high", *(line.column for line in self.lines)]].to_numpy()
        if not np.isfinite(values).any():
            return 0.0, 1.0
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if from_zero(low, high):
            return 0.0, high * 1.05
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
        return low - margin, high + margin

    @property
    def days(self) -> pd.DatetimeIndex:
        """The midnights that the time axis labels: every day, or every n-th of a long span."""
        midnights = pd.date_range(self.table.index[0].normalize(), self.table.index[-1], freq="D")
        midnights = midnights[midnights >= self.table.index[0]]
        return midnights[:: math.ceil(len(midnights) / DAYS_LABELLED) or 1]

    @property
    def time_title(self) -> str:
        """Title of the time axis, with the year that its labels leave out."""
        years = f"{self.table.index[0].year}/{self.table.index[-1].year % 100:02d}"
        if self.table.index[0].year == self.table.index[-1].year:
            years = str(self.table.index[0].year)
        title = f"{self.language.say('Local time')} ({self.timezone}), {years}"
        return f"{title} · {self.note}" if self.note else title

    def day(self, moment: pd.Timestamp) -> tuple[str, str]:
        """The two lines of a day's label: `Mon`, `20 Jun`."""
        language = self.language
        date = f"{moment.day}{language.after_day} {language.short_months[moment.month - 1]}"
        return language.short_weekdays[moment.weekday()], date

    @property
    def alternative(self) -> str:
        """The figure in words, for who cannot see it."""
        language = self.language
        names = [language.say(BAND_NAME), *(language.say(line.name) for line in self.lines)]
        first, last = self.table.index[0], self.table.index[-1]
        words = f"{self.title}: {language.listed(names)}, "
        ends = [f"{language.weekday(end)} {language.date(end)} {end:%H:%M}" for end in (first, last)]
        words += f"{language.say('{low} to {high}', low=ends[0], high=ends[1])} ({self.timezone})."
        for line in self.lines:
            values = self.table[line.column].dropna()
            if values.empty:
                words += f" {language.say(line.name)}: {language.say('no values')}."
            else:
                words += f" {language.say(line.name)}: {between(values.min(), values.max(), self.unit, language)}."
        return f"{words} {self.note}".strip()


def from_zero(low: float, high: float) -> bool:
    """Whether an axis of values between these begins at zero: unless that would squeeze them into its upper part."""
    return 0 <= low <= 0.5 * high


def describe(table: pd.DataFrame, target: str, info: Mapping[str, Any], **how: Any) -> ForecastFigure:
    """What to draw for `target`.

    Args:
        table: index `utc_timestamp` without holes; columns `T`, `T_forecast`, `T_p10`, `T_p90` of the target.
        info: the dataset's: `columns` with units and descriptions, `timezone`.
        how: `lines`, `language` and `note` of the figure.
    """
    column = info["columns"][target]
    description = column.get("description") or target
    parts = {"recorded": target, "forecast": f"{target}_forecast", "low": f"{target}_p10", "high": f"{target}_p90"}
    drawn = pd.DataFrame({name: table[source].astype(float) for name, source in parts.items()})
    return ForecastFigure(
        target=target,
        title=description[:1].upper() + description[1:],
        unit=column["unit"],
        table=drawn.tz_convert(info["timezone"]),
        **how,
    )


def svg(figure: ForecastFigure, name: str, size: tuple[float, float] = WIDE) -> str:
    """The figure as one `<svg>` element, with a title for screen readers.

    Equal figures give equal text. `name` starts every id inside, so that figures of one page do not share one. `size` is
    in inches.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Text stays text: small, searchable, in the page's own font.
    with _canvas(FigureCanvasSVG, figure, size, {"svg.fonttype": "none", "svg.hashsalt": name}) as canvas:
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.print_svg(text, metadata={**nothing, "Title": figure.alternative})
    return _inline(text.getvalue(), name)


def png(figure: ForecastFigure, size: tuple[float, float] = WIDE) -> bytes:
    """The figure as a small PNG picture, sharp on paper. Equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    with _canvas(FigureCanvasAgg, figure, size, {}) as canvas:
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    picture.quantize(PNG_COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


@contextlib.contextmanager
def _canvas(kind: type, figure: ForecastFigure, size: tuple[float, float], style: Mapping[str, Any]) -> Iterator[Any]:
    """A canvas of Matplotlib with the figure drawn on it, under the style that it has to be printed with.

    The object-oriented interface: pyplot would look for a display and keep every figure alive.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    small = {} if size[0] >= WIDE[0] else {"font.size": SMALL_PT}
    with mpl.rc_context({**STYLE, **small, **style}), warnings.catch_warnings():
        # Only measured with it; the reader has another.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        canvas = kind(Figure(figsize=size, dpi=PNG_DPI if kind.__name__.endswith("Agg") else 72))
        _draw(figure, canvas.figure.add_subplot())
        yield canvas


def _draw(figure: ForecastFigure, axes: Any) -> None:
    table, pixel = figure.table, 0.75  # points
    say, number = figure.language.say, figure.language.number
    axes.fill_between(table.index, table.low, table.high, color=BLUE, alpha=BAND_OPACITY, lw=0, label=say(BAND_NAME))
    for line in figure.lines:
        axes.plot(table.index, table[line.column], color=line.colour, lw=line.width * pixel, label=say(line.name))
    axes.set_xlim(table.index[0], table.index[-1])
    axes.set_ylim(*figure.limits)
    axes.set_xticks(figure.days, ["\n".join(figure.day(day)) for day in figure.days])
    # Asked for when they are drawn: how many ticks there are depends on the margins.
    axes.yaxis.set_major_formatter(lambda value, _: number(value, _decimals(axes.get_yticks())))
    axes.set_ylabel(figure.unit)
    axes.set_xlabel(figure.time_title, color="#555555", fontsize="small")
    axes.grid(True)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        borderaxespad=0.2,
        borderpad=0.2,
        handlelength=1.6,
        columnspacing=1.2,
    )
    ticks = axes.get_yticks()
    _set_margins(axes, widest=max(len(number(tick, _decimals(ticks))) for tick in ticks))


def _set_margins(axes: Any, widest: int) -> None:
    """Room for the texts around the axes. Matplotlib's own layouts find it by drawing everything twice.

    `widest` is the number of characters of the longest label of the value axis.
    """
    width, height = axes.figure.get_size_inches()
    text = axes.yaxis.label.get_size() / 72  # inches, as all below
    left, right, top, bottom = (2.6 + 0.62 * widest) * text, 1.2 * text, 1.9 * text, 4.9 * text
    axes.figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)


def _decimals(ticks: np.ndarray) -> int:
    """How many decimals the ticks of an axis need."""
    return next((count for count in range(9) if np.allclose(np.round(ticks, count), ticks, rtol=0, atol=1e-12)), 9)


def _inline(document: str, name: str) -> str:
    """The `<svg>` element of an SVG document, made fit to share a page with others."""
    element = document[document.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>\s*", "", element, flags=re.DOTALL)
    element = NOT_OF_XML.sub("\N{REPLACEMENT CHARACTER}", element)
    element = re.sub(r'(\bid="|\burl\(#|\bhref="#)', rf"\g<1>{name}-", element)
    head, body = element.split(">", 1)
    head = re.sub(r'\s(width|height|version|xmlns:xlink)="[^"]*"', "", head)
    body = body.replace("<title>", f'<title id="{name}-title">', 1).replace("xlink:href", "href")
    return f'{head} role="img" aria-labelledby="{name}-title">{body}'


def plotly_figure(figure: ForecastFigure) -> go.Figure:
    """The figure for the dashboard. Names from data are escaped: Plotly reads a part of HTML in its texts."""
    import plotly.graph_objects as go

    table, unit = figure.table, escape(figure.unit)
    local = table.index.tz_localize(None)  # Plotly knows no time zones: it gets the clock's time and shows it as it is
    drawn = go.Figure()
    times, values = _outline(local, table.low.to_numpy(), table.high.to_numpy())
    drawn.add_scatter(
        x=times,
        y=values,
        name=BAND_NAME,
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=f"rgba({','.join(str(int(BLUE[i : i + 2], 16)) for i in (1, 3, 5))},{BAND_OPACITY})",
        hoverinfo="skip",
    )
    for line in LINES:
        drawn.add_scatter(
            x=local,
            y=table[line.column].to_numpy(),
            name=line.name,
            mode="lines",
            line={"color": line.colour, "width": line.width},
            text=_hover(figure, line),
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
    faint = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "fixedrange": False}
    drawn.update_layout(
        template="none",
        height=340,
        margin={"l": 48, "r": 12, "t": 8, "b": 58},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12},
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        xaxis={
            **faint,
            "title": {"text": f"Local time ({escape(figure.timezone)})", "font": {"size": 12}},
            "tickvals": figure.days.tz_localize(None),
            "ticktext": [f"{day:%a}<br>{day.day} {day:%b}" for day in figure.days],
            "tickangle": 0,
            "range": [local[0], local[-1]],
            "hoverformat": "%A %-d %B %Y, %H:%M",
        },
        yaxis={**faint, **AMOUNTS, "title": {"text": unit}, "range": list(figure.limits)},
    )
    return drawn


def _hover(figure: ForecastFigure, line: Line) -> list[str]:
    table = figure.table
    words = [escape(quantity(value, figure.unit)) for value in table[line.column]]
    if line is not FORECAST:
        return words
    bands = zip(table.low, table.high, strict=True)
    return [
        f"{word} ({escape(quantity(low, figure.unit))} to {escape(quantity(high, figure.unit))})"
        if low == low
        else word
        for word, (low, high) in zip(words, bands, strict=True)
    ]


def _outline(times: pd.DatetimeIndex, low: np.ndarray, high: np.ndarray) -> tuple[list[Any], list[Any]]:
    """Closed outlines of the band, one for each stretch without a gap, parted by None as Plotly wants them."""
    there = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    x: list[Any] = []
    y: list[Any] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        stretch = times[start:end]
        x += [*stretch, *stretch[::-1], None]
        y += [*high[start:end], *low[start:end][::-1], None]
    return x[:-1], y[:-1]
