"""The gate between a candidate and Production. It fails closed: what cannot be judged does not pass.

Candidates are tried in the order of their back-tests, which the window has no part in:

- one that breaks a rule of its own (kind of data, rollback, evidence, skill, coverage, bias) is refused without being
  compared, and the next is tried;
- one that is not shown to be better than the champion ends the search: the champion is kept if the interval of the
  difference holds 0, and the candidate refused if it is worse;
- one that is better, but much worse in some regime or cannot be served, is refused, and the next is tried.

So a further candidate is compared only after one before it was shown to be better. Tests in such a fixed sequence keep the
chance of a false promotion at that of a single one, however many candidates there are (docs/decisions/gate.md).

What is wrong with a candidate refuses it. What is wrong around it (rules, champion, store) raises an error instead: the
step fails, and is not taken for a decision that could be reused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dsgo.comparison import FEWEST_DAYS, Comparison, Measured, check_rows, compare, skill
from dsgo.errors import GateError, WindowSeen
from dsgo.evaluation import coverage, naive, plan, score
from dsgo.rules import Rules
from dsgo.tables import Dataset

ACCEPTED, KEPT, REFUSED = "accepted", "kept", "refused"
PARTS = ("forecast", "p10", "p90")
SAME = 1e-6  # relative difference up to which a logged score is that of the rows
NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Rule:
    """One rule's outcome: what was measured, what was asked, whether it holds; None where it was not tried."""

    name: str
    measured: str
    asked: str
    holds: bool | None


@dataclass(frozen=True)
class Candidate:
    """A training run that may go to Production.

    Attributes:
        metrics: of the run.
        synthetic: the run's label.
        window: gives its twin's predictions on the window.
        rolled_back: a person has taken its version out of Production.
    """

    step: str
    run_id: str
    metrics: Mapping[str, float]
    synthetic: bool
    window: Callable[[], pd.DataFrame]
    rolled_back: bool = False


@dataclass(frozen=True)
class Champion:
    """The version in Production.

    Attributes:
        forecast: gives `T_forecast` at the window's rows, none of which it has seen; raises WindowSeen if there are others.
        given_up: a person has said that it is lost and need not be compared with.
    """

    version: int
    run_id: str
    synthetic: bool
    forecast: Callable[[], pd.DataFrame]
    given_up: bool = False


@dataclass(frozen=True)
class Trial:
    """What a served model was like. `complaint`: what was wrong with it; empty if it answered as it should."""

    complaint: str
    latency_ms: float
    size_MB: float


@dataclass(frozen=True)
class Verdict:
    """What became of one candidate, and why; `comparison` is there if it was compared with a champion."""

    candidate: Candidate
    decision: str
    reason: str
    rules: tuple[Rule, ...]
    comparison: Comparison | None = None


def judge(
    candidates: Sequence[Candidate],
    champion: Champion | None,
    dataset: Dataset,
    rules: Rules,
    serve: Callable[[Candidate], Trial],
) -> list[Verdict]:
    """The verdicts on all candidates that are tried; the last is the decision.

    Args:
        candidates: the best by back-test first.
        champion: what is in Production, if anything.
        dataset: that all candidates were trained on.
        rules: of the collection.
        serve: serves a candidate's model for a moment; called only for one that holds all other rules.

    Raises:
        GateError: the champion cannot be asked, or a model cannot be served for a reason that lies outside of it.
    """
    verdicts = []
    for candidate in candidates:
        verdict = _Judgement(candidate, champion, dataset, rules).verdict(serve)
        verdicts.append(verdict)
        if verdict.decision != REFUSED or (verdict.comparison and not _better(verdict.comparison.overall)):
            break
    return verdicts


def _better(difference: Measured) -> bool:
    return difference.high < 0


# Name of a rule, what it asks, and how to measure it: in words, and whether it holds.
_Open = tuple[str, str, Callable[[], tuple[str, bool | None]]]


class _Judgement:
    """One candidate's way through the rules: group by group, until one of them is broken."""

    def __init__(self, candidate: Candidate, champion: Champion | None, dataset: Dataset, rules: Rules) -> None:
        self.candidate, self.champion, self.dataset, self.rules = candidate, champion, dataset, rules
        _, fold = plan(dataset.table.index, dataset.info)
        past, self.rows = fold.split(dataset.table)
        self.full_scale = past[dataset.targets].max()
        self.is_champion = champion is not None and champion.run_id == candidate.run_id
        self.window = self.rows  # until the evidence has been read
        self.comparison: Comparison | None = None
        self.trial: Trial | None = None

    def verdict(self, serve: Callable[[Candidate], Trial]) -> Verdict:
        """What became of it. All rules are in the verdict, also those that were not reached."""
        outcome: list[Rule] = []
        for group in (self._evidence(), self._alone(), self._against_champion(), self._served(serve)):
            going_on = all(rule.holds for rule in outcome)
            for name, asked, measure in group:
                measured, holds = measure() if going_on else (NOT_TRIED, None)
                outcome.append(Rule(name, measured, asked, None if holds is None else bool(holds)))
        return Verdict(self.candidate, *self._decision(outcome), tuple(outcome), self.comparison)

    def _decision(self, outcome: Sequence[Rule]) -> tuple[str, str]:
        broken = [f"{rule.name}: {rule.measured} (asked: {rule.asked})" for rule in outcome if rule.holds is False]
        if self.is_champion and not broken:
            return KEPT, f"version {self.champion.version}, the best candidate, is in Production already"
        difference = self.comparison.overall if self.comparison else None
        if difference and difference.low <= 0 <= difference.high:
            return KEPT, f"a tie with version {self.champion.version}: RMSE {percent(difference)}, the interval holds 0"
        if all(rule.holds for rule in outcome):
            return ACCEPTED, f"all {len(outcome)} rules hold"
        standing = f"in Production as version {self.champion.version}, yet " if self.is_champion else ""
        return REFUSED, standing + "; ".join(broken)

    def _evidence(self) -> list[_Open]:
        real_only = self.champion is not None and not self.champion.synthetic
        asked = "recorded" if real_only else "any"
        return [
            ("kind of data", asked, lambda: (_kind(self.dataset), not (real_only and self.dataset.synthetic))),
            # What a person has taken back, the next pipeline must not put there again on the same evidence.
            ("taken back by a rollback", "no", lambda: _yes_or_no(self.candidate.rolled_back)),
            ("evidence", f"all {len(self.rows)} rows", self._complete),
        ]

    def _alone(self) -> list[_Open]:
        low, high = self.rules.coverage80
        return [
            rule
            for target in self.dataset.targets
            for rule in (
                (
                    f"{target} skill over naive",
                    f"low end ≥ {self.rules.minimum_skill:.2f}",
                    lambda t=target: self._skill(t),
                ),
                (f"{target} inside p10..p90", f"{low:.2f} to {high:.2f}", lambda t=target: self._coverage(t)),
                (
                    f"{target} bias/full scale",
                    f"within ±{100 * self.rules.maximum_bias:g} %",
                    lambda t=target: self._bias(t),
                ),
            )
        ]

    def _against_champion(self) -> list[_Open]:
        if self.champion is None:
            return [("RMSE beside the champion", "lower", lambda: ("no champion yet", True))]
        if self.champion.synthetic and not self.dataset.synthetic:
            return [("RMSE beside the champion", "any", lambda: ("champion is of synthetic data", True))]
        if self.champion.given_up:
            return [("RMSE beside the champion", "any", lambda: ("lost, and given up by a person", True))]
        name, limit = f"RMSE beside version {self.champion.version}", 100 * self.rules.worse_in_a_regime
        if self.is_champion:
            return [(name, "high end < 0", lambda: ("is the champion", None))]
        regimes = [
            (f"{target} in worst regime", f"≤ +{limit:.0f} %", lambda t=target: self._worst_regime(t))
            for target in self.dataset.targets
        ]
        return [(name, "high end < 0", self._difference), *regimes]

    def _served(self, serve: Callable[[Candidate], Trial]) -> list[_Open]:
        def answers() -> tuple[str, bool]:
            self.trial = serve(self.candidate)
            return self.trial.complaint or "the model's", not self.trial.complaint

        def within(figure: str, limit: float, unit: str) -> tuple[str, bool | None]:
            if self.trial.complaint:
                return NOT_TRIED, None
            value = getattr(self.trial, figure)
            return f"{value:.1f} {unit}", value <= limit

        latency, size = self.rules.latency_ms, self.rules.size_MB
        return [
            ("answer over REST", "the model's", answers),
            ("time of a row over REST", f"≤ {latency:g} ms", lambda: within("latency_ms", latency, "ms")),
            ("size of the model", f"≤ {size:g} MB", lambda: within("size_MB", size, "MB")),
        ]

    def _complete(self) -> tuple[str, bool]:
        """Whether the run has left all that it will be judged by, and its figures are those of its rows."""
        try:
            self.window = self._checked(self.candidate.window())
        except GateError as error:
            return error.problem, False
        return f"{len(self.window)} rows, scores of them", True

    def _checked(self, window: pd.DataFrame) -> pd.DataFrame:
        targets, info = self.dataset.targets, self.dataset.info
        days = self.rows.index.tz_convert(info["timezone"]).normalize().nunique()
        if days < FEWEST_DAYS:  # of less than a block of the bootstrap, every resample is the same
            raise GateError(f"Only {days} days have rows, fewer than {FEWEST_DAYS}: chance cannot be told from skill.")
        columns = [f"{target}{end}" for target in targets for end in ("", *(f"_{part}" for part in PARTS))]
        check_rows("the run", window, self.rows.index, columns)
        if absent := [f"{target}_naive" for target in targets if f"{target}_naive" not in window]:
            raise GateError(f"The predictions of the run have no column {absent[0]}.")
        if self.candidate.synthetic != self.dataset.synthetic:
            raise GateError("The run is not labelled synthetic or recorded as its dataset is.")
        baseline = naive(self.dataset.table, targets, self.rows.index, info["naive"]["lag"])
        for target in targets:
            if not np.array_equal(window[target], self.rows[target]):
                raise GateError(f"Its recorded {target} is not the dataset's.")
            if not np.array_equal(window[f"{target}_naive"], baseline[target], equal_nan=True):
                raise GateError(f"Its naive forecast of {target} is not the dataset's.")
            if (window[f"{target}_p10"] > window[f"{target}_p90"]).any():  # `coverage` would leave such hours out
                raise GateError(f"Its {target}_p10 is above its {target}_p90 in some hours.")
            there = window[f"{target}_naive"].notna()
            naive_rmse, rmse = (
                np.sqrt(np.mean((window[column] - window[target])[there] ** 2))
                for column in (f"{target}_naive", f"{target}_forecast")
            )
            for name, value in (
                ("rmse", score(*self._arrays(window, target), full_scale=1.0)["rmse"]),
                ("skill", 1 - rmse / naive_rmse),
                ("coverage80", self._share_inside(window, target)),
            ):
                logged = self.candidate.metrics.get(f"window.{target}.{name}")
                if logged is None or not np.isfinite(logged):
                    raise GateError(f"It has no finite metric window.{target}.{name}.")
                if not np.isclose(logged, value, rtol=SAME, atol=SAME):
                    raise GateError(f"Its metric window.{target}.{name} is {logged:.6g}, its rows say {value:.6g}.")
        return window

    def _skill(self, target: str) -> tuple[str, bool]:
        measured = skill(self.window, target, self.dataset.info["timezone"], self.rules.confidence)
        text = f"{measured.value:.3f} [{measured.low:.3f}, {measured.high:.3f}]"
        return text, measured.low >= self.rules.minimum_skill

    def _coverage(self, target: str) -> tuple[str, bool]:
        share = self._share_inside(self.window, target)
        low, high = self.rules.coverage80
        return f"{share:.3f}", low <= share <= high

    def _bias(self, target: str) -> tuple[str, bool]:
        share = score(*self._arrays(self.window, target), full_scale=1.0)["bias"] / self.full_scale[target]
        return f"{_signed(100 * share)} %", abs(share) <= self.rules.maximum_bias

    def _difference(self) -> tuple[str, bool]:
        try:
            theirs = self.champion.forecast()
        except WindowSeen as error:
            return error.problem, False
        table, info = self.dataset.table, self.dataset.info
        self.comparison = compare(self.window, theirs, table, info, self.rules.confidence)
        return percent(self.comparison.overall), _better(self.comparison.overall)

    def _worst_regime(self, target: str) -> tuple[str, bool | None]:
        """The regime with the largest loss. It breaks the rule if the loss is above the limit and no matter of chance."""
        if self.comparison is None:
            return NOT_TRIED, None
        parts = self.comparison.parts[self.comparison.parts["target"] == target]
        if parts.empty:
            return "no regime has enough rows", False
        broken = (parts["share"] > self.rules.worse_in_a_regime) & (parts["low"] > 0)
        looked_at = parts[broken] if broken.any() else parts
        worst = looked_at.loc[looked_at["share"].idxmax()]
        whole = parts.loc[parts["regime"] == "all", "champion_rmse"].item()
        where = "all hours" if worst["regime"] == "all" else f"{worst['regime']} {worst['value']}"
        return f"{where}: {percent(Measured(*worst[['difference', 'low', 'high']] / whole))}", not broken.any()

    @staticmethod
    def _arrays(window: pd.DataFrame, target: str) -> tuple[np.ndarray, np.ndarray]:
        return window[target].to_numpy(), window[f"{target}_forecast"].to_numpy()

    @staticmethod
    def _share_inside(window: pd.DataFrame, target: str) -> float:
        return coverage(*(window[f"{target}{end}"].to_numpy() for end in ("", "_p10", "_p90")))


def percent(measured: Measured) -> str:
    """`−1.2 % [−2.5, +0.1]`."""
    value, low, high = (_signed(100 * figure) for figure in (measured.value, measured.low, measured.high))
    return f"{value} % [{low}, {high}]"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _yes_or_no(rolled_back: bool) -> tuple[str, bool]:
    return "yes" if rolled_back else "no", not rolled_back


def _kind(dataset: Dataset) -> str:
    return "synthetic" if dataset.synthetic else "recorded"
