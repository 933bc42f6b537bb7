"""What the watch has found, what was decided, and who has forecast the hours ahead, in words: the same in report and dashboard.

Works on the tables of `dsgo.findings`, `dsgo.actions` and `dsgo.predictions`, and asks no database itself: a report that says
nothing of them imports no SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dsgo import wording
from dsgo.language import ENGLISH, Language
from dsgo.review import utc

# Kinds of findings, what needs a person first; the names that readers know them by.
KINDS = {"fault": "fault", "model": "model", "data": "drift", "stale": "stale"}
PRODUCTION, EARLIER_VERSION, NAIVE = "production", "earlier_version", "naive"  # sources of a prediction
ASK = "ask_a_person"
# What an alarm says, by kind and check; of checks that are not here, by kind alone.
ALARMS = {
    ("fault", "stuck"): "{name}: the same value for implausibly long; the sensor may be stuck.",
    ("fault", "missing"): "Too many hours of the newest data are absent.",
    ("fault", "unit"): "{name}: the values look as if they were in another unit.",
    ("fault", "jump"): "{name}: jumps as they do not occur; the sensor may be faulty.",
    ("fault", ""): "{name}: the data look faulty.",
    ("data", "level"): "{name}: lower or higher than is usual in this season.",
    ("data", "spread"): "{name}: varies less or more than is usual in this season.",
    ("data", "shape"): "{name}: low, middle and high values come in other shares than is usual in this season.",
    ("data", "relation"): "{name}: does not go with the other quantities as it used to.",
    ("data", ""): "{name}: other behaviour than is usual in this season.",
    ("model", "error"): "{name}: the forecast misses by more than it did when it was tested.",
    ("model", "coverage"): "{name}: the 80 % interval holds too few or too many of the recorded values.",
    ("model", "bias"): "{name}: the forecast is too low or too high on average.",
    ("model", "level"): "{name}: recorded values are lower or higher than the forecast, all by about the same factor.",
    ("model", ""): "{name}: the forecast is out of the range that it had when it was tested.",
    ("stale", ""): "No new data have come.",
}
ALL = "All quantities together"  # the name where a finding is of the whole table
# What was decided, as a reader is told it.
DECISIONS = {
    "retraining": "A retraining was begun; its model goes into Production only if the gate accepts it.",
    "wait": "Nothing is learned anew yet: more data have to come first.",
    ASK: "A person is asked to look; until then nothing is learned anew by itself.",
    "failed": "A retraining came to no end.",
    "go_on": "A person has looked: retrainings may begin again.",
    "nothing": "Nothing needs to be done any more.",
}
# Where another source than Production has forecast: it could not be loaded, or new data were refused; the run of `predict` says.
NAMED = "Version {missing} could not forecast: of {span} there are {forecasts} instead, issued {time}."
UNNAMED = "No version in Production could forecast: of {span} there are {forecasts} instead, issued {time}."
NAMES = {
    "retraining": "retraining",
    "wait": "waiting for new data",
    ASK: "a person is asked",
    "failed": "retraining failed",
    "go_on": "may go on",
    "nothing": "nothing to do",
}


@dataclass(frozen=True)
class Watched:
    """What the application database knows of one collection. A table may be empty, and then lacks its columns too.

    Attributes:
        found: the newest check, as `dsgo.findings.newest`.
        actions: as `dsgo.actions.entries`, the newest first.
        predictions: as `dsgo.predictions.newest`.
    """

    found: pd.DataFrame = field(default_factory=pd.DataFrame)
    actions: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)


def alarms(found: pd.DataFrame) -> list[dict[str, Any]]:
    """The findings that are alarms, what needs a person first."""
    if found.empty:
        return []
    rows = found[found["alarm"]].to_dict("records")
    order = list(KINDS)
    return sorted(rows, key=lambda row: order.index(row["kind"]) if row["kind"] in order else len(order))


def data_end(found: pd.DataFrame) -> pd.Timestamp:
    """The newest hour of the data that were looked at; an estimate is of hours after it."""
    measured = found[~found["estimate"]]
    return (found if measured.empty else measured)["last"].max()


def kind(name: str) -> str:
    """A kind of finding as readers know it."""
    return KINDS.get(name, str(name))


def alarm(row: Mapping[str, Any], info: Mapping[str, Any], language: Language = ENGLISH) -> str:
    """An alarm in a sentence without figures; the finding's own `text` has them, in English.

    Args:
        row: a finding.
        info: the dataset's: descriptions of its columns.
    """
    text = ALARMS.get((row["kind"], row["check"])) or ALARMS.get((row["kind"], "")) or ALARMS["data", ""]
    words = language.say(text, name=_column(row["subject"], info, language))
    return f"{words} {language.say('(Estimate: no recorded values yet.)')}" if row["estimate"] else words


def _column(name: str, info: Mapping[str, Any], language: Language) -> str:
    if not name:
        return language.say(ALL)
    words = str(info["columns"].get(name, {}).get("description") or name)
    return f"{words[:1].upper()}{words[1:]}".partition(",")[0].strip() or name


def decision(action: str, language: Language = ENGLISH) -> str:
    """What was decided, in a sentence."""
    return language.say(DECISIONS[action]) if action in DECISIONS else str(action).replace("_", " ")


def ahead(predictions: pd.DataFrame, after: Any) -> pd.DataFrame:
    """The predictions of hours later than `after`."""
    return predictions if predictions.empty else predictions[predictions["utc_timestamp"] > utc(after)]


def source(row: Mapping[str, Any], language: Language = ENGLISH) -> str:
    """Who has forecast, in short: `version 3`, `earlier version 2`, `naive baseline`."""
    if row["source"] == NAIVE:
        return language.say("naive baseline")
    text = "version {version}" if row["source"] == PRODUCTION else "earlier version {version}"
    return language.say(text, version=row["version"])


def sources(predictions: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each source and version, with a row that stands for them; Production's first, the naive baseline's last."""
    if predictions.empty:
        return []
    order = {PRODUCTION: 0, EARLIER_VERSION: 1, NAIVE: 2}
    parts = [part for _, part in predictions.groupby(["source", "version"], dropna=False, sort=True)]
    parts.sort(key=lambda part: order.get(part["source"].iloc[0], len(order)))
    return [(part.iloc[-1].to_dict(), part) for part in parts]


def substitutes(predictions: pd.DataFrame, production: Any, language: Language = ENGLISH) -> list[str]:
    """A sentence for each source other than Production: who has forecast in its place, which hours, and when.

    Args:
        production: what is in Production now; None if nothing is or it is not known.
    """
    sentences = []
    for row, part in sources(predictions):
        if row["source"] == PRODUCTION:
            continue
        missing = production is not None and utc(production.promoted_at) <= row["issued_at"]
        text = NAMED if missing else UNNAMED
        by = (
            "forecasts of the naive baseline"
            if row["source"] == NAIVE
            else "forecasts of the earlier version {version}"
        )
        ends = (wording.moment(getattr(part["utc_timestamp"], end)(), language) for end in ("min", "max"))
        sentences.append(
            language.say(
                text,
                missing=getattr(production, "version", ""),
                span=language.say("{low} to {high}", **dict(zip(("low", "high"), ends, strict=True))),
                forecasts=language.say(by, version=row["version"]),
                time=wording.moment(row["issued_at"], language),
            )
        )
    return sentences
