"""Explore: any span of the history, from a hundred years to single hours, and years beside each other.

The address holds the whole state, so a link shows the same to everybody. The server answers every zoom with what the screen
can show of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import charts
import dash_mantine_components as dmc
import pandas as pd
import view as views
from board import Board, InProduction
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate
from flask import Response, request
from history import DAY, History
from latest import Latest
from parts import heading, sentence
from view import MOST_COLUMNS, MOST_YEARS, TIME, YEARS, View

from dsgo import notices, wording
from dsgo.collection import Collection
from dsgo.errors import NoProductionModel

PATH = "/explore"
NAME = "Explore"
QUERY: tuple[str, ...] = ()
CSV = "/explore.csv"
MOST_POINTS = 800  # a curve; more could not be told apart, and four rows of them stay below 300 kB
FEWEST_POINTS = 300
BUTTONS = {
    "earlier": ("◀ Earlier", lambda view, history: view.moved(-0.5, history)),
    "later": ("Later ▶", lambda view, history: view.moved(0.5, history)),
    "in": ("Zoom in", lambda view, history: view.zoomed(0.5, history)),
    "out": ("Zoom out", lambda view, history: view.zoomed(2.0, history)),
    "week": ("Newest week", lambda view, history: view.between(history.known_last - 7 * DAY, history.last, history)),
    "year": ("Newest year", lambda view, history: view.between(history.last - 365 * DAY, history.last, history)),
    "all": ("All", lambda view, history: view.between(history.first, history.last, history)),
}


def sources(board: Board, collection: str) -> dict[str, Latest]:
    """Where the page's values come from."""
    return {"production": board.production[collection]}


def body(values: Mapping[str, Any], collection: Collection, board: Board, query: Mapping[str, str]) -> list[Any]:
    """The page's content: controls and an empty picture, which the address then fills."""
    value = values["production"]
    if isinstance(value, NoProductionModel):
        return [html.H1(f"Explore: {collection.title}"), sentence(str(value))]
    history = value.history
    titles = [{"value": name, "label": f"{name} in {history.unit(name)}"} for name in history.names]
    days = {"minDate": f"{history.first:%Y-%m-%d}", "maxDate": f"{history.last - history.step:%Y-%m-%d}"}
    date = {**days, "valueFormat": "D MMM YYYY", "clearable": False, "w": 150}
    return [
        dcc.Location(id="explore-location", refresh=False),
        dcc.Store(id="explore-answered"),
        heading(f"Explore: {collection.title}", value),
        html.Div(
            [
                dmc.MultiSelect(
                    id="explore-columns",
                    label=f"Quantities, at most {MOST_COLUMNS}",
                    data=titles,
                    maxValues=MOST_COLUMNS,
                    searchable=True,
                    className="grow",
                ),
                dmc.SegmentedControl(
                    id="explore-by",
                    data=[{"value": TIME, "label": "Through time"}, {"value": YEARS, "label": "Compare years"}],
                    value=TIME,
                ),
            ],
            className="controls",
        ),
        html.Div(
            [
                dmc.DateInput(id="explore-from", label="First day", **date),
                dmc.DateInput(id="explore-to", label="Last day", **date),
                *(
                    dmc.Button(words, id=f"explore-{name}", variant="default", px="sm")
                    for name, (words, _) in BUTTONS.items()
                ),
            ],
            className="controls",
            id="explore-through-time",
        ),
        html.Div(
            dmc.MultiSelect(
                id="explore-years",
                label=f"Years beside each other, at most {MOST_YEARS}",
                data=[str(year) for year in reversed(history.years)],
                maxValues=MOST_YEARS,
                searchable=True,
                className="grow",
            ),
            className="controls",
            id="explore-beside",
        ),
        html.Div(id="explore-notice", role="status"),
        html.Div(
            dcc.Loading(
                html.Figure(
                    [
                        dcc.Graph(
                            id="explore-graph",
                            config={"displaylogo": False, "displayModeBar": False, "doubleClick": False},
                            responsive=True,
                        ),
                        html.Figcaption(id="explore-words", className="note"),
                    ]
                ),
                delay_show=500,
                overlay_style={"visibility": "visible", "opacity": 0.5},
                type="dot",
            ),
            className="panel",
        ),
        html.P(
            [
                html.A("Download as CSV", id="explore-csv", className="button"),
                html.Span(
                    " Every value of the dates and quantities above, as it is stored, with forecasts. "
                    "The address of this page is a link to this very view."
                ),
            ],
            className="note",
        ),
    ]


def install(app: Dash, board: Board) -> None:
    """The page's callback and its file."""
    inputs = [Input(f"explore-{name}", "n_clicks") for name in BUTTONS]

    @app.callback(
        Output("explore-location", "search"),
        Output("explore-graph", "figure"),
        Output("explore-graph", "style"),
        Output("explore-words", "children"),
        Output("explore-notice", "children"),
        Output("explore-csv", "href"),
        Output("explore-columns", "value"),
        Output("explore-by", "value"),
        Output("explore-from", "value"),
        Output("explore-to", "value"),
        Output("explore-years", "value"),
        Output("explore-through-time", "style"),
        Output("explore-beside", "style"),
        Output("explore-answered", "data"),
        Input("explore-location", "search"),
        Input("explore-columns", "value"),
        Input("explore-by", "value"),
        Input("explore-from", "value"),
        Input("explore-to", "value"),
        Input("explore-years", "value"),
        Input("explore-graph", "relayoutData"),
        *inputs,
        State("screen", "data"),
        State("explore-csv", "href"),
        State("explore-answered", "data"),
    )
    def explore(
        search: str | None,
        columns: list[str] | None,
        by: str | None,
        first: str | None,
        last: str | None,
        years: list[str] | None,
        relayout: Mapping[str, Any] | None,
        *more: Any,
    ) -> tuple[Any, ...]:
        *clicks, screen, shown, answered = more
        collection, value = _value(search, board)
        if value is None:
            raise PreventUpdate
        history = value.history
        view, problems = views.read(search, history)
        # A browser drops the answer to a click when the echo of the answer before asks again meanwhile: a button counts as
        # pressed until an answer that knows of it has arrived.
        answered = answered or {}
        pressed = _pressed(clicks, answered.get("clicks"))
        controls = {"columns": columns, "by": by, "from": first, "to": last, "years": years}
        trigger = f"explore-{pressed}" if pressed else str(ctx.triggered_id or "")
        if not pressed and trigger.removeprefix("explore-") not in controls and not _zoomed(trigger, relayout):
            trigger = f"explore-{_changed(controls, search, answered)}"  # likewise what was typed or chosen
        asked = _asked(trigger.removeprefix("explore-"), view, history, controls, relayout)
        query = asked.query(collection)
        if CSV + query == shown:  # what is there already: the echo of an answer in the controls
            if pressed:
                return (*(no_update for _ in ctx.outputs_list[:-1]), {**answered, "clicks": clicks})
            raise PreventUpdate
        figure, width = charts.explore(history, asked, max(FEWEST_POINTS, min(MOST_POINTS, screen or MOST_POINTS)))
        through_time = asked.by == TIME
        shows = {
            "columns": list(asked.columns),
            "by": asked.by,
            "from": f"{asked.first:%Y-%m-%d}",
            "to": f"{asked.last - history.step:%Y-%m-%d}",
            "years": [str(year) for year in asked.years],
        }
        return (
            query if asked != view else no_update,
            figure,
            {"height": figure["layout"]["height"]},
            _words(asked, width, value),
            [*(sentence(problem) for problem in problems), *_substitutes(asked, value)],
            CSV + query,
            # A control that shows this already is left alone: written anew it would lose what somebody is typing into it.
            *(no_update if value == controls[name] else value for name, value in shows.items()),
            {} if through_time else {"display": "none"},
            {"display": "none"} if through_time else {},
            {"clicks": clicks, "search": query if asked != view else search, "controls": shows},
        )

    @app.server.get(CSV)
    def csv() -> Response:
        query = request.query_string.decode("utf-8", "replace")
        _, value = _value(query, board)
        if value is None:
            return Response("There are no data of such a collection (yet).\n", 404, mimetype="text/plain")
        view, problems = views.read(query, value.history)
        if problems:
            return Response("\n".join([*problems, ""]), 400, mimetype="text/plain")
        pieces = value.history.csv(list(view.columns), view.first, view.last, _head(view, value))
        kind = "-synthetic" if value.production.synthetic else ""
        name = f"{view.first:%Y%m%d}-{view.last - value.history.step:%Y%m%d}{kind}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(pieces, mimetype="text/csv", headers=headers)


def _value(search: str | None, board: Board) -> tuple[str, InProduction | None]:
    """The collection that an address names and what is in Production for it, if that has been read."""
    named = parse_qs((search or "").lstrip("?")).get("collection")
    collection = named[0] if named else board.default() or ""
    source = board.production.get(collection)
    value = None if source is None else source.read().value
    return collection, value if isinstance(value, InProduction) else None


def _pressed(clicks: Sequence[int | None], answered: Sequence[int | None] | None) -> str | None:
    """The button that was pressed since `answered`, the counts of presses that the newest answer knew of."""
    before = answered or [None] * len(clicks)
    return next(
        (name for name, now, then in zip(BUTTONS, clicks, before, strict=True) if (now or 0) > (then or 0)), None
    )


def _changed(controls: Mapping[str, Any], search: str | None, answered: Mapping[str, Any]) -> str:
    """The control that does not show what the newest answer has put there; none if the address has changed since."""
    if "controls" not in answered or answered["search"] != search:
        return ""
    return next((name for name, value in controls.items() if value != answered["controls"][name]), "")


def _zoomed(trigger: str, relayout: Mapping[str, Any] | None) -> bool:
    return trigger == "explore-graph" and bool(relayout) and "xaxis.range[0]" in relayout


def _asked(
    used: str, view: View, history: History, controls: Mapping[str, Any], relayout: Mapping[str, Any] | None
) -> View:
    """What is asked for: the view of the address, changed by what was used: a control, a button or the graph."""
    if used in BUTTONS:
        return BUTTONS[used][1](view, history)
    value = controls.get(used)
    if used == "columns" and value:
        return replace(view, columns=tuple(name for name in value if name in history.names)[:MOST_COLUMNS])
    if used == "by" and value in (TIME, YEARS):
        return replace(view, by=value)
    if used == "from" and value:
        return view.between(pd.Timestamp(value), max(view.last, pd.Timestamp(value) + DAY), history)
    if used == "to" and value:
        end = pd.Timestamp(value) + DAY
        return view.between(min(view.first, end - DAY), end, history)
    if used == "years" and value:
        return replace(
            view, years=tuple(sorted(int(year) for year in value if int(year) in history.years))[:MOST_YEARS]
        )
    if used == "graph" and relayout and view.by == TIME:
        ends = [relayout.get(f"xaxis.range[{place}]") for place in (0, 1)]
        if all(ends):
            return view.between(*(pd.Timestamp(end) for end in ends), history)
    return view


def _words(view: View, width: str, value: InProduction) -> str:
    """What the picture shows, in words."""
    history = value.history
    names = "; ".join(f"{name}: {history.title(name)}, {history.unit(name)}" for name in view.columns)
    kind = "synthetic" if value.production.synthetic else "recorded"
    if view.by == YEARS:
        span = (
            f"{', '.join(map(str, view.years))}. Curves: mean of {width}; grey: lowest to highest such mean of others"
        )
    else:
        span = f"{_clock(view.first)} to {_clock(view.last)} ({history.timezone})"
        span += f". Each point: mean of a {width}" if width and width[0].isalpha() else ""
        span += f". Each point: mean of {width}" if width and not width[0].isalpha() else ""
        span += "; shaded: lowest to highest value in it" if width else ". Each point: one value"
    forecast = f" Forecasts: version {value.production.version}, out of sample." if view.by == TIME else ""
    if view.by == TIME and any(history.by_source(name, view.first, view.last) for name in view.columns):
        forecast += " Dashed: as issued, where that version has none out of sample."
    return f"{names}. {kind.capitalize()} data, {span}.{forecast}"


def _substitutes(view: View, value: InProduction) -> list[Any]:
    """Says that not all that is drawn as issued is Production's."""
    if view.by != TIME:
        return []
    drawn = [value.history.ahead(name, view.first, view.last) for name in view.columns]
    rows = pd.concat([part.rename_axis("utc_timestamp").reset_index() for part in drawn if len(part)] or drawn)
    return [html.P(words, className="banner") for words in notices.substitutes(rows, value.production)]


def _clock(moment: pd.Timestamp) -> str:
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _head(view: View, value: InProduction) -> list[str]:
    """What must not get lost from the figures of a file."""
    history, production = value.history, value.production
    units = ", ".join(f"{name} in {history.unit(name)}" for name in view.columns)
    kind = "SYNTHETIC data: generated, not measured" if production.synthetic else "recorded data"
    return [
        f"{value.review.info['title']}: {units}; {kind}",
        f"forecasts of version {production.version} ({production.step}), out of sample, p10 and p90 of its interval",
        "columns with _issued: what was last issued for the time stamp; _issued_source is production, earlier_version or naive",
        f"utc_timestamp: start of each {wording.duration(history.step)}, UTC; data digest {production.data_digest}",
    ]
