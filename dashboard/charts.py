"""Pictures that only the dashboard has. Forecast against recorded is drawn by `dsgo.figures`, as in the report.

Names from data are escaped: Plotly reads a part of HTML in its texts. Colours stay apart for colour-blind readers.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from history import SMOOTHED_DAYS, Buckets, History
from view import YEARS, View

from dsgo.figures import AMOUNTS, BAND_NAME, BAND_OPACITY, FORECAST, RECORDED, Line, from_zero
from dsgo.notices import EARLIER_VERSION, KINDS, NAIVE, PRODUCTION
from dsgo.palette import BLUE, GREY, SERIES, VERMILION
from dsgo.wording import between, quantity, versions

ROW_PX = 250  # height of one quantity's picture
MARGIN_PX = 138
FAINT = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
VALUES = {**FAINT, **AMOUNTS}
WEEK = pd.Timedelta(days=7)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid")
MARGIN = {"l": 64, "r": 12, "t": 8, "b": 48}
LAYOUT = {
    "template": "none",
    "margin": MARGIN,
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "inherit", "size": 12},
    "hovermode": "x unified",
    "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
}
# What was issued for hours without a recorded value: never a solid line, and of each source in a colour and dash of its own.
ISSUED = {PRODUCTION: (BLUE, "dash"), EARLIER_VERSION: (SERIES[3], "dashdot"), NAIVE: (GREY, "dot")}
HATCH_OPACITY = 0.45  # fainter than the line within it
OF_KINDS = dict(zip(KINDS, (VERMILION, SERIES[4], BLUE, GREY), strict=True))
PATTERNS = dict(zip(KINDS, ("", "x", "/", "."), strict=True))  # bars are told apart without colours too
NUMBER = ",.3~r"  # three digits


def base(height: int) -> go.Figure:
    """An empty picture without colours of its own for paper and text: the page's style gives those."""
    return go.Figure(layout={**LAYOUT, "height": height})


def explore(history: History, view: View, points: int) -> tuple[dict[str, Any], str]:
    """What a view shows, in at most `points` points a curve, and how wide each point is in words.

    A plain dictionary, not a `go.Figure`: Plotly's own checks take ten times as long as the rest of the answer.
    """
    rows = len(view.columns)
    data: list[dict[str, Any]] = []
    layout = {
        **LAYOUT,
        "template": {},
        "height": MARGIN_PX + ROW_PX * rows,
        "dragmode": "zoom",
        "margin": {**MARGIN, "t": 64},
        "legend": {
            **LAYOUT["legend"],
            "yref": "container",
            "y": 1,
            "yanchor": "top",
        },  # three rows of it fit on a phone
    }
    width = ""
    for number, name in enumerate(view.columns):
        suffix = "" if number == 0 else str(number + 1)  # Plotly's, of the axes of a row, from the top
        at = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "showlegend": number == 0}
        if view.by == YEARS:
            data += _years(history, name, view.years, at)
            width = f"{SMOOTHED_DAYS} days"
        else:
            curves, width = _through_time(history, name, view, points, at)
            data += curves
        top, bottom = 1 - number / rows, 1 - (number + 1) / rows
        layout[f"yaxis{suffix}"] = {
            **VALUES,
            "title": {"text": f"{escape(name)}<br>in {escape(history.unit(name))}", "font": {"size": 12}},
            "domain": [bottom + (0.06 if number < rows - 1 else 0), top],
            "rangemode": "tozero" if _from_zero(history, name, view) else "normal",
            "fixedrange": True,
            "anchor": f"x{suffix}",
        }
        layout[f"xaxis{suffix}"] = {
            **FAINT,
            "type": "date",
            "anchor": f"y{suffix}",
            "matches": "x" if suffix else None,
            "showticklabels": number == rows - 1,
            "fixedrange": view.by == YEARS,
        }
        lowest = layout[f"xaxis{suffix}"]
    if view.by == YEARS:
        lowest |= {"title": {"text": "Day of the year"}, "tickformat": "%-d %b"}
        shown = {"hoverformat": "%-d %B", "range": ["2000-01-01", "2000-12-31"]}
    else:
        lowest |= {"title": {"text": f"Local time ({escape(history.timezone)})"}}
        span = [f"{moment:%Y-%m-%d %H:%M}" for moment in (view.first, view.last)]
        shown = {"hoverformat": "%A %-d %B %Y, %H:%M", "range": span}
    layout["xaxis"] |= shown
    return {"data": data, "layout": layout}, width


def _from_zero(history: History, name: str, view: View) -> bool:
    first, last = (history.first, history.last) if view.by == YEARS else (view.first, view.last)
    return from_zero(*history.ends(name, first, last))


def _through_time(
    history: History, name: str, view: View, points: int, at: dict[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    shown = history.buckets(name, view.first, view.last, points)
    unit = escape(history.unit(name))
    curves = []
    if shown.width:
        curves.append(_band(shown.times, shown.low, shown.high, "Lowest to highest", VERMILION, 0.22, at))
    if name in history.targets:
        if not shown.width:  # an interval of single values; the mean of many ends would be no interval of the mean
            low, high = (history.buckets(name + part, view.first, view.last, points) for part in ("_p10", "_p90"))
            if np.isfinite(low.mean).any():
                curves.append(_band(low.times, low.mean, high.mean, BAND_NAME, BLUE, BAND_OPACITY, at))
        forecast = history.buckets(f"{name}_forecast", view.first, view.last, points)
        if np.isfinite(forecast.mean).any():
            curves.append(_line(forecast, FORECAST, unit, at))
        for source, versions in history.by_source(name, view.first, view.last).items():
            curves += _issued(history, name, source, versions, view, points, at)
    spread, of = {}, ""
    if shown.width:
        spread = {"customdata": _packed(np.stack([shown.low, shown.high], axis=-1))}
        number = _number(shown.high)
        of = f" (mean of {shown.width}; %{{customdata[0]:{number}}} to %{{customdata[1]:{number}}})"
    curves.append(_line(shown, RECORDED, unit + of, at) | spread)
    return curves, shown.width


def _issued(
    history: History,
    name: str,
    source: str,
    numbers: list[int],
    view: View,
    points: int,
    at: dict[str, Any],
) -> list[dict[str, Any]]:
    """What one source has issued where there is no out-of-sample forecast."""
    colour, dash = ISSUED[source]
    earlier = "earlier " if source == EARLIER_VERSION else ""
    words = "Issued, naive baseline" if source == NAIVE else f"Issued, {earlier}{versions(numbers)}"
    shown, low, high = (
        history.buckets(history.issue(name, source, part), view.first, view.last, points)
        for part in ("forecast", "p10", "p90")
    )
    curves = []
    if not shown.width:
        band = _band(low.times, low.mean, high.mean, words, colour, BAND_OPACITY / 2, at)
        curves.append(band | {"fillpattern": _hatch(colour), "showlegend": False})
    curve = _line(shown, Line(source, words, colour, FORECAST.width), escape(history.unit(name)), at)
    return [*curves, curve | {"line": {**curve["line"], "dash": dash}}]


def add_ahead(drawn: go.Figure, parts: Sequence[tuple[str, str, pd.DataFrame]], unit: str, since: Any) -> str:
    """Draw what was issued for the hours ahead into a picture of `dsgo.figures`; returns the same in words.

    Args:
        parts: of each source its name, who it is in words, and `forecast`, `p10`, `p90` by local clock time.
        since: local clock time from which nothing is recorded; None if nothing at all is shown as recorded.
    """
    words = ""
    for source, who, table in parts:
        colour, dash = ISSUED[source]
        times = table.index.to_numpy().astype("datetime64[ms]")
        at = {"showlegend": False}
        outline = _band(times, table["p10"].to_numpy(), table["p90"].to_numpy(), who, colour, BAND_OPACITY / 2, at)
        drawn.add_trace({**outline, "fillpattern": _hatch(colour), "legendgroup": None})  # groups stand in a column
        texts = [f"{quantity(row.forecast, unit)} ({between(row.p10, row.p90, unit)})" for row in table.itertuples()]
        drawn.add_scatter(
            x=table.index,
            y=table["forecast"].to_numpy(),
            name=escape(f"Ahead, {who}"),
            mode="lines",
            line={"color": colour, "width": FORECAST.width, "dash": dash},
            text=[escape(text) for text in texts],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
        )
        words += f" Ahead, {who}: {between(table['forecast'].min(), table['forecast'].max(), unit)}."
    low = min(table["p10"].min() for _, _, table in parts)
    high = max(table["p90"].max() for _, _, table in parts)
    known = drawn.layout.yaxis.range
    drawn.update_yaxes(range=[min(known[0], low), max(known[1], high * 1.05)])
    if since is not None:
        drawn.add_vline(x=since, line={"color": GREY, "width": 1, "dash": "dot"})
    return words


def alarms_by_week(history: pd.DataFrame, timezone: str) -> go.Figure:
    """How many alarms the newest check of each week has raised, by kind."""
    counted = weekly_alarms(history, timezone)
    most = max(1, int(counted.sum(axis=1).max()))
    figure = base(240)
    for kind, words in KINDS.items():
        figure.add_bar(
            x=counted.index,
            y=counted[kind],
            name=words,
            marker={"color": OF_KINDS[kind], "pattern": {"shape": PATTERNS[kind], "solidity": 0.3}},
            hovertemplate="%{y} %{fullData.name}<extra></extra>",
        )
    figure.update_layout(
        barmode="stack",
        margin={**MARGIN, "t": 32},
        xaxis={
            **FAINT,
            "title": "Week of the newest data (local time)",
            "fixedrange": True,
            "type": "date",
            "range": [counted.index[0] - WEEK, counted.index[-1] + WEEK],
            "tickformat": "%-d %b<br>%Y",
        },
        yaxis={**VALUES, "title": "Alarms", "fixedrange": True, "range": [0, most * 1.05], "dtick": max(1, most // 5)},
    )
    return figure


def weekly_alarms(history: pd.DataFrame, timezone: str) -> pd.DataFrame:
    """Alarms of the newest check of each week: index its Monday, a column for each kind. By the data's time, not the clock's."""
    end = history["last"].where(~history["estimate"]).groupby(history["time"]).transform("max").fillna(history["last"])
    week = end.dt.tz_convert(timezone).dt.tz_localize(None).dt.to_period("W").dt.start_time
    newest = history[history["time"] == history.groupby(week)["time"].transform("max")]
    alarms = newest["alarm"].astype(int).groupby([week[newest.index], newest["kind"]]).sum().unstack(fill_value=0)
    return alarms.reindex(columns=list(KINDS), fill_value=0)


def realised_errors(history: pd.DataFrame, timezone: str) -> go.Figure | None:
    """The realised error of each target as a share of its limit, by the end of the data; None where none was measured."""
    rows = history[(history["kind"] == "model") & (history["check"] == "error") & ~history["estimate"]]
    rows = rows[rows["measured"].notna() & (rows["limit"] > 0)]
    if rows.empty:
        return None
    figure = base(240)
    for place, (subject, part) in enumerate(rows.groupby("subject", sort=True)):
        part = part.drop_duplicates("last", keep="last").sort_values("last")
        style = place % len(SERIES)
        figure.add_scatter(
            x=part["last"].dt.tz_convert(timezone).dt.tz_localize(None),
            y=(100 * part["measured"] / part["limit"]).to_numpy(),
            name=escape(str(subject)),
            mode="lines+markers",
            line={"color": SERIES[style], "dash": DASHES[style], "width": 2},
            hovertemplate="%{y:.0f} % of its limit<extra>%{fullData.name}</extra>",
        )
    figure.add_hline(y=100, line={"color": VERMILION, "width": 1.5, "dash": "dot"})
    figure.update_layout(
        margin={**MARGIN, "t": 32},
        showlegend=True,
        xaxis={**FAINT, "title": "End of the data (local time)", "fixedrange": True, "type": "date"},
        yaxis={**FAINT, "title": "Error, % of its limit", "fixedrange": True, "rangemode": "tozero"},
    )
    return figure


def _number(values: np.ndarray) -> str:
    """How to write values of this size: to three digits, but none is left out before the decimal point."""
    return ",.0f" if np.nanmax(np.abs(values), initial=0) >= 1000 else NUMBER


def _line(shown: Buckets, line: Line, words: str, at: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _times(shown.times),
        "y": _packed(shown.mean),
        "name": line.name,
        "legendgroup": line.name,
        "line": {"color": line.colour, "width": line.width},
        "hovertemplate": f"%{{y:{_number(shown.mean)}}} {words}<extra>%{{fullData.name}}</extra>",
        **at,
    }


def _packed(values: np.ndarray, kind: str = "f4") -> dict[str, Any]:
    """An array in the fewest bytes that Plotly takes: base64 of its machine form, by default of 4 bytes a value."""
    packed = base64.b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode()
    shape = {"shape": ", ".join(str(length) for length in values.shape)} if values.ndim > 1 else {}
    return {"dtype": kind, "bdata": packed, **shape}


def _times(times: np.ndarray) -> dict[str, Any]:
    """Clock times as Plotly takes them in the fewest bytes: milliseconds as if they were UTC."""
    return _packed(_milliseconds(times), "f8")


def _milliseconds(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[ms]").astype("int64").astype(float)


def _band(
    times: np.ndarray, low: np.ndarray, high: np.ndarray, name: str, colour: str, opacity: float, at: dict[str, Any]
) -> dict[str, Any]:
    """A closed outline for each stretch without a gap, parted by NaN."""
    there = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    stretches = [slice(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    gap, x = [np.nan], _milliseconds(times)
    outline_x = [part for one in stretches for part in (x[one], x[one][::-1], gap)]
    outline_y = [part for one in stretches for part in (high[one], low[one][::-1], gap)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": _packed(np.concatenate([[], *outline_x]), "f8"),
        "y": _packed(np.concatenate([[], *outline_y])),
        "name": name,
        "legendgroup": name,
        "fill": "toself",
        "line": {"width": 0},
        "fillcolor": _faint(colour, opacity),
        "hoverinfo": "skip",
        **at,
    }


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _hatch(colour: str) -> dict[str, Any]:
    """The filling of an interval of hours ahead."""
    return {"shape": "/", "size": 6, "solidity": 0.35, "fgcolor": _faint(colour, HATCH_OPACITY)}


def _years(history: History, name: str, years: Sequence[int], at: dict[str, Any]) -> list[dict[str, Any]]:
    table = history.smooth_years[name]
    others = table[[year for year in table if year not in years]]
    times = table.index.to_numpy()
    curves = []
    if others.shape[1] > 1:
        low, high = others.min(axis=1).to_numpy(), others.max(axis=1).to_numpy()
        curves.append(_band(times, low, high, f"{others.shape[1]} other years", GREY, 0.25, at))
    for place, year in enumerate(years):
        drawn = Line(str(year), str(year), SERIES[place], 2.0)
        shown = Buckets(times, table[year].to_numpy(), *[np.empty(0)] * 2, width="")
        curve = _line(shown, drawn, escape(history.unit(name)), at)
        curves.append(curve | {"line": {**curve["line"], "dash": DASHES[place]}})
    return curves


def importances(table: pd.DataFrame, unit: str) -> go.Figure:
    """By how much the error grows without each group of inputs, the largest on top."""
    table = table.sort_values("rmse_increase")
    figure = base(70 + 30 * len(table))
    figure.add_bar(
        x=table["rmse_increase"],
        y=[escape(str(name)) for name in table["group"]],
        error_x={"type": "data", "array": table["rmse_increase_sd"], "color": GREY, "thickness": 1.5},
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:" + NUMBER + "} " + escape(unit) + "<extra></extra>",
    )
    figure.update_layout(
        hovermode="closest",
        margin={"l": 12, "r": 12, "t": 8, "b": 48},
        xaxis={**VALUES, "title": f"Growth of the window’s RMSE without it, {escape(unit)}", "fixedrange": True},
        yaxis={"automargin": True, "fixedrange": True, "ticksuffix": "  "},
    )
    return figure


def completeness(table: pd.DataFrame) -> go.Figure:
    """Share of recorded values of each month (rows) and column, dark where values are missing."""
    figure = base(90 + 34 * table.shape[1])
    figure.add_heatmap(
        x=table.index,
        y=[escape(str(name)) for name in table],
        z=(table.T.to_numpy() * 100).astype("float32"),
        zmin=0,
        zmax=100,
        colorscale=[[0, VERMILION], [0.95, "#F2B68C"], [0.999, "#BBD9EC"], [1, BLUE]],  # one missing hour shows
        ygap=3,
        colorbar={"title": {"text": "%"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="%{y}, %{x|%B %Y}: %{z:.1f} % recorded<extra></extra>",
    )
    figure.update_layout(
        hovermode="closest",
        margin={"l": 12, "r": 12, "t": 8, "b": 48},
        xaxis={"title": "Month (local time)", "fixedrange": True},
        yaxis={"automargin": True, "autorange": "reversed", "fixedrange": True, "ticksuffix": "  "},
    )
    return figure


def durations(names: Sequence[str], seconds: Sequence[float]) -> go.Figure:
    """How long each step of one pipeline took."""
    figure = base(80 + 28 * len(names))
    figure.add_bar(
        x=list(seconds),
        y=[escape(name) for name in names],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:,.0f} s<extra></extra>",
    )
    figure.update_layout(
        hovermode="closest",
        margin={"l": 12, "r": 12, "t": 8, "b": 48},
        xaxis={**VALUES, "title": "Duration in s", "fixedrange": True, "rangemode": "tozero"},
        yaxis={"automargin": True, "autorange": "reversed", "fixedrange": True, "ticksuffix": "  "},
    )
    return figure
