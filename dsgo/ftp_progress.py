"""A progress bar for transfers that take more than a few seconds, and nothing for the others."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

SHOW_AFTER_S = 3.0
LOG_EVERY_S = 10.0  # where nobody watches, each update is a line in a log

Progress = Callable[[int], object]


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, wanted: bool = True) -> Iterator[Progress]:
    """Yield a function that any thread calls with the number of bytes just moved. `total` in bytes, None if unknown.

    Nothing is shown unless `wanted`.
    """
    bar = None
    lock = threading.Lock()
    begin = time.monotonic()
    moved = 0

    def update(count: int) -> None:
        nonlocal bar, moved
        with lock:
            moved += count
            if bar is not None:
                bar.update(count)
            elif time.monotonic() - begin > SHOW_AFTER_S and wanted:
                from tqdm import tqdm  # only now: most transfers are over before

                interval = 0.1 if sys.stderr.isatty() else LOG_EVERY_S
                bar = tqdm(desc=title, total=total, initial=moved, unit="B", unit_scale=True, mininterval=interval)

    try:
        yield update
    finally:
        if bar is not None:
            bar.close()
