"""Which rows of a run of predict are worth recording, beside what stands already."""

from __future__ import annotations

import importlib.util

import pandas as pd
import pytest
from sample_datasets import dataset

from dsgo import predictions
from dsgo.predictions import EARLIER_VERSION, NAIVE, PRODUCTION
from dsgo.settings import CHECKOUT, load
from dsgo.tables import Dataset

WHOLE = dataset(end="2013-01-31 23:00")
DATA = Dataset(WHOLE.table[:"2013-01-30"], WHOLE.info, WHOLE.table[WHOLE.inputs]["2013-01-31":])
RECORDED, AHEAD = (pd.Timestamp(day, tz="UTC") for day in ("2013-01-20", "2013-01-31"))


@pytest.fixture(scope="module")
def step():
    spec = importlib.util.spec_from_file_location("predict_step", CHECKOUT / "projects/forecasting/predict/predict.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    return step


def row(
    source: str, version: int | None, hour: pd.Timestamp, *, synthetic: bool = False, hindcast: bool = False
) -> pd.DataFrame:
    values = {"target": "wind_GW", "utc_timestamp": hour, "forecast": 5.0, "p10": 4.0, "p90": 6.0, "source": source}
    values |= {"version": version, "data_digest": "d" * 64, "synthetic": synthetic, "hindcast": hindcast}
    return pd.DataFrame([values]).astype({"version": "Int64"})


# what stands → what is said now → whether it is worth recording
CASES = {
    "nothing stands": (None, (PRODUCTION, 2, RECORDED), True),
    "the naive baseline where nothing stands": (None, (NAIVE, None, AHEAD), True),
    "production, of what a stand-in has said": ((EARLIER_VERSION, 1, RECORDED), (PRODUCTION, 2, RECORDED), True),
    "production, of what the naive baseline has said": ((NAIVE, None, AHEAD), (PRODUCTION, 2, AHEAD), True),
    "production, of what another version has said": ((PRODUCTION, 3, RECORDED), (PRODUCTION, 2, RECORDED), True),
    "a stand-in, of what production has said": ((PRODUCTION, 2, RECORDED), (EARLIER_VERSION, 1, RECORDED), False),
    "a stand-in, with newer weather": ((PRODUCTION, 2, AHEAD), (EARLIER_VERSION, 1, AHEAD), True),
    "a stand-in, in place of the naive baseline": ((NAIVE, None, RECORDED), (EARLIER_VERSION, 1, RECORDED), True),
    "the naive baseline, of what production has said": ((PRODUCTION, 2, AHEAD), (NAIVE, None, AHEAD), False),
    "the naive baseline, of what a stand-in has said": ((EARLIER_VERSION, 2, AHEAD), (NAIVE, None, AHEAD), False),
    "the naive baseline anew": ((NAIVE, None, AHEAD), (NAIVE, None, AHEAD), True),
}


@pytest.mark.parametrize("case", CASES)
def test_a_better_row_stands(step, case: str) -> None:
    stands, now, worth = CASES[case]
    if stands:
        load().home.mkdir()
        predictions.record(DATA.collection, row(*stands).drop(columns="hindcast"), "before")
    assert len(step.worth_recording(row(*now), DATA)) == worth


@pytest.mark.parametrize(
    ("stands", "worth"),
    [((PRODUCTION, 1), False), ((EARLIER_VERSION, 2), True), ((NAIVE, None), True), ((PRODUCTION, 2), True)],
)
def test_the_window_of_a_version_fills_what_no_version_has_said(step, stands: tuple[str, int], worth: bool) -> None:
    """Of what the same version has said before, `record` finds that nothing is new."""
    load().home.mkdir()
    predictions.record(DATA.collection, row(*stands, RECORDED).drop(columns="hindcast"), "before")
    assert len(step.worth_recording(row(PRODUCTION, 2, RECORDED, hindcast=True), DATA)) == worth


@pytest.mark.parametrize(("stands", "now", "worth"), [(False, True, False), (True, False, True), (True, True, True)])
def test_forecasts_of_generated_data_never_replace_those_of_recorded(
    step, stands: bool, now: bool, worth: bool
) -> None:
    load().home.mkdir()
    predictions.record(
        DATA.collection, row(PRODUCTION, 1, RECORDED, synthetic=stands).drop(columns="hindcast"), "before"
    )
    assert len(step.worth_recording(row(PRODUCTION, 2, RECORDED, synthetic=now), DATA)) == worth
