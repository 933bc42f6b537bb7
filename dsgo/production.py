"""The version of a collection's model that is in Production, whoever has asked for it: through MLflow, or over HTTP alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dsgo import tags
from dsgo.tables import Dataset


@dataclass(frozen=True)
class Production(ABC):
    """What is known of it. A subclass fetches what is large when it is first asked for, and reads a dataset by its address."""

    collection: str
    version: int
    run_id: str
    model_uri: str
    promoted_at: pd.Timestamp
    trained_from: pd.Timestamp
    trained_to: pd.Timestamp
    synthetic: bool
    data_digest: str
    dataset_uri: str
    newest_uri: str
    step: str
    scores: Mapping[str, float] = field(repr=False)

    def dataset(self) -> Dataset:
        """The newest dataset, if it goes as far as the one that the version has learned from; else that one."""
        newest = self._dataset(self.newest_uri)
        return newest if newest.table.index[-1] >= self.trained_to else self._dataset(self.dataset_uri)

    @abstractmethod
    def _dataset(self, uri: str) -> Dataset:
        """The dataset at an address."""


def facts(collection: str, version: str | int, updated_ms: str | int, known: Mapping[str, str]) -> dict[str, Any]:
    """What a registered version and its tags say of a `Production`; its run says the rest.

    Args:
        updated_ms: of the version, in milliseconds since 1970: when it was promoted.
        known: its tags.
    """
    return {
        "collection": collection,
        "version": int(version),
        "model_uri": f"models:/{collection}/{version}",
        "promoted_at": pd.Timestamp(int(updated_ms), unit="ms", tz="UTC"),
        "trained_from": pd.Timestamp(known[tags.TRAINED_FROM]),
        "trained_to": pd.Timestamp(known[tags.TRAINED_TO]),
        "synthetic": known[tags.SYNTHETIC] == "true",
        "data_digest": known[tags.DATA_DIGEST],
        "dataset_uri": known[tags.DATASET],
        "step": known[tags.STEP],
    }
