"""From an untrusted table to a clean one: what cannot be trusted is refused, what can be mended is counted.

Refused, with the first row at fault: a file that is no CSV, is empty or was cut off; a missing column; text or an
infinite number where a number belongs; times without an offset, between the hours or absurd; values outside their
physical bounds (with the unit that they seem to be in); and disagreeing rows of one hour, missing values or absent
hours when there are many.

Mended: columns nobody asked for, a last line without an end, other offsets than UTC, rows out of order, repeated hours,
a few missing values, negative noise around zero. Absent hours stay absent; all of it is counted and reported.

The last rows may have all inputs and no target: weather that is forecast, or whose power is not known yet. They are the
outlook, and checked as all others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from dsgo.checks import Place, check_bounds, likely_unit, numbers, require_columns, too_small, utc_timestamps
from dsgo.collection import columns_of
from dsgo.errors import DataError
from dsgo.hours import rows_of
from dsgo.sun import sine_of_elevation

MANY_MISSING = 0.05  # share of rows without a value above which a table is refused
MANY_ABSENT = 0.50  # share of absent hours above which a table is refused
MANY_DIFFERING = 0.01  # share of hours with disagreeing rows above which a table is refused
WEEK_H = 168  # shorter tables say too little about the size of a quantity

Repair = dict[str, Any]  # fault, count, first, handling


def read_raw_csv(path: Path | str, name: str | None = None) -> tuple[pd.DataFrame, list[Repair]]:
    """Read a comma-separated UTF-8 file with one header line and as many fields in every line.

    Args:
        path: the file.
        name: what to call it in an error, if not by its path.

    Returns:
        The table as it is in the file, and the repair made if its last line has no end.

    Raises:
        DataError: the file cannot be read, is no CSV, has no data, or has a line with another number of fields.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(name or path, f"cannot be read: {error.strerror}.") from error
    place = Place(name or str(path))
    text = _as_text(content, place)
    lines = text.split("\n")
    fields = np.array([len(row) for row in csv.reader(lines)])
    if fields[0] < 2:
        remedy = "Save it with commas between the columns and decimal points." if ";" in lines[0] else ""
        raise place.error(None, None, f"the header {lines[0][:60]!r} has one column only.", remedy)
    repairs = []
    odd = fields != fields[0]
    if odd.any():
        at = int(np.argmax(odd))
        cut_off = at == len(lines) - 1
        end = ", and the file ends there: it was cut off" if cut_off else ""
        raise Place(place.file, first_line=2).error(
            None,
            at - 1,
            f"{fields[at]} fields instead of {fields[0]}{end}.",
            "Copy or download it again." if cut_off else "Mend or delete the line.",
        )
    if not content.endswith((b"\n", b"\r")) and len(lines) > 1:
        repairs.append(
            _repair("last line without an end", 1, f"line {len(lines)}", "dropped: it may have been cut off")
        )
        lines.pop()
    if len(lines) < 2:
        raise place.error(None, None, "has a header but no data.")
    frame = pd.read_csv(io.StringIO("\n".join(lines)), low_memory=False, skip_blank_lines=False)
    return frame, repairs


def clean(
    frame: pd.DataFrame,
    spec: Mapping[str, Any],
    *,
    file: str,
    first_line: int | None = None,
    called: Mapping[str, str] = MappingProxyType({}),
) -> tuple[pd.DataFrame, list[Repair]]:
    """Check and mend a raw table.

    Args:
        frame: the timestamp column and the columns of `spec`; others are left out.
        spec: `dataset` of a collection.
        file: what to call the table in an error.
        first_line: line of the first data row, when the table was read from a text file.
        called: columns as the collection calls them → as the file does, where that is otherwise; for what is said of them.

    Returns:
        The table of a dataset (see `dsgo.tables`), with the outlook as its last rows, whose targets are missing, and a list
        of `{fault, count, first, handling}`.

    Raises:
        DataError: the table cannot be trusted; see the module.
    """
    place, columns, time = Place(file, first_line, called), list(spec["columns"]), spec["timestamp"]
    require_columns(frame, [time, *columns], place)
    repairs: list[Repair] = []
    extra = [str(column) for column in frame.columns if column not in (time, *columns)]
    if extra:
        repairs.append(_repair("columns that the collection does not know", len(extra), extra[0], "left out"))

    timestamps, converted = utc_timestamps(frame[time], place)
    off_grid = timestamps.floor(spec["frequency"]) != timestamps
    if off_grid.any():
        bad = int(np.argmax(off_grid))
        raise place.error(time, bad, f"{timestamps[bad]} is not the start of an interval of {spec['frequency']}.")
    if converted.any():
        _count(repairs, "times with an offset other than UTC", converted, timestamps, "converted to UTC")

    values = {name: numbers(frame[name], place) for name in columns}
    for name, column in spec["columns"].items():
        check_bounds(values[name], name, column, place)
        _check_size(values[name], name, column, place)
        noise = values[name] < column["minimum"]
        if noise.any():
            values[name] = np.where(noise, column["minimum"], values[name])
            handling = f"set to {column['minimum']:g}: within noise"
            _count(repairs, f"{name} just below {column['minimum']:g} {column['unit']}", noise, timestamps, handling)
    table = pd.DataFrame(values, index=timestamps.rename(time))

    table = _drop_missing(table, _outlook(table, spec), repairs, place)
    late = table.index < table.index.to_series().cummax()
    if late.any():
        _count(repairs, "rows out of order", np.asarray(late), table.index, "sorted by time")
        table = table.sort_index(kind="stable")
    table = _one_row_an_hour(table, spec, repairs, place)
    absent = absent_hours(table.index, spec["frequency"])
    if len(absent) > MANY_ABSENT * (len(table) + len(absent)):
        raise place.error(
            time,
            None,
            f"{len(absent)} of {len(table) + len(absent)} {rows_of(spec)} from {table.index[0]} to {table.index[-1]} are absent.",
            "Is one timestamp far off, or the table of another frequency?",
        )
    if len(absent):
        repairs.append(_repair(f"absent {rows_of(spec)}", len(absent), absent[0], "left absent"))
    note_late_labels(table[table.notna().all(axis=1)], spec, repairs)
    return table, repairs


def absent_hours(index: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    """The hours between the first and the last that are not in a sorted index."""
    return pd.date_range(index[0], index[-1], freq=frequency, unit=index.unit).difference(index)


def gaps(index: pd.DatetimeIndex, frequency: str) -> pd.Series:
    """Each run of absent hours: its first hour → its number of hours."""
    absent = absent_hours(index, frequency)
    run = (pd.Series(absent).diff() != pd.Timedelta(frequency)).cumsum()
    return pd.Series(absent).groupby(run).agg(["first", "size"]).set_index("first")["size"]


def note_late_labels(table: pd.DataFrame, spec: Mapping[str, Any], repairs: list[Repair]) -> None:
    """Report weather that carries, in summer time only, the label of the hour after: of local time less one hour.

    The published German weather has this fault (github.com/Open-Power-System-Data/weather_data/issues/7). It shows in
    how far the radiation lags behind the sun in summer time and outside it. The labels are left as they are: a forecast
    is asked for with the same labels.
    """
    inputs = {name: column for name, column in spec["columns"].items() if column["role"] == "input"}
    radiation = [name for name, column in inputs.items() if column["unit"] == "W/m²"]
    local = table.index.tz_convert(spec["timezone"])
    summer = np.asarray(local.tz_localize(None) - table.index.tz_localize(None) > _standard_offset(local))
    if not radiation or min(summer.sum(), (~summer).sum()) < 4 * WEEK_H:
        return
    total = table[radiation].sum(axis=1).to_numpy()
    lag_h = _lag_behind_sun_h(table.index[summer], total[summer], spec) - _lag_behind_sun_h(
        table.index[~summer], total[~summer], spec
    )
    if 0.75 <= lag_h <= 1.25:
        handling = "left as it is: whoever uses the weather meets the same labels"
        _count(
            repairs,
            f"{rows_of(spec)} of summer time with weather labelled one hour late",
            summer,
            table.index,
            handling,
        )


def _lag_behind_sun_h(index: pd.DatetimeIndex, radiation: np.ndarray, spec: Mapping[str, Any]) -> float:
    """By how many hours the radiation follows the sun, to a quarter of an hour; positive is later."""
    place = spec["location"]["latitude"], spec["location"]["longitude"]
    lags = np.arange(-2, 2.25, 0.25)
    fits = [
        np.corrcoef(np.maximum(sine_of_elevation(index - pd.Timedelta(hours=lag), *place), 0), radiation)[0, 1]
        for lag in lags
    ]
    return float(lags[int(np.argmax(fits))])


def _standard_offset(local: pd.DatetimeIndex) -> pd.Timedelta:
    """The offset of standard time: the smaller one of January and July."""
    year = local[0].year
    return min(pd.Timestamp(year, month, 1, tz=local.tz).utcoffset() for month in (1, 7))


def _as_text(content: bytes, place: Place) -> str:
    if not content.strip():
        raise place.error(None, None, "is empty.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise place.error(None, None, "is no UTF-8 text but a binary file.", "Unpack it or save it as CSV.")
    if text.lstrip().startswith("<"):
        raise place.error(None, None, "is an HTML page, no CSV.", "Open it in a browser to see what the server says.")
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _check_size(array: np.ndarray, name: str, column: Mapping[str, Any], place: Place) -> None:
    known = array[~np.isnan(array)]
    if len(known) < WEEK_H or not too_small(known, column):
        return
    likely = likely_unit(known, column)
    remedy = f"The column seems to be in {likely}: convert it to {column['unit']}." if likely else "Check its unit."
    raise place.error(
        name,
        None,
        f"the largest of {len(known)} values is {known.max():g}: wrong order of magnitude for {column['unit']}.",
        remedy,
    )


def _outlook(table: pd.DataFrame, spec: Mapping[str, Any]) -> np.ndarray:
    """Which rows have all inputs and come after every one that has a target; none where no row has a target."""
    known = table.index[table[columns_of(spec, "target")].notna().any(axis=1)]
    if known.empty:
        return np.zeros(len(table), bool)
    return np.asarray((table.index > known.max()) & table[columns_of(spec, "input")].notna().all(axis=1))


def _drop_missing(table: pd.DataFrame, outlook: np.ndarray, repairs: list[Repair], place: Place) -> pd.DataFrame:
    """The table without rows that lack a value; the outlook is meant to lack some."""
    missing = table.isna()
    missing[outlook] = False
    rows = missing.any(axis=1).to_numpy()
    if not rows.any():
        return table
    if rows.sum() > MANY_MISSING * (~outlook).sum():
        worst = missing.sum().idxmax()
        raise place.error(
            worst,
            int(np.argmax(missing[worst])),
            f"{missing[worst].sum()} of {(~outlook).sum()} values are missing.",
            f"At most {MANY_MISSING:.0%} of the rows may lack a value.",
        )
    names = ", ".join(missing.columns[missing.any()])
    _count(repairs, f"rows without a value in {names}", rows, table.index, "dropped")
    return table[~rows]


def _one_row_an_hour(table: pd.DataFrame, spec: Mapping[str, Any], repairs: list[Repair], place: Place) -> pd.DataFrame:
    """Keep the last of the rows of one hour.

    Of rows that disagree, the later one is taken as the correction of the earlier. Where clocks are put back it is the
    right one, too: it has the weather of standard time, in which the label is right.
    """
    again = table.index.duplicated(keep="last")
    if not again.any():
        return table
    same = table.reset_index().duplicated(keep="last").to_numpy()
    differing = again & ~same
    if differing.sum() > max(MANY_DIFFERING * len(table), 3):
        first = table.index[differing][0]
        raise place.error(
            spec["timestamp"],
            None,
            f"{differing.sum()} {rows_of(spec)} have rows that disagree; the first is {first}.",
            "Two tables seem to be mixed, or hours of local time labelled UTC.",
        )
    local = table.index.tz_convert(spec["timezone"])
    put_back = np.array([moment.fold == 1 for moment in local[differing]], bool)
    clock, other = differing.copy(), differing.copy()
    clock[differing], other[differing] = put_back, ~put_back
    name = rows_of(spec)
    for fault, rows, handling in (
        (f"{name} given twice alike", again & same, "one row kept"),
        (f"{name} given twice where clocks are put back", clock, "the last row kept: the one in standard time"),
        (f"{name} given twice, differing", other, "the last row kept"),
    ):
        if rows.any():
            _count(repairs, fault, rows, table.index, handling)
    return table[~again]


def _count(repairs: list[Repair], fault: str, rows: np.ndarray, index: pd.DatetimeIndex, handling: str) -> None:
    repairs.append(_repair(fault, int(rows.sum()), index[int(np.argmax(rows))], handling))


def _repair(fault: str, count: int, first: object, handling: str) -> Repair:
    first = first.isoformat() if isinstance(first, pd.Timestamp) else str(first)
    return {"fault": fault, "count": count, "first": first, "handling": handling}
