"""The supervisord of one copy of DSGo: starting it, talking to it, ending it and all that it left behind.

Everything that it starts carries `DSGO_HOME` and `DSGO_SERVICE` in its environment. That is how orphans of a killed
supervisord are found, and why a shell that merely has `DSGO_HOME` set is never taken for one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from dsgo.errors import ServiceError
from dsgo.settings import Settings

POLL = 0.1  # seconds between two looks at something awaited
CALL_TIMEOUT = 15.0  # seconds that supervisord may take for an answer; it never blocks longer than a moment
START_DEADLINE = 30.0
STOP_DEADLINE = 40.0  # supervisord kills after 25 s at most what has not ended
ORPHAN_DEADLINE = 10.0
SOCKET_PATH_LIMIT = 103 - len(".4194304")  # bytes of sun_path on macOS, less what supervisord appends while it binds


class Unreachable(Exception):
    """No supervisord answers at this copy's control socket."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        self.close()
        connection = _Connection(self._path)
        self._connection = (host, connection)  # where the base class keeps it, and closes it
        return connection


def folder(settings: Settings) -> Path:
    """Where supervisord runs and keeps its own files."""
    return settings.home / "supervisor"


def process_name(service: str) -> str:
    """What `server/supervisord.conf` calls the service."""
    return f"dsgo:{service}"


def _started_file(settings: Settings) -> Path:
    return folder(settings) / "started.json"


def started_with(settings: Settings) -> dict[str, str]:
    """The environment that the last supervisord of this copy was started with, as far as the services depend on it."""
    try:
        return json.loads(_started_file(settings).read_text())
    except FileNotFoundError:
        return {}


def wanted(settings: Settings) -> dict[str, str]:
    """The environment that a supervisord for `settings` is to be started with, but for its control socket."""
    return {
        **{name: value for name, value in settings.child_environment().items() if name.startswith("DSGO_")},
        "DSGO_CHECKOUT": str(settings.checkout),
        "DSGO_PYTHON": shlex.quote(sys.executable),
    }


@contextlib.contextmanager
def supervisor(settings: Settings) -> Iterator[object]:
    """supervisord's XML-RPC interface, as a context manager.

    Raises:
        Unreachable: it does not run or does not answer.
    """
    path = started_with(settings).get("DSGO_CONTROL_SOCKET")
    if path is None:
        raise Unreachable
    try:
        with xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(path)) as proxy:
            yield proxy.supervisor
    except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
        raise Unreachable from error


def processes(settings: Settings) -> dict[str, list[psutil.Process]]:
    """The running processes of this copy by service, supervisord under `supervisord`. Zombies do not count."""
    home = os.path.realpath(settings.home)
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # another user's, a kernel thread, a zombie, or ended meanwhile
        service = environment.get("DSGO_SERVICE")
        if service and os.path.realpath(environment.get("DSGO_HOME", "")) == home:
            found.setdefault(service, []).append(process)
    return found


def start(settings: Settings) -> None:
    """Start supervisord, all services stopped. Nothing of an earlier one may be left: see `stop`.

    Raises:
        ServiceError: it does not start; carries what it printed.
    """
    where = folder(settings)
    where.mkdir(parents=True, exist_ok=True)
    where.chmod(0o700)
    control = _control_socket(where)
    facts = {**wanted(settings), "DSGO_CONTROL_SOCKET": control}
    _started_file(settings).write_text(json.dumps(facts, indent=1))
    environment = {
        **os.environ,
        **settings.child_environment(),
        **facts,
        "DSGO_SERVICE": "supervisord",
        # The servers run the code that this process runs, wherever it was imported from.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(settings.checkout), os.environ.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",  # what a server printed before it was killed is in its log
    }
    launched = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", settings.checkout / "server" / "supervisord.conf"],
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_DEADLINE,
    )

    def answers() -> bool:
        try:
            with supervisor(settings) as interface:
                return interface.getState()["statename"] == "RUNNING"
        except Unreachable:
            return False

    if launched.returncode != 0 or not wait_until(answers, START_DEADLINE):
        stop(settings)
        raise ServiceError("supervisord", "does not start:", launched.stdout.strip() or "it printed nothing.")


def _control_socket(where: Path) -> str:
    """A path for the control socket: in `where`, or in a private folder if that path is too long for a Unix socket."""
    inside = str(where / "control.sock")
    if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
        return inside
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > SOCKET_PATH_LIMIT - len("/dsgo-12345678/control.sock"):
        base = "/tmp"
    return str(Path(tempfile.mkdtemp(prefix="dsgo-", dir=base), "control.sock"))  # mkdtemp: mode 0700


def stop(settings: Settings) -> None:
    """End supervisord and every service of this copy, also those that a killed supervisord left behind.

    Raises:
        ServiceError: a process does not end even when killed.
    """
    # A terminated supervisord ends its services first; the control socket is not needed and may be lost.
    for process in processes(settings).get("supervisord", []):
        send(process.terminate)
    wait_until(lambda: "supervisord" not in processes(settings), STOP_DEADLINE)
    for signal_name in ("terminate", "kill"):
        for process in (p for found in processes(settings).values() for p in found):
            send(getattr(process, signal_name))
        if wait_until(lambda: not processes(settings), ORPHAN_DEADLINE):
            break
    else:
        name, left = next(iter(processes(settings).items()))
        raise ServiceError(name, f"process {left[0].pid} does not end.")
    control = started_with(settings).get("DSGO_CONTROL_SOCKET")
    if control and Path(control).parent != folder(settings):
        shutil.rmtree(Path(control).parent, ignore_errors=True)
    _started_file(settings).unlink(missing_ok=True)


def send(signal: Callable[[], None]) -> None:
    """Send a process a signal, unless it has ended meanwhile."""
    with contextlib.suppress(psutil.NoSuchProcess):
        signal()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until `condition` holds, at most `seconds`; whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
