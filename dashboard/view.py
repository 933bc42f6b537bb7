"""What of the history is looked at, as the address says it: a link shows the same to everybody."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pandas as pd
from history import History

TIME, YEARS = "time", "years"
MOST_COLUMNS = 4  # one above the other; more would be too flat to read
MOST_YEARS = 6  # curves of one picture that can be told apart
SHOWN_AT_FIRST = 3  # years
SHORTEST = 6  # time stamps


@dataclass(frozen=True)
class View:
    """Columns shown; through time from `first` to before `last` (local clock time), or these `years` beside each other."""

    columns: tuple[str, ...]
    first: pd.Timestamp
    last: pd.Timestamp
    by: str
    years: tuple[int, ...]

    def query(self, collection: str) -> str:
        """The same as an address has it."""
        parts: list[tuple[str, Any]] = [("collection", collection), *(("show", name) for name in self.columns)]
        parts += [("from", f"{self.first:%Y-%m-%dT%H:%M}"), ("to", f"{self.last:%Y-%m-%dT%H:%M}")]
        if self.by == YEARS:
            parts += [("by", YEARS), *(("year", year) for year in self.years)]
        return "?" + urlencode(parts)

    def between(self, first: pd.Timestamp, last: pd.Timestamp, history: History) -> View:
        """Another span: in order, within the history, and not shorter than a few values."""
        first, last = sorted((first, last))
        least = SHORTEST * history.step
        first = max(history.first, min(first, history.last - least)).round("min")
        last = min(history.last, max(last, first + least)).round("min")
        return replace(self, first=first, last=last)

    def moved(self, share: float, history: History) -> View:
        """The same length, a share of it later or (below 0) earlier, as far as the history reaches."""
        length = self.last - self.first
        first = max(history.first, min(self.first + share * length, history.last - length))
        return self.between(first, first + length, history)

    def zoomed(self, factor: float, history: History) -> View:
        """`factor` times as long around the same middle."""
        half = (self.last - self.first) * factor / 2
        middle = self.first + (self.last - self.first) / 2
        return self.between(middle - half, middle + half, history)


def whole(history: History) -> View:
    """What is shown to who asks for nothing: all targets, from the first to the last value."""
    years = tuple(history.years[-SHOWN_AT_FIRST:])
    return View(tuple(history.targets[:MOST_COLUMNS]), history.first, history.last, TIME, years)


def read(search: str | None, history: History) -> tuple[View, list[str]]:
    """The view that an address names, and a sentence for each part of it that cannot be shown."""
    parts = parse_qs((search or "").lstrip("?"))
    view, problems = whole(history), []
    if named := list(dict.fromkeys(parts.get("show", []))):
        known = tuple(name for name in named if name in history.names)[:MOST_COLUMNS]
        problems += [f"There is no quantity {name!r}." for name in named if name not in history.names]
        view = replace(view, columns=known or view.columns)
    ends = []
    for key, otherwise in (("from", view.first), ("to", view.last)):
        text = parts.get(key, [""])[0]
        moment = _moment(text)
        if text and moment is None:
            problems.append(f"{text!r} is no date.")
        ends.append(otherwise if moment is None else moment)
    if ends[0] >= history.last or ends[1] <= history.first:
        problems.append("The data have nothing from these dates.")
        ends = [view.first, view.last]
    view = view.between(ends[0], ends[1], history)
    if parts.get("by") == [YEARS]:
        view = replace(view, by=YEARS)
    if named := parts.get("year", []):
        years = tuple(year for year in history.years if str(year) in named)[:MOST_YEARS]
        view = replace(view, years=years or view.years)
        problems += [f"There is no year {year!r} in the data." for year in named if year not in map(str, history.years)]
    return view, problems


def _moment(text: str) -> pd.Timestamp | None:
    try:
        moment = pd.Timestamp(text)
    except ValueError:
        return None
    return None if moment is pd.NaT or moment.tz is not None else moment
