"""Health: what the watch has found, which servers answer, what the pipeline did and how long, how complete the data are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import charts
import dash_mantine_components as dmc
import pandas as pd
from board import Board, InProduction, Watch
from dash import Dash, html
from flask import Response
from latest import Latest
from parts import facts, graph, heading, row, run_link, sentence, synthetic, table

from dsgo import notices, wording
from dsgo.collection import Collection
from dsgo.errors import DSGoError
from dsgo.review import utc

PATH = "/health"
NAME = "Health"
QUERY: tuple[str, ...] = ()
MOST_REPAIRS = 50
COMPLETE = 0.999
LOG = "/log"


def sources(board: Board, collection: str) -> dict[str, Latest]:
    """Where the page's values come from; there is nothing to show without the first."""
    return {
        "services": board.services,
        "pipelines": board.pipelines[collection],
        "production": board.production[collection],
        "watch": board.watch[collection],
    }


def body(values: Mapping[str, Any], collection: Collection, board: Board, query: Mapping[str, str]) -> list[Any]:
    """The page's content."""
    return [
        heading(f"Health: {collection.title}", values["production"]),
        html.H2("Watch"),
        *_watch(values["watch"], collection),
        html.H2("Servers"),
        _servers(values["services"]),
        html.H2("Pipeline runs"),
        *_pipelines(values["pipelines"], board),
        html.H2("Data quality"),
        *_quality(values["production"]),
    ]


def install(app: Dash, board: Board) -> None:
    """What a step has said, as plain text."""

    @app.server.get(f"{LOG}/<pipeline>/<step>")
    def log(pipeline: str, step: str) -> Response:
        try:
            text, status = board.log(pipeline, step), 200
        except (ValueError, DSGoError) as error:
            text, status = f"{error}\n", 404
        if text is None:
            text, status = f"The step {step} of the pipeline’s run {pipeline} has left no lines.\n", 404
        return Response(text, status, mimetype="text/plain")


def _watch(watch: Watch | None, collection: Collection) -> Iterator[Any]:
    """The newest check, what was decided about it, and how it has been week by week."""
    if watch is None:
        yield sentence("Loading …")
        return
    if watch.newest.empty:
        yield sentence(
            f"Nothing has been checked yet. `make monitor COLLECTION={collection.name}` looks at the newest data."
        )
    else:
        yield from _newest_check(watch.newest)
    if watch.remedy:
        title = "A person is asked"
        yield dmc.Alert(watch.remedy, title=title, color="orange", variant="light", className="alert")
    if len(watch.history):
        yield from _through_time(watch.history, collection)
    if len(watch.actions):
        yield html.H3("What was decided")
        yield _actions(watch.actions)


def _newest_check(found: pd.DataFrame) -> Iterator[Any]:
    first, alarms = found.iloc[0], notices.alarms(found)
    version = "none in Production" if pd.isna(first["version"]) else f"version {first['version']}"
    yield facts(
        {
            "Checked": f"{wording.moment(first['time'])}, run {first['run_id'][:8]}",
            "Data up to": wording.moment(notices.data_end(found)),
            "Model": version,
            "Data": synthetic(bool(first["synthetic"])),
        }
    )
    if alarms:
        title = "1 alarm" if len(alarms) == 1 else f"{len(alarms)} alarms"
        words = html.Ul([html.Li(_alarm(row)) for row in alarms])
        yield dmc.Alert(words, title=title, color="orange", variant="light", className="alert")
    else:
        yield dmc.Alert("Nothing unusual.", color="teal", variant="light", className="alert calm")
    heads = ("Check", "Of", "Outcome", "Looked at", "What was found")
    yield dmc.Accordion(
        dmc.AccordionItem(
            [
                dmc.AccordionControl(f"All {len(found)} checks"),
                dmc.AccordionPanel(
                    table("Every check of the newest data", heads, map(_check, found.to_dict("records")))
                ),
            ],
            value="checks",
        ),
        variant="separated",
        order=3,
    )


def _alarm(row: Mapping[str, Any]) -> list[Any]:
    """One line: of which kind it is, whether it is an estimate, and what was found."""
    labels = [html.Strong(notices.kind(row["kind"]).capitalize())]
    labels += [" ", html.Span("estimate", className="badge")] if row["estimate"] else []
    return [*labels, ": ", str(row["text"])]


def _check(one: Mapping[str, Any]) -> html.Tr:
    outcome, state = ("■ alarm", "old") if one["alarm"] else ("● usual", "fresh")
    if pd.isna(one["measured"]) and not one["alarm"]:
        outcome, state = "▲ not judged", "ageing"
    return row(
        f"{notices.kind(one['kind'])}: {str(one['check']).replace('_', ' ')}",
        [
            one["subject"] or "all",
            [html.Span(outcome, className=f"light {state}"), html.Small("estimate") if one["estimate"] else None],
            f"{wording.moment(one['first'])} to {wording.moment(one['last'])}",
            html.Td(str(one["text"]), className="prose"),
        ],
    )


def _through_time(history: pd.DataFrame, collection: Collection) -> Iterator[Any]:
    timezone = collection.dataset["timezone"]
    weeks = charts.weekly_alarms(history, timezone)
    total, loud = int(weeks.to_numpy().sum()), int((weeks.sum(axis=1) > 0).sum())
    yield html.H3("Alarms week by week")
    words = (
        f"Checked weeks of data: {len(weeks):,}, with alarms: {loud:,}, by the newest check of each. Alarms: {total:,}."
    )
    yield html.P(words)
    if total:
        yield graph(charts.alarms_by_week(history, timezone), words)
    if (drawn := charts.realised_errors(history, timezone)) is not None:
        last = ", ".join(f"{curve.name} {curve.y[-1]:.0f} %" for curve in drawn.data)
        words = f"Newest: {last}. 0 % is the middle of what such spans had in the test, 100 % the limit of their range."
        yield html.H3("Realised errors against their range")
        yield html.P(words)
        yield graph(drawn, words)


def _actions(actions: pd.DataFrame) -> html.Div:
    rows = [
        row(
            wording.moment(one["time"]),
            [
                notices.NAMES.get(one["action"], str(one["action"]).replace("_", " ")),
                wording.NONE if pd.isna(one["last"]) else wording.moment(one["last"]),
                html.Td(str(one["reason"]), className="prose"),
                str(one["asked_by"]),
                str(one["run_id"])[:8] or wording.NONE,
            ],
        )
        for one in actions.to_dict("records")
    ]
    return table("Decisions, newest first", ("Time", "Decision", "Data up to", "Reason", "Asked by", "Run"), rows)


def _servers(services: list[Any]) -> html.Div:
    now = pd.Timestamp.now("UTC")
    rows = []
    for one in services:
        up = one.state == "up"
        started = "" if one.uptime is None else wording.moment(now - pd.Timedelta(seconds=one.uptime))
        state = html.Span(f"{'●' if up else '■'} {one.state}", className=f"light {'fresh' if up else 'old'}")
        rows.append(row(one.name, [state, one.address, started or wording.NONE, one.detail or wording.NONE]))
    return table("Servers of this copy", ("Server", "State", "Address", "Started", "Serves"), rows)


def _pipelines(pipelines: list[dict[str, Any]] | None, board: Board) -> Iterator[Any]:
    if not pipelines:
        yield sentence("No pipeline has run yet." if pipelines is not None else "Loading …")
        return
    finished = [one for one in pipelines if one["status"] == "FINISHED" and one["steps"]]
    trained = [one for one in finished if one["job"].split(" ")[0] in ("training", "learning")]
    ended = next((one for one in trained if len(one["steps"]) > 1), next(iter(trained or finished), None))
    if ended is not None:
        names = [step["step"] for step in ended["steps"]]
        seconds = [_seconds(step) or 0.0 for step in ended["steps"]]
        yield html.H3(f"Steps of {ended['job'] or 'the run'} of {wording.moment(ended['start'])}")
        words = ", ".join(f"{name} {second:,.0f} s" for name, second in zip(names, seconds, strict=True))
        yield graph(charts.durations(names, seconds), f"Duration of each step: {words}.")
    rows = [
        row(
            wording.moment(one["start"]),
            [
                one["job"] or wording.NONE,
                html.Span(one["status"].lower(), className=f"status {one['status'].lower()}"),
                wording.NONE if _seconds(one) is None else f"{_seconds(one):,.0f} s",
                _steps(one),
                _data(one["steps"]),
                run_link(board.settings.tracking_uri, one["experiment_id"], one["run_id"]),
            ],
        )
        for one in pipelines
    ]
    yield table("Newest first", ("Started", "Job", "Ended as", "Duration", "Steps run", "Data", "Run"), rows)
    yield html.P(
        "Steps run: open to read what each has said. A step that is reused from an earlier run has no run here.",
        className="note",
    )


def _seconds(one: Mapping[str, Any]) -> float | None:
    return None if one["end"] is None else (one["end"] - one["start"]).total_seconds()


def _steps(pipeline: Mapping[str, Any]) -> html.Details:
    """How many steps there were and which failed; opened, each with its duration and a link to what it has said."""
    failed = [step["step"] for step in pipeline["steps"] if step["status"] == "FAILED"]
    words = f"{len(pipeline['steps'])}" + (f"; failed: {', '.join(failed)}" if failed else "")
    ended = {step["step"]: step for step in pipeline["steps"]}
    lines = [
        html.Li(
            [
                html.A(
                    step, href=f"{LOG}/{quote(pipeline['run_id'])}/{quote(step)}", target="_blank", rel="noreferrer"
                ),
                f" {_ended(ended.get(step))}",
            ]
        )
        for step in dict.fromkeys([*ended, *pipeline["logs"]])
    ]
    return html.Details([html.Summary(words), html.Ul(lines)], className="steps")


def _ended(step: Mapping[str, Any] | None) -> str:
    """How a step has ended; one without a run of its own was reused, or failed before it had one."""
    if step is None:
        return "no run of its own"
    seconds = _seconds(step)
    return step["status"].lower() + ("" if seconds is None else f", {seconds:,.0f} s")


def _data(steps: list[dict[str, Any]]) -> str:
    known = {step["synthetic"] for step in steps} - {None}
    return {frozenset({True}): "synthetic", frozenset({False}): "recorded"}.get(frozenset(known), wording.NONE)


def _quality(value: Any) -> Iterator[Any]:
    if not isinstance(value, InProduction):
        yield sentence(
            "There is no dataset of a Production model to look at yet." if value is not None else "Loading …"
        )
        return
    info, history = value.review.info, value.history
    expected = history.known_rows
    missing = {name: int(pd.isna(history.values[name][:expected]).sum()) for name in history.names}
    yield facts(
        {
            "Data": synthetic(bool(info["synthetic"])),
            "Source": f"{info['source']['name']} ({info['source']['kind']})",
            "Period": f"{wording.moment(history.start)} to {wording.moment(history.known_end)}, "
            f"every {wording.duration(info['frequency'])}",
            "Digest": html.Code(str(info["sha256"])[:16], title=str(info["sha256"])),
        }
    )
    share = history.completeness
    worst = share.min().min()
    words = (
        "Every month has every value."
        if worst >= COMPLETE
        else f"The least complete month has {worst * 100:.1f} % of its values."
    )
    yield html.H3("Recorded values of each month")
    yield html.P(words)
    yield graph(charts.completeness(share), f"Share of recorded values of each month and quantity. {words}")
    rows = [
        row([name, html.Small(history.title(name))], [f"{count:,}", f"{100 * (1 - count / expected):.2f} %"])
        for name, count in missing.items()
    ]
    yield table(f"Of {expected:,} time stamps", ("Quantity", "Without a value", "Complete"), rows)
    yield html.H3("What was found and repaired")
    repairs = info.get("repairs") or []
    if not repairs:
        yield sentence("No fault was found in the raw data.")
        return
    rows = [
        row(
            str(one["fault"]).replace("_", " "),
            [f"{one['count']:,}", _first(one.get("first")), str(one["handling"])],
        )
        for one in repairs[:MOST_REPAIRS]
    ]
    yield table("Faults of the raw data", ("Fault", "Count", "First", "Handling"), rows)


def _first(place: Any) -> str:
    """Where a fault was found first: mostly a moment, for some faults the name of a column."""
    try:
        return wording.moment(utc(place))
    except (TypeError, ValueError):
        return str(place or wording.NONE)
