"""Pictures that only the dashboard has. Forecast against recorded is drawn by `dsgo.figures`, as in the report.

Names from data are escaped: Plotly reads a part of HTML in its texts. Colours stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from history import SMOOTHED_DAYS, Buckets, History
from view import YEARS, View

from dsgo.figures import BAND_NAME, BAND_OPACITY, FORECAST, RECORDED
from dsgo.palette import BLUE, GREY, SERIES, VERMILION

ROW_PX = 250  # height of one quantity's picture
MARGIN_PX = 146
FAINT = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid")
NUMBER = ",.3~r"  # three digits
AT_MOST = "%{y:" + NUMBER + "} "


def base(height: int, **layout: Any) -> go.Figure:
    """An empty picture without colours of its own for paper and text: the page's style gives those."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 12, "t": 8, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12},
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        **layout,
    )
    return figure


def explore(history: History, view: View, points: int) -> tuple[go.Figure, str]:
    """What a view shows, in at most `points` points a curve, and how wide each point is in words."""
    rows = len(view.columns)
    figure = base(MARGIN_PX + ROW_PX * rows)
    figure.update_layout(margin={"l": 64, "r": 12, "t": 64, "b": 48}, dragmode="zoom")
    width = ""
    for number, name in enumerate(view.columns):
        axes = _axes(number)
        if view.by == YEARS:
            _years(figure, history, name, view.years, axes, legend=number == 0)
            width = f"{SMOOTHED_DAYS} days"
        else:
            width = _through_time(figure, history, name, view, points, axes, legend=number == 0)
        top, bottom = 1 - number / rows, 1 - (number + 1) / rows
        figure.update_layout(
            {
                f"yaxis{axes}": {
                    **FAINT,
                    "title": {"text": f"{escape(name)}<br>in {escape(history.unit(name))}", "font": {"size": 12}},
                    "domain": [bottom + (0.06 if number < rows - 1 else 0), top],
                    "rangemode": "tozero" if name in history.targets else "normal",
                    "fixedrange": True,
                    "anchor": f"x{axes}",
                },
                f"xaxis{axes}": {
                    **FAINT,
                    "type": "date",
                    "anchor": f"y{axes}",
                    "matches": "x" if axes else None,
                    "showticklabels": number == rows - 1,
                    "fixedrange": view.by == YEARS,
                },
            }
        )
    lowest = figure.layout[f"xaxis{_axes(rows - 1)}"]
    if view.by == YEARS:
        lowest.update(title="Day of the year", tickformat="%-d %b", range=["2000-01-01", "2000-12-31"])
        figure.update_layout({"xaxis": {"hoverformat": "%-d %B", "range": ["2000-01-01", "2000-12-31"]}})
    else:
        lowest.update(title=f"Local time ({escape(history.timezone)})")
        span = [f"{moment:%Y-%m-%d %H:%M}" for moment in (view.first, view.last)]
        figure.update_layout({"xaxis": {"hoverformat": "%A %-d %B %Y, %H:%M", "range": span}})
    return figure, width


def _axes(number: int) -> str:
    """Plotly's suffix of the axes of a row, from the top."""
    return "" if number == 0 else str(number + 1)


def _through_time(
    figure: go.Figure, history: History, name: str, view: View, points: int, axes: str, legend: bool
) -> str:
    shown = history.buckets(name, view.first, view.last, points)
    unit = escape(history.unit(name))
    at = {"xaxis": f"x{axes}", "yaxis": f"y{axes}"}
    forecast = low = None
    if name in history.targets:
        forecast = history.buckets(f"{name}_forecast", view.first, view.last, points)
        if not shown.width:  # an interval of single values; the mean of many ends would be no interval of the mean
            low, high = (history.buckets(name + part, view.first, view.last, points) for part in ("_p10", "_p90"))
    if shown.width:
        _band(figure, shown.times, shown.low, shown.high, "Lowest to highest", VERMILION, 0.22, at, legend)
    elif low is not None and np.isfinite(low.mean).any():
        _band(figure, low.times, low.mean, high.mean, BAND_NAME, BLUE, BAND_OPACITY, at, legend)
    if forecast is not None and np.isfinite(forecast.mean).any():
        _line(figure, forecast, FORECAST.name, BLUE, FORECAST.width, unit, at, legend)
    _line(figure, shown, RECORDED.name, VERMILION, RECORDED.width, unit, at, legend)
    return shown.width


def _line(
    figure: go.Figure, shown: Buckets, name: str, colour: str, width: float, unit: str, at: dict, legend: bool
) -> None:
    words = f"{AT_MOST}{unit}"
    spread = None
    if shown.width:
        spread = np.stack([shown.low, shown.high], axis=-1).astype("float32")
        words += f" (mean of {shown.width}; %{{customdata[0]:{NUMBER}}} to %{{customdata[1]:{NUMBER}}})"
    figure.add_scatter(
        x=_x(shown.times),
        y=shown.mean.astype("float32"),
        customdata=spread if name == RECORDED.name else None,
        name=name,
        mode="lines",
        line={"color": colour, "width": width},
        hovertemplate=(words if name == RECORDED.name else f"{AT_MOST}{unit}") + "<extra>%{fullData.name}</extra>",
        legendgroup=name,
        showlegend=legend,
        **at,
    )


def _x(times: np.ndarray) -> np.ndarray:
    """Clock times as Plotly takes them in the fewest bytes: milliseconds as if they were UTC."""
    return times.astype("datetime64[ms]").astype("int64").astype("float64")


def _band(
    figure: go.Figure,
    times: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    name: str,
    colour: str,
    opacity: float,
    at: dict,
    legend: bool,
) -> None:
    """A closed outline for each stretch without a gap, parted by NaN."""
    there = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    stretches = [slice(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    gap, x = [np.nan], _x(times)
    outline_x = [part for one in stretches for part in (x[one], x[one][::-1], gap)]
    outline_y = [part for one in stretches for part in (high[one], low[one][::-1], gap)]
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    figure.add_scatter(
        x=np.concatenate([[], *outline_x]),
        y=np.concatenate([[], *outline_y]).astype("float32"),
        name=name,
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=f"rgba({red},{green},{blue},{opacity})",
        hoverinfo="skip",
        legendgroup=name,
        showlegend=legend,
        **at,
    )


def _years(figure: go.Figure, history: History, name: str, years: Sequence[int], axes: str, legend: bool) -> None:
    table = history.smooth_years[name]
    others = table[[year for year in table if year not in years]]
    at = {"xaxis": f"x{axes}", "yaxis": f"y{axes}"}
    times = table.index.to_numpy()
    if others.shape[1] > 1:
        low, high = others.min(axis=1).to_numpy(), others.max(axis=1).to_numpy()
        _band(figure, times, low, high, f"{others.shape[1]} other years", GREY, 0.25, at, legend)
    for place, year in enumerate(years):
        figure.add_scatter(
            x=_x(times),
            y=table[year].to_numpy(dtype="float32"),
            name=str(year),
            mode="lines",
            line={"color": SERIES[place], "width": 2, "dash": DASHES[place]},
            hovertemplate=f"{AT_MOST}{escape(history.unit(name))}<extra>%{{fullData.name}}</extra>",
            legendgroup=str(year),
            showlegend=legend,
            **at,
        )


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
        xaxis={**FAINT, "title": f"Growth of the window’s RMSE without it, {escape(unit)}", "fixedrange": True},
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
        xaxis={**FAINT, "title": "Duration in s", "fixedrange": True, "rangemode": "tozero"},
        yaxis={"automargin": True, "autorange": "reversed", "fixedrange": True, "ticksuffix": "  "},
    )
    return figure
