"""A real server of this checkout on free ports, and repositories that talk to it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import dsgo.ftp_connection as ftp_connection
from dsgo import settings
from dsgo.ftp_artifacts import FTPArtifactRepository

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.append(str(CHECKOUT / "server"))  # `import ftpserver` in tests that run one in this process


def free_ftp_port() -> int:
    """A port that is free together with the passive ports that settings derive from it.

    They lie below the ports that the system gives to clients, which come and go in any number.
    """
    for _ in range(1000):
        port = random.randint(10_000, 22_000)
        try:
            for candidate in (port, *settings.Settings(home=Path(), ftp_port=port).passive_ports):
                with socket.socket() as probe:
                    probe.bind((settings.HOST, candidate))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")


def wait_for_port(port: int, process: subprocess.Popen, log: Path) -> None:
    """Return when something answers on `port`; fail with the log if the process ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        try:
            with socket.create_connection((settings.HOST, port), 1) as probe:
                probe.recv(1)
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"no answer on port {port}:\n{log.read_text()}")


class Store:
    """DSGo's FTP server as a process of its own."""

    def __init__(self, home: Path, environ: dict[str, str] | None = None) -> None:
        self.home, self.port, self.log = home, free_ftp_port(), home.with_suffix(".log")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DSGO_")},
            "DSGO_HOME": str(home),
            "DSGO_FTP_PORT": str(self.port),
            "PYTHONPATH": str(CHECKOUT),
            **(environ or {}),
        }
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, str(CHECKOUT / "server" / "ftpserver.py")]
            self.process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log, cwd=self.home.parent)
        wait_for_port(self.port, self.process, self.log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(40)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    @property
    def settings(self) -> settings.Settings:
        return settings.load(self.environ)

    @property
    def root(self) -> Path:
        return self.settings.ftp_root / "artifacts"

    @property
    def uri(self) -> str:
        return f"ftp://{settings.HOST}:{self.port}/artifacts"

    def parts(self) -> list[Path]:
        return list(self.settings.ftp_root.rglob(".dsgo-*.part"))


@pytest.fixture(scope="session")
def free_port():
    """The function `free_ftp_port`."""
    return free_ftp_port


@pytest.fixture(scope="session")
def make_store(tmp_path_factory):
    """A generator of one server with additional environment, for fixtures."""

    def make(environ: dict[str, str] | None = None):
        store = Store(tmp_path_factory.mktemp("ftp") / "home", environ)
        store.start()
        yield store
        assert store.stop() == 0, store.log.read_text()

    return make


@pytest.fixture(scope="session")
def running_store(make_store):
    yield from make_store()


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A server that a test may stop, kill and break."""
    store = Store(tmp_path / "home")
    store.start()
    _use(store, monkeypatch)
    yield store
    store.stop()


def _use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `store` the one of this process's settings."""
    for name in ("DSGO_FTP_USER", "DSGO_FTP_PASSWORD", "DSGO_FTP_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSGO_HOME", str(store.home))
    monkeypatch.setenv("DSGO_FTP_PORT", str(store.port))
    monkeypatch.setenv("DSGO_FTP_TLS", store.environ.get("DSGO_FTP_TLS", "false"))


@pytest.fixture
def use_store(monkeypatch):
    """A function that makes a store the one of this process's settings."""
    return lambda store: _use(store, monkeypatch)


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """A function that serves `tmp_path / "served"` from a thread of this process, for tests that tamper with it.

    Takes a user, a password, and attributes that replace those of the handler; returns the server.
    """
    import ftpserver

    with contextlib.ExitStack() as stack:

        def serve(user: str = "dsgo", password: str = "secret", **attributes) -> ftpserver.StoreServer:
            port = free_ftp_port()
            current = settings.Settings(tmp_path / "served", ftp_port=port, ftp_user=user, ftp_password=password)
            (current.ftp_root / "artifacts").mkdir(parents=True)
            handler = type("Tampered", (ftpserver.handler_for(current),), attributes)
            server = ftpserver.StoreServer(ftpserver.listen(port), handler)
            thread = threading.Thread(target=server.serve_until_stopped)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.stop)
            stack.callback(ftp_connection.close_pools)
            monkeypatch.setenv("DSGO_HOME", str(tmp_path / "none"))
            monkeypatch.setenv("DSGO_FTP_USER", user)
            monkeypatch.setenv("DSGO_FTP_PASSWORD", password)
            return server

        yield serve


@pytest.fixture(autouse=True)
def clean_client(monkeypatch, tmp_path):
    """Each test begins without connections and with an empty home, and leaves no connection open."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    ftp_connection.close_pools()
    yield
    ftp_connection.close_pools()
    ftp_connection._pools.clear()


@pytest.fixture
def store(running_store, monkeypatch):
    _use(running_store, monkeypatch)
    return running_store


@pytest.fixture
def repository(store, request):
    """A repository in a folder of the test's own."""
    return FTPArtifactRepository(f"{store.uri}/{request.node.name.replace('/', '_')[:80]}")


@pytest.fixture
def folder_of(store):
    """The folder on disk behind a repository."""
    return lambda repository: store.settings.ftp_root / repository._root.strip("/")


@pytest.fixture
def hasty(monkeypatch):
    """Retries without the long waits."""
    monkeypatch.setattr(ftp_connection, "RETRY_DELAYS_S", (0.01, 0.02))
