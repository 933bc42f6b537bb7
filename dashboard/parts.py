"""Pieces that several pages are made of. No figure goes without unit, date, model version and whether data are synthetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dash_mantine_components as dmc
import pandas as pd
import plotly.graph_objects as go
from dash import dcc, html

from dsgo import wording
from dsgo.errors import NoProductionModel
from dsgo.palette import BLUE

# Shades of the palette's blue from faint to dark, as Mantine wants them; the seventh is the blue itself.
THEME = {
    "primaryColor": "dsgo",
    "primaryShade": {"light": 6, "dark": 6},
    "colors": {
        "dsgo": [
            "#E6F1F8",
            "#C5DFEF",
            "#9CC9E4",
            "#6FB2D9",
            "#459CCE",
            "#1F86BF",
            BLUE,
            "#00609A",
            "#004F7F",
            "#003D63",
        ]
    },
    "fontFamily": 'system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif',
    "defaultRadius": "md",
}
FRESH, AGEING, OLD = "fresh", "ageing", "old"
SIGNS = {FRESH: "●", AGEING: "▲", OLD: "■"}  # a light is told by its shape and word too, not by its colour alone


def sentence(words: str) -> html.P:
    """Says in words why there is nothing else; what stands between backquotes is a command."""
    parts = words.split("`")
    return html.P([html.Code(part) if place % 2 else part for place, part in enumerate(parts)], className="sentence")


def heading(title: str, production: Any) -> html.Div:
    """A page's title, and beneath it what all its figures come from."""
    words: list[Any] = []
    if production is not None and not isinstance(production, NoProductionModel):
        step = str(production.production.step).replace("_", " ")
        last = production.review.table.index[-1]
        words = [
            html.Span(f"Version {production.production.version} ({step}) in Production"),
            html.Span(f"data to {wording.moment(last)}"),
            synthetic(production.production.synthetic),
        ]
    return html.Div([html.H1(title), html.P(words, className="provenance")], className="heading")


def synthetic(is_synthetic: bool) -> Any:
    """Whether data were generated or recorded, as a label."""
    if is_synthetic:
        return dmc.Badge("Synthetic data", color="orange", variant="outline", className="label synthetic")
    return dmc.Badge("Recorded data", variant="outline", className="label")


def light(name: str, state: str | None, fact: str, detail: str) -> html.Div:
    """One light: `state` is fresh, ageing or old; None where none of them can be said."""
    sign = [] if state is None else [html.Span(f"{SIGNS[state]} {state}", className=f"light {state}")]
    return html.Div(
        [
            html.Div([html.Span(name), *sign]),
            html.Strong(fact),
            html.Small(detail),
        ],
        className="card",
    )


def age(moment: Any, fresh: pd.Timedelta, old: pd.Timedelta) -> str:
    """The light of something that dates from `moment`."""
    passed = pd.Timestamp.now("UTC") - moment
    return FRESH if passed <= fresh else AGEING if passed <= old else OLD


def table(caption: str, heads: Sequence[str], rows: Iterable[Any]) -> html.Div:
    """A table of rows (`html.Tr`) that scrolls sideways on a narrow screen."""
    head = html.Thead(html.Tr([html.Th(head, scope="col") for head in heads]))
    drawn = html.Table([html.Caption(caption), head, html.Tbody(list(rows))])
    return html.Div(drawn, className="wide", tabIndex=0, role="region", **{"aria-label": caption})


def row(head: Any, cells: Iterable[Any], className: str | None = None) -> html.Tr:
    """A row whose first cell says what it is of. A cell may be an `html.Td` of its own."""
    drawn = (cell if isinstance(cell, html.Td) else html.Td(cell) for cell in cells)
    return html.Tr([html.Th(head, scope="row"), *drawn], className=className)


def facts(pairs: Mapping[str, Any]) -> html.Dl:
    """Names and what is to be said about each."""
    return html.Dl([part for name, fact in pairs.items() for part in (html.Dt(name), html.Dd(fact))], className="facts")


def graph(figure: go.Figure, alternative: str, **properties: Any) -> html.Figure:
    """A picture, and the same in words for who cannot see it."""
    config = {"displaylogo": False, "displayModeBar": False}
    drawn = dcc.Graph(
        figure=figure, config=config, responsive=True, style={"height": figure.layout.height}, **properties
    )
    room = {"minHeight": figure.layout.height}  # kept until the picture has come, so that nothing below it jumps
    return html.Figure([drawn, html.Figcaption(alternative, className="for-screen-readers")], style=room)


def link_to(path: str, collection: str, words: Any, **query: str) -> dcc.Link:
    """A link to another page of the same collection."""
    parts = "".join(f"&{name}={quote(value)}" for name, value in query.items())
    return dcc.Link(words, href=f"{path}?collection={quote(collection)}{parts}")


def tracking(address: str, words: Any, title: str) -> html.A:
    """A link into the tracking UI."""
    return html.A(words, href=address, target="_blank", rel="noreferrer", title=title)


def run_link(tracking_uri: str, experiment_id: str, run_id: str) -> html.A:
    """A link to a run in the tracking UI, by its first letters."""
    address = f"{tracking_uri}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}"
    return tracking(address, run_id[:8], f"Run {run_id} in the tracking UI")
