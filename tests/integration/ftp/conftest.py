"""FTP servers on free ports, DSGo's own and others, and repositories that talk to them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ftp_servers import CASES, CHECKOUT, Case, DSGo, Foreign, FTPServer
from ports import free_ftp_port

import dsgo.ftp_connection as ftp_connection
from dsgo import settings
from dsgo.ftp_artifacts import FTPArtifactRepository

sys.path.append(str(CHECKOUT / "server"))  # `import ftpserver` in tests that run one in this process


@pytest.fixture(scope="session")
def started() -> Iterator[Callable[[Case], FTPServer]]:
    """Function: the server of a case, started at its first use and kept for all tests.

    One that is not there skips the test, but on CI fails it.
    """
    running: dict[str, FTPServer] = {}
    # pytest's own folders are closed to other users, as which some servers act
    folder = Path(tempfile.mkdtemp(prefix="ftp-servers-"))
    folder.chmod(0o755)

    def start(case: Case) -> FTPServer:
        kind, tls, _ = case
        if issubclass(kind, Foreign) and (reason := kind.why_not()):
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        name = str(Case(kind, tls))
        if name not in running:
            running[name] = kind(folder / name, tls)
        if running[name].process is None or running[name].process.poll() is not None:
            running[name].start()
        return running[name]

    yield start
    codes = {name: server.stop() for name, server in running.items()}
    for name in codes.keys() & {str(Case(DSGo, tls)) for tls in (False, True)}:
        assert codes[name] == 0, running[name].log.read_text()
    shutil.rmtree(folder)


@pytest.fixture(params=CASES, ids=str)
def server(request, started, monkeypatch) -> FTPServer:
    """A running server which this process uses; any that the client must get on with. A test may stop and restart it."""
    found = started(request.param)
    found.use(monkeypatch)
    if not request.param.bundles:
        monkeypatch.setattr(FTPArtifactRepository, "_offers", lambda self, feature: False)
    return found


@pytest.fixture
def repository(server, request) -> FTPArtifactRepository:
    """A repository in a folder of the test's own."""
    name = re.sub(r"[/\\]", "_", request.node.name)[:80]
    return FTPArtifactRepository(f"{server.uri}/{name}")


@pytest.fixture
def folder_of(server) -> Callable[[FTPArtifactRepository], Path]:
    """Function: the folder on disk behind a repository."""
    return lambda repository: server.root.parent / repository._root.strip("/")


@pytest.fixture
def store(started, monkeypatch) -> DSGo:
    """DSGo's own server, for what only that has."""
    found = started(Case(DSGo, tls=False))
    found.use(monkeypatch)
    return found


@pytest.fixture
def own_store(tmp_path, monkeypatch) -> Iterator[DSGo]:
    """A server of DSGo that a test may break."""
    server = DSGo(tmp_path / "home")
    server.start()
    server.use(monkeypatch)
    yield server
    server.stop()


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """A function that serves `tmp_path / "served"` from a thread of this process, for tests that tamper with it.

    Takes a user, a password, whether under TLS, and attributes that replace those of the handler; returns the server.
    """
    import ftpserver

    with contextlib.ExitStack() as stack:

        def serve(
            user: str = "dsgo", password: str = "secret", tls: bool = False, **attributes
        ) -> ftpserver.StoreServer:
            port = free_ftp_port()
            current = settings.Settings(
                tmp_path / "served", ftp_port=port, ftp_user=user, ftp_password=password, ftp_tls=tls
            )
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
def hasty(monkeypatch):
    """Retries without the long waits."""
    monkeypatch.setattr(ftp_connection, "RETRY_DELAYS_S", (0.01, 0.02))
