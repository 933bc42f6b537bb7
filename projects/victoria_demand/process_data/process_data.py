"""Make the dataset of one year of demand in Victoria, or of several, from raw half-hourly data.

Reads      `--data`: `sample` (generated), an absolute path to a CSV file or its http(s) address, laid out as the recorded file:
           `Time` (UTC, start of the half-hour), `Demand` (MW), `Temperature` (°C);
           `collection.yaml` of `--collection`: columns, units, bounds, calendar, and which demand is known at the horizon.
Writes     the artifact folder `dataset` (table.parquet, dataset.yaml, outlook.parquet if the last rows have temperature only),
           the dataset as the run's input, tags with its digests, and metrics of what was found in the raw data.
Fails when the source cannot be fetched, its table cannot be trusted, or it has nothing of the year: one message says why,
           nothing is logged.
"""

import argparse
import dataclasses
import re

import holidays
import pandas as pd
import victoria_sample

from dsgo import processing, settings, sources, tables
from dsgo.cleaning import clean
from dsgo.collection import Collection, find
from dsgo.command import main
from dsgo.errors import DataError, SettingError
from dsgo.working_days import EPOCH, WorkingDays

RAW_COLUMNS = {"Time": "utc_timestamp", "Demand": "demand_MW", "Temperature": "temperature"}
TARGET, DAY_BEFORE, CLOCK_CHANGE = "demand_MW", "demand_day_before_MW", "clock_change"
DAY = pd.Timedelta("24h")
HOLIDAYS_TO = 10  # years after the data that a model knows the holidays of


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="sample", help="sample, an absolute path or an http(s) address of a CSV")
    parser.add_argument("--year", nargs="?", const="", default="", help="2013, or 2012-2013; empty: the newest year")
    parser.add_argument("--collection", default="victoria_demand", help="victoria_demand or victoria_demand_day_ahead")
    return parser.parse_args(arguments)


def generated(_: settings.Settings) -> sources.RawTable:
    """The generated sample."""
    return sources.generated(victoria_sample.sample().rename(columns=RAW_COLUMNS), victoria_sample.SEED)


def compute(raw: sources.RawTable, collection: Collection, year: str) -> tables.Dataset:
    """Check and mend the raw table, take the year out of it, and add what calendar and clock tell.

    Raises:
        DataError: the table cannot be trusted, or has nothing of the year.
        SettingError: `year` is no year.
    """
    columns = {name: collection.columns[name] for name in RAW_COLUMNS.values() if name in collection.columns}
    recorded = {**collection.dataset, "columns": columns}
    table, repairs = clean(raw.frame, recorded, file=raw.source["name"], first_line=raw.first_line, called=raw.called)
    if (
        DAY_BEFORE in collection.columns
    ):  # of the whole table: the first day of a year knows the last one of the year before
        table[DAY_BEFORE] = table[TARGET].reindex(table.index - DAY).to_numpy()
    local = table.index.tz_convert(collection.dataset["timezone"])
    first, last = years(year, local[table[TARGET].notna()])
    table = table[(local.year >= first) & (local.year <= last)]
    if table[TARGET].notna().sum() == 0:
        raise DataError(
            raw.source["name"],
            f"has no demand of {year}: its rows are of {local[0]:%Y-%m-%d} to {local[-1]:%Y-%m-%d}.",
            "Ask for a year that it has, or bring a longer table.",
        )
    known = table[collection.inputs].notna().all(axis=1)
    if not known.all():
        repairs.append(
            {
                "fault": f"half-hours without {DAY_BEFORE}",
                "count": int((~known).sum()),
                "first": table.index[~known][0].isoformat(),
                "handling": "left out",
            }
        )
    described = dataclasses.replace(collection, dataset=with_holidays(collection, first, last))
    return tables.make_dataset(
        with_calendar(table[known], described),
        described,
        source=raw.source,
        synthetic=raw.synthetic,
        repairs=[*raw.repairs, *repairs],
    )


def years(asked: str, local: pd.DatetimeIndex) -> tuple[int, int]:
    """First and last year of `2013` or `2012-2013`; of nothing, the newest of `local`, the half-hours that have a demand."""
    if not asked:
        return local[-1].year, local[-1].year
    match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", asked)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise SettingError("year", asked, "a year such as 2013, or two such as 2012-2013")
    return int(match[1]), int(match[2] or match[1])


def with_holidays(collection: Collection, first: int, last: int) -> dict:
    """`dataset` of the collection, its calendar with the public holidays from the year before the data to ten after."""
    calendar = collection.dataset["calendar"]
    span = range(first - 1, last + HOLIDAYS_TO + 1)
    try:
        public = holidays.country_holidays(calendar["country"], subdiv=calendar["subdivision"], years=span)
    except NotImplementedError as error:  # the library's word for a place that it does not know
        raise DataError(collection.path, f"dataset.calendar: {error}") from error
    dates = sorted(day.isoformat() for day in public if day.year in span)
    return {**collection.dataset, "calendar": {**calendar, "holidays": dates}}


def with_calendar(table: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    """The table with the columns of the role `calendar`, in the order of `collection.yaml`."""
    local = table.index.tz_convert(collection.dataset["timezone"])
    days = (local.tz_localize(None).normalize() - pd.Timestamp(EPOCH)).days.to_numpy()
    told = WorkingDays(collection.dataset["calendar"]).named(days)
    midnights = local.normalize()
    told[CLOCK_CHANGE] = (midnights + pd.DateOffset(days=1)) - midnights != pd.Timedelta("24h")
    for name, values in told.items():
        table = table.assign(**{name: values.astype(float)})
    return table[list(collection.columns)]


def run() -> None:
    arguments = parse()
    collection = find(arguments.collection)
    raw = sources.raw_table(arguments.data, settings.load(), {"sample": generated}, rename=RAW_COLUMNS)
    dataset = compute(raw, collection, arguments.year)
    print(processing.summary(dataset), flush=True)
    processing.log(dataset)


if __name__ == "__main__":
    main(run)
