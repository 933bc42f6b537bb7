"""The gate lets through what holds every rule; each rule refuses by itself; what cannot be judged does not pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sample_datasets import COLLECTION, dataset

from dsgo.comparison import FEWEST_DAYS, FEWEST_ROWS
from dsgo.errors import GateError, WindowSeen
from dsgo.evaluation import naive, plan, score_predictions
from dsgo.gate import ACCEPTED, KEPT, REFUSED, Candidate, Champion, Trial, judge
from dsgo.rules import Rules, read

DATA = dataset()
RECORDED = dataclasses.replace(DATA, info=DATA.info | {"synthetic": False})
_, WINDOW = plan(DATA.table.index, DATA.info)
PAST, ROWS = WINDOW.split(DATA.table)
FULL_SCALE = PAST[DATA.targets].max().to_dict()
RULES = read(COLLECTION.gate)
GOOD_TRIAL = Trial("", 10.0, 1.0)
NOISE = {t: np.random.default_rng(i).normal(size=(2, len(ROWS))) for i, t in enumerate(DATA.targets)}


def predictions(
    error: float = 0.05, own: float = 0.3, seed: int = 0, bias: float = 0.0, width: float = 1.28
) -> pd.DataFrame:
    """Predictions whose errors are normal, `error` of the full scale; all share a part of them, `own` is that of one alone."""
    parts = {}
    rng = np.random.default_rng(100 + seed)
    for target in DATA.targets:
        scale = FULL_SCALE[target] * error
        noise = np.sqrt(1 - own**2) * NOISE[target][0] + own * rng.normal(size=len(ROWS))
        parts[target] = ROWS[target]
        parts[f"{target}_forecast"] = ROWS[target] + scale * noise + bias * FULL_SCALE[target]
        parts[f"{target}_p10"] = parts[f"{target}_forecast"] - width * scale
        parts[f"{target}_p90"] = parts[f"{target}_forecast"] + width * scale
    window = pd.DataFrame(parts)
    baseline = naive(DATA.table, DATA.targets, ROWS.index, DATA.info["naive"]["lag"])
    return window.join(baseline.add_suffix("_naive"))


def candidate(
    window: pd.DataFrame | None = None, name: str = "a", synthetic: bool = True, **metrics: float
) -> Candidate:
    window = predictions() if window is None else window
    scores = score_predictions(window, DATA.targets, "window", FULL_SCALE)
    return Candidate(name, f"run-{name}", scores | metrics, synthetic, lambda: window)


def champion(
    window: pd.DataFrame | None = None, synthetic: bool = True, run_id: str = "run-champion", **more
) -> Champion:
    window = predictions(seed=9) if window is None else window
    forecast = more.pop("forecast", lambda: window[[f"{t}_forecast" for t in DATA.targets]])
    return Champion(3, run_id, synthetic, forecast, **more)


def verdict_on(
    one: Candidate, rival: Champion | None = None, rules: Rules = RULES, trial: Trial = GOOD_TRIAL, data=DATA
):
    return judge([one], rival, data, rules, lambda _: trial)[-1]


def broken(verdict) -> list[str]:
    return [rule.name for rule in verdict.rules if rule.holds is False]


def test_a_good_first_candidate_is_accepted_and_every_rule_is_shown():
    verdict = verdict_on(candidate())
    assert verdict.decision == ACCEPTED
    assert [rule.holds for rule in verdict.rules] == [True] * len(verdict.rules)
    assert len(verdict.rules) == 3 + 3 * len(DATA.targets) + 1 + 3


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ({"minimum_skill": 0.99}, "wind_GW skill over naive"),
        ({"coverage80": (0.9, 1.0)}, "wind_GW inside p10..p90"),
        ({"coverage80": (0.0, 0.7)}, "wind_GW inside p10..p90"),
        ({"maximum_bias": 0.0}, "wind_GW bias/full scale"),
        ({"latency_ms": 9.9}, "time of a row over REST"),
        ({"size_MB": 0.9}, "size of the model"),
    ],
)
def test_each_limit_refuses_by_itself(rules, name):
    verdict = verdict_on(candidate(), rules=dataclasses.replace(RULES, **rules))
    assert verdict.decision == REFUSED
    assert name in broken(verdict)
    assert {broken_one.split(" ", 1)[-1] for broken_one in broken(verdict)} == {name.split(" ", 1)[-1]}
    assert name in verdict.reason


@pytest.mark.parametrize("bias", [-0.06, 0.06])
def test_a_bias_is_refused_either_way(bias):
    others_let_pass = dataclasses.replace(RULES, coverage80=(0.0, 1.0), minimum_skill=-9.0)
    verdict = verdict_on(candidate(predictions(bias=bias)), rules=others_let_pass)
    assert broken(verdict) == ["solar_GW bias/full scale", "wind_GW bias/full scale"]


def test_skill_counts_by_the_lower_end_of_its_interval():
    measured = next(r for r in verdict_on(candidate()).rules if r.name == "wind_GW skill over naive").measured
    value, low = float(measured.split()[0]), float(measured.split("[")[1].split(",")[0])
    assert low < value - 0.005
    between = dataclasses.replace(RULES, minimum_skill=(value + low) / 2)
    assert "wind_GW skill over naive" in broken(verdict_on(candidate(), rules=between))


def test_a_better_candidate_is_accepted():
    verdict = verdict_on(candidate(predictions(0.04)), champion())
    assert verdict.decision == ACCEPTED
    assert verdict.comparison.overall.high < 0


def test_a_tie_keeps_the_champion_even_if_the_mean_is_better():
    for seed in range(1, 30):
        verdict = verdict_on(candidate(predictions(seed=seed)), champion())
        if verdict.comparison.overall.value < 0:
            break
    assert verdict.comparison.overall.value < 0 < verdict.comparison.overall.high
    assert verdict.decision == KEPT
    assert broken(verdict) == ["RMSE beside version 3"]
    assert "a tie with version 3" in verdict.reason


def test_a_worse_candidate_is_refused():
    verdict = verdict_on(candidate(predictions(0.055)), champion())
    assert verdict.decision == REFUSED
    assert "RMSE beside version 3" in broken(verdict)


def in_hours(hours: list[int], one: pd.DataFrame, elsewhere: pd.DataFrame) -> pd.DataFrame:
    inside = ROWS.index.tz_convert(DATA.info["timezone"]).hour.isin(hours)
    return one.where(np.repeat(inside[:, None], one.shape[1], axis=1), elsewhere)


def test_a_candidate_that_is_better_but_much_worse_at_one_hour_is_refused():
    mixed = in_hours([18], predictions(0.1), predictions(0.035))
    rules = dataclasses.replace(RULES, coverage80=(0.0, 1.0))
    verdict = verdict_on(candidate(mixed), champion(), rules)
    assert verdict.decision == REFUSED
    assert broken(verdict) == ["solar_GW in worst regime", "wind_GW in worst regime"]
    assert "hour 18" in verdict.reason
    assert (
        verdict_on(candidate(mixed), champion(), dataclasses.replace(rules, worse_in_a_regime=5.0)).decision == ACCEPTED
    )


def test_regimes_with_few_rows_do_not_decide():
    parts = verdict_on(candidate(predictions(0.04)), champion()).comparison.parts
    assert (parts["rows"] >= FEWEST_ROWS).all()
    assert (parts["days"] >= FEWEST_DAYS).all()
    assert set(parts["regime"]) == {"all", "season", "hour", "wind", "sky"}


@pytest.mark.parametrize("champion_is_synthetic", [True, False])
@pytest.mark.parametrize("data_is_synthetic", [True, False])
def test_only_recorded_data_replaces_a_champion_of_recorded_data(champion_is_synthetic, data_is_synthetic):
    data = DATA if data_is_synthetic else RECORDED
    best = candidate(predictions(0.03, width=1.28), synthetic=data_is_synthetic)
    verdict = verdict_on(best, champion(synthetic=champion_is_synthetic), data=data)
    forbidden = data_is_synthetic and not champion_is_synthetic
    assert verdict.decision == (REFUSED if forbidden else ACCEPTED)
    assert ("kind of data" in broken(verdict)) == forbidden


def test_a_champion_of_synthetic_data_is_no_measure_for_recorded_data():
    verdict = verdict_on(candidate(synthetic=False), champion(predictions(0.01)), data=RECORDED)
    assert verdict.decision == ACCEPTED
    assert verdict.comparison is None


def cut(window: pd.DataFrame) -> pd.DataFrame:
    return window.iloc[:-1]


def with_gap(window: pd.DataFrame) -> pd.DataFrame:
    return window.assign(wind_GW_p90=window["wind_GW_p90"].where(window.index != window.index[7]))


def other_truth(window: pd.DataFrame) -> pd.DataFrame:
    return window.assign(wind_GW=window["wind_GW"] + 1e-6)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "1 of .* are missing"),
        (with_gap, "no finite wind_GW_p90 at 2015-01-01 07:00"),
        (other_truth, "recorded wind_GW is not the dataset's"),
        (lambda w: w.drop(columns="solar_GW_forecast"), "no column solar_GW_forecast"),
        (lambda w: w.drop(columns="solar_GW_naive"), "no column solar_GW_naive"),
        (lambda w: w.rename(index={w.index[0]: w.index[0] - pd.Timedelta("1h")}), "1 of .* are missing"),
        (lambda w: w.iloc[::-1], "in another order"),
        (lambda w: pd.concat([w, w.iloc[-1:]]), "repeated"),
        (lambda w: w.tz_convert("Europe/Berlin"), "another time zone"),
        (
            lambda w: w.rename(columns={"wind_GW_p10": "wind_GW_p90", "wind_GW_p90": "wind_GW_p10"}),
            "p10 is above .*p90",
        ),
    ],
)
def test_evidence_that_is_not_whole_refuses(spoil, message):
    window = predictions()
    one = dataclasses.replace(candidate(window), window=lambda: spoil(window))
    verdict = verdict_on(one)
    assert verdict.decision == REFUSED
    assert broken(verdict) == ["evidence"]
    assert pd.Series([verdict.reason]).str.contains(message).all(), verdict.reason
    assert [rule.holds for rule in verdict.rules[3:]] == [None] * (len(verdict.rules) - 3)


@pytest.mark.parametrize("name", ["rmse", "skill", "coverage80"])
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.123])
def test_a_metric_that_is_missing_or_not_that_of_the_rows_refuses(name, value):
    one = candidate()
    metrics = {key: number for key, number in one.metrics.items() if key != f"window.wind_GW.{name}"}
    metrics |= {} if value is None else {f"window.wind_GW.{name}": value}
    verdict = verdict_on(dataclasses.replace(one, metrics=metrics))
    assert broken(verdict) == ["evidence"]
    assert f"window.wind_GW.{name}" in verdict.reason


@pytest.mark.parametrize("spoilt", [500.0, np.inf, np.nan])
def test_a_skill_over_another_baseline_than_the_datasets_is_refused(spoilt):
    """Its metrics are those of its rows: only the dataset tells what the naive forecast is."""
    bad = predictions()
    bad.iloc[100:, bad.columns.get_loc("wind_GW_naive")] = spoilt
    verdict = verdict_on(candidate(bad))
    assert broken(verdict) == ["evidence"]
    assert "naive forecast of wind_GW is not the dataset's" in verdict.reason


@pytest.mark.parametrize("rival", [None, champion()])
def test_a_window_of_a_few_days_lets_nobody_pass(rival):
    """Redrawn in blocks of a week, less than a week always comes out the same: its intervals would have no width."""
    kept = (DATA.table.index < WINDOW.start) | (DATA.table.index >= WINDOW.end - pd.Timedelta("5D"))
    few = dataclasses.replace(DATA, table=DATA.table[kept])
    _, rows = plan(few.table.index, few.info)[1].split(few.table)
    baseline = naive(few.table, few.targets, rows.index, few.info["naive"]["lag"]).add_suffix("_naive")
    window = predictions(0.001).loc[rows.index].assign(**baseline)
    theirs = None if rival is None else champion(forecast=lambda: rival.forecast().loc[rows.index])
    verdict = verdict_on(candidate(window), theirs, data=few)
    assert broken(verdict) == ["evidence"]
    assert f"6 days have rows, fewer than {FEWEST_DAYS}" in verdict.reason


@pytest.mark.parametrize("label", [None, False])
def test_a_run_without_the_datasets_label_is_refused(label):
    verdict = verdict_on(dataclasses.replace(candidate(), synthetic=label))
    assert broken(verdict) == ["evidence"]


def test_no_interval_at_all_is_refused():
    verdict = verdict_on(candidate(predictions(width=0.0)))
    assert broken(verdict) == ["evidence"]  # its coverage is no number


@pytest.mark.parametrize("spoil", [cut, lambda w: w.replace(w.iloc[5, 0], np.nan), lambda w: w.iloc[:, 1:]])
def test_a_champion_that_does_not_answer_every_row_stops_the_step(spoil):
    rival = champion()
    with pytest.raises(GateError, match="the champion"):
        verdict_on(candidate(predictions(0.03)), champion(forecast=lambda: spoil(rival.forecast())))


def test_a_forecast_without_error_stops_the_step():
    truth = predictions().assign(**{f"{t}_forecast": ROWS[t] for t in DATA.targets})
    with pytest.raises(GateError, match="without any error"):
        verdict_on(candidate(predictions(0.03)), champion(truth))


def test_a_champion_that_has_seen_the_window_is_not_replaced():
    def seen() -> pd.DataFrame:
        raise WindowSeen(3, WINDOW.end, WINDOW.start)

    verdict = verdict_on(candidate(predictions(0.03)), champion(forecast=seen))
    assert verdict.decision == REFUSED
    assert "version 3 has learned up to 2015-07-01, the window starts 2015-01-01" in verdict.reason


def test_a_champion_that_was_given_up_is_not_asked():
    def lost() -> pd.DataFrame:
        raise GateError("lost")

    assert verdict_on(candidate(), champion(forecast=lost, given_up=True)).decision == ACCEPTED
    with pytest.raises(GateError, match="lost"):
        verdict_on(candidate(), champion(forecast=lost))


def test_a_model_that_does_not_answer_as_it_should_is_refused():
    verdict = verdict_on(candidate(), trial=Trial("the endpoint answers 500", float("nan"), 1.0))
    assert verdict.decision == REFUSED
    assert broken(verdict) == ["answer over REST"]
    assert verdict.rules[-1].holds is None


def test_a_latency_that_is_no_number_is_refused():
    assert broken(verdict_on(candidate(), trial=Trial("", float("nan"), 1.0))) == ["time of a row over REST"]


def test_the_champion_itself_is_kept_with_its_rules():
    verdict = verdict_on(candidate(name="a"), champion(run_id="run-a"))
    assert verdict.decision == KEPT
    assert "in Production already" in verdict.reason
    assert sum(rule.holds is True for rule in verdict.rules) == 3 + 3 * len(DATA.targets)


def served(order: list[str], trial: Trial = GOOD_TRIAL):
    def serve(one: Candidate) -> Trial:
        order.append(one.step)
        return trial if one.step == "a" else GOOD_TRIAL

    return serve


def test_a_candidate_that_breaks_a_rule_of_its_own_does_not_block_the_next():
    asked: list[str] = []
    biased, sound = candidate(predictions(0.03, bias=0.2), "a"), candidate(predictions(0.04), "b")
    verdicts = judge([biased, sound], champion(), DATA, RULES, served(asked))
    assert [v.decision for v in verdicts] == [REFUSED, ACCEPTED]
    assert verdicts[0].comparison is None  # no test is spent on it
    assert asked == ["b"]


def test_a_better_candidate_that_is_too_slow_does_not_block_the_next():
    asked: list[str] = []
    both = [candidate(predictions(0.03), "a"), candidate(predictions(0.04), "b")]
    verdicts = judge(both, champion(), DATA, RULES, served(asked, Trial("", 999.0, 1.0)))
    assert [v.decision for v in verdicts] == [REFUSED, ACCEPTED]
    assert asked == ["a", "b"]


@pytest.mark.parametrize(("error", "decision"), [(0.05, KEPT), (0.055, REFUSED)])
def test_nobody_is_compared_after_one_that_is_not_better(error, decision):
    both = [candidate(predictions(error), "a"), candidate(predictions(0.03), "b")]
    verdicts = judge(both, champion(), DATA, RULES, lambda _: GOOD_TRIAL)
    assert [v.decision for v in verdicts] == [decision]


def test_a_champion_that_breaks_a_rule_today_lets_the_next_be_tried():
    both = [candidate(predictions(0.05, bias=0.2), "a"), candidate(predictions(0.04), "b")]
    rival = champion(both[0].window(), run_id="run-a")
    verdicts = judge(both, rival, DATA, RULES, lambda _: GOOD_TRIAL)
    assert [v.decision for v in verdicts] == [REFUSED, ACCEPTED]
    assert verdicts[0].reason.startswith("in Production as version 3, yet solar_GW")


def test_what_was_taken_back_is_not_promoted_again_but_the_next_may_be():
    taken = dataclasses.replace(candidate(predictions(own=0.1)), rolled_back=True)
    verdicts = judge([taken, candidate(name="b")], None, DATA, RULES, lambda _: GOOD_TRIAL)
    assert [verdict.decision for verdict in verdicts] == [REFUSED, ACCEPTED]
    assert broken(verdicts[0]) == ["taken back by a rollback"]
