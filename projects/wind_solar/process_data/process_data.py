"""Make the dataset of German wind and solar power from raw hourly data.

Reads      `--data`: `sample` (generated), `opsd` (downloaded), an absolute path to a CSV file or its http(s) address;
           `../collection.yaml`: columns, units and bounds.
Writes     the artifact folder `dataset` (table.parquet, dataset.yaml, outlook.parquet if the last rows have weather only),
           the dataset as the run's input, tags with its digests, and metrics of what was found in the raw data.
Fails when the source cannot be fetched or its table cannot be trusted: one message says why, nothing is logged.
"""

import argparse
import tempfile
from pathlib import Path

import opsd
import wind_solar_sample

from dsgo import settings, tables
from dsgo.cleaning import absent_hours, clean, gaps
from dsgo.collection import Collection, load
from dsgo.command import main
from dsgo.sources import RawTable, raw_table

COLLECTION_FILE = Path(__file__).resolve().parent.parent / "collection.yaml"
ARTIFACT_FOLDER = "dataset"
GAPS_SHOWN = 8
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


def summary(dataset: tables.Dataset) -> str:
    """What was found in the raw data and how it was handled, to be read by people."""
    info, index = dataset.info, dataset.table.index
    lines = [
        f"{info['title']}: {len(index):,} hours, {index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} UTC",
        f"Source: {info['source']['kind']}, {info['source']['name']}"
        + (" (synthetic: nothing in it was recorded)" if dataset.synthetic else ""),
        "Found and handled:" if info["repairs"] else "No fault was found.",
    ]
    lines += [
        f"  {repair['count']:>6,} {repair['fault']}, first {repair['first']}: {repair['handling']}"
        for repair in info["repairs"]
    ]
    holes = gaps(index, info["frequency"])
    if len(holes):
        shown = [f"{start:%Y-%m-%d %H:%M} ({hours} h)" for start, hours in holes.head(GAPS_SHOWN).items()]
        more = [f"and {len(holes) - GAPS_SHOWN} more"] if len(holes) > GAPS_SHOWN else []
        lines.append("  Gaps: " + ", ".join(shown + more))
    ahead = dataset.outlook.index
    if len(ahead):
        lines.append(f"Outlook: {len(ahead):,} hours with weather only, to {ahead[-1]:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


def metrics(dataset: tables.Dataset) -> dict[str, int]:
    """Counts of rows, absent hours, hours that came more than once, kinds of faults, and hours of the outlook."""
    twice = [repair["count"] for repair in dataset.info["repairs"] if repair["fault"].startswith("hours given twice")]
    return {
        "rows": len(dataset.table),
        "gaps_hours": len(absent_hours(dataset.table.index, dataset.info["frequency"])),
        "duplicated_hours": sum(twice),
        "faults": len(dataset.info["repairs"]),
        "outlook_hours": len(dataset.outlook),
    }


def log(dataset: tables.Dataset) -> None:
    """Log the dataset to the run that `mlflow run` made, or to a new one."""
    import mlflow  # here: it takes seconds, and a table that cannot be used never gets so far
    from mlflow.data.pandas_dataset import from_pandas

    with mlflow.start_run() as run, tempfile.TemporaryDirectory(prefix="dsgo-") as folder:
        mlflow.set_tags(
            {
                "dsgo.collection": dataset.collection,
                "dsgo.step": "process_data",
                "dsgo.data_digest": dataset.sha256,
                "dsgo.output_digest": dataset.digest,
                "dsgo.synthetic": str(dataset.synthetic).lower(),
            }
        )
        mlflow.log_metrics(metrics(dataset))
        shown = from_pandas(dataset.table.reset_index(), name=dataset.collection, digest=dataset.sha256[:36])
        mlflow.log_input(shown, context=dataset.info["source"]["kind"])
        mlflow.log_artifacts(str(tables.write_dataset(dataset, folder)), ARTIFACT_FOLDER)
        print(f"Dataset: runs:/{run.info.run_id}/{ARTIFACT_FOLDER}")


def run() -> None:
    arguments = parse()
    collection = load(COLLECTION_FILE)
    dataset = compute(raw_table(arguments.data, settings.load(), SOURCES), collection)
    print(summary(dataset), flush=True)
    log(dataset)


if __name__ == "__main__":
    main(run)
