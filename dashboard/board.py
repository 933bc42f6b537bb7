"""What the pages show, of every collection: the one place of the dashboard that asks the registry."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from latest import Latest

from dsgo import collection as collections
from dsgo import services
from dsgo.collection import Collection
from dsgo.errors import DataError, NoProductionModel
from dsgo.review import Review, review
from dsgo.settings import Settings


@dataclass(frozen=True)
class InProduction:
    """A Production version and how it did."""

    production: Any  # dsgo.registry.Production
    review: Review


class Board:
    """The newest answers of the registry for each collection below `settings.checkout`."""

    def __init__(self, settings: Settings, registry: Any, every: float) -> None:
        self.settings = settings
        self._registry = registry
        self.collections: dict[str, Collection | DataError] = {}
        for path in sorted((settings.checkout / "projects").glob(f"*/{collections.FILE_NAME}")):
            try:
                self.collections[path.parent.name] = collections.load(path)
            except DataError as error:  # one broken file must not hide the other collections
                self.collections[path.parent.name] = error
        self.production = {name: Latest(partial(self._load, name), every) for name in self.collections}
        self.candidates = {name: Latest(partial(self._rank, name), every) for name in self.collections}

    def _ask(self, name: str) -> Any:
        """The registry. Refuses at once where the tracking server is down: MLflow itself would try for minutes."""
        if self._registry is not None:
            return self._registry
        with contextlib.suppress(NoProductionModel):
            services.production_version(self.settings, name)
        return importlib.import_module("dsgo.registry")  # here, because it brings mlflow, which takes seconds

    def _load(self, name: str, known: InProduction | NoProductionModel | None) -> InProduction | NoProductionModel:
        try:
            production = self._ask(name).load_production(name)
        except NoProductionModel as answer:  # an answer like any other, not a failure of the registry
            return known if isinstance(known, NoProductionModel) else answer
        if isinstance(known, InProduction) and _identity(known.production) == _identity(production):
            return known
        return InProduction(production, review(production))

    def _rank(self, name: str, known: pd.DataFrame | None) -> pd.DataFrame:
        board = self._ask(name).leaderboard(name)
        return known if known is not None and board.equals(known) else board


def _identity(production: Any) -> tuple[str, ...]:
    # With the moment of promotion, so that a version promoted again counts as new.
    return tuple(str(part) for part in (production.version, production.run_id, production.promoted_at))
