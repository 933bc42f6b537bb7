"""Models: every candidate's scores beside the naive baseline's, where each can be trusted, and how Production came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import charts
import dash_mantine_components as dmc
import pandas as pd
from board import Board
from dash import html
from latest import Latest
from parts import graph, heading, link_to, row, run_link, sentence, table, tracking

from dsgo import wording
from dsgo.collection import Collection

PATH = "/models"
NAME = "Models"
QUERY = ("run",)

# Metric, heading, and whether it is a share (else it has the target's unit).
MEASURES = (
    ("backtest.{}.rmse", "Back-test RMSE", False),
    ("backtest.{}.skill", "Back-test skill", True),
    ("window.{}.rmse", "Window RMSE", False),
    ("window.{}.mae", "Window MAE", False),
    ("window.{}.skill", "Window skill", True),
    ("window.{}.coverage80", "Inside the 80 % interval", True),
)
# The same of the tables of regimes: column, heading, share.
OF_REGIMES = (
    ("forecast", "Mean forecast", False),
    ("rmse", "RMSE", False),
    ("bias", "Bias", False),
    ("skill", "Skill", True),
    ("coverage80", "Inside the 80 % interval", True),
    ("constant_coverage80", "… one of constant width", True),
)
UNSAID = "Skill –: the naive baseline hardly errs there, and a share of that says nothing."
OPEN = "season"  # the regime shown at first


def sources(board: Board, collection: str) -> dict[str, Latest]:
    """Where the page's values come from; there is nothing to show without the first."""
    return {
        "candidates": board.candidates[collection],
        "production": board.production[collection],
        "ledger": board.ledger[collection],
    }


def more_sources(
    values: Mapping[str, Any], board: Board, collection: str, query: Mapping[str, str]
) -> dict[str, Latest]:
    """Where else, once it is known which run is looked at."""
    run = _chosen(values["candidates"], query)
    return {} if run is None else {"evaluation": board.evaluation(collection, run)}


def _chosen(candidates: pd.DataFrame | None, query: Mapping[str, str]) -> str | None:
    """The run that the address names, else that in Production, else the best; only of those on the leaderboard."""
    if candidates is None or candidates.empty:
        return None
    runs = [run for run in candidates["run_id"].map(_text) if run not in (wording.NONE, "")]
    if query.get("run") in runs:
        return query["run"]
    produced = candidates[candidates["stage"] == "Production"]["run_id"].map(_text)
    return produced.iloc[0] if len(produced) else next(iter(runs), None)


def body(values: Mapping[str, Any], collection: Collection, board: Board, query: Mapping[str, str]) -> list[Any]:
    """The page's content."""
    candidates = values["candidates"]
    title = heading(f"Models: {collection.title}", values["production"])
    registered = f"{board.settings.tracking_uri}/#/models/{quote(collection.name)}"
    if candidates.empty:
        words = f"No candidate has been trained yet. Train some with `make run COLLECTION={collection.name}`."
        return [title, sentence(words), *_ledger(values["ledger"], board)]
    return [
        title,
        html.P(
            [
                "Back-test: rolling-origin folds, by which a candidate is chosen. Window: the last months, seen only by "
                "the gate. Skill: how much smaller the RMSE is than the naive baseline’s on the same hours. ",
                tracking(registered, "All versions in the tracking UI", "Registered versions in the tracking UI"),
                ".",
            ],
            className="note",
        ),
        *(
            part
            for target in collection.targets
            for part in _of_target(candidates, target, collection, board, _kind(values["production"]))
        ),
        *_evaluation(values, collection, query),
        *_ledger(values["ledger"], board),
    ]


def _of_target(value: pd.DataFrame, target: str, collection: Collection, board: Board, kind: str) -> list[Any]:
    measures = [(name.format(target), heading, share) for name, heading, share in MEASURES]
    measures = [measure for measure in measures if measure[0] in value]
    unit = collection.unit(target)
    heads = ["Model", "Version", *(heading for _, heading, _ in measures), "Run"]
    naive = f"the value {wording.duration(collection.dataset['naive']['lag'])} earlier"
    rows = []
    for _, one in value.iterrows():
        produced = _text(one.get("stage")) == "Production"
        version = [_text(one.get("version")), html.Span("Production", className="badge") if produced else None]
        name = _text(one["model"]).replace("_", " ")
        rows.append(
            row(
                [name, html.Small(naive) if one["model"] == "naive" else None],
                [version, *_cells(one, measures, unit), _run(one, board)],
                className="produced" if produced else None,
            )
        )
    description = str(collection.columns[target].get("description") or target)
    return [
        html.H2(description[:1].upper() + description[1:]),
        table(f"{target}, errors in {unit}{kind}", heads, rows),
    ]


def _cells(one: Any, measures: Any, unit: str) -> list[str]:
    return [
        wording.percent(float(one[name])) if share else wording.quantity(float(one[name]), unit)
        for name, _, share in measures
    ]


def _run(one: pd.Series, board: Board) -> Any:
    """The run's first letters; a link into the tracking UI where the leaderboard says which experiment it is of."""
    run, experiment = _text(one.get("run_id")), _text(one.get("experiment_id"))
    if wording.NONE in (run, experiment):
        return run[:8]
    return run_link(board.settings.tracking_uri, experiment, run)


def _evaluation(values: Mapping[str, Any], collection: Collection, query: Mapping[str, str]) -> Iterator[Any]:
    """Scores by regime and importances of one run, with links to those of the others."""
    candidates, chosen = values["candidates"], _chosen(values["candidates"], query)
    if chosen is None:
        return
    names = {_text(one["run_id"]): _text(one["model"]).replace("_", " ") for _, one in candidates.iterrows()}
    yield html.H2(f"Where {names[chosen]} can be trusted", id="regimes")
    links = [
        html.Span(name, className="here", **{"aria-current": "true"})
        if run == chosen
        else link_to(PATH, collection.name, name, run=run)
        for run, name in names.items()
        if run != wording.NONE
    ]
    yield html.Nav([html.Span("Run of"), *links], className="choices", **{"aria-label": "Whose evaluation"})
    if "evaluation" not in values or values["evaluation"] is None:
        yield sentence("The evaluation of this run is not there (yet).")
        return
    kind = _kind(values["production"])
    regimes, importance = values["evaluation"]["regimes"], values["evaluation"]["importance"]
    for target in collection.targets:
        unit = collection.unit(target)
        yield html.H3(f"{target}, run {chosen[:8]}{kind}")
        yield _regimes(regimes[regimes["target"] == target], target, unit, collection.dataset["frequency"])
        grown = importance[importance["target"] == target]
        if len(grown):
            yield html.H4(f"What {target} is forecast from")
            words = "; ".join(
                f"{one['group']}: {wording.quantity(float(one['rmse_increase']), unit)}" for _, one in grown.iterrows()
            )
            yield graph(charts.importances(grown, unit), f"The RMSE of {target} grows without each input by … {words}.")


def _kind(production: Any) -> str:
    known = getattr(production, "production", None)
    return "" if known is None else f", {'synthetic' if known.synthetic else 'recorded'} data"


def _regimes(scores: pd.DataFrame, target: str, unit: str, frequency: str) -> dmc.Accordion:
    """A table for each regime: the window, and beside it the RMSE of the back-test."""
    window, backtest = (scores[scores["span"] == span] for span in ("window", "backtest"))
    measures = [measure for measure in OF_REGIMES if measure[0] in scores]
    heads = ["Value", "Hours", *(heading for _, heading, _ in measures), "Back-test RMSE"]
    items = []
    over_all = window.loc[window["regime"] == "all", "naive_rmse"].max()
    hardly = window["naive_rmse"] < wording.LEAST_NAIVE * over_all
    window = window.assign(skill=window["skill"].mask(hardly))
    for regime, part in window.groupby("regime", sort=False):
        before = backtest[backtest["regime"] == regime].set_index("value")["rmse"]
        rows = [
            row(
                str(one["value"]),
                [
                    wording.hours(int(one["n"]), frequency),
                    *_cells(one, measures, unit),
                    wording.quantity(float(before.get(one["value"], float("nan"))), unit),
                ],
            )
            for _, one in part.iterrows()
        ]
        drawn = [table(f"{target} by {regime}: window, errors in {unit}", heads, rows)]
        if hardly[part.index].any():
            drawn.append(html.P(UNSAID, className="note"))
        items.append(
            dmc.AccordionItem(
                [
                    dmc.AccordionControl(f"{target}, all hours" if regime == "all" else f"{target} by {regime}"),
                    dmc.AccordionPanel(drawn),
                ],
                value=str(regime),
            )
        )
    return dmc.Accordion(items, multiple=True, value=[OPEN], variant="separated", order=4)


def _ledger(ledger: pd.DataFrame | None, board: Board) -> Iterator[Any]:
    """What was promoted, refused and rolled back."""
    yield html.H2("Ledger")
    if ledger is None or ledger.empty:
        yield sentence("No promotion, refusal or rollback has been written down yet.")
        return
    rows = [
        row(
            wording.moment(one["time"]),
            [
                html.Span(_done(one), className=f"action {_text(one['action'])}"),
                _text(one["version"]),
                _text(one["replaced"]),
                _text(one["reason"]),
                "synthetic" if one["synthetic"] else "recorded",
                _text(one["asked_by"]),
                html.Span(_text(one["run_id"])[:8], title=_text(one["run_id"])),
            ],
        )
        for _, one in ledger.iterrows()
    ]
    heads = ("Time", "Action", "Version", "In place of", "Reason", "Data", "Asked by", "Run")
    yield table("Promotions, refusals and rollbacks, newest first", heads, rows)


def _done(one: pd.Series) -> str:
    """What was done, and whether that has ended."""
    return _text(one["action"]) if one["state"] == "done" else f"{_text(one['action'])}, {_text(one['state'])}"


def _text(value: Any) -> str:
    """A cell of the leaderboard; whole numbers that pandas made floats are whole again."""
    if pd.isna(value) or value == "":
        return wording.NONE
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
