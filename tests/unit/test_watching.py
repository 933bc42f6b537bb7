"""Limits of the watch: every one must be there, none may be unknown, all must make sense."""

from __future__ import annotations

import pytest
import yaml
from sample_datasets import COLLECTION

from dsgo.collection import load
from dsgo.errors import DataError, WatchError
from dsgo.watching import read

GIVEN = dict(COLLECTION.watch)


def test_the_shipped_limits_can_be_read() -> None:
    limits = read(GIVEN)
    assert (limits.short_days, limits.long_days, limits.missing_hours) == (7, 28, 24.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stale_hours": None}, r"watch\.stale_hours: None cannot be used"),
        ({"stale_hour": 3}, r"watch\.stale_hour: there is no such limit"),
        ({"short_days": 7.5}, r"watch\.short_days: 7\.5 cannot be used.*whole number"),
        ({"short_days": 28}, r"short_days must be less than watch\.long_days"),
        ({"missing_hours": True}, r"watch\.missing_hours: True cannot be used"),
        ({"false_alarms_a_year": 0}, r"Write a number from 0\.01 to 52"),
    ],
)
def test_a_wrong_limit_is_named(changes: dict, message: str) -> None:
    with pytest.raises(WatchError, match=message):
        read(GIVEN | changes)


def test_a_missing_limit_is_named() -> None:
    with pytest.raises(WatchError, match=r"The limit watch\.long_days is missing"):
        read({name: value for name, value in GIVEN.items() if name != "long_days"})


@pytest.mark.parametrize("given", [None, 3, ["short_days"]])
def test_what_holds_no_limits_is_refused(given: object) -> None:
    with pytest.raises(WatchError, match="holds no limits"):
        read(given)


def test_a_collection_without_a_limit_is_refused_by_its_file(tmp_path) -> None:
    content = yaml.safe_load(COLLECTION.path.read_text(encoding="utf-8"))
    content["watch"].pop("missing_hours")
    path = tmp_path / "collection.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"collection\.yaml: The limit watch\.missing_hours is missing"):
        load(path)
