"""The dataset contract: a checked table and what is known of it, from `process_data` to every later step.

A dataset is a folder of two files. `table.parquet` has the sorted, unique index `utc_timestamp` (`datetime64[us, UTC]`,
start of hour) and float64 columns; hours that the source does not have are absent rows. `dataset.yaml` has the
collection's schema, the period, the source, whether it is synthetic, every repair made, and the sha256 of the table.
A third, `outlook.parquet`, is there if the source has inputs of hours whose targets are not known yet: the inputs of these,
with an index of the same kind, all after the table's.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from dsgo.checks import Place, check_bounds, numbers, require_columns, utc_timestamps
from dsgo.collection import Collection, columns_of
from dsgo.errors import DataError, DSGoError

TABLE_FILE = "table.parquet"
INFO_FILE = "dataset.yaml"
OUTLOOK_FILE = "outlook.parquet"


@dataclass(frozen=True)
class Dataset:
    """A checked table and what is known of it.

    Attributes:
        table: every hour with inputs and targets.
        info: the content of `dataset.yaml`.
        ahead: `outlook`, where there is one.
    """

    table: pd.DataFrame
    info: Mapping[str, Any]
    ahead: pd.DataFrame | None = None

    @property
    def outlook(self) -> pd.DataFrame:
        """Inputs of the hours after the table whose targets are not known yet; without rows if there are none."""
        return self.table[self.inputs].iloc[:0] if self.ahead is None else self.ahead

    @property
    def targets(self) -> list[str]:
        """Names of the columns to forecast."""
        return columns_of(self.info, "target")

    @property
    def inputs(self) -> list[str]:
        """Names of the columns a forecast is made from."""
        return columns_of(self.info, "input")

    @property
    def collection(self) -> str:
        """Name of the collection that the dataset belongs to."""
        return self.info["collection"]

    @property
    def synthetic(self) -> bool:
        """Whether the table was generated, not recorded."""
        return self.info["synthetic"]

    @property
    def sha256(self) -> str:
        """sha256 of `table.parquet`: the tag `dsgo.data_digest`."""
        return self.info["sha256"]

    @property
    def digest(self) -> str:
        """sha256 of `dataset.yaml`. Covers table and schema: the tag `dsgo.output_digest` of `process_data`."""
        return hashlib.sha256(_info_bytes(self.info)).hexdigest()


def make_dataset(
    table: pd.DataFrame,
    collection: Collection,
    *,
    source: Mapping[str, Any],
    synthetic: bool,
    repairs: Sequence[Mapping[str, Any]] = (),
) -> Dataset:
    """The dataset of a clean table.

    Args:
        table: what `dsgo.cleaning.clean` returned; the last rows, those without targets, become the outlook.
        source: `kind`, `name` and `sha256` of what the table was made from.
        repairs: `fault`, `count`, `first`, `handling` of each fault that was found.
    """
    ahead = table[collection.targets].isna().all(axis=1)
    table, outlook = table[~ahead], table.loc[ahead, collection.inputs]
    info = {
        "collection": collection.name,
        "title": collection.title,
        **collection.dataset,
        "period": {"start": table.index[0].isoformat(), "end": table.index[-1].isoformat()},
        "rows": len(table),
        "source": dict(source),
        "synthetic": synthetic,
        "repairs": [dict(repair) for repair in repairs],
        "sha256": hashlib.sha256(_table_bytes(table)).hexdigest(),
    }
    if outlook.empty:
        return Dataset(table, info)
    info["outlook"] = {
        "start": outlook.index[0].isoformat(),
        "end": outlook.index[-1].isoformat(),
        "rows": len(outlook),
        "sha256": hashlib.sha256(_table_bytes(outlook)).hexdigest(),
    }
    return Dataset(table, info, outlook)


def write_dataset(dataset: Dataset, folder: Path | str) -> Path:
    """Write the files into `folder` (made if absent) and return it. Equal datasets give equal bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLE_FILE).write_bytes(_table_bytes(dataset.table))
    if dataset.ahead is not None:
        (folder / OUTLOOK_FILE).write_bytes(_table_bytes(dataset.ahead))
    (folder / INFO_FILE).write_bytes(_info_bytes(dataset.info))
    return folder


def read_dataset(uri: Path | str) -> Dataset:
    """Read a dataset from a folder or an MLflow artifact URI such as `runs:/<id>/dataset`.

    Raises:
        DataError: nothing is there, a file is missing or damaged, or the table is not the one of its `dataset.yaml`.
    """
    if Path(uri).is_dir():
        return _read_folder(Path(uri), str(uri))
    if ":/" not in str(uri):
        raise DataError(uri, "is no folder and no artifact URI.", "Give a URI such as runs:/<run id>/dataset.")
    from mlflow.artifacts import download_artifacts  # here: importing mlflow takes seconds
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="dsgo-dataset-") as folder:
        try:
            local = download_artifacts(artifact_uri=str(uri), dst_path=folder)
        except DSGoError:
            raise
        except (MlflowException, OSError) as error:
            raise DataError(
                uri, f"cannot be downloaded: {error}", "Give runs:/<run id>/dataset of a finished process_data run."
            ) from error
        return _read_folder(Path(local), str(uri))


def check_inputs(
    frame: pd.DataFrame, info: Mapping[str, Any], name: str = "request"
) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """The timestamps and inputs of a request, in the row order given.

    Args:
        frame: the timestamp column (ISO 8601 text with an offset, or datetimes with a time zone) and the inputs, in
            any order; other columns are left out.
        info: `Dataset.info` of the data that the model was trained on.
        name: what to call the table in an error.

    Returns:
        The timestamps (`datetime64[us, UTC]`), shape (n,), and the inputs (float64), shape (n, inputs).

    Raises:
        DataError: there is no row or a column is missing; a timestamp cannot be read or has no offset; a value is text,
            missing, infinite or outside its physical bounds. Names the column and the first row (1 is the first).
    """
    place = Place(name)
    inputs = columns_of(info, "input")
    require_columns(frame, [info["timestamp"], *inputs], place)
    timestamps, _ = utc_timestamps(frame[info["timestamp"]], place)
    checked = np.empty((len(frame), len(inputs)), order="F")
    for place_of, column in enumerate(inputs):
        values = numbers(frame[column], place)
        if np.isnan(values).any():
            raise place.error(column, int(np.argmax(np.isnan(values))), "the value is missing.", "Give a number.")
        check_bounds(values, column, info["columns"][column], place)
        checked[:, place_of] = values
    return timestamps, checked


def read_files(content: Callable[[str], bytes], name: str) -> Dataset:
    """Read a dataset from its files' contents, by their names, that errors call `name`. Raises as `read_dataset` does."""
    try:
        info = yaml.safe_load(content(INFO_FILE))
        expected = {TABLE_FILE: info["sha256"]} | (
            {OUTLOOK_FILE: info["outlook"]["sha256"]} if "outlook" in info else {}
        )
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{name}/{INFO_FILE}", "is damaged.", "Run process_data again.") from error
    tables = {}
    for file, sha256 in expected.items():
        read = content(file)
        found = hashlib.sha256(read).hexdigest()
        if found != sha256:
            raise DataError(
                f"{name}/{file}",
                f"is damaged or was changed: its sha256 is {found}, {INFO_FILE} says {sha256}.",
                "Run process_data again.",
            )
        tables[file] = pd.read_parquet(io.BytesIO(read))
    return Dataset(tables[TABLE_FILE], info, tables.get(OUTLOOK_FILE))


def _read_folder(folder: Path, name: str) -> Dataset:
    def content(file: str) -> bytes:
        try:
            return (folder / file).read_bytes()
        except OSError as error:
            raise DataError(name, f"has no {file}, so it is no dataset.", "Run process_data again.") from error

    return read_files(content, name)


def _table_bytes(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=True), buffer, compression="zstd")
    return buffer.getvalue()


def _info_bytes(info: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(info), sort_keys=False, allow_unicode=True, width=120).encode()
