"""Now: the newest week of forecasts against what was recorded, which model made them, and what needs attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import charts
import dash_mantine_components as dmc
import pandas as pd
from board import Board, InProduction, Issued, Watch
from dash import html
from latest import Latest
from parts import AGEING, FRESH, OLD, age, graph, heading, light, row, sentence, table

from dsgo import figures, notices, wording
from dsgo.collection import Collection
from dsgo.errors import NoProductionModel
from dsgo.evaluation import month_zone
from dsgo.review import utc

PATH = "/"
NAME = "Now"
QUERY: tuple[str, ...] = ()
SPAN = pd.Timedelta(days=7)
# Up to the first an age is fresh, up to the second ageing, then old.
DATA_AGES = (pd.Timedelta(days=2), pd.Timedelta(days=14))
MODEL_AGES = (pd.Timedelta(days=35), pd.Timedelta(days=100))


def sources(board: Board, collection: str) -> dict[str, Latest]:
    """Where the page's values come from; there is nothing to show without the first."""
    return {
        "production": board.production[collection],
        "services": board.services,
        "pipelines": board.pipelines[collection],
        "ledger": board.ledger[collection],
        "issued": board.issued[collection],
        "watch": board.watch[collection],
    }


def body(values: Mapping[str, Any], collection: Collection, board: Board, query: Mapping[str, str]) -> list[Any]:
    """The page's content."""
    value: InProduction | NoProductionModel = values["production"]
    if isinstance(value, NoProductionModel):
        alerts = list(_of_system(values))
        first = [html.H1(collection.title), sentence(str(value)), *(_alerts(alerts, values) if alerts else [])]
        return [*first, *without(values, collection)]
    production, review = value.production, value.review
    hours = review.newest(SPAN)
    ahead = _ahead(values["issued"], hours[-1], review.targets)
    return [
        heading(collection.title, value),
        _lights(value, values["services"]),
        *_alerts(
            [
                *notices.substitutes(ahead, production),
                *_of_watch(values["watch"]),
                *_of_forecasts(review, hours, collection),
                *_of_system(values),
            ],
            values,
        ),
        html.H2(_period(hours, review.info["timezone"])),
        html.P(_seen(production, review, hours), className="note"),
        *_issued(ahead, hours[-1]),
        html.Div([_target(review, target, hours, ahead) for target in review.targets]),
        html.H2("Scores of these days"),
        _scores(review, hours, production),
        html.P(
            f"Naive: the value recorded {wording.duration(review.info['naive']['lag'])} earlier. Usual: p10 to p90 of "
            "the weekly RMSE of the other complete weeks that the model had not learned from.",
            className="note",
        ),
    ]


def _lights(value: InProduction, services: list[Any] | None) -> html.Section:
    production, now = value.production, pd.Timestamp.now("UTC")
    promoted, newest = utc(production.promoted_at), value.review.table.index[-1]
    trained_to, zone = utc(production.trained_to), month_zone(value.review.info)
    lights = [
        _of_data("Newest value", newest, DATA_AGES, wording.moment(newest), production.synthetic),
        light(
            f"Version {production.version} in Production",
            age(promoted, *MODEL_AGES),
            f"since {wording.moment(promoted)}",
            wording.days_ago(promoted, now),
        ),
        _of_data(
            "Learned from",
            trained_to,
            MODEL_AGES,
            f"{_date(production.trained_from, zone)} to {_date(trained_to, zone)}",
            production.synthetic,
        ),
    ]
    if services is not None:
        up = sum(one.state == "up" for one in services)
        state = FRESH if up == len(services) else OLD if up == 0 else AGEING
        names = ", ".join(one.name for one in services if one.state != "up")
        lights.append(
            light(
                "Servers",
                state,
                f"{up} of {len(services)} up",
                f"{'not up: ' + names if names else 'all answer'}",
            )
        )
    return html.Section(lights, className="cards", **{"aria-label": "Freshness"})


def _of_data(name: str, newest: Any, ages: tuple[pd.Timedelta, pd.Timedelta], fact: str, synthetic: bool) -> html.Div:
    """A light of data that end with `newest`; generated ones have no clock, so neither fresh nor old can be said of them."""
    if synthetic:
        return light(name, None, fact, "generated, does not age")
    return light(name, age(newest, *ages), fact, wording.days_ago(newest, pd.Timestamp.now("UTC")))


def _date(moment: Any, zone: str) -> str:
    moment = utc(moment).tz_convert(zone)
    return f"{moment.day} {moment:%B %Y}"


def _alerts(alerts: list[str], values: Mapping[str, Any]) -> list[Any]:
    """What needs attention, or that nothing does; that can be said only when everything is known."""
    if not alerts and any(value is None for value in values.values()):
        return []
    if not alerts:
        return [dmc.Alert("Nothing needs attention.", color="teal", variant="light", className="alert calm")]
    words = html.Ul([html.Li(alert) for alert in alerts])
    title = "1 thing needs attention" if len(alerts) == 1 else f"{len(alerts)} things need attention"
    return [dmc.Alert(words, title=title, color="orange", variant="light", className="alert")]


def _of_forecasts(review: Any, hours: pd.DatetimeIndex, collection: Collection) -> Iterator[str]:
    limits = collection.gate.get("coverage80")
    for target in review.targets:
        unit = review.unit(target)
        score, usual = review.score(target, hours), review.usual(target, besides=hours)
        counted = score.hours if score else 0
        if counted < len(hours):
            yield f"{target}: {len(hours) - counted} of the newest {len(hours)} time stamps cannot be scored."
        if score is None:
            continue
        if usual is not None and score.rmse > usual.high:
            yield (
                f"{target}: the newest week’s RMSE of {wording.quantity(score.rmse, unit)} is above the usual range of "
                f"{wording.span(usual, unit)}."
            )
        if score.rmse > score.naive_rmse:
            yield f"{target}: the newest week’s forecasts are worse than the naive baseline’s."
        if limits and score.coverage80 == score.coverage80 and not limits[0] <= score.coverage80 <= limits[1]:
            yield (
                f"{target}: the 80 % interval held {wording.percent(score.coverage80)} of the newest week’s hours; "
                f"{wording.percent(limits[0])} to {wording.percent(limits[1])} are asked of a candidate."
            )


def _of_watch(watch: Watch | None) -> Iterator[str]:
    if watch is None:
        return
    for one in notices.alarms(watch.newest):
        estimate = ", an estimate" if one["estimate"] else ""
        yield f"{notices.kind(one['kind']).capitalize()}{estimate}: {one['text']}"
    if watch.remedy:
        yield f"A person is asked. {watch.remedy}"


def _of_system(values: Mapping[str, Any]) -> Iterator[str]:
    pipelines, ledger = values["pipelines"], values["ledger"]
    if pipelines and pipelines[0]["status"] not in ("FINISHED", "RUNNING"):
        failed = [step["step"] for step in pipelines[0]["steps"] if step["status"] == "FAILED"]
        where = f" in {', '.join(failed)}" if failed else ""
        yield (
            f"The newest pipeline run, of {wording.moment(pipelines[0]['start'])}, ended as "
            f"{pipelines[0]['status'].lower()}{where}."
        )
    for one in values["services"] or []:
        if one.state != "up":
            yield f"The server {one.name} is {one.state}."
    if ledger is not None and len(ledger) and ledger.iloc[0]["action"] == "refusal":
        newest = ledger.iloc[0]
        yield f"The newest candidate was refused on {wording.moment(newest['time'])}: {newest['reason']}"


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
        count = wording.hours(live, review.info["frequency"])
        words.append(
            f"{count} hours forecast by version {production.version} itself, which has learned from nothing after "
            f"{wording.moment(production.trained_to)}."
        )
    return " ".join(["Out of sample.", *words])


def _target(review: Any, target: str, hours: pd.DatetimeIndex, ahead: pd.DataFrame) -> html.Section:
    rows = ahead[ahead["target"] == target] if len(ahead) else ahead
    usual = review.usual(target, besides=hours)
    verdict = wording.verdict(review.score(target, hours), usual, review.unit(target))
    return _picture(review.over(_with(hours, rows)), target, review.info, rows, hours[-1], verdict)


def _with(hours: pd.DatetimeIndex, ahead: pd.DataFrame) -> pd.DatetimeIndex:
    """`hours`, and all time stamps to the last one ahead."""
    if ahead.empty:
        return hours
    step = hours[1] - hours[0]
    return pd.date_range(hours[0], ahead["utc_timestamp"].max(), freq=step, name=hours.name, unit=hours.unit)


def _picture(
    table: pd.DataFrame, target: str, info: Mapping[str, Any], ahead: pd.DataFrame, recorded: Any, words: str
) -> html.Section:
    """One target: forecast against recorded, and as another kind of line what was issued for the hours ahead.

    Args:
        ahead: predictions of the target.
        recorded: the last hour that is.
        words: what is said above.
    """
    figure = figures.describe(table, target, info)
    drawn = figures.plotly_figure(figure)
    drawn.update_layout(uirevision=target)  # new data leave the reader's zoom as it is
    alternative = figure.alternative
    if recorded is None:
        drawn.data, alternative = (), f"{figure.title}."
    if len(ahead):
        parts = []
        for row, part in notices.sources(ahead):
            local = part.set_index("utc_timestamp").tz_convert(info["timezone"]).tz_localize(None)
            parts.append((row["source"], notices.source(row), local))
        since = None
        if recorded is not None:
            since = (recorded + pd.Timedelta(info["frequency"])).tz_convert(info["timezone"]).tz_localize(None)
        alternative += charts.add_ahead(drawn, parts, figure.unit, since)
    return html.Section([html.H3(figure.title), html.P(words), graph(drawn, alternative)], className="panel")


def _ahead(issued: Issued | None, recorded: pd.Timestamp, targets: list[str]) -> pd.DataFrame:
    """What was issued for the days after the last recorded hour."""
    if issued is None:
        return pd.DataFrame()
    rows = notices.ahead(issued.table, recorded)
    if rows.empty:
        return rows
    return rows[(rows["utc_timestamp"] <= recorded + SPAN) & rows["target"].isin(targets)]


def _issued(ahead: pd.DataFrame, recorded: pd.Timestamp | None) -> list[Any]:
    """Who has issued what is drawn ahead, and when."""
    if ahead.empty:
        return []
    who = "; ".join(
        f"{notices.source(row)}, issued {wording.moment(part['issued_at'].max())}"
        for row, part in notices.sources(ahead)
    )
    kind = " From synthetic data." if ahead["synthetic"].any() else ""
    what = "as they were issued"
    if recorded is not None:
        what = f"of the hours after {wording.moment(recorded)}, the last that is recorded: nobody can score them yet"
    return [html.P(f"Dashed and hatched: forecasts {what}. By {who}.{kind}", className="note")]


def without(values: Mapping[str, Any], collection: Collection) -> list[Any]:
    """What can be shown where nothing is in Production or it cannot be read: the newest predictions, whoever made them."""
    issued = values.get("issued")
    if issued is None or issued.table.empty:
        return []
    info, rows = collection.dataset, issued.table[issued.table["target"].isin(collection.targets)]
    rows = rows[rows["utc_timestamp"] > rows["utc_timestamp"].max() - SPAN]
    hours = pd.date_range(rows["utc_timestamp"].min(), rows["utc_timestamp"].max(), freq=info["frequency"])
    columns = [target + part for target in collection.targets for part in ("", "_forecast", "_p10", "_p90")]
    nothing = pd.DataFrame(float("nan"), index=hours, columns=columns)
    return [
        html.H2("Newest predictions"),
        *(html.P(words, className="banner") for words in notices.substitutes(rows, None)),
        *_issued(rows, None),
        *(
            _picture(nothing, target, info, rows[rows["target"] == target], None, "")
            for target in collection.targets
            if (rows["target"] == target).any()
        ),
    ]


def _scores(review: Any, hours: pd.DatetimeIndex, production: Any) -> html.Div:
    titles = ("Quantity", "MAE", "RMSE", "Less than naive by", "Usual weekly RMSE", "Inside the 80 % interval")
    rows = []
    for target in review.targets:
        unit = review.unit(target)
        score, usual = review.score(target, hours), review.usual(target, besides=hours)
        pairs = [wording.pair(score, measure, unit) for measure in ("mae", "rmse")]
        rows.append(
            row(
                [
                    target,
                    html.Small(f"{wording.hours(score.hours if score else 0, review.info['frequency'])} h counted"),
                ],
                [
                    *([own, html.Small(f"naive {naive}")] for own, naive in pairs),
                    wording.percent(score.skill) if score else wording.NONE,
                    wording.span(usual, unit),
                    f"{wording.percent(score.coverage80)} of the hours" if score else wording.NONE,
                ],
            )
        )
    kind = "synthetic" if production.synthetic else "recorded"
    first, last = (_date(hour, review.info["timezone"]) for hour in (hours[0], hours[-1]))
    return table(f"Version {production.version}, {kind} data, {first} to {last}", titles, rows)
