"""Make the dataset of German wind and solar power from raw hourly data.

Reads      `--data`: `sample` (generated), `opsd` (downloaded), an absolute path to a CSV file or its http(s) address;
           `../collection.yaml`: columns, units and bounds.
Writes     the artifact folder `dataset` (table.parquet, dataset.yaml, outlook.parquet if the last rows have weather only),
           the dataset as the run's input, tags with its digests, and metrics of what was found in the raw data.
Fails when the source cannot be fetched or its table cannot be trusted: one message says why, nothing is logged.
"""

import argparse
from pathlib import Path

import opsd
import wind_solar_sample

from dsgo import processing, settings, tables
from dsgo.cleaning import clean
from dsgo.collection import Collection, load
from dsgo.command import main
from dsgo.sources import RawTable, raw_table

COLLECTION_FILE = Path(__file__).resolve().parent.parent / "collection.yaml"
SOURCES = {
    "sample": wind_solar_sample.raw_table,
    "opsd": opsd.raw_table,
}  # what raw data is besides a file or an address


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="sample", help=f"{', '.join(SOURCES)}, an absolute path or an http(s) address of a CSV"
    )
    return parser.parse_args(arguments)


def compute(raw: RawTable, collection: Collection) -> tables.Dataset:
    """Check and mend the raw table."""
    name = raw.source["name"]
    table, repairs = clean(raw.frame, collection.dataset, file=name, first_line=raw.first_line)
    return tables.make_dataset(
        table, collection, source=raw.source, synthetic=raw.synthetic, repairs=[*raw.repairs, *repairs]
    )


def run() -> None:
    arguments = parse()
    collection = load(COLLECTION_FILE)
    dataset = compute(raw_table(arguments.data, settings.load(), SOURCES), collection)
    print(processing.summary(dataset), flush=True)
    processing.log(dataset)


if __name__ == "__main__":
    main(run)
