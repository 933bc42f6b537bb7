"""What `watch:` of a collection.yaml asks for."""

from __future__ import annotations

from dataclasses import dataclass

from dsgo.errors import WatchError
from dsgo.exactly import exactly

# Lowest and highest value that makes sense.
BOUNDS = {
    "short_days": (2, 31),
    "long_days": (14, 92),
    "false_alarms_a_year": (0.01, 52.0),
    "missing_hours": (0.0, 168.0),
    "stale_hours": (0.0, 1e6),
}


@dataclass(frozen=True)
class Watching:
    """The limits.

    Attributes:
        short_days: newest span that is compared with such spans of the training years: sees what is large, soon.
        long_days: a longer one that ends with the same hour: sees what is small.
        false_alarms_a_year: of all comparisons together, checked weekly, while nothing has changed.
        missing_hours: absent in the newest short span; more is a fault.
        stale_hours: from the end of the newest recorded hour to now; more is stale.
    """

    short_days: int
    long_days: int
    false_alarms_a_year: float
    missing_hours: float
    stale_hours: float


def read(given: object) -> Watching:
    """The limits of a mapping.

    Raises:
        WatchError: one is missing, unknown or no number within its bounds; says which.
    """
    given = exactly(given, Watching, "watch", "limit", WatchError)
    values = {name: _number(name, value) for name, value in given.items()}
    if values["short_days"] >= values["long_days"]:
        raise WatchError("watch.short_days must be less than watch.long_days.", "Write e.g. 7 and 28.")
    return Watching(**values)


def _number(name: str, value: object) -> float:
    low, high = BOUNDS[name]
    whole = name.endswith("_days")
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise WatchError(f"watch.{name}: {value!r} cannot be used.", f"Write a {kind} from {low:g} to {high:g}.")
    return value if whole else float(value)
