"""Names on the FTP store: which paths are allowed, and how a file is called until it is complete."""

from __future__ import annotations

import posixpath
import re
import uuid

_PART = re.compile(r"\.dsgo-[0-9a-f]{32}\.part")
_ASIDE = re.compile(r"\.dsgo-[0-9a-f]{32}\.old")
PART_LIFETIME_S = 24 * 3600  # a part that has not grown for so long belongs to nobody and is swept


def part_name() -> str:
    """A new name for a file on its way; no listing shows it."""
    return f".dsgo-{uuid.uuid4().hex}.part"


def aside_name() -> str:
    """A new name for a file that makes room for its successor; no listing shows it, and it is never swept."""
    return f".dsgo-{uuid.uuid4().hex}.old"


def is_hidden(name: str) -> bool:
    """Whether the last component of the path `name` is that of a file on its way or stepped aside."""
    return is_part(name) or (name.endswith(".old") and _ASIDE.fullmatch(posixpath.basename(name)) is not None)


def is_part(name: str) -> bool:
    """Whether the last component of the path `name` is that of a file on its way."""
    return name.endswith(".part") and _PART.fullmatch(posixpath.basename(name)) is not None


def relative_path(path: str | None) -> str:
    """The path below an artifact root in its one spelling, `""` for the root itself.

    Raises:
        ValueError: the path is absolute, climbs with `..`, holds CR, LF or NUL, or cannot be written as UTF-8.
    """
    path = "" if path is None else str(path)
    if path.startswith("/"):
        raise ValueError("it is absolute")
    return "/".join(_components(path))


def absolute_path(path: str) -> str:
    """The path of an artifact root on the server in its one spelling. Raises ValueError as `relative_path` does."""
    return "/" + "/".join(_components(path))


def _components(path: str) -> list[str]:
    if bad := next((sign for sign in "\r\n\0" if sign in path), None):
        raise ValueError(f"it contains the control character {bad!r}")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode") from None
    components = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in components:
        raise ValueError("it contains '..'")
    return components
