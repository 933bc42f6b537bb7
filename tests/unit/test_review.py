import numpy as np
import pandas as pd
import pytest
from standins import Production, make_predictions, make_table

from dsgo.review import FEWEST_WEEKS, HISTORY, review
from dsgo.weeks import Week

WEEK = Week(2016, 25)


def test_scores_are_those_worked_out_by_hand():
    table = make_table()
    hours = WEEK.hours("Europe/Berlin")
    window = pd.DataFrame(index=table["2016-05-01":].index)
    for target in ("solar_GW", "wind_GW"):
        window[target] = 10.0
        window[f"{target}_forecast"] = 11.0
        window[f"{target}_p10"], window[f"{target}_p90"] = 9.0, 12.0
        window[f"{target}_naive"] = 6.0
    window.loc[hours[:42], "wind_GW_forecast"] = 13.0  # a quarter of the week misses by 3 instead of 1 ...
    window.loc[hours[:42], "wind_GW_p10"] = 10.5  # ... and leaves its interval
    score = review(Production(table=table, window_table=window)).score("wind_GW", hours)
    assert score.hours == 168
    assert score.mae == pytest.approx((3 + 1 + 1 + 1) / 4)
    assert score.rmse == pytest.approx(np.sqrt((9 + 1 + 1 + 1) / 4))
    assert score.naive_mae == score.naive_rmse == 4
    assert score.skill == pytest.approx(1 - np.sqrt(3) / 4)
    assert score.coverage80 == pytest.approx(0.75)


def test_a_score_counts_only_hours_with_everything():
    production = Production()
    window = production.window()
    hours = WEEK.hours("Europe/Berlin")
    for place, part in enumerate(("", "_forecast", "_p10", "_p90", "_naive")):
        window.loc[hours[place], f"wind_GW{part}"] = np.nan
    reviewed = review(Production(window_table=window.drop(hours[10])))
    assert reviewed.score("wind_GW", hours).hours == 168 - 6
    assert reviewed.score("solar_GW", hours).hours == 168 - 1
    assert reviewed.score("wind_GW", hours[:5]) is None
    assert reviewed.over(hours)["wind_GW"].isna().sum() == 2, "an absent hour is a gap, not left out"


def test_hours_after_training_are_forecast_by_the_version_itself_from_inputs_only():
    production = Production(trained_to="2016-06-19T21:00:00+00:00")  # Sunday night in Berlin
    reviewed = review(production)
    hours = WEEK.hours("Europe/Berlin")
    (asked,) = production.predicted
    assert list(asked) == ["utc_timestamp", "windspeed", "temperature"]
    assert asked["utc_timestamp"].min() == pd.Timestamp("2016-06-19T22:00Z") - HISTORY, "features look back"
    assert reviewed.live(hours) == 168 and reviewed.live(Week(2016, 24).hours("Europe/Berlin")) == 0
    rows, table = reviewed.over(hours), production.table
    assert np.allclose(rows["wind_GW_forecast"], table.loc[hours, "windspeed"] * 3)
    assert np.allclose(rows["solar_GW_p90"], table.loc[hours, "windspeed"] * 0.3 + 0.5)
    assert np.allclose(rows["wind_GW_naive"], table.loc[hours - pd.Timedelta("24h"), "wind_GW"])
    assert np.allclose(rows["wind_GW"], table.loc[hours, "wind_GW"])
    assert reviewed.table.index.is_unique and reviewed.table.index.is_monotonic_increasing


def test_an_hour_without_inputs_is_not_forecast():
    table = make_table()
    table.loc["2016-06-25T10:00Z", "temperature"] = np.nan
    production = Production(table=table, trained_to="2016-06-19T21:00:00+00:00")
    assert pd.isna(review(production).over(WEEK.hours("Europe/Berlin")).loc["2016-06-25T10:00Z", "wind_GW_forecast"])


def test_nothing_is_predicted_where_the_version_has_seen_all():
    production = Production()
    review(production)
    assert production.predicted == []


def test_the_usual_range_leaves_out_the_weeks_it_is_compared_with():
    production = Production()
    window = production.window()
    hours = WEEK.hours("Europe/Berlin")
    before = review(production).usual("wind_GW", besides=hours)
    window.loc[hours, "wind_GW_forecast"] += 50
    worse = Production(window_table=window)
    assert review(worse).usual("wind_GW", besides=hours) == before
    assert review(worse).usual("wind_GW", besides=hours[:0]).high > before.high
    assert before.weeks == len(review(production).complete_weeks) - 1
    across = review(production).usual("wind_GW", besides=hours - pd.Timedelta("3D"))  # touches two weeks
    assert across.weeks == before.weeks - 1


def test_few_weeks_make_no_usual_range():
    production = Production()
    weeks = review(production).complete_weeks
    start = weeks[-FEWEST_WEEKS].hours("Europe/Berlin")[0]
    reviewed = review(Production(window_table=production.window()[start:]))
    none = WEEK.hours("Europe/Berlin")[:0]
    assert reviewed.usual("wind_GW", besides=none).weeks == FEWEST_WEEKS
    assert reviewed.usual("wind_GW", besides=WEEK.hours("Europe/Berlin")) is None


def test_the_newest_span_ends_with_the_newest_hour():
    hours = review(Production()).newest(pd.Timedelta(days=7))
    assert len(hours) == 168 and hours[-1] == pd.Timestamp("2016-06-30T23:00Z")


def test_own_predictions_spare_asking_the_model_and_others_do_not():
    production = Production(trained_to="2016-06-19T21:00:00+00:00")
    hours = production.table.index[production.table.index > "2016-06-19T21:00Z"]
    issued = pd.concat(
        make_predictions(hours=len(hours))
        .query("target == @target")
        .assign(utc_timestamp=hours, forecast=float(place), p10=-1.0, p90=9.0)
        for place, target in enumerate(("solar_GW", "wind_GW"))
    )
    reviewed = review(production, issued=issued)
    assert production.predicted == []
    assert (reviewed.table.loc[hours, "wind_GW_forecast"] == 1).all()
    assert (reviewed.table.loc[hours, ["solar_GW_forecast", "solar_GW_p10", "solar_GW_p90"]] == [0, -1, 9]).all(
        axis=None
    )
    for incomplete in (issued[1:], issued.assign(source="naive"), issued.assign(version=2), issued[:0]):
        asked = Production(trained_to="2016-06-19T21:00:00+00:00")
        review(asked, issued=incomplete)
        assert len(asked.predicted) == 1
