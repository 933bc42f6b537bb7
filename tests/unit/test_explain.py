"""Importances find what a model uses; contributions sum to what they explain, and are exact where a formula is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset
from sklearn.linear_model import LinearRegression

from dsgo.explain import CLOCK, SUN, Subject, contributions, groups_of, importance, subject
from dsgo.forecaster import Forecaster

INDEX = pd.date_range("2016-01-01", periods=24 * 40, freq="h", tz="UTC", name="utc_timestamp")
NOISE = np.random.default_rng(1).normal(size=(len(INDEX), 3))
HOUR = INDEX.hour.to_numpy() / 24.0
FEATURES = np.column_stack([NOISE, HOUR])
GROUPS = {
    "telling": np.array([True, False, False, False]),
    "idle": np.array([False, True, True, False]),
    "clock": np.array([False, False, False, True]),
}


def toy(answer) -> Subject:
    """A model without errors."""

    def forecast(features: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
        assert len(features) == len(times)
        return answer(features).reshape(len(features), 1)

    return Subject(["demand_MW"], GROUPS, INDEX, FEATURES, forecast(FEATURES, INDEX), forecast)


def increases(model: Subject) -> dict[str, float]:
    return importance(model).set_index("group")["rmse_increase"].to_dict()


def test_importance_finds_the_only_input_that_tells_and_its_size():
    found = importance(toy(lambda x: 3.0 * x[:, 0])).set_index("group")
    # shuffled, the error is the difference of two independent values: √2 times their standard deviation
    assert found.loc["telling", "rmse_increase"] == pytest.approx(3 * np.sqrt(2), rel=0.1)
    assert found.loc["telling", "rmse_increase_sd"] > 0
    assert found.loc[["idle", "clock"], "rmse_increase"].to_list() == [0.0, 0.0]


def test_what_is_the_same_every_day_is_shuffled_within_the_day():
    found = increases(toy(lambda x: x[:, 3]))
    assert found["clock"] > 0.2
    assert found["telling"] == 0.0


def test_other_days_lend_the_same_hour():
    daily = FEATURES.copy()
    daily[:, 0] += 100 * HOUR  # known without any input that tells one day from another
    model = toy(lambda x: x[:, 0])
    shuffled = Subject(model.targets, GROUPS, INDEX, daily, daily[:, [0]], model.forecast)
    assert increases(shuffled)["telling"] == pytest.approx(np.sqrt(2), rel=0.1)


def test_hours_that_a_day_lacks_stay_as_they_are():
    daily = FEATURES.copy()
    daily[:, 0] += 100 * HOUR  # the value of any other hour would be far off
    there = np.random.default_rng(2).random(len(INDEX)) > 0.2
    model = toy(lambda x: x[:, 0])
    gappy = Subject(model.targets, GROUPS, INDEX[there], daily[there], daily[there][:, [0]], model.forecast)
    assert 0.5 < increases(gappy)["telling"] < 1.4


def test_importances_and_contributions_are_the_same_again():
    model = toy(lambda x: x[:, 0] * x[:, 1])
    pd.testing.assert_frame_equal(importance(model), importance(model))
    pd.testing.assert_frame_equal(contributions(model), contributions(model))


def test_contributions_of_a_linear_model_are_coefficient_times_distance_from_the_mean():
    coefficients = np.array([2.0, -1.0, 0.5, 4.0])
    found = contributions(toy(lambda x: x @ coefficients))
    parts = pd.DataFrame(FEATURES * coefficients, INDEX)
    for group, members in GROUPS.items():
        own = parts.loc[found["utc_timestamp"], members].sum(axis=1).to_numpy()
        # what remains is the mean of the other rows: the same for every forecast
        np.testing.assert_allclose(own - found[group], np.full(len(found), (own - found[group]).mean()))


def test_equal_partners_share_a_product():
    groups = {"a": np.array([True, False, True]), "b": np.array([False, True, True])}  # the third belongs to both
    features = np.column_stack([NOISE[:, :2], NOISE[:, 0] * NOISE[:, 1]])

    def product(x: np.ndarray, times: pd.DatetimeIndex) -> np.ndarray:
        return x[:, [2]]

    found = contributions(Subject(["x"], groups, INDEX, features, features[:, [2]], product))
    np.testing.assert_allclose(found["a"], found["b"])
    np.testing.assert_allclose(found["a"] + found["b"], found["forecast"] - found["mean_forecast"], atol=1e-12)


@pytest.fixture(scope="module")
def trained() -> tuple[Forecaster, pd.DataFrame]:
    data = dataset()
    return Forecaster(data.info, LinearRegression()).fit(data.table[: -24 * 60]), data.table


def test_groups_are_inputs_sun_and_clock_and_leave_no_feature_out(trained):
    forecaster, table = trained
    groups = groups_of(forecaster, table[-24 * 60 :])
    assert {*forecaster.inputs, SUN, *CLOCK.values()} <= groups.keys()
    names = forecaster.features.get_feature_names_out()
    assert np.any(list(groups.values()), axis=0).all()
    for name in forecaster.inputs:
        assert groups[name][[feature.startswith(name) for feature in names]].all()
    mixed = names == "clear_sky_index"
    assert {name for name, members in groups.items() if members[mixed].all()} == {"rad_horizontal", "rad_diffuse", SUN}


def test_contributions_sum_to_the_forecast_that_is_served(trained):
    forecaster, table = trained
    rows = table.index[-24 * 60 :]
    model = subject(forecaster, table, rows)
    found = contributions(model)
    forecasts = forecaster.forecast(table)
    for target, part in found.groupby("target"):
        expected = forecasts.loc[part["utc_timestamp"], f"{target}_forecast"].to_numpy()
        np.testing.assert_allclose(part["forecast"], expected)
        credited = part[list(model.groups)].sum(axis=1)
        np.testing.assert_allclose(credited, part["forecast"] - part["mean_forecast"], atol=1e-9)
    found = importance(model).set_index(["target", "group"])["rmse_increase"]
    assert found["wind_GW"].idxmax() == "windspeed"
    assert found["wind_GW"]["windspeed"] > 3 * found["wind_GW"].drop("windspeed").max()
