"""What every `process_data` does with its dataset: say what was found in the raw data, count it, log it."""

from __future__ import annotations

import tempfile

import pandas as pd

from dsgo import tables, tags
from dsgo.cleaning import absent_hours, gaps
from dsgo.hours import rows_of

ARTIFACT_FOLDER = "dataset"
GAPS_SHOWN = 8


def summary(dataset: tables.Dataset) -> str:
    """What was found in the raw data and how it was handled, to be read by people."""
    info, index = dataset.info, dataset.table.index
    lines = [
        f"{info['title']}: {len(index):,} {rows_of(info)}, {index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} UTC",
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
        step_h = pd.Timedelta(info["frequency"]) / pd.Timedelta("1h")
        shown = [f"{start:%Y-%m-%d %H:%M} ({rows * step_h:g} h)" for start, rows in holes.head(GAPS_SHOWN).items()]
        more = [f"and {len(holes) - GAPS_SHOWN} more"] if len(holes) > GAPS_SHOWN else []
        lines.append("  Gaps: " + ", ".join(shown + more))
    ahead = dataset.outlook.index
    if len(ahead):
        known = "weather" if len(dataset.inputs) > 1 else dataset.inputs[0]
        lines.append(f"Outlook: {len(ahead):,} {rows_of(info)} with {known} only, to {ahead[-1]:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


def metrics(dataset: tables.Dataset) -> dict[str, float]:
    """Counts of rows, absent hours, hours that came more than once, kinds of faults, and hours of the outlook."""
    step_h = pd.Timedelta(dataset.info["frequency"]) / pd.Timedelta("1h")
    twice = [repair["count"] for repair in dataset.info["repairs"] if " given twice" in repair["fault"]]
    return {
        "rows": len(dataset.table),
        "gaps_hours": len(absent_hours(dataset.table.index, dataset.info["frequency"])) * step_h,
        "duplicated_hours": sum(twice) * step_h,
        "faults": len(dataset.info["repairs"]),
        "outlook_hours": len(dataset.outlook) * step_h,
    }


def log(dataset: tables.Dataset) -> None:
    """Log the dataset to the run that `mlflow run` made, or to a new one."""
    import mlflow  # here: it takes seconds, and a table that cannot be used never gets so far
    from mlflow.data.pandas_dataset import from_pandas

    with mlflow.start_run() as run, tempfile.TemporaryDirectory(prefix="dsgo-") as folder:
        mlflow.set_tags(
            {
                tags.COLLECTION: dataset.collection,
                tags.STEP: "process_data",
                tags.DATA_DIGEST: dataset.sha256,
                tags.OUTPUT_DIGEST: dataset.digest,
                tags.SYNTHETIC: str(dataset.synthetic).lower(),
            }
        )
        mlflow.log_metrics(metrics(dataset))
        shown = from_pandas(dataset.table.reset_index(), name=dataset.collection, digest=dataset.sha256[:36])
        mlflow.log_input(shown, context=dataset.info["source"]["kind"])
        mlflow.log_artifacts(str(tables.write_dataset(dataset, folder)), ARTIFACT_FOLDER)
        print(f"Dataset: runs:/{run.info.run_id}/{ARTIFACT_FOLDER}")
