"""Each hour of the window is forecast by the champion's model that knows most and has not seen it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset

from dsgo import rival
from dsgo.errors import GateError, WindowSeen
from dsgo.evaluation import plan

DATA = dataset()
_, WINDOW = plan(DATA.table.index, DATA.info)
_, ROWS = WINDOW.split(DATA.table)
CHAMPION = SimpleNamespace(collection="c", version=3, run_id="r", model_uri="models:/c/3")
BEFORE = WINDOW.start - pd.Timedelta("1h")


class Model:
    """Forecasts one number for every hour."""

    def __init__(self, value: float, trained_to: pd.Timestamp, inputs=tuple(DATA.inputs), targets=tuple(DATA.targets)):
        self.value, self.trained_to, self.inputs, self.targets = value, trained_to, list(inputs), list(targets)

    def forecast(self, table: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({f"{t}_forecast": self.value for t in self.targets}, index=table.index)


@pytest.fixture
def models(monkeypatch):
    """Function: what the store has for the champion; an exception is raised instead."""

    def put(served, twin) -> None:
        def load(uri: str):
            found = {"models:/c/3": served, "runs:/r/twin": twin}[uri]
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(rival.registry, "load_forecaster", load)

    return put


def test_a_served_model_that_ended_before_the_window_forecasts_all_of_it_and_the_twin_is_not_needed(models):
    models(Model(1.0, BEFORE), OSError("not asked for"))
    forecast = rival.forecast_unseen(CHAMPION, DATA)
    pd.testing.assert_index_equal(forecast.index, ROWS.index)
    assert (forecast == 1.0).all(axis=None)
    assert list(forecast) == [f"{t}_forecast" for t in DATA.targets]


def test_the_twin_forecasts_what_the_served_model_has_seen(models):
    seen_to = WINDOW.start + pd.Timedelta("30D")
    models(Model(1.0, seen_to), Model(2.0, BEFORE))
    forecast = rival.forecast_unseen(CHAMPION, DATA)
    pd.testing.assert_index_equal(forecast.index, ROWS.index)
    np.testing.assert_array_equal(forecast["wind_GW_forecast"] == 2.0, ROWS.index <= seen_to)


def test_a_served_model_that_has_seen_everything_forecasts_nothing(models):
    models(Model(1.0, ROWS.index[-1]), Model(2.0, BEFORE))
    assert (rival.forecast_unseen(CHAMPION, DATA) == 2.0).all(axis=None)


def test_a_twin_that_has_seen_an_hour_of_the_window_is_refused(models):
    models(Model(1.0, ROWS.index[-1]), Model(2.0, WINDOW.start))
    with pytest.raises(WindowSeen, match="version 3 has learned up to 2015-01-01"):
        rival.forecast_unseen(CHAMPION, DATA)


@pytest.mark.parametrize("served", [OSError("gone"), Model(1.0, ROWS.index[-1])])
def test_a_model_that_cannot_be_loaded_stops_with_what_to_do(models, served):
    models(served, AttributeError("no such class"))
    with pytest.raises(GateError, match=r"Version 3 in Production cannot be compared: .*make rollback.*give_up=3"):
        rival.forecast_unseen(CHAMPION, DATA)


@pytest.mark.parametrize("other", [{"inputs": ("pressure",)}, {"targets": ("solar_GW",)}])
def test_a_champion_of_other_columns_cannot_be_compared(models, other):
    models(Model(1.0, BEFORE, **other), None)
    with pytest.raises(GateError, match=r"do not share (pressure|wind_GW)"):
        rival.forecast_unseen(CHAMPION, DATA)
