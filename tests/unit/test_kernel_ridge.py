"""Smooth curves are learned from few centres; weights, scales, ages and the number of rows asked do what they say."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sample_datasets import dataset
from sklearn.base import clone

from dsgo.forecaster import Forecaster
from dsgo.kernel_ridge import Drift, Kernel, KernelRidge

GROUPS = ("wind_speed", "temperature", "day")
KERNEL = Kernel(0.3, 0.01)
CHANGING = replace(KERNEL, drift=Drift(0.5, 2.0, {"wind_speed": 1.0}))


def draw(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).normal(size=(rows, 3))
    return X, np.column_stack([np.sin(2 * X[:, 0]) + 0.3 * X[:, 1], np.abs(X[:, 2])])


def fitted(kernels=(KERNEL, KERNEL), **kwargs) -> KernelRidge:
    return KernelRidge(kernels, GROUPS, centres=150).fit(*draw(3000), **kwargs)


def test_it_learns_curves_that_a_line_cannot():
    X, y = draw(1000, seed=2)
    inside = np.abs(X).max(axis=1) < 2
    assert np.sqrt(np.mean((fitted().predict(X) - y)[inside] ** 2, axis=0)) == pytest.approx([0, 0], abs=0.08)


def test_rows_of_weight_0_are_not_learned_from_and_each_target_has_its_own_weights():
    X, y = draw(3000)
    weights = np.ones_like(y)
    weights[X[:, 0] > 0, 0] = 0.0
    spoiled = y.copy()
    spoiled[X[:, 0] > 0, 0] = 1e6
    model = KernelRidge([KERNEL, KERNEL], GROUPS, centres=150)
    answer = clone(model).fit(X, spoiled, weights=weights).predict(X)
    np.testing.assert_array_equal(answer, clone(model).fit(X, y, weights=weights).predict(X))
    moved = np.where(X[:, :1] > 0, X + 5, X)
    np.testing.assert_array_equal(answer[:, 0], clone(model).fit(moved, y, weights=weights).predict(X)[:, 0])
    np.testing.assert_array_equal(answer[:, 1], clone(model).fit(X, y).predict(X)[:, 1])


def test_heavier_rows_are_met_more_closely():
    X, y = draw(2000)
    noisy = y + np.where(np.arange(len(y)) % 2, 0.5, -0.5)[:, None]
    weights = np.where(np.arange(len(y)) % 2, 9.0, 1.0)[:, None] * np.ones_like(y)
    answer = KernelRidge([KERNEL, KERNEL], GROUPS, centres=150).fit(X, noisy, weights=weights).predict(X)
    assert np.mean(answer - y) == pytest.approx(0.4, abs=0.05)  # (9 × 0.5 − 1 × 0.5) / 10


def test_a_group_of_scale_0_has_no_influence():
    model = fitted((Kernel(0.3, 0.01, {"day": 0}), KERNEL))
    X, _ = draw(50, seed=3)
    other = X.copy()
    other[:, 2] += 1
    np.testing.assert_array_equal(model.predict(X)[:, 0], model.predict(other)[:, 0])
    assert not np.allclose(model.predict(X)[:, 1], model.predict(other)[:, 1])


def changed(ages: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Targets whose first follows another curve since a year before the end."""
    return np.column_stack([np.abs(X[:, 0]) * np.where(ages > 1, 0.5, 1.0), X[:, 1]])


def test_what_drifts_is_answered_as_at_the_end_of_the_training():
    X, _ = draw(4000)
    ages = np.linspace(3, 0, len(X))
    asked, _ = draw(300, seed=4)
    now = changed(np.zeros(300), asked)[:, 0]

    def error(kernel: Kernel, ages_known: np.ndarray | None) -> float:
        model = KernelRidge([kernel, KERNEL], GROUPS, centres=150).fit(X, changed(ages, X), ages=ages_known)
        return float(np.sqrt(np.mean((model.predict(asked)[:, 0] - now) ** 2)))

    assert error(KERNEL, ages) > 0.2  # of the mean of all years
    assert error(CHANGING, None) > 0.2
    assert error(CHANGING, ages) < 0.08


def test_only_the_groups_that_a_drift_names_change():
    X, _ = draw(4000)
    ages = np.linspace(3, 0, len(X))
    still = replace(KERNEL, drift=Drift(0.5, 2.0, {}))
    y = changed(ages, X)
    shift = np.diff(
        [KernelRidge([k, KERNEL], GROUPS, 150).fit(X, y, ages=ages).predict(X)[:, 0] for k in (KERNEL, still)], axis=0
    )
    assert shift.mean() > 0.1  # the mean has risen
    assert shift.std() < 0.3 * shift.mean()  # everywhere alike: no feature tells where


def test_a_drift_of_no_share_changes_nothing():
    X, y = draw(1000)
    ages = np.linspace(3, 0, len(X))
    gone = replace(KERNEL, drift=replace(CHANGING.drift, share=0.0))
    without, with_it = (KernelRidge([k, k], GROUPS, 150).fit(X, y, ages=ages).predict(X) for k in (KERNEL, gone))
    np.testing.assert_allclose(with_it, without, atol=1e-6)


def changing() -> KernelRidge:
    return KernelRidge([KERNEL, CHANGING], GROUPS, centres=150).fit(*draw(3000), ages=np.linspace(2, 0, 3000))


MODEL = changing()


@settings(max_examples=50, deadline=None)
@given(X=arrays(float, (7, 3), elements=st.floats(-1e12, 1e12)))
def test_the_answer_is_finite_and_each_rows_own(X):
    together = MODEL.predict(X)
    assert np.isfinite(together).all()
    assert np.abs(together).max() < 50
    alone = np.vstack([MODEL.predict(row[None]) for row in X])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


def test_many_rows_need_no_more_memory_than_their_answer():
    X, _ = draw(40_000)
    MODEL.predict(X[:5000])
    tracemalloc.start()
    answer = MODEL.predict(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - answer.nbytes < 25e6  # a table of all rows and 150 centres alone is 48 MB
    np.testing.assert_allclose(answer[-5:], MODEL.predict(X[-5:]), rtol=1e-9)


def test_equal_seeds_give_equal_models_and_fewer_rows_than_centres_are_enough():
    X, y = draw(60)
    kernels, ages = [KERNEL, CHANGING], np.linspace(1, 0, 60)
    first, second = (KernelRidge(kernels, GROUPS, centres=150).fit(X, y, ages=ages).predict(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_it_is_small():
    assert len(pickle.dumps(MODEL)) < 150 * (len(GROUPS) + 1) * 8 * 2 + 50 * 2 * 8 + 4000


def test_in_a_forecaster_a_rows_age_is_the_years_to_the_last():
    data = dataset()
    ages = Forecaster(data.info, _Recorder()).fit(data.table).regressor.ages
    index = data.table.index
    assert ages[-1] == 0
    assert ages[0] == pytest.approx((index[-1] - index[0]) / pd.Timedelta("365.2425D"))
    assert (np.diff(ages) < 0).all()


def test_in_a_forecaster_level_and_darkness_are_its_weights():
    data = dataset()
    forecaster = Forecaster(data.info, _Recorder()).fit(data.table)
    weights = forecaster.regressor.weights
    levels = np.column_stack([level.at(data.table.index) for level in forecaster.levels])
    solar, wind = (data.targets.index(name) for name in ("solar_GW", "wind_GW"))
    np.testing.assert_allclose(weights[:, wind], levels[:, wind] ** 2)
    midnight, noon = (data.table.index.hour == hour for hour in (0, 12))
    assert (weights[midnight, solar] == 0).all()
    np.testing.assert_allclose(weights[noon, solar], levels[noon, solar] ** 2)


class _Recorder(KernelRidge):
    """Keeps the weights and ages that it was given."""

    def __init__(self) -> None:
        super().__init__((), ())

    def fit(self, X, y, weights=None, ages=None):
        self.weights, self.ages = weights, ages
        return self
