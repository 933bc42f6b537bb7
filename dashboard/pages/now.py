"""Now: the newest week of forecasts against what was recorded, and which model made them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from board import Board, InProduction
from dash import dcc, html
from latest import Latest

from dsgo import figures, wording
from dsgo.collection import Collection
from dsgo.errors import NoProductionModel
from dsgo.review import utc

PATH = "/"
NAME = "Now"
SPAN = pd.Timedelta(days=7)


def source(board: Board, collection: str) -> Latest:
    """Where the page's value comes from."""
    return board.production[collection]


def body(value: InProduction | NoProductionModel, collection: Collection, board: Board) -> list[Any]:
    """The page's content."""
    if isinstance(value, NoProductionModel):
        return [html.H1(collection.title), html.P(str(value), className="sentence")]
    production, review = value.production, value.review
    hours = review.newest(SPAN)
    return [
        html.H1(collection.title),
        _synthetic(production),
        _facts(production, review),
        html.H2(_period(hours, review.info["timezone"])),
        html.P(_seen(production, review, hours)),
        *(_target(review, target, hours) for target in review.targets),
        html.H2("Scores of these days"),
        _scores(review, hours),
        html.P(
            f"Naive: the value recorded {wording.duration(review.info['naive']['lag'])} earlier. Usual: p10 to p90 of "
            "the weekly RMSE of the other complete weeks that the model had not learned from.",
            className="note",
        ),
    ]


def _synthetic(production: Any) -> html.P | None:
    if not production.synthetic:
        return None
    return html.P(
        [html.Strong("Synthetic data. "), "All values were generated; none was measured."], className="notice"
    )


def _facts(production: Any, review: Any) -> html.Dl:
    today = pd.Timestamp.now("UTC")
    promoted, newest = utc(production.promoted_at), review.table.index[-1]
    facts = {
        "Model": f"version {production.version} ({str(production.step).replace('_', ' ')})",
        "In Production": f"since {wording.moment(promoted)} ({wording.days_ago(promoted, today)})",
        "Learned from": f"{wording.moment(production.trained_from)} to {wording.moment(production.trained_to)}",
        "Newest hour": f"{wording.moment(newest)} ({wording.days_ago(newest, today)})",
    }
    return html.Dl([part for name, fact in facts.items() for part in (html.Dt(name), html.Dd(fact))], className="facts")


def _period(hours: pd.DatetimeIndex, timezone: str) -> str:
    first, last = hours[0].tz_convert(timezone), hours[-1].tz_convert(timezone)
    return f"{first:%A} {first.day} {first:%B %Y, %H:%M} to {last:%A} {last.day} {last:%B %Y, %H:%M} ({timezone})"


def _seen(production: Any, review: Any, hours: pd.DatetimeIndex) -> str:
    live = review.live(hours)
    words = []
    if live < len(review.table.index.intersection(hours)):
        words.append(
            f"Forecast by the evaluated twin of version {production.version}, which has learned only from hours before "
            f"{wording.moment(review.window_start)}."
        )
    if live:
        words.append(
            f"{live} hours forecast by version {production.version} itself, which has learned from nothing after "
            f"{wording.moment(production.trained_to)}."
        )
    return " ".join(["Out of sample.", *words])


def _target(review: Any, target: str, hours: pd.DatetimeIndex) -> html.Section:
    figure = figures.describe(review.over(hours), target, review.info)
    drawn = figures.plotly_figure(figure)
    drawn.update_layout(uirevision=target)  # new data leave the reader's zoom as it is
    graph = dcc.Graph(figure=drawn, config={"displaylogo": False, "displayModeBar": False}, responsive=True)
    usual = review.usual(target, besides=hours)
    return html.Section(
        [
            html.H3(figure.title),
            html.P(wording.verdict(review.score(target, hours), usual, figure.unit)),
            html.Figure([graph, html.Figcaption(figure.alternative, className="for-screen-readers")]),
        ]
    )


def _scores(review: Any, hours: pd.DatetimeIndex) -> html.Div:
    titles = ("Quantity", "MAE", "RMSE", "Less than naive by", "Usual weekly RMSE", "Inside the 80 % interval")
    rows = []
    for target in review.targets:
        unit = review.unit(target)
        score, usual = review.score(target, hours), review.usual(target, besides=hours)
        pairs = [wording.pair(score, measure, unit) for measure in ("mae", "rmse")]
        rows.append(
            html.Tr(
                [
                    html.Th([target, html.Small(f"{score.hours if score else 0} h counted")], scope="row"),
                    *(html.Td([own, html.Small(f"naive {naive}")]) for own, naive in pairs),
                    html.Td(wording.percent(score.skill) if score else wording.NONE),
                    html.Td(wording.span(usual, unit)),
                    html.Td(f"{wording.percent(score.coverage80)} of the hours" if score else wording.NONE),
                ]
            )
        )
    head = html.Thead(html.Tr([html.Th(title, scope="col") for title in titles]))
    return html.Div(html.Table([head, html.Tbody(rows)]), className="wide", tabIndex=0)
