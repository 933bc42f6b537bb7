"""Servers that the benchmarks start: each a process group of its own, waited for, and ended with its block."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

LONGEST_START_S = 120


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], log: Path, answers: Callable[[], object]
) -> Iterator[subprocess.Popen]:
    """A server for as long as the block lasts, from when `answers` raises no OSError any more.

    Raises:
        RuntimeError: it ended, or does not answer within two minutes; with the end of its log.
    """
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + LONGEST_START_S
        while True:
            try:
                answers()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    end = log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"the server did not start: {' '.join(command)}\n{end}") from error
                time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
