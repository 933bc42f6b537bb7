"""The gate lets through what holds every rule, and refuses what cannot be judged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dsgo.errors import GateError
from dsgo.gate import judge, rmse_ratio

RULES = {"minimum_skill": 0.1, "coverage80": [0.7, 0.9]}
GOOD = {"window.x.skill": 0.4, "window.x.coverage80": 0.8}
INDEX = pd.date_range("2016-01-01", periods=50, freq="h", tz="UTC")


def window(error: float) -> pd.DataFrame:
    recorded = np.arange(50.0)
    return pd.DataFrame({"x": recorded, "x_forecast": recorded + error}, index=INDEX)


def failed(metrics=GOOD, rules=RULES, candidate=1.0, champion=None) -> list[str]:
    rival = None if champion is None else window(champion)
    return [rule.name for rule in judge(metrics, ["x"], rules, window(candidate), rival) if not rule.holds]


def test_a_good_first_candidate_passes():
    assert failed() == []


def test_each_rule_refuses_by_itself():
    assert failed(GOOD | {"window.x.skill": 0.05}) == ["x skill over naive"]
    assert failed(GOOD | {"window.x.coverage80": 0.95}) == ["x coverage of p10..p90"]
    assert failed(GOOD | {"window.x.coverage80": 0.5}) == ["x coverage of p10..p90"]
    assert failed(candidate=1.0, champion=0.9) == ["better than the champion"]


def test_a_better_candidate_passes_and_a_tie_keeps_the_champion():
    assert failed(candidate=0.9, champion=1.0) == []
    assert failed(candidate=1.0, champion=1.0) == ["better than the champion"]


@pytest.mark.parametrize("missing", ["window.x.skill", "window.x.coverage80"])
def test_a_missing_or_infinite_metric_cannot_be_judged(missing):
    with pytest.raises(GateError, match=missing):
        failed({name: value for name, value in GOOD.items() if name != missing})
    with pytest.raises(GateError, match=missing):
        failed(GOOD | {missing: float("nan")})


def test_a_missing_rule_cannot_be_judged():
    with pytest.raises(GateError, match="coverage80"):
        failed(rules={"minimum_skill": 0.1})


def test_other_rows_cannot_be_compared():
    with pytest.raises(GateError, match="same rows"):
        rmse_ratio(window(1.0), window(1.0).iloc[:-1], ["x"])
