"""Which ports servers of the tests may listen on: each worker of a parallel run has its own.

All lie below the ports that systems hand out for outgoing connections, and so do the FTP servers' data ports, 10,000
above: a port stays free between choosing it and listening on it, and while a killed server is started again.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

from dsgo import probes
from dsgo.settings import HOST, Settings

FIRST, END = 10_000, 20_000
DATA_PORTS = 40  # of each FTP server: the last ports of a worker would share theirs with the next worker's first


def _own(worker: int, workers: int) -> range:
    """The ports of one of several workers, counted from 0."""
    size = (END - FIRST) // workers
    return range(FIRST + worker * size, FIRST + (worker + 1) * size - DATA_PORTS)


OWN = _own(
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)


def free_ports(count: int) -> list[int]:
    """As many different ports that nobody listens on."""
    found: list[int] = []
    for port in random.SystemRandom().sample(OWN, len(OWN)):
        if len(found) == count:
            break
        if not probes.is_taken(port):
            found.append(port)
    return found


def free_ftp_port() -> int:
    """A port that is free together with the passive ports that settings derive from it."""
    for _ in range(1000):
        port = random.SystemRandom().choice(OWN)
        try:
            for candidate in (port, *Settings(home=Path(), ftp_port=port).passive_ports):
                with socket.socket() as probe:
                    probe.bind((HOST, candidate))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")
