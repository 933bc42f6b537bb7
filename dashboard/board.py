"""The newest answers of the system, of every collection: what the pages show."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from history import History
from latest import Latest

from dsgo import collection as collections
from dsgo.collection import Collection
from dsgo.errors import DataError, NoProductionModel
from dsgo.review import Review, review
from dsgo.settings import Settings

EVALUATIONS = 32  # runs whose tables are kept; they do not change


@dataclass(frozen=True)
class InProduction:
    """A Production version, how it did, and all there is of its data and of what was issued."""

    production: Any  # dsgo.registry.Production
    review: Review
    history: History
    issued: Issued | None


@dataclass(frozen=True)
class Issued:
    """The newest prediction of every target and hour; `additions` grows with each new one."""

    table: pd.DataFrame
    additions: int


@dataclass(frozen=True)
class Watch:
    """What the newest check and all checks before have found, what was decided, and what a person is asked to do now."""

    newest: pd.DataFrame
    history: pd.DataFrame
    actions: pd.DataFrame
    remedy: str


class Board:
    """The newest answers of `system` for each collection below `settings.checkout`."""

    def __init__(self, settings: Settings, system: Any, every: float) -> None:
        self.settings = settings
        self._system = system
        self._every = every
        self.collections: dict[str, Collection | DataError] = {}
        for path in sorted((settings.checkout / "projects").glob(f"*/{collections.FILE_NAME}")):
            try:
                self.collections[path.parent.name] = collections.load(path)
            except DataError as error:  # one broken file must not hide the other collections
                self.collections[path.parent.name] = error
        usable = {name: known for name, known in self.collections.items() if isinstance(known, Collection)}
        self.issued = {name: Latest(partial(self._issued, name), every) for name in usable}
        self.watch = {name: Latest(partial(self._watch, name), every) for name in usable}
        self.production = {name: Latest(partial(self._load, name), every) for name in usable}
        self.candidates = {name: Latest(partial(_same, partial(system.leaderboard, name)), every) for name in usable}
        self.ledger = {name: Latest(partial(_same, partial(system.ledger, name)), every) for name in usable}
        self.pipelines = {
            name: Latest(partial(_same, partial(system.pipelines, known)), every) for name, known in usable.items()
        }
        self.services = Latest(self._services, every)
        self.log = system.log
        self.evaluation = functools.lru_cache(EVALUATIONS)(self._evaluation)

    def default(self) -> str | None:
        """The collection to show where nobody has named one: the first that has a model in Production, as far as is known.

        One that has still to answer goes before one that has none.
        """

        def rank(name: str) -> int:
            if name not in self.production:  # its file is broken
                return 2
            value = self.production[name].read().value
            return 0 if isinstance(value, InProduction) else 1 if value is None else 2

        return min(self.collections, key=rank, default=None)

    def _evaluation(self, collection: str, run_id: str) -> Latest:
        """The evaluation of one run of a collection."""
        ask = partial(self._system.evaluation, collection, run_id)
        return Latest(lambda known: ask() if known is None else known, self._every)

    def _load(self, name: str, known: InProduction | NoProductionModel | None) -> InProduction | NoProductionModel:
        try:
            production = self._system.load_production(name)
        except NoProductionModel as answer:  # an answer like any other, not a failure of the registry
            return known if isinstance(known, NoProductionModel) else answer
        # What is known of the predictions. Only their first answer is waited for, be it that the database is down: else every
        # page would be drawn once without them and at once again, under the hands of who has begun to type.
        issued = self.issued[name].first().value
        if isinstance(known, InProduction) and _identity(known.production) == _identity(production):
            if known.issued is issued:
                return known
            reviewed, dataset = known.review, production.dataset()
        else:
            reviewed, dataset = review(production), production.dataset()
        predictions = None if issued is None else issued.table
        history = History(dataset.table, reviewed.table, dataset.info, predictions)
        return InProduction(production, reviewed, history, issued)

    def _issued(self, name: str, known: Issued | None) -> Issued:
        """The predictions, read anew only if some were added: years of hours are many rows."""
        additions = self._system.additions(name)
        if known is not None and known.additions == additions:
            return known
        return Issued(self._system.predictions(name), additions)

    def _watch(self, name: str, known: Watch | None) -> Watch:
        """The newest check and what was decided; the history of all checks only if there is a new one."""
        newest, actions = self._system.findings(name), self._system.actions(name)
        remedy = self._system.remedy(name)
        checked = known is None or not known.newest.equals(newest)
        if known is not None and not checked and known.actions.equals(actions) and known.remedy == remedy:
            return known
        return Watch(newest, self._system.all_findings(name) if checked else known.history, actions, remedy)

    def _services(self, known: list[Any] | None) -> list[Any]:
        """The servers' states; an uptime that grows is nothing new to show."""
        found = self._system.services()
        same = known is not None and [_but_uptime(one) for one in known] == [_but_uptime(one) for one in found]
        return known if same else found


def _same(ask: Any, known: Any) -> Any:
    """The new answer, or the known one where they are equal."""
    answer = ask()
    if known is None:
        return answer
    equal = known.equals(answer) if isinstance(answer, pd.DataFrame) else known == answer
    return known if equal else answer


def _but_uptime(status: Any) -> tuple[Any, ...]:
    return (status.name, status.state, status.address, status.pid, status.detail)


def _identity(production: Any) -> tuple[str, ...]:
    # With the moment of promotion, so that a version promoted again counts as new, and so do new data.
    return tuple(
        str(part) for part in (production.version, production.run_id, production.promoted_at, production.newest_uri)
    )
