"""FTPS: DSGo's own server with its one setting, and what the client refuses of any."""

from __future__ import annotations

import contextlib
import ftplib
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
from ftp_relay import Relay
from ftp_servers import PLAIN, RESUMED_TLS, SINGLY, TLS, Case, DSGo, against

import dsgo.ftp_connection as ftp_connection
from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_bundle import SMALL
from dsgo.ftp_certificate import ensure_certificate


@pytest.fixture
def tls(started, monkeypatch) -> DSGo:
    """DSGo's own server under TLS."""
    found = started(Case(DSGo, tls=True))
    found.use(monkeypatch)
    return found


@pytest.fixture
def tree(tmp_path) -> Path:
    base = tmp_path / "tree"
    (base / "sub folder").mkdir(parents=True)
    for number in range(30):
        (base / "sub folder" / f"{number}.bin").write_bytes(os.urandom(10_000))
    (base / "large.bin").write_bytes(os.urandom(3 * SMALL))
    return base


def content(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
@against([Case(DSGo, tls=True), *(case for case in SINGLY if case.tls)])
def test_round_trip(server, tree, scheme):
    repository = FTPArtifactRepository(f"{scheme}{server.uri.removeprefix('ftp')}/{scheme}")
    repository.log_artifacts(tree)
    assert content(repository.download_artifacts("")) == content(tree)
    assert len(repository.list_artifacts("sub folder")) == 30
    repository.delete_artifacts()
    assert repository.list_artifacts() == []


@against(TLS)
def test_control_and_data_are_encrypted_with_modern_tls(server):
    repository = FTPArtifactRepository(server.uri)
    pool = repository._pool("/")

    def look(connection):
        data = connection.open_data("LIST")
        versions = connection.sock.version(), data.version(), data.session_reused
        while data.recv(1 << 16):
            pass
        connection.finish(data)
        return versions

    control, data, reused = pool.run(look)
    assert control == data and control in ("TLSv1.2", "TLSv1.3") and reused is server.can(RESUMED_TLS)


def test_the_server_speaks_tls_only(tls):
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", tls.port)
        with pytest.raises(ftplib.error_perm, match="550 SSL/TLS required"):
            ftp.login(tls.settings.ftp_user, tls.settings.ftp_password)
    context = ssl.create_default_context(cafile=str(tls.settings.ftp_certificate))
    with ftplib.FTP_TLS(timeout=20, context=context) as ftp:
        ftp.connect("127.0.0.1", tls.port)
        ftp.login(tls.settings.ftp_user, tls.settings.ftp_password)
        with pytest.raises(ftplib.error_perm, match="550 SSL/TLS required"):
            ftp.sendcmd("PASV")
    old = ssl.create_default_context(cafile=str(tls.settings.ftp_certificate))
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.maximum_version = old.minimum_version = ssl.TLSVersion.TLSv1_1
    with ftplib.FTP_TLS(timeout=20, context=old) as ftp:
        ftp.connect("127.0.0.1", tls.port)
        with pytest.raises((OSError, EOFError)):
            ftp.auth()


@against(TLS)
def test_another_authority_is_refused(server, monkeypatch, tmp_path):
    ensure_certificate(tmp_path / "other.pem", "127.0.0.1")
    monkeypatch.setenv("DSGO_FTP_CA", str(tmp_path / "other.pem"))
    with pytest.raises(FTPStoreError, match=r"no trusted TLS connection.*DSGO_FTP_CA"):
        FTPArtifactRepository(server.uri).list_artifacts()
    monkeypatch.setenv("DSGO_FTP_CA", str(tmp_path / "none.pem"))
    with pytest.raises(FTPStoreError, match=r"none\.pem"):
        FTPArtifactRepository(server.uri).list_artifacts()


@against(TLS)
def test_another_host_name_is_refused(server, monkeypatch):
    """The server is reached, through a relay, under an address that its certificate does not name."""
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    with (
        Relay(server, "127.0.0.2") as relay,
        pytest.raises(FTPStoreError, match="no trusted TLS connection: IP address mismatch"),
    ):
        FTPArtifactRepository(relay.uri).list_artifacts()
    assert relay.sessions == 1


@against(PLAIN)
def test_a_server_without_tls_gets_no_password(server, monkeypatch):
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    with Relay(server) as relay:
        FTPArtifactRepository(relay.uri).list_artifacts("x")
        assert server.password.encode() in relay.commands, "the relay does not see what it should"
        relay.commands.clear()
        with pytest.raises(FTPStoreError, match=r"no trusted TLS connection: 5\d\d"):
            FTPArtifactRepository(relay.uri.replace("ftp://", "ftps://")).list_artifacts()
        assert relay.commands == b"AUTH TLS\r\n"


def test_the_certificate_is_made_and_kept_and_its_key_private(tmp_path):
    own = DSGo(tmp_path / "home", environ={"DSGO_FTP_TLS": "true"})
    own.start()
    try:
        certificate = own.settings.ftp_certificate
        key = certificate.with_name("ftp-certificate-key.pem")
        assert key.stat().st_mode & 0o777 == 0o600
        before = certificate.read_bytes()
        own.restart()
        assert certificate.read_bytes() == before
    finally:
        own.stop()


def test_a_server_that_goes_away_in_the_handshake_is_tried_again(monkeypatch, hasty):
    """It is not called untrusted: it may just have been restarted."""
    monkeypatch.setenv("DSGO_FTP_USER", "u")
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "p")
    tries = 0

    def serve() -> None:
        nonlocal tries
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                session, _ = listener.accept()
                tries += 1
                with session:
                    session.sendall(b"220 .\r\n")
                    session.recv(100)
                    session.sendall(b"234 .\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        try:
            with pytest.raises(FTPStoreError, match="cannot be reached"):
                FTPArtifactRepository(f"ftps://127.0.0.1:{listener.getsockname()[1]}/x").list_artifacts()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
    assert tries == 1 + len(ftp_connection.RETRY_DELAYS_S)
