"""What the steps of a pipeline say, line by line, kept whatever becomes of them: who looks later has no terminal to look at.

While a step runs its lines go to `$DSGO_HOME/logs/steps/<run of the pipeline>/<step>.log`, so that even a killed one leaves
them. When it ends, well or not, they become a file of the pipeline's run, in the folder `log`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from dsgo.errors import DSGoError
from dsgo.settings import Settings

FOLDER = "log"  # of the pipeline's run
MOST_BYTES = 500_000  # of a log that is shown; its end says how the step went
CUT = "… what was before is in the file {name} …\n"


def path(settings: Settings, pipeline: str, step: str) -> Path:
    """Where the lines of a step are written.

    Args:
        pipeline: id of the pipeline's run.

    Raises:
        ValueError: one of the two is no such name, so that nobody is shown any other file.
    """
    if not re.fullmatch(r"[0-9a-f]{32}", pipeline) or not re.fullmatch(r"\w+", step, re.ASCII):
        raise ValueError(f"There is no log of a step {step!r} of a run {pipeline!r}.")
    return settings.logs / "steps" / pipeline / f"{step}.log"


@contextlib.contextmanager
def kept(settings: Settings, pipeline: str, step: str) -> Iterator[BinaryIO]:
    """The file to which the step's lines are added; one that is tried again goes on below. At the end it goes to the run."""
    file = path(settings, pipeline, step)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("ab", buffering=0) as lines:  # nothing is held back: the process may be killed
            try:
                yield lines
            except Exception as error:
                lines.write(dated(str(error).encode()))
                raise
    finally:
        _store(file, pipeline)


def dated(line: bytes) -> bytes:
    """A line with the time at which it was said."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z ".encode() + line.rstrip(b"\n") + b"\n"


def names(settings: Settings, pipeline: str) -> list[str]:
    """The steps of a pipeline's run whose lines this machine has, in the order in which they were last added to."""
    found = path(settings, pipeline, "any").parent.glob("*.log")
    return [file.stem for file in sorted(found, key=lambda file: file.stat().st_mtime)]


def end(settings: Settings, pipeline: str, step: str, stored: Callable[[str, str], bytes | None]) -> str | None:
    """The lines of a step, of many the last ones; None if there are none.

    Args:
        stored: function from a run and a path to the content of a file of the run; asked where this machine has no lines.

    Raises:
        ValueError: see `path`.
    """
    file = path(settings, pipeline, step)
    try:
        with file.open("rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - MOST_BYTES))
            content = lines.read()
    except FileNotFoundError:
        content = stored(pipeline, f"{FOLDER}/{file.name}")
        if content is None:
            return None
        size, content = len(content), content[-MOST_BYTES:]
    text = content.decode("utf-8", "replace")
    return text if size <= MOST_BYTES else CUT.format(name=file.name) + text.partition("\n")[2]


def _store(file: Path, pipeline: str) -> None:
    """A step is not lost for its log: where it cannot be stored, that is said."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient().log_artifact(pipeline, str(file), FOLDER)
    except (MlflowException, DSGoError, OSError) as error:
        print(f"The log of {file.stem} is only in {file}: {error}", flush=True)
