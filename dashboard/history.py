"""Everything recorded and forecast as a regular grid, and what of it a screen can show: mean, least and most of buckets.

A hundred years of hours are 900,000 values; a screen has a thousand columns of points. A bucket is as wide as it must be for
the span to fit, and always something that a reader knows: hours, days, weeks, months, quarters or years of the local
calendar. Least and most of every bucket go along, so no peak is lost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of

FORECASTS = ("_forecast", "_p10", "_p90")
# Columns of a file that say what was issued, whatever the out-of-sample forecast of the hour is.
ISSUED = {
    "_issued": "forecast",
    "_issued_p10": "p10",
    "_issued_p90": "p90",
    "_issued_source": "source",
    "_issued_version": "version",
}
DAY = pd.Timedelta(days=1)
HOURS = (1, 2, 3, 6, 12)  # widths of buckets within a day
# Widths of a day and more: pandas' name, words, and about how many days they are.
CALENDAR = (
    ("D", "day", 1),
    ("2D", "2 days", 2),
    ("W-MON", "week", 7),
    ("MS", "month", 30.4),
    ("QS", "quarter", 91.3),
    ("YS", "year", 365.2),
)
SMOOTHED_DAYS = 7  # of a year's curve beside others: single days would hide the season
CSV_ROWS = 8_000  # at once


@dataclass(frozen=True)
class Buckets:
    """One column over a span. `times`: local clock time at which each bucket starts; the rest is in the column's unit."""

    times: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    width: str
    """In words, such as `2 days`; empty where every value is shown by itself."""


class History:
    """Values of one dataset and its out-of-sample forecasts, from the first time stamp to the last without a hole."""

    def __init__(
        self, table: pd.DataFrame, forecasts: pd.DataFrame, info: Mapping[str, Any], issued: pd.DataFrame | None = None
    ) -> None:
        """Args: `table` and `info` of a dataset; `forecasts` as `dsgo.review.Review.table` has them; `issued` as
        `dsgo.predictions.newest` gives it: the history goes on as far as these do.
        """
        self.info = info
        self.step = pd.Timedelta(info["frequency"])
        self.timezone = info["timezone"]
        self.start = min(table.index[0], forecasts.index[0])
        self.end = self.known_end = max(table.index[-1], forecasts.index[-1])
        if issued is not None and len(issued):
            self.end = max(self.end, issued["utc_timestamp"].max())
        index = pd.date_range(self.start, self.end, freq=self.step, unit=table.index.unit)
        self.targets = columns_of(info, "target")
        self.names = [*self.targets, *columns_of(info, "input")]
        columns = {name: table[name] for name in self.names}
        columns |= {target + part: forecasts[target + part] for target in self.targets for part in FORECASTS}
        self.values = {name: column.reindex(index).to_numpy(dtype=float) for name, column in columns.items()}
        self.rows = len(index)
        if table.index[-1] < self.end:  # hours forecast that the dataset ends before: take what the forecasts recorded
            for target in self.targets:
                later = forecasts[target].reindex(index).to_numpy(dtype=float)
                self.values[target] = np.where(np.isnan(self.values[target]), later, self.values[target])
        self.issued: dict[str, pd.DataFrame] = {}
        """For each target what was issued: index as the rows; `forecast`, `p10`, `p90`, `source`, `version`, `issued_at`."""
        for target in self.targets if issued is not None and len(issued) else ():
            rows = issued[issued["target"] == target].set_index("utc_timestamp")
            self.issued[target] = rows[[*ISSUED.values(), "issued_at"]].reindex(index)

    @property
    def known_rows(self) -> int:
        """How many of the rows are not after the last value that was recorded."""
        return int((self.known_end - self.start) / self.step) + 1

    @property
    def known_last(self) -> pd.Timestamp:
        """Local clock time at which the last recorded hour ends."""
        return (self.known_end + self.step).tz_convert(self.timezone).tz_localize(None)

    def ahead(self, target: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        """What was issued for time stamps of the span without an out-of-sample forecast; the columns of `issued`."""
        if target not in self.issued:
            return pd.DataFrame(columns=[*ISSUED.values(), "issued_at"])
        begin, end = self.between(first, last)
        part = self.issued[target].iloc[begin:end]
        return part[np.isnan(self.values[f"{target}_forecast"][begin:end]) & part["forecast"].notna()]

    def by_source(self, target: str, first: pd.Timestamp, last: pd.Timestamp) -> dict[str, list[int]]:
        """Sources of what `ahead` has, each with its versions."""
        found = self.ahead(target, first, last).groupby("source")["version"].unique()
        return {source: [int(one) for one in versions if not pd.isna(one)] for source, versions in found.items()}

    def issue(self, target: str, source: str, part: str) -> str:
        """The name, among `values`, of what one source has issued where there is no out-of-sample forecast."""
        name = f"{target} issued by {source}: {part}"
        if name not in self.values:
            rows = self.issued[target]
            there = (rows["source"] == source).to_numpy() & np.isnan(self.values[f"{target}_forecast"])
            self.values[name] = np.where(there, rows[part].to_numpy(dtype=float), np.nan)
        return name

    @property
    def first(self) -> pd.Timestamp:
        """Local clock time of the first value."""
        return self.start.tz_convert(self.timezone).tz_localize(None)

    @property
    def last(self) -> pd.Timestamp:
        """Local clock time at which the last value's hour ends."""
        return (self.end + self.step).tz_convert(self.timezone).tz_localize(None)

    @functools.cached_property
    def years(self) -> list[int]:
        """Calendar years of which there is a week or more, oldest first; all there are where none has as much."""
        days = self._days[self.names[0]].groupby(lambda day: day.year).size()
        whole = days[days >= SMOOTHED_DAYS]
        return list((whole if len(whole) else days).index)

    def unit(self, name: str) -> str:
        """Unit of a column or of its forecast."""
        return str(self.info["columns"][name]["unit"])

    def title(self, name: str) -> str:
        """What a column is, in words."""
        words = str(self.info["columns"][name].get("description") or name)
        return words[:1].upper() + words[1:]

    def between(self, first: pd.Timestamp, last: pd.Timestamp) -> tuple[int, int]:
        """Positions of the values from `first` to before `last`, both local clock time."""
        ends = [self._position(self._utc(pd.DatetimeIndex([moment])))[0] for moment in (first, last)]
        return int(ends[0]), int(max(ends))

    def buckets(self, name: str, first: pd.Timestamp, last: pd.Timestamp, points: int) -> Buckets:
        """Column `name` from `first` to before `last` (local clock time), in `points` buckets or fewer."""
        begin, end = self.between(first, last)
        if begin == end:
            nothing = np.empty(0)
            return Buckets(nothing.astype("datetime64[ms]"), nothing, nothing, nothing, "")
        part = self.values[name][begin:end]
        starts, width = self._starts(begin, end, points)
        if not width:
            return Buckets(self._local(starts), part, part, part, "")
        at = starts - begin
        there = np.isfinite(part)
        with np.errstate(invalid="ignore", divide="ignore"):  # of buckets without any value
            mean = np.add.reduceat(np.where(there, part, 0.0), at) / np.add.reduceat(there, at, dtype=float)
            return Buckets(self._local(starts), mean, np.fmin.reduceat(part, at), np.fmax.reduceat(part, at), width)

    def ends(self, name: str, first: pd.Timestamp, last: pd.Timestamp) -> tuple[float, float]:
        """The least and the largest value of a column between two local clock times; NaN where there is none."""
        begin, end = self.between(first, last)
        part = self.values[name][begin:end]
        there = part[np.isfinite(part)]
        return (float(there.min()), float(there.max())) if there.size else (float("nan"), float("nan"))

    def days(self, name: str) -> pd.Series:
        """Mean of each local day of a column; index: the day, without a zone."""
        return self._days[name]

    @functools.cached_property
    def _days(self) -> dict[str, pd.Series]:
        starts, _ = self._starts(0, self.known_rows, self.rows, least="D")
        index = pd.DatetimeIndex(self._local(starts)).normalize()
        found = {}
        for name in self.names:
            there = np.isfinite(self.values[name][: self.known_rows])
            with np.errstate(invalid="ignore", divide="ignore"):
                sums = np.add.reduceat(np.where(there, self.values[name][: self.known_rows], 0.0), starts)
                found[name] = pd.Series(sums / np.add.reduceat(there, starts, dtype=float), index)
        return found

    @functools.cached_property
    def smooth_years(self) -> dict[str, pd.DataFrame]:
        """For each column the mean of seven days around each day; index: day of a leap year, columns: years."""
        found = {}
        for name in self.names:
            days = self._days[name].rolling(SMOOTHED_DAYS, center=True, min_periods=1).mean()
            day = pd.to_datetime({"year": 2000, "month": days.index.month, "day": days.index.day})
            table = days.groupby([day.to_numpy(), days.index.year.to_numpy()]).first().unstack()[self.years]
            leap, around = pd.Timestamp("2000-02-29"), [pd.Timestamp("2000-02-28"), pd.Timestamp("2000-03-01")]
            if leap in table.index and all(day in table.index for day in around):  # which most years do not have
                table.loc[leap] = table.loc[leap].fillna(table.loc[around].mean(skipna=False))
            found[name] = table
        return found

    @functools.cached_property
    def completeness(self) -> pd.DataFrame:
        """Share of the time stamps of each local month that have a value; index: the month, columns: as recorded."""
        starts, _ = self._starts(0, self.known_rows, self.rows, least="MS")
        lengths = np.diff([*starts, self.known_rows])
        there = {name: np.isfinite(self.values[name][: self.known_rows]) for name in self.names}
        shares = {name: np.add.reduceat(there[name], starts, dtype=int) / lengths for name in self.names}
        months = pd.DatetimeIndex(self._local(starts)).to_period("M").to_timestamp()
        return pd.DataFrame(shares, index=months)

    def csv(self, names: list[str], first: pd.Timestamp, last: pd.Timestamp, head: list[str]) -> Iterator[str]:
        """The values themselves as CSV text, piece by piece. `head` goes before as comment lines."""
        begin, end = self.between(first, last)
        columns = [part for name in names for part in self._with_forecasts(name)]
        yield "".join(f"# {' '.join(line.split())}\n" for line in head)
        yield ",".join(["utc_timestamp", *(_cell(name) for name in columns)]) + "\n"
        for start in range(begin, end, CSV_ROWS):
            stop = min(start + CSV_ROWS, end)
            index = self._moments(np.arange(start, stop))
            piece = pd.DataFrame({name: self._cells(name, start, stop) for name in columns}, index=index)
            yield piece.to_csv(header=False, date_format="%Y-%m-%dT%H:%M:%SZ", lineterminator="\n", float_format="%.6g")

    def _with_forecasts(self, name: str) -> list[str]:
        issued = [name + part for part in ISSUED] if name in self.issued else []
        return [name, *(name + part for part in FORECASTS), *issued] if name in self.targets else [name]

    def _cells(self, name: str, start: int, stop: int) -> Any:
        if name in self.values:
            return self.values[name][start:stop]
        target, part = next((name.removesuffix(end), part) for end, part in ISSUED.items() if name.endswith(end))
        return self.issued[target][part].iloc[start:stop].to_numpy()

    def _starts(self, begin: int, end: int, points: int, least: str = "") -> tuple[np.ndarray, str]:
        """Positions at which the buckets of `begin` to `end` start, and how wide they are in words."""
        if not least:
            if end - begin <= points:
                return np.arange(begin, end), ""
            for hours in HOURS:
                many = pd.Timedelta(hours=hours) // self.step
                if many > 1 and (end - begin) / many <= points - 1:  # one may be cut at each end
                    first = begin - begin % many
                    return np.maximum(
                        np.arange(first, end, many), begin
                    ), f"{hours} hours" if hours > 1 else "60 minutes"
        days = (end - begin) * self.step / DAY
        fitting = (
            (rule, words)
            for rule, words, length in CALENDAR
            if ((rule == least) if least else (length * DAY >= 2 * self.step and days / length <= points - 2))
        )
        rule, words = next(fitting, CALENDAR[-1][:2])
        edges = self._edges(begin, end, rule)
        inside = self._position(self._utc(edges))
        return np.unique(np.concatenate([[begin], inside[(inside > begin) & (inside < end)]])), words

    def _edges(self, begin: int, end: int, rule: str) -> pd.DatetimeIndex:
        """Local midnights at which buckets of a width start, the same whatever span is looked at."""
        ends = [(self.start + at * self.step).tz_convert(self.timezone).tz_localize(None) for at in (begin, end)]
        first = ends[0].normalize()
        if rule == "2D":
            first -= (first.toordinal() % 2) * DAY
        return pd.date_range(first, ends[1], freq=rule)

    def _utc(self, local: pd.DatetimeIndex) -> pd.DatetimeIndex:
        """Clock times as moments: the first of two at the end of summer time, the next there is at its start."""
        there = np.ones(len(local), dtype=bool)
        return local.tz_localize(self.timezone, ambiguous=there, nonexistent="shift_forward").tz_convert("UTC")

    def _position(self, moments: pd.DatetimeIndex) -> np.ndarray:
        steps = np.ceil((moments - self.start) / self.step).to_numpy()
        return np.clip(steps, 0, self.rows).astype(int)

    def _local(self, positions: np.ndarray) -> np.ndarray:
        return self._moments(positions).tz_convert(self.timezone).tz_localize(None).to_numpy().astype("datetime64[ms]")

    def _moments(self, positions: np.ndarray) -> pd.DatetimeIndex:
        return self.start + pd.TimedeltaIndex(positions * self.step.to_timedelta64())


def _cell(name: str) -> str:
    """A name that neither ends its cell nor is taken for a formula by a spreadsheet."""
    name = f"'{name}" if name[:1] in "=+-@\t\r" else name
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n\r') else name
