"""What a weekly report says: every number as text with its unit, every sentence in the reader's language.

The templates only lay it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd

from dsgo import figures, notices, wording
from dsgo.collection import columns_of
from dsgo.language import Language
from dsgo.notices import Watched
from dsgo.review import Review, Score, Usual, utc
from dsgo.seasons import SEASONS, Span, season_of, season_so_far
from dsgo.weeks import Week

PROMOTIONS = 3  # told, the newest ones
EARLIER_YEARS = 4  # shown, the newest ones
ALARMS = 2  # told on the first page
REGIMES = ("season", "daylight", "wind", "sky")  # of all that a run scores: those that a client has a feeling for
# Their values in the order that a reader expects.
VALUES = (*SEASONS, "day", "night", "calm", "breeze", "storm", "cloudy", "mixed", "clear", "dark")
# Texts that dsgo.cleaning makes with a name inside.
WITH_NAMES = ("rows without a value in {name}", "{name} just below {limit}", "set to {limit}: within noise")


def describe(
    production: Any, promotions: pd.DataFrame, watched: Watched, reviewed: Review, week: Week, language: Language
) -> dict[str, Any]:
    """All that the templates show.

    Args:
        production: as `dsgo.rest_registry.Production`.
        promotions: as `RestRegistry.promotions`.
        watched: as `RestRegistry.watched`.
        reviewed: its out-of-sample forecasts.
        week: the week of the report; it has an hour that can be scored.
    """
    info, hours, say = reviewed.info, reviewed.hours(week), language.say
    label = _label([say("version {version}", version=production.version)], production.synthetic, language)
    watch = _watch(watched, info, language)
    rows, issued = _with_issued(reviewed.over(reviewed.hours(week.next)), watched.predictions, reviewed.targets)
    substitutes = notices.substitutes(issued, production, language)
    size = figures.FLAT if watch["alarms"] or substitutes else figures.HALF
    targets = [_target(reviewed, target, hours, label, size, language) for target in reviewed.targets]
    counted = min(len(reviewed.counted(target, hours)) for target in reviewed.targets)
    table = production.dataset().table
    regimes = _regimes(production.regimes(), reviewed, language)
    return {
        "language": language,
        "say": say,
        "title": info["title"],
        "week": str(week),
        "days": week.days(language),
        "timezone": info["timezone"],
        "label": label,
        "headline": headline([(target["name"], target["score"], target["usual"]) for target in targets], language),
        "synthetic": production.synthetic,
        "version": production.version,
        "model": _model(production.step),
        "promoted": wording.moment(production.promoted_at, language),
        "learned": wording_span(production.trained_from, production.trained_to, language),
        "naive": say(
            "the value recorded {duration} earlier", duration=wording.duration(info["naive"]["lag"], language)
        ),
        "targets": targets,
        "next": _next_week(production, rows, issued, reviewed, week.next, size, language)
        | {"substitutes": substitutes},
        "season": _season(table, reviewed, week.sunday, language),
        "changes": [
            *_promoted(promotions, language),
            _missing(table, hours, info, language),
            _repaired(info, language),
        ],
        "watch": watch,
        "complete": counted == len(hours),
        "hours": wording.hours(len(hours), info["frequency"], language),
        "counted": wording.hours(counted, info["frequency"], language),
        "seen": _seen(production, reviewed, hours, language),
        "window": wording_span(reviewed.window_start, reviewed.window_end, language),
        "regimes": regimes,
        "unsaid": _unsaid(regimes, language),
        "period": wording_span(info["period"]["start"], info["period"]["end"], language),
        "rows": language.number(info["rows"]),
        "repairs": [_repair(repair, language) for repair in info["repairs"]],
        "source": info["source"],
        "lineage": [
            (say("Data"), say("sha256 of the table"), production.data_digest),
            (say("Dataset"), say("MLflow artifact"), production.dataset_uri),
            (say("Training"), say("MLflow run"), production.run_id),
            (say("Model"), say("registered version"), f"{info['collection']} {production.version}"),
            (say("Loaded from"), say("model URI"), production.model_uri),
        ],
    }


def headline(targets: list[tuple[str, Score | None, Usual | None]], language: Language) -> str:
    """How the week went, in two sentences without a number.

    Args:
        targets: name, score and usual range of each.
    """
    say = language.say
    scored = [(name, score, usual) for name, score, usual in targets if score is not None]
    if not scored:
        return say("No hour of this span can be scored.")
    better = sum(score.rmse < score.naive_rmse for _, score, _ in scored)
    values = {"better": better, "all": len(scored)}
    if len(scored) == 1:
        first = (
            "The forecast was closer than the naive baseline."
            if better
            else "The forecast was no closer than the naive baseline."
        )
    elif better == len(scored):
        first = (
            "All {all} forecasts were closer than the naive baseline."
            if better > 2
            else "Both forecasts were closer than the naive baseline."
        )
    elif better:
        first = "{better} of {all} forecasts were closer than the naive baseline, the others were not."
        if better == 1:
            first = "One of {all} forecasts was closer than the naive baseline, the others were not."
    else:
        first = "No forecast was closer than the naive baseline."
    places: dict[str, list[str]] = {"above": [], "below": [], "within": []}
    for name, score, usual in scored:
        if usual is not None:
            places[wording.place(score, usual)].append(name)
    sentences = [say(first, **values)]
    for place, text in (
        ("above", "Less accurate than usual: {names}."),
        ("below", "More accurate than usual: {names}."),
    ):
        if places[place]:
            sentences.append(say(text, names=language.listed(places[place])))
    if len(places["within"]) == len(scored):
        sentences.append(say("The errors were of the usual size."))
    return " ".join(sentences)


def wording_span(first: Any, last: Any, language: Language) -> str:
    """Two moments and all between."""
    return language.say("{low} to {high}", low=wording.moment(first, language), high=wording.moment(last, language))


def _target(
    reviewed: Review, target: str, hours: pd.DatetimeIndex, label: str, size: tuple[float, float], language: Language
) -> dict[str, Any]:
    figure = figures.describe(reviewed.over(hours), target, reviewed.info, language=language, note=label)
    unit = figure.unit
    score, usual = reviewed.score(target, hours), reviewed.usual(target, besides=hours)
    window = reviewed.table.index[reviewed.table.index <= reviewed.window_end]
    whole = reviewed.score(target, window)
    return {
        "column": target,
        "name": _short(figure.title),
        "title": figure.title,
        "picture": _picture(figure, f"week-{reviewed.targets.index(target)}", size),
        "score": score,
        "usual": usual,
        "verdict": wording.verdict(score, usual, unit, language),
        "mae": wording.pair(score, "mae", unit, language),
        "rmse": wording.pair(score, "rmse", unit, language),
        "skill": wording.percent(score.skill, language) if score else wording.NONE,
        "coverage": wording.percent(score.coverage80, language) if score else wording.NONE,
        "usual_range": wording.span(usual, unit, language),
        "window": wording.pair(whole, "rmse", unit, language),
        "hours": wording.hours(score.hours if score else 0, reviewed.info["frequency"], language),
    }


def _picture(figure: figures.ForecastFigure, name: str, size: tuple[float, float]) -> dict[str, Any]:
    """A figure for the page (PNG, which mail clients show) and for paper (SVG of a `size`)."""
    return {
        "name": name,
        "png": figures.png(figure),
        "svg": figures.svg(figure, name, size),
        "alternative": figure.alternative,
    }


def _label(sources: list[str], synthetic: bool, language: Language) -> str:
    """Who has forecast, from which kind of data: `version 3, recorded data`; of several the least trusted, the last."""
    text = "{source}, synthetic data" if synthetic else "{source}, recorded data"
    others = len(set(sources)) > 1  # a picture has room for one name
    return language.say(text, source=language.say("{source} and others", source=sources[-1]) if others else sources[-1])


def _next_week(
    production: Any,
    rows: pd.DataFrame,
    issued: pd.DataFrame,
    reviewed: Review,
    week: Week,
    size: tuple[float, float],
    language: Language,
) -> dict[str, Any]:
    """The forecast of the week after: of hours that were recorded out of sample, of those to come as it was issued.

    Args:
        rows, issued: as `_with_issued` gives them.
    """
    hours, say, every = reviewed.hours(week), language.say, reviewed.info["frequency"]
    forecasts = [f"{target}_forecast" for target in reviewed.targets]
    count = int(reviewed.over(hours)[forecasts].notna().all(axis=1).sum())
    end = reviewed.info["period"]["end"]
    values = {"end": wording.moment(end, language), "inputs": _inputs(reviewed.info), "version": production.version}
    whole = wording.hours(len(hours), every, language)
    sources, sentences = [], []
    if count:
        own = say("version {version}", **values)
        by = "version {version} itself" if reviewed.live(hours) == count else "the evaluated twin of version {version}"
        text = (
            "Forecast of {count} of the week’s {hours} hours, those whose inputs the data have, made out of sample by {by} "
            "from recorded inputs. Where these have to be forecast themselves, their errors come on top."
        )
        sources.append(own)
        sentences.append(
            say(text, count=wording.hours(count, every, language), hours=whole, by=say(by, **values), **values)
        )
    for row, part in notices.sources(issued):
        text = "Forecast of {count} of the week’s {hours} hours by {by}, issued {time} from the inputs known then."
        count = wording.hours(part["utc_timestamp"].nunique(), every, language)
        known = {"count": count, "hours": whole, "by": notices.source(row, language)}
        sources.append(known["by"])
        sentences.append(say(text, time=wording.moment(row["issued_at"], language), **known))
    if sentences:
        text = " ".join(sentences)
    elif utc(end) < hours[0]:
        text = say(
            "There is no forecast yet: the data end on {end}, and hold no inputs after that ({inputs}).", **values
        )
    elif hours[0] <= utc(production.trained_to):
        text = say("There is no forecast to show: version {version} has learned from these days.", **values)
    else:
        text = say("There is no forecast to show: the data have no inputs of these days.")
    synthetic = production.synthetic or (not issued.empty and bool(issued["synthetic"].any()))
    targets = []
    for target in reviewed.targets if sentences else ():
        lines, note = (figures.FORECAST,), _label(sources, synthetic, language)
        figure = figures.describe(rows, target, reviewed.info, lines=lines, language=language, note=note)
        if figure.table["forecast"].isna().all():
            continue
        name = f"next-{reviewed.targets.index(target)}"
        outlook = _outlook(figure, language)
        targets.append({"name": _short(figure.title), "outlook": outlook, "picture": _picture(figure, name, size)})
    return {
        "week": str(week),
        "days": week.days(language),
        "text": text,
        "targets": targets,
    }


def _with_issued(
    rows: pd.DataFrame, predictions: pd.DataFrame, targets: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`rows` with what was issued where they have no forecast, and the predictions that were taken."""
    if predictions.empty:
        return rows, predictions
    rows, taken = rows.copy(), []
    for target in targets:
        own = predictions[predictions["target"] == target]
        own = own[own["utc_timestamp"].isin(rows.index[rows[f"{target}_forecast"].isna()])]
        for part, name in (("_forecast", "forecast"), ("_p10", "p10"), ("_p90", "p90")):
            rows.loc[pd.DatetimeIndex(own["utc_timestamp"]), target + part] = own[name].to_numpy()
        taken.append(own)
    return rows, pd.concat(taken)


def _watch(watched: Watched, info: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """What the newest check has found, and what was decided about it; its own words, which are English, for the appendix."""
    say, found = language.say, watched.found
    if found.empty:
        text = say("Data and model have not been checked yet.")
        return {"text": text, "alarms": [], "decision": "", "words": [], "reason": ""}
    alarms = notices.alarms(found)
    text = "{time}, data to {end}: {count} alarms." if len(alarms) > 1 else "{time}, data to {end}: 1 alarm."
    values = {
        "time": wording.moment(found["time"].iloc[0], language),
        "end": wording.moment(notices.data_end(found), language),
        "count": language.number(len(alarms)),
    }
    told = [notices.alarm(row, info, language) for row in alarms[:ALARMS]]
    if len(alarms) > ALARMS:
        told.append(say("And {count} more, see the appendix.", count=language.number(len(alarms) - ALARMS)))
    newest = watched.actions.iloc[0] if len(watched.actions) else None
    about_it = newest is not None and bool(alarms) and newest["data_digest"] == found["data_digest"].iloc[0]
    decision = notices.decision(newest["action"], language) if about_it else ""
    return {
        "text": say(text if alarms else "{time}, data to {end}: nothing unusual.", **values),
        "alarms": told,
        "decision": decision or (say("Nothing has been decided about it yet.") if alarms else ""),
        "words": [str(row["text"]) for row in alarms],
        "reason": str(newest["reason"]) if about_it else "",
    }


def _outlook(figure: figures.ForecastFigure, language: Language) -> str:
    """Mean and highest hour of a forecast."""
    table = figure.table.dropna(subset=["forecast"])
    peak = table["forecast"].idxmax()
    row = table.loc[peak]
    return language.say(
        "{mean} on average, at most {most} on {weekday}, {day}, {time} (80 % interval {interval}).",
        mean=wording.quantity(table["forecast"].mean(), figure.unit, language),
        most=wording.quantity(row["forecast"], figure.unit, language),
        weekday=language.weekday(peak),
        day=language.day(peak),
        time=f"{peak:%H:%M}",
        interval=wording.between(row["low"], row["high"], figure.unit, language),
    )


def _season(table: pd.DataFrame, reviewed: Review, last: date, language: Language) -> dict[str, Any]:
    """Means of the season so far beside those of the same days of earlier years."""
    info, say = reviewed.info, language.say
    spans = season_so_far(table, reviewed.targets, last, info["timezone"], info["frequency"])
    name = language.name(season_of(last.month, info["location"]["latitude"]))
    if not spans:
        text = say("Too few hours of this season are recorded to compare it.")
        return {"name": name, "days": language.date(last), "sentences": [text], "columns": [], "rows": []}
    return {
        "name": f"{name} {spans[0].years}",
        "days": language.days(spans[0].first, spans[0].last),
        "sentences": [_compared(spans, target, reviewed, language) for target in reviewed.targets],
        "columns": [f"{_short(_title(info, target))} ({reviewed.unit(target)})" for target in reviewed.targets],
        "rows": [
            (
                span.years,
                language.days(span.first, span.last),
                [wording.quantity(span.means[target], reviewed.unit(target), language) for target in reviewed.targets],
            )
            for span in spans[: 1 + EARLIER_YEARS]
        ],
    }


def _compared(spans: list[Span], target: str, reviewed: Review, language: Language) -> str:
    now, *earlier = (span.means[target] for span in spans)
    unit = reviewed.unit(target)
    values = {"name": _short(_title(reviewed.info, target)), "mean": wording.quantity(now, unit, language)}
    if not earlier:
        return language.say("{name}: {mean} on average; the data have no earlier year to compare with.", **values)
    low, high = min(earlier), max(earlier)
    values["range"] = (
        wording.between(low, high, unit, language) if low < high else wording.quantity(low, unit, language)
    )
    text = "{name}: {mean} on average, within what earlier years had ({range})."
    if now > high:
        text = "{name}: {mean} on average, more than in any earlier year ({range})."
    elif now < low:
        text = "{name}: {mean} on average, less than in any earlier year ({range})."
    return language.say(text, **values)


def _promoted(promotions: pd.DataFrame, language: Language) -> list[str]:
    """What the newest rows of a ledger of promotions say; any other action than a promotion is called by its name."""
    sentences = []
    for row in promotions.head(PROMOTIONS).to_dict("records"):
        values = {
            "time": wording.moment(row["time"], language),
            "version": row["version"],
            "model": _model(row.get("step") or "") or wording.NONE,
            "before": row["replaced"],
            "action": language.name(str(row["action"])),
        }
        if row["action"] != "promotion":
            text = "{time}: {action} to version {version}."
        elif pd.isna(row["replaced"]):
            text = "{time}: version {version} ({model}) was the first to go into Production."
        else:
            text = "{time}: version {version} ({model}) went into Production in place of version {before}."
        words = language.say(text, **values)
        if row.get("trained_to"):
            words += " " + language.say(
                "It has learned from data to {moment}.", moment=wording.moment(row["trained_to"], language)
            )
        sentences.append(f"{words} {row['reason']}".strip())
    return sentences


def _missing(table: pd.DataFrame, hours: pd.DatetimeIndex, info: Mapping[str, Any], language: Language) -> str:
    missing = len(hours.difference(table.index))
    whole = wording.hours(len(hours), info["frequency"], language)
    if not missing:
        return language.say("The data have all {hours} hours of the week.", hours=whole)
    absent = wording.hours(missing, info["frequency"], language)
    return language.say("{missing} of the week’s {hours} hours are missing in the data.", missing=absent, hours=whole)


def _repaired(info: Mapping[str, Any], language: Language) -> str:
    if not info["repairs"]:
        return language.say("No faults were found in the source of the data.")
    kinds = len(info["repairs"])
    return language.say(
        "Kinds of faults found and handled in the source of the data: {kinds}; see the appendix.", kinds=kinds
    )


def _seen(production: Any, reviewed: Review, hours: pd.DatetimeIndex, language: Language) -> list[str]:
    """Who forecast the week's hours, and that nobody had learned from them."""
    live, known = reviewed.live(hours), len(reviewed.table.index.intersection(hours))
    every = reviewed.info["frequency"]
    values = {
        "version": production.version,
        "live": wording.hours(live, every, language),
        "others": wording.hours(known - live, every, language),
        "hours": wording.hours(known, every, language),
        "start": wording.moment(reviewed.window_start, language),
        "end": wording.moment(production.trained_to, language),
    }
    sentences = []
    if live < known:
        text = (
            "Out of sample: {others} of the {hours} hours were forecast by"
            if live
            else "Out of sample: the week was forecast by"
        )
        sentences.append(
            f"{text} the evaluated twin of version {{version}}, the same model, trained only on hours before {{start}}. Version "
            "{version} itself has learned from everything to {end}, so its own curve for these hours would prove nothing and is "
            "not shown."
        )
    if live:
        text = "The other {live} hours were" if live < known else "Out of sample: the week was"
        sentences.append(
            f"{text} forecast by version {{version}} itself, which has learned from nothing after {{end}}."
        )
    sentences.append(
        "The forecast is made from recorded inputs: {inputs}. Where they have to be forecast themselves, their errors come "
        "on top."
    )
    return [language.say(text, inputs=_inputs(reviewed.info), **values) for text in sentences]


def _regimes(scores: pd.DataFrame | None, reviewed: Review, language: Language) -> list[dict[str, Any]]:
    """For each target the window's scores by regime; empty if the version's run has left none."""
    if scores is None:
        return []
    window = scores[(scores["span"] == "window") & scores["regime"].isin(("all", *REGIMES))]
    tables = []
    for target in reviewed.targets:
        unit, rows = reviewed.unit(target), []
        own = window[window["target"] == target]
        over_all = float(own.loc[own["regime"] == "all", "naive_rmse"].max())
        for regime in ("all", *REGIMES):
            found = own[own["regime"] == regime].to_dict("records")
            for row in sorted(found, key=lambda row: VALUES.index(row["value"]) if row["value"] in VALUES else -1):
                rows.append(
                    {
                        "regime": language.name("all hours" if regime == "all" else regime),
                        "value": "" if regime == "all" else language.name(str(row["value"])),
                        "n": wording.hours(row["n"], reviewed.info["frequency"], language),
                        "rmse": wording.quantity(row["rmse"], unit, language),
                        "naive": wording.quantity(row["naive_rmse"], unit, language),
                        "skill": wording.skill(row["skill"], row["naive_rmse"], over_all, language),
                        "coverage": wording.percent(row["coverage80"], language),
                        "width": wording.quantity(row["width80"], unit, language),
                    }
                )
        tables.append({"title": _title(reviewed.info, target), "rows": rows})
    return tables


def _unsaid(regimes: list[dict[str, Any]], language: Language) -> str:
    """Why some skills are dashes; empty if none is."""
    if not any(row["skill"] == wording.NONE for regime in regimes for row in regime["rows"]):
        return ""
    return language.say(
        "“–” beside less than naive: the naive baseline hardly errs there, and a share of that says nothing."
    )


def _repair(repair: Mapping[str, Any], language: Language) -> dict[str, str]:
    first = str(repair.get("first") or wording.NONE)
    return {
        "fault": _known(str(repair["fault"]), language),
        "count": language.number(repair["count"]),
        "first": wording.moment(first, language) if re.match(r"\d{4}-\d\d-\d\dT", first) else first,
        "handling": _known(str(repair["handling"]), language),
    }


def _known(text: str, language: Language) -> str:
    """A text of `dsgo.cleaning` in the reader's language, also if it has a name inside."""
    for form in WITH_NAMES:
        if found := re.fullmatch(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(form)), text):
            return language.say(form, **found.groupdict())
    return language.name(text)


def _inputs(info: Mapping[str, Any]) -> str:
    columns = info["columns"]
    return "; ".join(
        f"{columns[name].get('description') or name} ({columns[name]['unit']})" for name in columns_of(info, "input")
    )


def _title(info: Mapping[str, Any], target: str) -> str:
    text = info["columns"][target].get("description") or target
    return text[:1].upper() + text[1:]


def _short(title: str) -> str:
    """What stands before the first comma of a description."""
    return title.partition(",")[0].strip() or title


def _model(step: str) -> str:
    return str(step).replace("_", " ")
