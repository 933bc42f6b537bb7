"""What `gate:` of a collection.yaml may ask of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from dsgo.errors import GateError
from dsgo.exactly import exactly


@dataclass(frozen=True)
class Rules:
    """The limits.

    Attributes:
        minimum_skill: least 1 − rmse / rmse of the naive baseline, of every target, at the lower end of its interval.
        coverage80: lowest and highest share of the open hours inside p10..p90.
        maximum_bias: largest mean error, either way, as a share of the largest value recorded before the window.
        worse_in_a_regime: by how much the RMSE may be above the champion's in any regime, as a share of the champion's
            over all hours.
        confidence: of all intervals; half of the rest to 1 is how often a mere equal would pass for better.
        latency_ms: longest answer to a request of one row, the median of warm requests.
        size_MB: largest size of the served model's files, in 10⁶ bytes.
    """

    minimum_skill: float
    coverage80: tuple[float, float]
    maximum_bias: float
    worse_in_a_regime: float
    confidence: float
    latency_ms: float
    size_MB: float


# Lowest and highest value that makes sense. A limit that lets everything through is written as such, not left out.
BOUNDS = {
    "minimum_skill": (-1e9, 1.0),
    "coverage80": (0.0, 1.0),
    "maximum_bias": (0.0, 1e9),
    "worse_in_a_regime": (0.0, 1e9),
    "confidence": (0.5, 0.9999),
    "latency_ms": (0.0, 1e9),
    "size_MB": (0.0, 1e9),
}


def read(given: object) -> Rules:
    """The rules of a mapping.

    Raises:
        GateError: one is missing, unknown or no number within its bounds; says which.
    """
    given = exactly(given, Rules, "gate", "rule", GateError)
    values = {name: _number(name, value) for name, value in given.items() if name != "coverage80"}
    return Rules(**values, coverage80=_pair("coverage80", given["coverage80"]))


def one_line(rules: Mapping[str, object]) -> str:
    """Rules as a step takes them: those of `gate:` and the limits of `watch:` alike."""
    return yaml.safe_dump(dict(rules), default_flow_style=True, width=10_000).strip().strip("{}")


def _number(name: str, value: object) -> float:
    low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise GateError(f"gate.{name}: {value!r} cannot be used.", f"Write a number from {low:g} to {high:g}.")
    return float(value)


def _pair(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise GateError(f"gate.{name}: {value!r} cannot be used.", "Write the lowest and the highest: [0.7, 0.9].")
    low, high = (_number(name, edge) for edge in value)
    if low >= high:
        raise GateError(f"gate.{name}: {value!r} holds no value.", "Write the lower one first.")
    return low, high
