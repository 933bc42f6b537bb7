"""The champion's forecasts of hours that it has not seen, by the model that knows most of what came before.

A version has two models: the served one, which has learned from everything there was, and its evaluated twin, which has not
seen the window of that time. Each hour of today's window is forecast by the served model if it lies after all that this one
has learned from, else by the twin. Hours that the served model has seen would flatter the champion; the twin alone would know
less than what is in Production does, and lose for that.
"""

from __future__ import annotations

import pandas as pd

from dsgo import registry
from dsgo.errors import GateError, WindowSeen
from dsgo.evaluation import plan
from dsgo.forecaster import Forecaster
from dsgo.registry import Production
from dsgo.tables import Dataset


def forecast_unseen(champion: Production, dataset: Dataset) -> pd.DataFrame:
    """`T_forecast` of every row of the dataset's window.

    Raises:
        WindowSeen: the twin, too, has learned from hours of the window.
        GateError: a model cannot be loaded or does not forecast what the dataset has.
    """
    _, window = plan(dataset.table.index, dataset.info)
    _, rows = window.split(dataset.table)
    with_history = dataset.table[dataset.table.index < window.end]
    served = load(champion, champion.model_uri)
    seen = rows.index <= served.trained_to
    parts = []
    if seen.any():
        twin = load(champion, f"runs:/{champion.run_id}/twin")
        if twin.trained_to >= window.start:
            raise WindowSeen(champion.version, twin.trained_to, window.start)
        parts.append(_ask(champion, twin, with_history, dataset).loc[rows.index[seen]])
    if not seen.all():
        parts.append(_ask(champion, served, with_history, dataset).loc[rows.index[~seen]])
    return pd.concat(parts)


def load(champion: Production, uri: str) -> Forecaster:
    """One of the champion's models.

    Raises:
        GateError: it cannot be loaded, for whatever reason; says what can be done.
    """
    try:
        return registry.load_forecaster(uri)
    except Exception as error:  # the store's, MLflow's, or whatever the bytes of a pickle make Python raise
        name, version = champion.collection, champion.version
        raise GateError(
            f"Version {version} in Production cannot be compared: {uri} cannot be loaded "
            f"({type(error).__name__}: {error}). Nothing replaces what cannot be compared with.",
            "Is the store down, `make up`. If its files are lost, bring them back with `make restore`, or put an "
            f"earlier version in its place with `make rollback COLLECTION={name}`. If no version is left, give it up: "
            f"run the project promote with -P give_up={version} (docs/decisions/gate.md).",
        ) from error


def _ask(champion: Production, model: Forecaster, table: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    lacking = [name for name in model.inputs if name not in table] + sorted(set(dataset.targets) - set(model.targets))
    if lacking:
        raise GateError(
            f"Version {champion.version} in Production cannot be compared: it and the dataset do not share {lacking[0]}.",
            "A collection with other columns is another collection: give it a name of its own.",
        )
    return model.forecast(table)[[f"{target}_forecast" for target in dataset.targets]]
