"""Models: every candidate's scores beside the naive baseline's, and which one is in Production."""

from __future__ import annotations

from typing import Any

import pandas as pd
from board import Board
from dash import html
from latest import Latest

from dsgo import wording
from dsgo.collection import Collection

PATH = "/models"
NAME = "Models"

# Metric, heading, and whether it is a share (else it has the target's unit).
MEASURES = (
    ("backtest.{}.rmse", "Back-test RMSE", False),
    ("backtest.{}.skill", "Back-test skill", True),
    ("window.{}.rmse", "Window RMSE", False),
    ("window.{}.mae", "Window MAE", False),
    ("window.{}.skill", "Window skill", True),
    ("window.{}.coverage80", "Inside the 80 % interval", True),
)


def source(board: Board, collection: str) -> Latest:
    """Where the page's value comes from."""
    return board.candidates[collection]


def body(value: pd.DataFrame, collection: Collection, board: Board) -> list[Any]:
    """The page's content."""
    title = html.H1(f"Models: {collection.title}")
    if value.empty:
        words = f"No candidate has been trained yet. Train some with `make run COLLECTION={collection.name}`."
        return [title, html.P(words, className="sentence")]
    return [
        title,
        html.P(
            "Back-test: rolling-origin folds, by which a candidate is chosen. Window: the last months, seen only by "
            "the gate. Skill: how much smaller the RMSE is than the naive baseline’s on the same hours."
        ),
        *(part for target in collection.targets for part in _of_target(value, target, collection, board)),
    ]


def _of_target(value: pd.DataFrame, target: str, collection: Collection, board: Board) -> list[Any]:
    measures = [(name.format(target), heading, share) for name, heading, share in MEASURES]
    measures = [measure for measure in measures if measure[0] in value]
    unit = collection.unit(target)
    heads = ["Model", "Version", *(heading for _, heading, _ in measures), "Run"]
    naive = f"the value {wording.duration(collection.dataset['naive']['lag'])} earlier"
    rows = []
    for _, row in value.iterrows():
        produced = _text(row.get("stage")) == "Production"
        version = [_text(row.get("version")), html.Span("Production", className="badge") if produced else None]
        cells = [
            html.Td(wording.percent(float(row[name])) if share else wording.quantity(float(row[name]), unit))
            for name, _, share in measures
        ]
        rows.append(
            html.Tr(
                [
                    html.Th(
                        [
                            _text(row["model"]).replace("_", " "),
                            html.Small(naive) if row["model"] == "naive" else None,
                        ],
                        scope="row",
                    ),
                    html.Td(version),
                    *cells,
                    html.Td(_run(row, board)),
                ],
                className="produced" if produced else None,
            )
        )
    description = str(collection.columns[target].get("description") or target)
    head = html.Thead(html.Tr([html.Th(head, scope="col") for head in heads]))
    table = html.Table([html.Caption(f"{target}, errors in {unit}"), head, html.Tbody(rows)])
    return [html.H2(description[:1].upper() + description[1:]), html.Div(table, className="wide", tabIndex=0)]


def _run(row: pd.Series, board: Board) -> Any:
    """The run's first letters; a link into the tracking UI where the leaderboard says which experiment it is of."""
    run, experiment = _text(row.get("run_id")), _text(row.get("experiment_id"))
    if wording.NONE in (run, experiment):
        return run[:8]
    address = f"{board.settings.tracking_uri}/#/experiments/{experiment}/runs/{run}"
    return html.A(run[:8], href=address, target="_blank", rel="noreferrer", title=f"Run {run} in the tracking UI")


def _text(value: Any) -> str:
    """A cell of the leaderboard; whole numbers that pandas made floats are whole again."""
    if value is None or value != value or value == "":
        return wording.NONE
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
