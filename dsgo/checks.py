"""Checks of single columns of untrusted tables, shared by `cleaning` (files) and `tables.check_inputs` (requests)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dsgo.errors import DataError

EARLIEST, LATEST = (pd.Timestamp(f"{year}-01-01", tz="UTC") for year in (1980, 2100))
EARLIEST_US, LATEST_US = (int(moment.timestamp() * 1_000_000) for moment in (EARLIEST, LATEST))
OFFSET = r"(?:[zZ]|[+-]\d{2}:?(?:\d{2})?)$"  # how an ISO 8601 time with an offset ends

# A negative value of at most this share of a column's range is noise around zero, not a fault.
NOISE = 0.001

# Below this number of values, one of them may be in another unit than the rest.
FEW_VALUES = 100

# For each unit, the units that are often given by mistake: name, and what turns them into the right one.
LIKELY_UNITS: Mapping[str, list[tuple[str, Any]]] = {
    "GW": [("MW", lambda x: x / 1e3), ("kW", lambda x: x / 1e6), ("W", lambda x: x / 1e9), ("TW", lambda x: x * 1e3)],
    "MW": [("kW", lambda x: x / 1e3), ("W", lambda x: x / 1e6), ("GW", lambda x: x * 1e3)],
    "m/s": [("km/h", lambda x: x / 3.6), ("cm/s", lambda x: x / 100)],
    "°C": [("kelvin", lambda x: x - 273.15), ("°F", lambda x: (x - 32) / 1.8)],
    "W/m²": [("kW/m²", lambda x: x * 1e3), ("kJ/m² in an hour", lambda x: x / 3.6)],
}


@dataclass(frozen=True)
class Place:
    """Which table is checked, to say in an error where the fault is."""

    file: str
    first_line: int | None = None  # line of the first data row, when the table is a text file
    called: Mapping[str, str] = field(default_factory=dict)  # names of columns → those of the table's own

    def error(self, column: str | None, position: int | None, problem: str, remedy: str = "") -> DataError:
        """The error for a fault at a position (0 is the first data row)."""
        column = None if column is None else self.name(column)
        if position is None:
            return DataError(self.file, problem, remedy, column=column)
        line = "" if self.first_line is None else f"line {self.first_line + position}: "
        return DataError(self.file, line + problem, remedy, column=column, row=int(position) + 1)

    def name(self, column: str) -> str:
        """What the table itself calls a column."""
        return self.called.get(column, column)


def require_columns(frame: pd.DataFrame, columns: list[str], place: Place) -> None:
    """Raise a DataError when there is no row, or a column is missing or comes twice; it lists the columns that there are."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        there = ", ".join(place.name(str(column)) for column in frame.columns) or "none"
        stem = missing[0].rsplit("_", 1)[0]
        other = [c for c in map(str, frame.columns) if c not in columns and c.rsplit("_", 1)[0] == stem]
        remedy = f"Is {other[0]} meant, in another unit? Convert and rename it." if other else "Add it or rename it."
        raise place.error(
            missing[0], None, f"missing: {', '.join(map(place.name, missing))}; there are {there}.", remedy
        )
    if not frame.columns.is_unique and (
        twice := [c for c in columns if c in frame.columns[frame.columns.duplicated()]]
    ):
        raise place.error(twice[0], None, "there is more than one column of this name.", "Leave one of them.")
    if frame.empty:
        raise place.error(None, None, "has no rows.", "Give at least one.")


def utc_timestamps(values: pd.Series, place: Place) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Text (ISO 8601 with an offset) or datetimes with a time zone, as UTC.

    Returns:
        The timestamps (`datetime64[us, UTC]`) and, for each, whether it was given with an offset other than UTC.

    Raises:
        DataError: no timestamp, one without an offset, or one before 1980 or after 2100; names the first row.
    """
    name = str(values.name)
    if values.dtype.kind in "iufb":
        raise place.error(
            name, 0, f"{values.iloc[0]} is a number, not a timestamp.", "Write 2013-01-01 00:00:00+00:00."
        )
    try:
        index = pd.DatetimeIndex(values if values.dtype.kind == "M" else pd.to_datetime(values.array, format="ISO8601"))
    except (ValueError, TypeError):  # one row is no timestamp, or the offsets differ
        return _utc_row_by_row(values, place)
    if index.hasnans:
        raise place.error(name, int(np.argmax(index.isna())), "the timestamp is missing.", "Delete or mend the row.")
    if index.tz is None:
        raise _naive(pd.Series(index, name=name), 0, place)
    converted = _has_offset(index)
    return _plausible(index, values, place), converted


def _utc_row_by_row(values: pd.Series, place: Place) -> tuple[pd.DatetimeIndex, np.ndarray]:
    name = str(values.name)
    text = values.map(lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value)).str.strip()
    parsed = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    if parsed.isna().any():
        bad = int(np.argmax(parsed.isna()))
        raise place.error(
            name,
            bad,
            f"{values.iloc[bad]!r} is no timestamp.",
            "Write ISO 8601 with an offset, as 2013-01-01 00:00:00+00:00.",
        )
    has_offset = text.str.contains(OFFSET, regex=True).to_numpy(bool)
    if not has_offset.all():
        raise _naive(values, int(np.argmin(has_offset)), place)
    wall = pd.to_datetime(text.str.replace(OFFSET, "", regex=True), format="ISO8601")
    converted = wall.to_numpy("datetime64[us]") != parsed.dt.tz_localize(None).to_numpy("datetime64[us]")
    return _plausible(pd.DatetimeIndex(parsed), values, place), converted


def _has_offset(index: pd.DatetimeIndex) -> np.ndarray:
    if str(index.tz) == "UTC":
        return np.zeros(len(index), bool)
    return np.asarray(index.tz_localize(None) != index.tz_convert("UTC").tz_localize(None))


def _naive(values: pd.Series, position: int, place: Place) -> DataError:
    hint = ""
    if values.dtype.kind == "M":  # no row has an offset
        twice = values[values.duplicated() & values.dt.month.isin((10, 11))]
        hint = f" {twice.iloc[0]} comes twice, as an hour of local time does in autumn." if len(twice) else ""
    return place.error(
        str(values.name),
        position,
        f"{values.iloc[position]} has no offset, so its time zone is not known.{hint}",
        "If it is UTC, write 2013-01-01 00:00:00+00:00; if it is local time, convert it to UTC first.",
    )


def _plausible(index: pd.DatetimeIndex, values: pd.Series, place: Place) -> pd.DatetimeIndex:
    index = index.tz_convert("UTC").as_unit("us")
    absurd = (index.asi8 < EARLIEST_US) | (index.asi8 >= LATEST_US)
    if absurd.any():
        bad = int(np.argmax(absurd))
        raise place.error(
            str(values.name),
            bad,
            f"{values.iloc[bad]} is not between {EARLIEST.year} and {LATEST.year}.",
            "Mend the row.",
        )
    return index.rename(str(values.name))


def numbers(values: pd.Series, place: Place) -> np.ndarray:
    """The column as float64; NaN stays.

    Raises:
        DataError: text, a truth value or an infinite number; names the first row.
    """
    name = str(values.name)
    if values.dtype.kind in "iuf" and isinstance(values.dtype, np.dtype):
        array = values.to_numpy(np.float64)
    else:
        if isinstance(values.dtype, pd.SparseDtype):
            values = values.sparse.to_dense()
        array = _as_float(values)
        truth = values.dtype.kind == "b" or values.map(lambda value: isinstance(value, (bool, np.bool_))).to_numpy(bool)
        wrong = (np.isnan(array) & values.notna().to_numpy()) | truth
        if wrong.any():
            bad = int(np.argmax(wrong))
            value = values.iloc[bad]
            comma = isinstance(value, str) and value.replace(",", "", 1).strip("+- ").isdigit()
            remedy = "Write decimals with a point." if comma else "Write a number, or nothing where it is not known."
            raise place.error(name, bad, f"{value!r} is no number.", remedy)
    infinite = np.isinf(array)
    if infinite.any():
        raise place.error(name, int(np.argmax(infinite)), "the number is infinite.", "Mend or delete the row.")
    return array


def _as_float(values: pd.Series) -> np.ndarray:
    """What can be read as a number as float64, everything else as NaN."""
    try:
        read = pd.to_numeric(values, errors="coerce")
        if read.dtype.kind != "c":
            return read.to_numpy(np.float64, na_value=np.nan)
    except (OverflowError, TypeError):  # an integer beyond all floats, an object that pandas knows nothing of
        pass
    return np.array([_float_or_nan(value) for value in values])


def _float_or_nan(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def outside(array: np.ndarray, column: Mapping[str, Any]) -> np.ndarray:
    """Where values lie outside the physical bounds of a column by more than noise; NaN counts as inside."""
    slack = NOISE * (column["maximum"] - column["minimum"])
    return (array < column["minimum"] - slack) | (array > column["maximum"])


def check_bounds(array: np.ndarray, name: str, column: Mapping[str, Any], place: Place) -> None:
    """Raise a DataError when values lie outside the bounds; names the first row and the likely unit if there is one."""
    out = outside(array, column)
    if not out.any():
        return
    bad = int(np.argmax(out))
    unit, value = column["unit"], array[bad]
    likely = likely_unit(array, column)
    remedy = f"The column seems to be in {likely}: convert it to {unit}." if likely else "Mend or delete the row."
    raise place.error(
        name, bad, f"{value:g} {unit} is not within {column['minimum']:g} to {column['maximum']:g} {unit}.", remedy
    )


def likely_unit(array: np.ndarray, column: Mapping[str, Any]) -> str | None:
    """The unit that the values seem to be in instead: the first in which they all have a possible size."""
    values = array[~np.isnan(array)]
    out = outside(values, column)
    if len(values) < FEW_VALUES:
        values = values[out]
    elif out.sum() < 3 and not too_small(values, column):
        return None  # one or two wild values among many are no matter of units
    for name, convert in LIKELY_UNITS.get(column["unit"], []):
        converted = convert(values)
        if not outside(converted, column).any() and not too_small(converted, column):
            return name
    return None


def too_small(array: np.ndarray, column: Mapping[str, Any]) -> bool:
    """Whether a column that starts at zero never reaches 0.2 % of its maximum: 30 GW of wind given as 0.03 TW."""
    return column["minimum"] == 0 and np.nanmax(array, initial=0) < 0.002 * column["maximum"]
