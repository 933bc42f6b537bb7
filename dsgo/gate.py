"""The gate between a candidate and Production. It fails closed: what cannot be judged is refused.

Candidate and champion are scored on the same rows, which neither has seen: the candidate's twin by the predictions that its
run has left, the champion's twin by predicting them now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dsgo.errors import GateError


@dataclass(frozen=True)
class Rule:
    """One rule's outcome: what was measured, what was asked, whether it holds."""

    name: str
    measured: str
    asked: str
    holds: bool


def judge(
    metrics: Mapping[str, float],
    targets: list[str],
    rules: Mapping[str, object],
    window: pd.DataFrame,
    champion: pd.DataFrame | None,
) -> list[Rule]:
    """Every rule and how the candidate stands to it.

    Args:
        metrics: of the candidate's run.
        targets: names of the targets.
        rules: `gate` of the collection: `minimum_skill`, `coverage80` (lowest and highest).
        window: the candidate's predictions on the last window (`T`, `T_forecast`).
        champion: the champion's (`T_forecast`) on the same rows; None where there is no champion.

    Raises:
        GateError: a rule or a metric is missing, or the champion's rows are not the candidate's.
    """
    outcome = []
    for target in targets:
        skill = _metric(metrics, f"window.{target}.skill")
        least = float(_rule(rules, "minimum_skill"))
        outcome.append(Rule(f"{target} skill over naive", f"{skill:.3f}", f"at least {least:.2f}", skill >= least))
        coverage = _metric(metrics, f"window.{target}.coverage80")
        low, high = (float(edge) for edge in _rule(rules, "coverage80"))
        asked = f"{low:.2f} to {high:.2f}"
        outcome.append(Rule(f"{target} coverage of p10..p90", f"{coverage:.3f}", asked, low <= coverage <= high))
    if champion is None:
        outcome.append(Rule("better than the champion", "no champion yet", "lower RMSE", True))
    else:
        ratio = rmse_ratio(window, champion, targets)
        measured = f"RMSE {100 * (ratio - 1):+.2f} % (mean of targets)"
        outcome.append(Rule("better than the champion", measured, "lower RMSE", ratio < 1))
    return outcome


def rmse_ratio(window: pd.DataFrame, champion: pd.DataFrame, targets: list[str]) -> float:
    """Geometric mean over targets of the candidate's RMSE over the champion's, on the same rows."""
    if not window.index.equals(champion.index):
        raise GateError("Candidate and champion were not scored on the same rows.", "Run the training steps again.")
    ratios = []
    for target in targets:
        ours, theirs = (
            np.sqrt(np.mean((predictions[f"{target}_forecast"] - window[target]) ** 2))
            for predictions in (window, champion)
        )
        if not np.isfinite(ours) or not np.isfinite(theirs):
            raise GateError(f"The RMSE of {target} is not finite.", "Look at the predictions of both runs.")
        ratios.append(ours / max(theirs, 1e-12))
    return float(np.exp(np.mean(np.log(ratios))))


def _metric(metrics: Mapping[str, float], name: str) -> float:
    value = metrics.get(name)
    if value is None or not np.isfinite(value):
        raise GateError(f"The candidate's run has no finite metric {name}.", "Run its training step again.")
    return value


def _rule(rules: Mapping[str, object], name: str) -> object:
    if name not in rules:
        raise GateError(f"The gate has no rule {name}.", "Add it under `gate:` in collection.yaml.")
    return rules[name]
