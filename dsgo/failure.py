"""What a step that fails tells the pipeline that has started it: two processes, with a file between them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dsgo import settings, transient

LONGEST = 2000  # letters; a tag of MLflow takes 8,000, a parameter 6,000


@dataclass(frozen=True)
class Failure:
    """Why a step has failed, in its own words, and whether that passes by itself. Without words, it could not say."""

    said: str = ""
    transient: bool = False


def tell(error: BaseException) -> None:
    """Tell the pipeline, if one has started this process, on which error it ends."""
    file = settings.failure_file()
    if file is not None:
        said = str(error).strip() or type(error).__name__
        file.write_text(json.dumps(asdict(Failure(said[:LONGEST], transient.is_transient(error)))))


def told(file: Path) -> Failure:
    """What a process that has ended has told."""
    try:
        return Failure(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):  # it was killed, perhaps while it wrote
        return Failure()
