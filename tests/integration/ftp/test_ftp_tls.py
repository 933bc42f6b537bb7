"""FTPS: DSGo's own server with its one setting, and what the client refuses."""

from __future__ import annotations

import ftplib
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

import dsgo.ftp_connection as ftp_connection
from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_bundle import SMALL
from dsgo.ftp_certificate import ensure_certificate


@pytest.fixture(scope="module")
def tls_store(make_store):
    yield from make_store({"DSGO_FTP_TLS": "true"})


@pytest.fixture
def tls(tls_store, use_store):
    use_store(tls_store)
    return tls_store


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
@pytest.mark.parametrize("bundles", [True, False], ids=["bundled", "singly"])
def test_round_trip(tls, tree, scheme, bundles, monkeypatch):
    repository = FTPArtifactRepository(f"{scheme}{tls.uri.removeprefix('ftp')}/{scheme}{bundles}")
    if not bundles:
        monkeypatch.setattr(repository, "_offers", lambda feature: False)
    repository.log_artifacts(tree)
    assert content(repository.download_artifacts("")) == content(tree)
    assert len(repository.list_artifacts("sub folder")) == 30
    repository.delete_artifacts()
    assert repository.list_artifacts() == []


def test_control_and_data_are_encrypted_with_modern_tls(tls, tree):
    repository = FTPArtifactRepository(tls.uri)
    pool = repository._pool("/")

    def look(connection):
        data = connection.open_data("MLSD /")
        versions = connection.sock.version(), data.version(), data.session_reused
        while data.recv(1 << 16):
            pass
        connection.finish(data)
        return versions

    control, data, reused = pool.run(look)
    assert control == data and control in ("TLSv1.2", "TLSv1.3") and reused


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


def test_another_authority_is_refused(tls, monkeypatch, tmp_path):
    ensure_certificate(tmp_path / "other.pem", "127.0.0.1")
    monkeypatch.setenv("DSGO_FTP_CA", str(tmp_path / "other.pem"))
    with pytest.raises(FTPStoreError, match=r"no trusted TLS connection.*DSGO_FTP_CA"):
        FTPArtifactRepository(tls.uri).list_artifacts()
    monkeypatch.setenv("DSGO_FTP_CA", str(tmp_path / "none.pem"))
    with pytest.raises(FTPStoreError, match=r"none\.pem"):
        FTPArtifactRepository(tls.uri).list_artifacts()


def test_another_host_name_is_refused(tls, monkeypatch):
    """The server is reached, through a relay, under an address that its certificate does not name."""
    monkeypatch.setenv("DSGO_FTP_USER", tls.settings.ftp_user)
    monkeypatch.setenv("DSGO_FTP_PASSWORD", tls.settings.ftp_password)
    monkeypatch.setenv("DSGO_FTP_CA", str(tls.settings.ftp_certificate))
    with socket.create_server(("127.0.0.2", 0)) as front:
        thread = threading.Thread(target=relay, args=(front, tls.port))
        thread.start()
        with pytest.raises(FTPStoreError, match="no trusted TLS connection: IP address mismatch"):
            FTPArtifactRepository(f"ftps://127.0.0.2:{front.getsockname()[1]}/x").list_artifacts()
        thread.join()


def relay(front: socket.socket, port: int) -> None:
    here, _ = front.accept()
    with here, socket.create_connection(("127.0.0.1", port)) as there:
        back = threading.Thread(target=copy, args=(there, here))
        back.start()
        copy(here, there)
        back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the test is over


def test_a_server_without_tls_gets_no_password(store):
    before = store.log.read_text().count("logged in")
    with pytest.raises(FTPStoreError, match="no trusted TLS connection: 500"):
        FTPArtifactRepository(store.uri.replace("ftp://", "ftps://")).list_artifacts()
    assert store.log.read_text().count("logged in") == before


def test_the_certificate_is_kept_and_its_key_private(tls):
    certificate = tls.settings.ftp_certificate
    key = certificate.with_name("ftp-certificate-key.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    before = certificate.read_bytes()
    tls.restart()
    assert certificate.read_bytes() == before
    ftp_connection.close_pools()
