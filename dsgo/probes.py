"""Looking at ports from outside: is one taken, by whom, and does the right server answer there."""

from __future__ import annotations

import ftplib
import http.client
import socket
from collections.abc import Callable

import psutil

from dsgo.errors import ServiceError
from dsgo.settings import HOST

Probe = Callable[[int], bool]
PROBE_TIMEOUT = 2.0  # seconds that a server may take for an answer before it counts as not ready


def ftp_greets(port: int) -> bool:
    """Whether an FTP server greets with 220 at `port`."""
    try:
        with ftplib.FTP() as client:
            return client.connect(HOST, port, timeout=PROBE_TIMEOUT).startswith("220")
    except (OSError, EOFError, ftplib.Error):
        return False


def http_answers(path: str) -> Probe:
    """A probe: whether a GET of `path` gives 200. Goes straight to the port, whatever proxy the environment names."""

    def probe(port: int) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def is_taken(port: int) -> bool:
    """Whether a server listens on `port` already, so that another one could not."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: connections of an ended server, in TIME_WAIT, do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def holder(port: int) -> str:
    """Who listens on `port`, as `nginx (pid 123)`; empty if the system does not tell."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""  # macOS shows this to root only; an ended process has no name
    return ""


def refuse_taken(service: str, port: int, setting: str) -> None:
    """Check that `service` can listen on `port`.

    Raises:
        ServiceError: the port is taken. Names the port, its holder if visible, and the setting to change.
    """
    if is_taken(port):
        by = holder(port)
        raise ServiceError(
            service,
            f"port {port} is taken by {by or 'another program'}.",
            f"End that program or set {setting} to a free port.",
        )


def listens(pid: int, port: int) -> bool:
    """Whether the process `pid` or a descendant of it listens on `port`."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return False
    for member in family:
        try:
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in member.net_connections(kind="tcp")):
                return True
        except psutil.Error:
            continue  # ended meanwhile
    return False
