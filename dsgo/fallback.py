"""Who forecasts: what is in Production, else the last good version, else the naive baseline. Somebody always answers.

A version is good if its files are as it left them, it loads, and it has a number for every target and hour. Whatever goes
wrong with one is a reason to ask the next, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient

from dsgo import ledger, manifest, registry, tags
from dsgo.errors import NoProductionModel, RegistryError
from dsgo.persistence import persist
from dsgo.predictions import EARLIER_VERSION, NAIVE, PRODUCTION
from dsgo.registry import Production
from dsgo.review import forecasts
from dsgo.tables import Dataset

AHEAD = pd.Timedelta(days=7)  # until then somebody will have looked; a day repeated for longer is hardly a forecast
REPLAYED = pd.Timedelta(days=28)  # data that ended longer ago are of another time than now


@dataclass(frozen=True)
class Answer:
    """Forecasts of one source.

    Attributes:
        source: `production`, `earlier_version` or `naive`.
        version: whose forecasts they are; None of the naive baseline.
        table: index `utc_timestamp`, every hour after what anyone asked has learned from; `T`, `T_p10`, `T_p90`.
        why: why those before it did not answer, a sentence each; empty for Production.
        late: the naive baseline's forecasts of hours after all that the dataset knows, where nothing newer can be had.
    """

    source: str
    version: Production | None
    table: pd.DataFrame
    why: tuple[str, ...]
    late: pd.DataFrame = field(default_factory=pd.DataFrame)


def answer(dataset: Dataset) -> Answer:
    """The best forecasts that can be had of what the dataset knows weather of and Production has not learned from.

    Where no version can be asked, the naive baseline forecasts the newest hours, as many as a gate's window has, and the outlook.
    """
    why: list[str] = []
    learned: list[pd.Timestamp] = []
    for source, name, load in _versions(dataset.collection):
        try:
            version = load()
            learned.append(version.trained_to)
            return Answer(source, version, _ask(version, dataset, _hours(dataset, max(learned))), tuple(why))
        except NoProductionModel as error:
            why.append(error.problem)
        except Exception as error:  # the store's, MLflow's, or whatever a damaged pickle or a model's own code raises
            said = (str(error).strip().splitlines() or ["without a message"])[0]
            why.append(f"{name} cannot be used: {type(error).__name__}: {said}")
    step, months = pd.Timedelta(dataset.info["frequency"]), pd.DateOffset(months=dataset.info["window"]["months"])
    hours = _hours(dataset, max(learned, default=dataset.table.index[-1] + step - months - step))
    return Answer(
        NAIVE, None, persist(dataset.table, hours, dataset.info) if len(hours) else pd.DataFrame(), tuple(why)
    )


def without_newer(given: Answer, dataset: Dataset, refused: str, now: pd.Timestamp) -> Answer:
    """The answer and, as newer data were refused, the naive baseline's forecasts of a week that the dataset does not reach.

    The week begins with `now`, and what lies between is forecast too. It begins where the dataset ends if that is still to
    come, or so long ago that the data are of another time.

    Args:
        refused: why.
    """
    end = (dataset.outlook if len(dataset.outlook) else dataset.table).index[-1]
    last = (now if end < now < end + REPLAYED else end) + AHEAD
    step = pd.Timedelta(dataset.info["frequency"])
    hours = pd.date_range(end + step, last, freq=step, unit=dataset.table.index.unit)
    why = (*given.why, f"The newer data were refused; this is from those before. {refused}")
    return replace(given, late=persist(dataset.table, hours, dataset.info), why=why)


def _versions(collection: str) -> Iterator[tuple[str, str, Callable[[], Production]]]:
    """Source, name and loader of each version that may be asked: Production first, then back along the ledger's path."""
    yield PRODUCTION, "Production", lambda: registry.load_production(collection)
    for entry in reversed(ledger.in_production(ledger.read(collection))[:-1]):
        yield EARLIER_VERSION, f"version {entry.version}", lambda entry=entry: _as_in(entry)


def _as_in(entry: ledger.Entry) -> Production:
    version = registry.load_version(entry.collection, entry.version)
    if version.run_id != entry.evidence.run_id:
        raise RegistryError(f"the registry's version {entry.version} is another one than the ledger's")
    return version


def _hours(dataset: Dataset, after: pd.Timestamp) -> pd.DatetimeIndex:
    known = dataset.table.index.append(dataset.outlook.index)
    return known[known > after]


def _ask(version: Production, dataset: Dataset, hours: pd.DatetimeIndex) -> pd.DataFrame:
    client = MlflowClient()
    run = client.get_run(version.run_id)
    if tags.MANIFEST in run.data.tags:  # a damaged model may load, and answer nonsense
        damaged = [file for file in manifest.damage(client, run) if file.startswith("model ")]
        if damaged:
            raise RegistryError(damaged[0])
    _ = version.forecaster  # whether or not there is anything to ask
    columns = [target + part for target in dataset.targets for part in ("", "_p10", "_p90")]
    if hours.empty:
        return pd.DataFrame(columns=columns)
    table = forecasts(version, dataset, hours)[columns]
    if not np.isfinite(table.to_numpy(float)).all():
        raise RegistryError("it answers without a number")
    return table
