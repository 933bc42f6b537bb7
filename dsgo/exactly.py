"""What a collection.yaml may say under a key, each name exactly once: nothing is asked by silence.

An unknown name is refused like a missing one. Whoever misspells it would else believe that it is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from dsgo.errors import DSGoError


def exactly(given: object, kind: type, key: str, word: str, error: Callable[[str, str], DSGoError]) -> dict[str, Any]:
    """The values of a mapping that has a value for each field of the dataclass `kind`, and no other.

    Args:
        key: where in the file it stands.
        word: what one of its names is called: rule, limit, key.
        error: made of a problem and what to do.

    Raises:
        DSGoError: `error`, if a name is missing or unknown; says which.
    """
    names = [field.name for field in fields(kind)]
    if not isinstance(given, Mapping):
        raise error(f"{key}: {given!r} holds no {word}s.", f"Write {', '.join(names)}.")
    for name in given:
        if name not in names:
            raise error(f"{key}.{name}: there is no such {word}.", f"There are {', '.join(names)}.")
    for name in names:
        if name not in given:
            raise error(f"The {word} {key}.{name} is missing.", "Write it: there is no default.")
    return dict(given)
