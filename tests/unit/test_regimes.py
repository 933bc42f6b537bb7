"""Scores by regime are those of the rows that belong to it, and every row belongs somewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dsgo.regimes import key_figures, score_regimes

INFO = {
    "frequency": "1h",
    "timezone": "Europe/Berlin",
    "location": {"latitude": 51.1, "longitude": 10.4},
    "columns": {
        "solar_GW": {"role": "target", "unit": "GW", "minimum": 0, "maximum": 9, "dark_at_night": True},
        "gusts": {"role": "input", "quantity": "wind_speed", "unit": "m/s", "minimum": 0, "maximum": 35},
        "direct": {"role": "input", "quantity": "radiation_direct", "unit": "W/m²", "minimum": 0, "maximum": 1200},
        "diffuse": {"role": "input", "quantity": "radiation_diffuse", "unit": "W/m²", "minimum": 0, "maximum": 800},
    },
}
NOON, MIDNIGHT = "12:00Z", "00:00Z"
PAST = pd.DataFrame(
    {"solar_GW": [1.0, 2.0, 3.0], "solar_GW_forecast": [2.0, 2.0, 2.0], "solar_GW_naive": [1.0, 1.0, 1.0]},
    index=pd.DatetimeIndex([f"2015-12-0{day}T{NOON}" for day in (1, 2, 3)]),
)
# recorded, forecast, p10, p90, naive, gusts, direct, diffuse
ROWS = {
    f"2016-01-10T{MIDNIGHT}": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    f"2016-01-10T{NOON}": (2.0, 3.0, 2.5, 3.5, 4.0, 5.0, 200.0, 50.0),  # about as much as a clear sky gives
    f"2016-02-10T{NOON}": (4.0, 3.0, 2.0, 4.5, 2.0, 5.0, 0.0, 20.0),
    f"2016-07-10T{MIDNIGHT}": (0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0),
    f"2016-07-10T{NOON}": (6.0, 6.0, 5.0, 7.0, 8.0, 20.0, 400.0, 200.0),  # six tenths
}
COLUMNS = [
    "solar_GW",
    "solar_GW_forecast",
    "solar_GW_p10",
    "solar_GW_p90",
    "solar_GW_naive",
    "gusts",
    "direct",
    "diffuse",
]


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame.from_dict(ROWS, "index", columns=COLUMNS).set_axis(pd.DatetimeIndex(list(ROWS)))


def scores_of(table: pd.DataFrame, info: dict = INFO) -> pd.DataFrame:
    with_weather = pd.concat([PAST, table]).ffill().bfill()
    spans = {"backtest": PAST, "window": table[[c for c in table if c.startswith("solar")]]}
    return score_regimes(spans, with_weather, info)


def row(scores: pd.DataFrame, regime: str, value: str, span: str = "window") -> pd.Series:
    chosen = scores[(scores["span"] == span) & (scores["regime"] == regime) & (scores["value"] == value)]
    assert len(chosen) == 1, f"{len(chosen)} rows for {regime} {value}"
    return chosen.iloc[0]


def test_a_season_is_scored_on_its_own_rows(table):
    winter = row(scores_of(table), "season", "winter")
    assert winter["n"] == 3
    assert winter["mae"] == pytest.approx(2 / 3)
    assert winter["rmse"] == pytest.approx(np.sqrt(2 / 3))
    assert winter["bias"] == pytest.approx(0.0)
    assert winter["naive_rmse"] == pytest.approx(np.sqrt(8 / 3))
    assert winter["skill"] == pytest.approx(0.5)
    assert winter["coverage80"] == pytest.approx(1 / 2)  # of the two hours whose interval has a width
    assert winter["width80"] == pytest.approx((0 + 1 + 2.5) / 3)
    # below p10 by 0.5, inside by 2 and 0.5: 0.9 × 0.5 + 0.1 × 2; inside p90 by 1.5 and 0.5: 0.1 × 2
    assert winter["pinball"] == pytest.approx(((0.45 + 0.2) / 3 + 0.2 / 3) / 2)
    assert winter["below_p10"] == pytest.approx(1 / 3)
    assert winter["below_p90"] == pytest.approx(2 / 3)


def test_the_bias_goes_month_by_month(table):
    scores = scores_of(table)
    biases = [row(scores, "month", month)["bias"] for month in ("2016-01", "2016-02", "2016-07")]
    assert biases == pytest.approx([0.5, -1.0, 0.0])
    assert row(scores, "month by day", "2016-01")["bias"] == pytest.approx(1.0)


def test_hours_are_those_of_the_collections_zone(table):
    hours = scores_of(table).query("span == 'window' and regime == 'hour'")
    assert dict(zip(hours["value"], hours["n"], strict=True)) == {"01": 1, "02": 1, "13": 2, "14": 1}


def test_rows_are_told_apart_by_sun_wind_and_sky(table):
    scores = scores_of(table).query("span == 'window'")
    counts = {(r.regime, r.value): r.n for r in scores.itertuples() if r.regime in ("daylight", "wind", "sky")}
    assert counts == {
        ("daylight", "day"): 3,
        ("daylight", "night"): 2,
        ("wind", "calm"): 1,
        ("wind", "breeze"): 3,
        ("wind", "storm"): 1,
        ("sky", "dark"): 2,
        ("sky", "clear"): 1,
        ("sky", "cloudy"): 1,
        ("sky", "mixed"): 1,
    }


def test_forecasts_are_parted_into_the_least_and_tenths_of_the_others(table):
    scores = scores_of(table).query("span == 'window' and regime == 'forecast'").set_index("value")
    assert scores["n"]["least"] == 2
    assert scores["forecast"].to_dict() == {"least": 0.0, "tenth 01": 3.0, "tenth 10": 6.0}


def test_the_values_of_every_regime_divide_the_rows(table):
    sums = scores_of(table).groupby(["span", "regime"])["n"].sum()
    assert (sums["window"] == len(table)).all()
    assert (sums["backtest"] == len(PAST)).all()
    assert len(sums["window"]) == 9


def test_the_constant_interval_has_one_width_from_the_errors_of_the_back_test(table):
    scores = scores_of(table)
    over_all = row(scores, "all", "all")
    assert over_all["constant_width80"] == pytest.approx(1.6)  # past errors −1, 0, 1: quantiles ±0.8
    assert over_all["constant_coverage80"] == pytest.approx(3 / 5)  # today's two errors of 1 lie outside
    assert row(scores, "season", "summer")["constant_width80"] == pytest.approx(1.6)
    assert np.isnan(row(scores, "all", "all", "backtest")["constant_width80"])


def test_seasons_change_places_south_of_the_equator(table):
    scores = scores_of(table, {**INFO, "location": {"latitude": -37.8, "longitude": 145.0}})
    assert row(scores, "season", "summer")["n"] == 3
    assert row(scores, "season", "winter")["n"] == 2


def test_a_collection_without_wind_or_sun_has_the_regimes_of_the_calendar_only(table):
    columns = {
        "solar_GW": {k: v for k, v in INFO["columns"]["solar_GW"].items() if k != "dark_at_night"},
        "gusts": {k: v for k, v in INFO["columns"]["gusts"].items() if k != "quantity"},
    }
    scores = scores_of(table, {**INFO, "columns": columns})
    assert set(scores["regime"]) == {"all", "season", "month", "hour", "forecast"}


def test_key_figures_are_the_windows(table):
    metrics = key_figures(scores_of(table))
    assert metrics["window.solar_GW.coverage80.winter"] == pytest.approx(1 / 2)
    assert metrics["window.solar_GW.coverage80.day"] == pytest.approx(2 / 3)
    assert metrics["window.solar_GW.bias.summer"] == 0.0
    assert metrics["window.solar_GW.constant_coverage80"] == pytest.approx(3 / 5)
    assert all(np.isfinite(list(metrics.values())))
