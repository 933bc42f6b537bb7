"""Forecast every hour that the version in Production has not learned from, and record what is new.

Reads: a dataset with its outlook, the registry, the ledger. If Production cannot be used, the last good version answers, else the
    naive baseline (`dsgo.fallback`); every row says which. Where newer data were refused, the naive baseline also forecasts the
    hours that the dataset knows no weather of.
Writes: rows of the table `predictions`, in one transaction; a run with the same rows in the folder `predictions` (CSV, Parquet,
    a picture of each target), counts of new and unchanged rows, and who has answered and why.
Fails when: the dataset, the tracking server or the database cannot be reached. Rows issued before stay.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd

from dsgo import predictions, step_run, tags
from dsgo.command import main
from dsgo.fallback import Answer, answer, without_newer
from dsgo.figures import describe, png
from dsgo.hours import rows_of
from dsgo.predictions import EARLIER_VERSION, KEY, NAIVE, PRODUCTION
from dsgo.tables import Dataset, read_dataset

PARTS = {"forecast": "", "p10": "_p10", "p90": "_p90"}
RANK = {PRODUCTION: 0, EARLIER_VERSION: 1, NAIVE: 2}
SHOWN = pd.Timedelta(days=14)


def predict() -> None:
    """Parse, ask, keep what is worth recording, log, record."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dataset", required=True, help="URI of a dataset, runs:/<run id>/dataset")
    options.add_argument(
        "--refused", default="", help="why there are no newer data: the hours after these are forecast too"
    )
    options = options.parse_args()
    dataset = read_dataset(options.dataset)
    step_run.begin("predict", dataset, options.dataset)
    given = answer(dataset)
    if options.refused:
        given = without_newer(given, dataset, options.refused, pd.Timestamp.now("UTC"))
    for sentence in given.why:
        print(sentence, flush=True)
    rows = worth_recording(all_rows(given, dataset), dataset)
    log(rows, given, dataset)
    new = predictions.record(dataset.collection, rows.drop(columns="hindcast"), mlflow.active_run().info.run_id)
    ahead = (len(dataset.outlook) + len(given.late)) * (pd.Timedelta(dataset.info["frequency"]) / pd.Timedelta("1h"))
    mlflow.log_metrics({"rows_new": new, "rows_unchanged": len(rows) - new, "hours_ahead": ahead})
    print(f"{new:,} rows are new, {len(rows) - new:,} are as they were", flush=True)
    used = given.version.run_id if given.source == PRODUCTION and not options.refused else ""
    mlflow.set_tags(
        {
            tags.CHAMPION: used,
            tags.SOURCE: given.source,
            tags.RECORDED: str(predictions.additions(dataset.collection)),
            tags.OUTPUT_DIGEST: digest(rows),
        }
    )


def all_rows(given: Answer, dataset: Dataset) -> pd.DataFrame:
    """What is forecast, as rows to record, with `hindcast`: by the twin, of hours before the version was made.

    These, of the version's window, are out of sample too, and all there is before the first new data come.
    """
    version, made_of = given.version, {"data_digest": dataset.sha256, "synthetic": dataset.synthetic, "hindcast": False}
    parts = [long(given.late, dataset, source=NAIVE, version=pd.NA, **made_of)]
    if version is None:
        parts.append(long(given.table, dataset, source=given.source, version=pd.NA, **made_of))
        return joined(parts)
    made_of["synthetic"] |= version.synthetic
    told_by = {"source": given.source, "version": version.version}
    parts.append(long(given.table, dataset, **told_by, **made_of))
    try:
        window = version.window().drop(columns=dataset.targets)
    except Exception as error:  # the store's or pandas': these rows are a surplus, the others come in any case
        print(f"the window of version {version.version} cannot be read: {type(error).__name__}: {error}", flush=True)
    else:
        window = window.rename(columns={f"{target}_forecast": target for target in dataset.targets})
        made_of = {"data_digest": version.data_digest, "synthetic": version.synthetic, "hindcast": True}
        parts.append(long(window, dataset, **told_by, **made_of))
    return joined(parts)


def joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table of all; columns of an empty one have no types."""
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def long(table: pd.DataFrame, dataset: Dataset, **made_of: object) -> pd.DataFrame:
    """A table with columns for each target as one with a row for each."""
    parts = [
        pd.DataFrame({name: table[target + end].to_numpy(float) for name, end in PARTS.items()}).assign(
            target=target, utc_timestamp=table.index, **made_of
        )
        for target in (dataset.targets if len(table) else ())
    ]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KEY, *PARTS, *made_of])
    return rows.astype({"version": "Int64"})


def worth_recording(rows: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """The rows without those in whose place something better stands already.

    That is what a better source has said, unless weather has been forecast anew since; for an hour of the window, what any
    version said before; and for generated data, what was said of recorded ones.
    """
    if rows.empty:
        return rows
    known = predictions.newest(dataset.collection, rows["utc_timestamp"].min(), rows["utc_timestamp"].max())
    both = rows.merge(known[[*KEY, "source", "version", "synthetic"]], on=KEY, how="left", suffixes=("", "_known"))
    rank, known_rank = both["source"].map(RANK), both["source_known"].map(RANK)  # NaN where nothing is known
    renewed = (both["source"] == EARLIER_VERSION) & both["utc_timestamp"].isin(dataset.outlook.index)
    another = both["version"].fillna(0) != both["version_known"].fillna(0)
    stands = (known_rank < rank) & ~renewed
    stands |= both["hindcast"] & another & (known_rank == rank)
    stands |= both["synthetic"] & both["synthetic_known"].eq(False)
    return rows[~stands.to_numpy()]


def log(rows: pd.DataFrame, given: Answer, dataset: Dataset) -> None:
    """Tell who has answered and why; the rows as tables and pictures."""
    name = given.source.replace("_", " ") + (f", version {given.version.version}" if given.version else "")
    ahead = f", {len(dataset.outlook):,} of them without a recorded value yet" if len(dataset.outlook) else ""
    rows_are = rows_of(dataset.info)
    said = f"{len(given.table):,} {rows_are} after what it has learned from{ahead}"
    if not len(given.table):
        said = f"nothing is ahead: it has learned from all {rows_are} whose inputs are known"
    if len(given.late):
        said += f"; the naive baseline: {len(given.late):,} {rows_are} after all that is known"
    print(f"{name}: {said}", flush=True)
    mlflow.set_tag(tags.NOTE, "\n\n".join([f"**{name}**: {said}", *given.why]))
    with TemporaryDirectory(prefix="dsgo-predict-") as folder:
        path = Path(folder)
        rows.to_csv(path / "predictions.csv", index=False)
        rows.to_parquet(path / "predictions.parquet", index=False)
        for target in dataset.targets if len(rows) else ():
            (path / f"{target}.png").write_bytes(picture(rows[rows["target"] == target], target, dataset, name))
        mlflow.log_artifacts(folder, "predictions")


def picture(rows: pd.DataFrame, target: str, dataset: Dataset, note: str) -> bytes:
    """The newest forecasts of one target, beside what was recorded."""
    table = rows.set_index("utc_timestamp")[list(PARTS)].add_prefix(f"{target}_")
    end = table.index.max()
    hours = pd.date_range(
        max(table.index.min(), end - SHOWN), end, freq=dataset.info["frequency"], unit=table.index.unit
    )
    return png(describe(table.join(dataset.table[target]).reindex(hours), target, dataset.info, note=note))


def digest(rows: pd.DataFrame) -> str:
    """Of everything that was forecast."""
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()


if __name__ == "__main__":
    main(predict)
