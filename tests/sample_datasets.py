"""Small datasets of the generated sample, for tests of everything that learns from one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from wind_solar_sample import sample

from dsgo.cleaning import clean
from dsgo.collection import load
from dsgo.tables import Dataset, make_dataset

COLLECTION = load(Path(__file__).resolve().parent.parent / "projects" / "wind_solar" / "collection.yaml")


@cache
def dataset(start: str = "2013-01-01", end: str = "2015-07-01") -> Dataset:
    """The sample from `start` to `end`, checked and cleaned. Not to be changed: tests share it."""
    table, repairs = clean(sample(start=start, end=end), COLLECTION.dataset, file="sample")
    source = {"kind": "sample", "name": "generated sample", "sha256": "0" * 64}
    return make_dataset(table, COLLECTION, source=source, synthetic=True, repairs=repairs)
