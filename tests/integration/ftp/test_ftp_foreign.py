"""The client against other people's servers, with and without TLS: what it promises must not need DSGo's own server.

The servers are looked for in the folder DSGO_FTP_SERVERS (see get_servers.sh) and in the usual places.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path

import pytest

import dsgo.ftp_connection as ftp_connection
from dsgo import settings
from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_certificate import ensure_certificate

SERVERS = Path(os.environ.get("DSGO_FTP_SERVERS", "/"))
PATH = os.pathsep.join([str(SERVERS / "usr/sbin"), str(SERVERS / "usr/bin"), "/usr/sbin", os.environ["PATH"]])
LIBRARIES = os.pathsep.join(map(str, (SERVERS / "usr/lib").glob("*-linux-gnu"))) if Path("/") != SERVERS else ""
PASSWORD = "a secret:with/signs"
NAMES = ["plain.txt", "with space.txt", "ünï–код 数据.csv", "-dash", "per%20cent", "a;b=c;d", ".hidden", "two  spaces"]


class Foreign(ABC):
    """A server in a folder of its own, with one account that sees `root`."""

    user = "artist"
    password = PASSWORD
    resumes_uploads = True
    account = "nobody"  # of the system, to act as: the servers refuse to act as root

    def __init__(self, folder: Path, port: int, tls: bool) -> None:
        self.folder, self.port, self.tls = folder, port, tls
        self.passive = settings.Settings(home=Path(), ftp_port=port).passive_ports
        self.root = folder / "root"
        (self.root / "artifacts").mkdir(parents=True)
        for path in (self.root / "artifacts", self.root):
            shutil.chown(path, self.account)
        self.certificate = folder / "certificate.pem"
        self.key = ensure_certificate(self.certificate, settings.HOST)
        self.both = folder / "both.pem"
        self.both.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        self.both.chmod(0o600)

    @property
    def uid(self) -> str:
        return str(pwd.getpwnam(self.account).pw_uid)

    @abstractmethod
    def command(self) -> list[str]: ...

    @classmethod
    def program(cls) -> str | None:
        return shutil.which(cls.__name__.lower().replace("_", "-"), path=PATH)

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def tool(self, *command: str, text: str) -> str:
        environ = {**os.environ, "PATH": PATH, "LD_LIBRARY_PATH": LIBRARIES}
        return subprocess.run(command, input=text, env=environ, check=True, capture_output=True, text=True).stdout


class Vsftpd(Foreign):
    """No MLSD, no hash, LIST hides names with a dot; anonymous by name, as its other accounts need the system's PAM."""

    user, password = "anonymous", "nobody@example.org"
    account = "daemon"  # it insists on a home that exists

    def command(self) -> list[str]:
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        self.root.chmod(0o555)  # it insists
        os.chown(self.root, 0, 0)
        lines = f"""
listen=YES
listen_address={settings.HOST}
listen_port={self.port}
background=NO
pasv_min_port={self.passive[0]}
pasv_max_port={self.passive[-1]}
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
ftp_username={self.account}
anon_root={self.root}
secure_chroot_dir={empty}
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=NO
max_per_ip=50
"""
        if self.tls:
            lines += f"""ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
ssl_tlsv1=YES
require_ssl_reuse=YES
rsa_cert_file={self.certificate}
rsa_private_key_file={self.key}
"""
        return [self.program(), self.write("vsftpd.conf", lines)]


class ProFTPD(Foreign):
    """Hash commands; neither overwrites nor resumes, by its defaults."""

    resumes_uploads = False

    def command(self) -> list[str]:
        accounts = str(self.folder / "accounts")
        self.tool(
            *("ftpasswd", "--passwd", "--file", accounts, "--name", self.user, "--home", str(self.root)),
            *("--shell", "/bin/false", "--uid", self.uid, "--gid", self.uid, "--stdin"),
            text=self.password,
        )
        modules = SERVERS / "usr/lib/proftpd"
        lines = f"""
ModulePath {modules}
LoadModule mod_digest.c
LoadModule mod_tls.c
ServerName "test"
ServerType standalone
DefaultServer on
Port {self.port}
DefaultAddress {settings.HOST}
SocketBindTight on
UseIPv6 off
PassivePorts {self.passive[0]} {self.passive[-1]}
User nobody
Group nogroup
AuthOrder mod_auth_file.c
AuthUserFile {accounts}
RequireValidShell off
DefaultRoot ~
UseReverseDNS off
WtmpLog off
TransferLog none
SystemLog {self.folder / "system.log"}
PidFile {self.folder / "pid"}
ScoreboardFile {self.folder / "scoreboard"}
MaxInstances 60
<IfModule mod_delay.c>
DelayEngine off
</IfModule>
"""
        if self.tls:
            lines += f"""TLSEngine on
TLSRequired on
TLSProtocol TLSv1.2 TLSv1.3
TLSRSACertificateFile {self.certificate}
TLSRSACertificateKeyFile {self.key}
TLSLog {self.folder / "tls.log"}
""".replace("TLSRSA", "TLSEC")
        return [self.program(), "--nodaemon", "--quiet", "--config", self.write("proftpd.conf", lines)]


class Pure_FTPd(Foreign):
    """MLSD, no hash; drops what was interrupted."""

    resumes_uploads = False

    def command(self) -> list[str]:
        accounts, base = str(self.folder / "accounts"), str(self.folder / "accounts.pdb")
        # Not by `pure-pw useradd`: its hash of the password takes the server seconds for each connection.
        hashed = self.tool("openssl", "passwd", "-6", "-stdin", text=self.password).strip()
        self.write("accounts", f"{self.user}:{hashed}:{self.uid}:{self.uid}::{self.root}/./::::::::::::\n")
        self.tool("pure-pw", "mkdb", base, "-f", accounts, text="")
        command = [self.program(), "-S", f"{settings.HOST},{self.port}", "-l", f"puredb:{base}", "-A", "-E", "-H"]
        command += ["-p", f"{self.passive[0]}:{self.passive[-1]}", "-c", "60", "-C", "50", "-g", f"{self.folder}/pid"]
        return [*command, "-Y", "3", "-2", str(self.both)] if self.tls else command


KINDS = [Vsftpd, ProFTPD, Pure_FTPd]


@pytest.fixture(
    scope="module",
    params=[(kind, tls) for kind in KINDS for tls in (False, True)],
    ids=[f"{kind.__name__.lower()}{'-tls' if tls else ''}" for kind in KINDS for tls in (False, True)],
)
def foreign(request, free_port):
    kind, tls = request.param
    if kind.program() is None:
        pytest.skip(f"{kind.__name__} is not installed, nor in DSGO_FTP_SERVERS")
    if os.getuid() != 0:
        pytest.skip(f"{kind.__name__} must be started by root to change to another user")
    folder = Path(tempfile.mkdtemp(prefix=kind.__name__))  # pytest's own are closed to other users
    request.addfinalizer(partial(shutil.rmtree, folder))
    folder.chmod(0o755)
    server = kind(folder, free_port(), tls)
    log = server.folder / "log"
    environ = {**os.environ, "LD_LIBRARY_PATH": LIBRARIES}
    with log.open("wb") as output:
        process = subprocess.Popen(server.command(), env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                with socket.create_connection((settings.HOST, server.port), 5) as probe:
                    assert probe.recv(3) == b"220", log.read_text()
                break
            except OSError:
                time.sleep(0.05)
        yield server
    finally:
        ftp_connection.close_pools()
        process.terminate()
        process.wait(20)


@pytest.fixture
def repository(foreign, request, monkeypatch, tmp_path):
    monkeypatch.setenv("DSGO_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("DSGO_FTP_USER", foreign.user)
    monkeypatch.setenv("DSGO_FTP_PASSWORD", foreign.password)
    monkeypatch.setenv("DSGO_FTP_CA", str(foreign.certificate))
    scheme = "ftps" if foreign.tls else "ftp"
    name = request.function.__name__
    return FTPArtifactRepository(f"{scheme}://{settings.HOST}:{foreign.port}/artifacts/{name}")


@pytest.fixture
def tree(tmp_path) -> Path:
    base = tmp_path / "tree"
    for depth, folder in enumerate(["", "sub folder", "sub folder/ö"]):
        (base / folder).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            (base / folder / name).write_bytes(os.urandom(1000 + depth))
    (base / "empty.bin").write_bytes(b"")
    (base / "nothing inside").mkdir()
    return base


def content(folder: str | Path) -> dict[str, str]:
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
    }


def test_a_tree_comes_back_as_it_went(repository, tree, foreign):
    repository.log_artifacts(tree, "in side")
    assert content(foreign.root / repository._root.strip("/") / "in side") == content(tree)
    assert content(Path(repository.download_artifacts("")) / "in side") == content(tree)
    one = repository.download_artifacts("in side/sub folder/two  spaces")
    assert Path(one).read_bytes() == (tree / "sub folder" / "two  spaces").read_bytes()


def test_listing(repository, tree):
    assert repository.list_artifacts() == []
    repository.log_artifacts(tree)
    infos = repository.list_artifacts()
    assert [info.path for info in infos] == sorted([*NAMES, "sub folder", "empty.bin", "nothing inside"])
    assert {info.path: info.file_size for info in infos if not info.is_dir} == {
        **dict.fromkeys(NAMES, 1000),
        "empty.bin": 0,
    }
    assert {info.path for info in infos if info.is_dir} == {"sub folder", "nothing inside"}
    assert [info.path for info in repository.list_artifacts("sub folder")] == sorted(
        [f"sub folder/{name}" for name in [*NAMES, "ö"]]
    )
    assert repository.list_artifacts("plain.txt") == []
    assert repository.list_artifacts("not there") == []
    assert repository.list_artifacts("nothing inside") == []


def test_replace_and_delete(repository, tree, foreign):
    file = tree / "plain.txt"
    for data in (b"first version", b"second"):
        file.write_bytes(data)
        repository.log_artifact(file)
        assert (foreign.root / repository._root.strip("/") / "plain.txt").read_bytes() == data
    repository.log_artifacts(tree)
    repository.delete_artifacts("-dash")
    repository.delete_artifacts("-dash")
    assert "-dash" not in [info.path for info in repository.list_artifacts()]
    repository.delete_artifacts()
    assert not (foreign.root / repository._root.strip("/")).exists()
    repository.delete_artifacts()
    assert not list(foreign.root.rglob(".dsgo-*"))


def test_errors(repository, tree, tmp_path, monkeypatch):
    with pytest.raises(FTPStoreError) as caught:
        repository._download_file("not/there.txt", tmp_path / "out")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(FTPStoreError, match="refused"):
        repository.log_artifact(tree / "plain.txt", "../x")
    with pytest.raises(FTPStoreError, match=r"550|553"):
        FTPArtifactRepository(repository.artifact_uri + "/plain/x").log_artifact(
            put_in_the_way(repository, tree / "plain.txt")
        )
    monkeypatch.setenv("DSGO_FTP_PASSWORD", "wrong-secret")
    monkeypatch.setenv("DSGO_FTP_USER", "someone")
    with pytest.raises(FTPStoreError, match="530") as caught:
        FTPArtifactRepository(repository.artifact_uri).list_artifacts()
    assert "wrong-secret" not in str(caught.value)


def put_in_the_way(repository: FTPArtifactRepository, file: Path) -> Path:
    """A file called like a folder that is wanted next."""
    plain = file.with_name("plain")
    plain.write_text("in the way")
    repository.log_artifact(plain)
    return file


def test_interrupted_transfers_are_completed(repository, tmp_path, foreign):
    """Through a relay that breaks all connections once each way in the middle of a transfer."""
    if foreign.tls:
        pytest.skip("the data connections of a relay would fail the check of the certificate's name")
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(12 << 20))
    with Relay(foreign.port, foreign.passive) as relay:
        uri = f"ftp://{relay.host}:{foreign.port}/artifacts/relayed"
        relay.cut_after(6 << 20)
        FTPArtifactRepository(uri).log_artifact(file)
        assert relay.cuts == 1
        assert (relay.moved < 16 << 20) is foreign.resumes_uploads
        relay.cut_after(6 << 20)
        FTPArtifactRepository(uri)._download_file("large.bin", tmp_path / "back.bin")
        assert relay.cuts == 2 and relay.moved < 16 << 20
    assert content(foreign.root / "artifacts/relayed") == {"large.bin": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert (tmp_path / "back.bin").read_bytes() == file.read_bytes()


class Relay:
    """Passes connections on from another loopback address, all ports alike, and can cut them all at some moment."""

    host = "127.0.0.3"

    def __init__(self, port: int, passive: range) -> None:
        self.cuts = self.moved = 0
        self._left = float("inf")
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listeners = [socket.create_server((self.host, number)) for number in (port, *passive)]

    def cut_after(self, count: int) -> None:
        self._left, self.moved = count, 0

    def __enter__(self) -> Relay:
        for listener in self._listeners:
            self._run(self._accept, listener)
        return self

    def __exit__(self, *args) -> None:
        ftp_connection.close_pools()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._cut()
        for thread in self._threads:
            thread.join(10)

    def _run(self, function, *args) -> None:
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection((settings.HOST, port))
            except OSError:
                here.close()
                continue
            with self._lock:
                self._open |= {here, there}
            self._run(self._copy, here, there)
            self._run(self._copy, there, here)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
                self._left -= len(data)
                self.moved += len(data)
                if self._left < 0:
                    self._left, self.cuts = float("inf"), self.cuts + 1
                    self._cut()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # cut

    def _cut(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._open.clear()


UPLOAD = """
import sys
from dsgo.ftp_artifacts import FTPArtifactRepository
print("ready", flush=True)
FTPArtifactRepository(sys.argv[1]).log_artifact(sys.argv[2])
"""


def test_a_killed_client_leaves_nothing_under_the_name(repository, tmp_path, foreign):
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(100 << 20))
    command = [sys.executable, "-c", UPLOAD, repository.artifact_uri, str(file)]
    folder = foreign.root / repository._root.strip("/")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while not folder.exists() or not any(path.stat().st_size > 1 << 20 for path in folder.iterdir()):
            assert time.monotonic() < deadline and client.poll() is None
            time.sleep(0.001)
        client.kill()
    assert repository.list_artifacts() == []
    file.write_bytes(b"small")
    repository.log_artifact(file)
    assert (folder / "large.bin").read_bytes() == b"small"
