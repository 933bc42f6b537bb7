"""Features look backwards only, and make do with what rows there are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset

from dsgo.features import Features


@pytest.fixture(scope="module")
def week():
    data = dataset("2013-01-01", "2013-02-01")
    return Features(data.info), data.table.iloc[100:268][data.inputs]


def column(features: Features, table: pd.DataFrame, name: str) -> np.ndarray:
    return features.transform(table)[:, list(features.get_feature_names_out()).index(name)]


def test_names_fit_the_matrix_and_nothing_is_missing(week):
    features, table = week
    matrix = features.transform(table)
    assert matrix.shape == (len(table), len(features.get_feature_names_out()))
    assert np.isfinite(matrix).all()


def test_a_lag_is_the_value_of_that_hour_and_a_mean_that_of_the_last_hours(week):
    features, table = week
    assert column(features, table, "windspeed_lag2")[10] == table["windspeed"].iloc[8]
    assert column(features, table, "windspeed_mean6h")[10] == pytest.approx(table["windspeed"].iloc[5:11].mean())


def test_an_absent_hour_is_not_taken_for_the_one_before_it(week):
    features, table = week
    holed = table.drop(table.index[9])
    assert column(features, holed, "windspeed_lag1")[9] == table["windspeed"].iloc[10]  # the row's own value
    assert column(features, holed, "windspeed_lag2")[9] == table["windspeed"].iloc[8]
    expected = table["windspeed"].iloc[[8, 10]].mean()
    assert column(features, holed, "windspeed_mean3h")[9] == pytest.approx(expected)


def test_later_rows_change_nothing(week):
    features, table = week
    np.testing.assert_allclose(features.transform(table.iloc[:50]), features.transform(table)[:50])


def test_one_row_alone_has_features(week):
    features, table = week
    alone = features.transform(table.iloc[[30]])
    assert np.isfinite(alone).all()
    assert column(features, table.iloc[[30]], "temperature_mean24h")[0] == table["temperature"].iloc[30]
