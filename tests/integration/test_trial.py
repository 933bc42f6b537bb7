"""A model on trial: served by a real `mlflow models serve`, asked, timed, and gone afterwards."""

from __future__ import annotations

import socket

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
from sample_datasets import dataset
from sklearn.linear_model import Ridge

from dsgo.errors import GateError
from dsgo.evaluation import plan
from dsgo.forecaster import Forecaster
from dsgo.served import ServedForecaster, signature
from dsgo.settings import HOST
from dsgo.trial import _compare, try_serving

DATA = dataset()


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    folds, _ = plan(DATA.table.index, DATA.info)
    past, fold = folds[-1].split(DATA.table)
    made = Forecaster(DATA.info, Ridge(1.0)).fit(past)
    return made.calibrate(fold[DATA.targets].join(made.forecast(fold)), DATA.table)


class Broken(ServedForecaster):
    """Cannot answer."""

    def predict(self, context, model_input, params=None):
        raise ValueError("out of order")


def saved(kind, forecaster, path) -> str:
    mlflow.pyfunc.save_model(
        path, python_model=kind(forecaster), signature=signature(forecaster), pip_requirements=["mlflow"]
    )
    return str(path)


def test_a_good_model_answers_its_own_numbers_and_the_server_is_gone_afterwards(forecaster, tmp_path):
    trial = try_serving(saved(ServedForecaster, forecaster, tmp_path / "model"), DATA.table)
    assert trial.complaint == ""
    assert 0.5 < trial.latency_ms < 5000
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert trial.size_MB == pytest.approx(sum(path.stat().st_size for path in files) / 1e6, rel=0.01)
    assert not [p for p in psutil.Process().children(recursive=True) if "scoring_server" in " ".join(p.cmdline())]


def test_a_model_that_cannot_answer_is_told_without_waiting_for_the_server(forecaster, tmp_path):
    trial = try_serving(saved(Broken, forecaster, tmp_path / "model"), DATA.table)
    assert "ValueError: out of order" in trial.complaint
    assert np.isnan(trial.latency_ms)


def test_a_server_that_does_not_start_stops_the_step_with_what_it_said(forecaster, tmp_path, monkeypatch):
    path = saved(ServedForecaster, forecaster, tmp_path / "model")
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        monkeypatch.setattr("dsgo.trial._free_port", lambda: holder.getsockname()[1])  # taken meanwhile
        with pytest.raises(GateError, match="ended with code"):
            try_serving(path, DATA.table)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((200, b'{"predictions": [{"a": 1.0}, {"a": 2.0}]}'), ""),
        ((500, b"boom"), "answers 500: boom"),
        ((200, b"<html>"), "no table"),
        ((200, b'{"answer": 1}'), "no table"),
        ((200, b'{"predictions": [{"a": 1.0}]}'), "1 rows of a"),
        ((200, b'{"predictions": [{"b": 1.0}, {"b": 2.0}]}'), "2 rows of b"),
        ((200, b'{"predictions": [{"a": 1.0}, {"a": 2.001}]}'), "not the model's own"),
        ((200, b'{"predictions": [{"a": 1.0}, {"a": null}]}'), "not the model's own"),
    ],
)
def test_an_answer_is_the_models_own_or_named(answer, complaint):
    said = _compare(answer, pd.DataFrame({"a": [1.0, 2.0]}))
    assert complaint in said
    assert bool(said) == bool(complaint)


def test_numbers_that_are_not_finite_are_no_answer():
    body = b'{"predictions": [{"a": 1.0}, {"a": null}]}'
    assert "not finite" in _compare((200, body), pd.DataFrame({"a": [1.0, np.nan]}))
