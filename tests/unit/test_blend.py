"""Shares by hand-computed examples; a blend lies between its components and keeps all that holds for any forecaster."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sample_datasets import dataset
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor

from dsgo.blend import PULLS, BlendedForecaster, aligned, choose_pull, fit_shares, out_of_sample
from dsgo.errors import DataError
from dsgo.evaluation import plan
from dsgo.forecaster import Forecaster

DATA = dataset()
FOLDS, WINDOW = plan(DATA.table.index, DATA.info)


def part(recorded: list[float], forecast: list[float], folds: str | None = None, level: float = 1.0) -> pd.DataFrame:
    index = pd.date_range("2015-01-01", periods=len(recorded), freq="1h", tz="UTC")
    columns = {"T": recorded, "T_forecast": forecast, "T_level": level, "fold": list(folds or "a" * len(recorded))}
    return pd.DataFrame(columns, index=index).astype({"T": float, "T_forecast": float})


def test_shares_of_independent_errors_are_as_their_inverse_variances():
    # Errors (2, 2, −2, −2) and (1, −1, 1, −1): variances 4 and 1, no covariance, so shares 1/5 and 4/5.
    first, second = part([5, 5, 5, 5], [3, 3, 7, 7]), part([5, 5, 5, 5], [4, 6, 4, 6])
    np.testing.assert_allclose(fit_shares([first, second], "T", 0.0), [0.2, 0.8], atol=1e-5)


def test_shares_are_drawn_towards_equal_ones():
    # The blend's error at (w, 1−w): 4w² + (1−w)², 5/4 at equal shares; the pull p adds p · 5/4 · 2 · 2(w − 1/2)². For p = 1
    # the derivative 8w − 2(1−w) + 10(w − 1/2) = 20w − 7 is 0 at w = 0.35.
    first, second = part([5, 5, 5, 5], [3, 3, 7, 7]), part([5, 5, 5, 5], [4, 6, 4, 6])
    np.testing.assert_allclose(fit_shares([first, second], "T", 1.0), [0.35, 0.65], atol=1e-5)
    np.testing.assert_allclose(fit_shares([first, second], "T", 1e6), [0.5, 0.5], atol=1e-4)


def test_shares_are_not_negative_and_small_ones_are_left_out():
    # The third has the second's errors three times over: its best share would be negative.
    parts = [part([5, 5, 5, 5], values) for values in ([3, 3, 7, 7], [4, 6, 4, 6], [2, 8, 2, 8])]
    np.testing.assert_allclose(fit_shares(parts, "T", 0.0), [0.2, 0.8, 0.0], atol=1e-5)
    # Variances 96² and 1 make 1/9217: under a twentieth.
    far = part([200, 200, 200, 200], [104, 104, 296, 296])
    np.testing.assert_array_equal(fit_shares([far, part([200] * 4, [199, 201, 199, 201])], "T", 0.0), [0.0, 1.0])


def test_rows_count_by_their_error_as_a_share_of_the_level():
    # The second two rows have ten times the level and ten times the errors of the first two: they count the same.
    first, second = part([5, 5, 50, 50], [3, 7, 50, 50]), part([5, 5, 50, 50], [5, 5, 40, 60])
    for each in (first, second):
        each["T_level"] = [1.0, 1.0, 10.0, 10.0]
    # Mean squares: w²·4/2 and (1−w)²·1/2: shares 1/5 and 4/5.
    np.testing.assert_allclose(fit_shares([first, second], "T", 0.0), [0.2, 0.8], atol=1e-5)


def test_the_pull_is_chosen_on_the_fold_after():
    # The first is perfect in fold a, the second in fold b: shares that trust fold a fail in b, equal ones do best.
    recorded = [5, 6, 7, 8, 5, 6, 7, 8]
    wrong = [6, 5, 8, 7]
    first = part(recorded, [*recorded[:4], *wrong], "aaaabbbb")
    second = part(recorded, [*wrong, *recorded[4:]], "aaaabbbb")
    assert choose_pull([first, second], "T") == PULLS[-1]
    # Where the first is perfect throughout, every pull that leaves the second under a twentieth is as good, the strongest is
    # taken. In units of the equal blend's error the second's is 2: its share u under the pull p minimises
    # 4u² + p · 2 · 2(u − 1/2)², so u = p / 2(1 + p): 0.045 for 0.1 and 0.115 for 0.3.
    perfect, bad = part(recorded, recorded, "aaaabbbb"), part(recorded, [*wrong, *wrong], "aaaabbbb")
    assert choose_pull([perfect, bad], "T") == 0.1


def test_the_back_test_uses_shares_of_other_folds_only():
    recorded = [5, 5, 5, 5, 5, 5, 5, 5]
    first = part(recorded, [3, 3, 7, 7, 8, 2, 8, 2], "aaaabbbb")
    second = part(recorded, [4, 6, 4, 6, 6, 6, 4, 4], "aaaabbbb")
    blended = out_of_sample([first, second], ["T"], [0.0])["T_forecast"]
    # Fold b (variances 9 and 1) gives 1/10 and 9/10 for fold a, fold a (4 and 1) gives 1/5 and 4/5 for fold b.
    np.testing.assert_allclose(blended, [3.9, 5.7, 4.3, 6.1, 6.4, 5.2, 4.8, 3.6], atol=1e-4)
    alone = out_of_sample([first[:4], second[:4]], ["T"], [0.0])["T_forecast"]
    np.testing.assert_allclose(alone, [3.5, 4.5, 5.5, 6.5])


def test_back_tests_of_other_rows_are_refused_by_name():
    with pytest.raises(DataError, match="net: its back-test is not of the same rows as that of forest"):
        aligned([part([5, 5], [5, 5]), part([5, 6], [5, 5])], ["forest", "net"], ["T"])


@pytest.fixture(scope="module")
def components() -> list[Forecaster]:
    past, _ = FOLDS[-1].split(DATA.table)
    regressors = Ridge(1.0), DecisionTreeRegressor(min_samples_leaf=20, random_state=1), Ridge(100.0)
    return [Forecaster(DATA.info, regressor).fit(past) for regressor in regressors]


@pytest.fixture(scope="module")
def blend(components) -> BlendedForecaster:
    _, fold = FOLDS[-1].split(DATA.table)
    blend = BlendedForecaster(components, np.array([[0.3, 0.0], [0.7, 1.0], [0.0, 0.0]]))
    return blend.calibrate(fold[DATA.targets].join(blend.forecast(fold)), DATA.table)


def test_a_blend_is_the_weighted_mean_and_asks_only_those_with_a_share(components, blend):
    _, rows = WINDOW.split(DATA.table)
    answer, first, second = (f.forecast(rows) for f in (blend, *components[:2]))
    expected = 0.3 * first["solar_GW_forecast"] + 0.7 * second["solar_GW_forecast"]
    np.testing.assert_allclose(answer["solar_GW_forecast"], expected, atol=1e-12)
    np.testing.assert_allclose(answer["wind_GW_forecast"], second["wind_GW_forecast"], atol=1e-12)
    assert len(blend.components) == 2


def test_a_blend_keeps_limits_order_and_night(blend):
    _, rows = WINDOW.split(DATA.table)
    frame = rows[DATA.inputs].reset_index()
    frame["utc_timestamp"] = frame["utc_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = blend.predict(frame)
    assert list(answer.columns) == [f"{t}{end}" for t in DATA.targets for end in ("", "_p10", "_p90")]
    for target in DATA.targets:
        low, point, high = (answer[f"{target}{end}"] for end in ("_p10", "", "_p90"))
        assert (low >= 0).all()
        assert (low <= point).all()
        assert (point <= high).all()
        inside = (low.to_numpy() <= rows[target]) & (rows[target] <= high.to_numpy())
        assert 0.65 < inside.mean() < 0.95
    assert (answer[rows.index.hour == 0].filter(like="solar") == 0).all(axis=None)
    shuffled = blend.predict(frame.sample(frac=1, random_state=1))
    np.testing.assert_array_equal(shuffled.sort_index().to_numpy(), answer.to_numpy())
    again = pickle.loads(pickle.dumps(blend))
    pd.testing.assert_frame_equal(again.predict(frame), answer)


def test_a_blend_leaves_its_components_as_they_are(components, blend):
    assert all(component.intervals == {} and component.regressor is not None for component in components)
    assert (blend.trained_from, blend.trained_to) == (components[0].trained_from, components[0].trained_to)
