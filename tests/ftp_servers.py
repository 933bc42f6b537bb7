"""FTP servers of several makers, each a process of its own on loopback with one account: what the client must get on with.

Those of other people are looked for in the folder DSGO_FTP_SERVERS, else where tests/integration/ftp/get_servers.sh puts
them, else in the usual places.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import psutil
import pytest
from ports import free_ftp_port

from dsgo import settings
from dsgo.ftp_certificate import ensure_certificate

CHECKOUT = Path(__file__).resolve().parents[1]
SERVERS = Path(os.environ.get("DSGO_FTP_SERVERS") or CHECKOUT / ".cache" / "ftp-servers")
PATH = os.pathsep.join([str(SERVERS / "usr/sbin"), "/usr/sbin", os.environ["PATH"]])
LIBRARIES = os.pathsep.join(str(folder) for folder in SERVERS.glob("usr/lib/*-linux-gnu"))
RELAY_HOST = "127.0.0.3"  # where a relay listens in front of a server; certificates name it too

# What the client makes use of where it is there. A server says in `lacks` why it is not.
BUNDLES = "many small files in one transfer"
HASHES = "SHA-256 of a stored file"
RESUMED_UPLOADS = "going on with an interrupted upload"
RESUMED_TLS = "resuming the control connection's TLS session on data connections"
PASSWORDS = "accounts with a password"
ODD_NAMES = "names that end in a space or hold a control character"
ABILITIES = {BUNDLES, HASHES, RESUMED_UPLOADS, RESUMED_TLS, PASSWORDS, ODD_NAMES}


class FTPServer(ABC):
    """A server whose account sees the folder above `root`, which is the one behind `uri`."""

    name: ClassVar[str]
    lacks: ClassVar[dict[str, str]] = {}
    user = "ü@rtist"
    password = "p/a:s@s%#? wörd"

    def __init__(self, home: Path, tls: bool = False) -> None:
        self.home, self.tls, self.port = home, tls, free_ftp_port()
        self.passive_ports = settings.Settings(home=Path(), ftp_port=self.port).passive_ports
        self.log = home.with_suffix(".log")
        self.process: subprocess.Popen | None = None
        assert self.lacks.keys() <= ABILITIES

    @property
    def root(self) -> Path:
        return self.home / "ftp" / "artifacts"

    @property
    def certificate(self) -> Path:
        """Of the server, to be trusted by its clients."""
        return self.home / "ftp-certificate.pem"

    @property
    def key(self) -> Path:
        return ensure_certificate(self.certificate, settings.HOST, RELAY_HOST)

    @property
    def uri(self) -> str:
        return f"{'ftps' if self.tls else 'ftp'}://{settings.HOST}:{self.port}/artifacts"

    @property
    def login(self) -> dict[str, str]:
        """Environment of a client that knows nothing else of this server."""
        trusted = {"DSGO_FTP_CA": str(self.certificate)} if self.tls else {}
        return {"DSGO_FTP_USER": self.user, "DSGO_FTP_PASSWORD": self.password, **trusted}

    @property
    def environ(self) -> dict[str, str]:
        """Environment of a process that uses this server."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("DSGO_")}
        return {**others, "DSGO_HOME": str(self.home / "none"), "PYTHONPATH": str(CHECKOUT), **self.login}

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this process use this server."""
        for name in [name for name in os.environ if name.startswith("DSGO_FTP_")]:
            monkeypatch.delenv(name)
        for name, value in self.environ.items():
            if name.startswith("DSGO_"):
                monkeypatch.setenv(name, value)

    def can(self, ability: str) -> bool:
        """Whether the server has one of `ABILITIES`."""
        assert ability in ABILITIES
        return ability not in self.lacks

    def parts(self) -> list[Path]:
        """Files on their way."""
        return list(self.root.parent.rglob(".dsgo-*.part"))

    @abstractmethod
    def command(self) -> list[str]:
        """What to start; called once for each start."""

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.server_environ(),
                stdout=log,
                stderr=log,
                cwd=self.home.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + 300
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                code = self.stop(signal.SIGKILL)
                raise RuntimeError(f"{self.name} does not answer, or ended with {code}:\n{self.log.read_text()}")
            time.sleep(0.02)

    def server_environ(self) -> dict[str, str]:
        return {**os.environ, "LD_LIBRARY_PATH": LIBRARIES}

    def _answers(self) -> bool:
        try:
            with socket.create_connection((settings.HOST, self.port), 5) as probe:
                return probe.recv(3) == b"220"
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the server and its processes for single sessions, which would live on; return its exit code."""
        if self.process.poll() is None:
            sessions = psutil.Process(self.process.pid).children(recursive=True)
            os.killpg(self.process.pid, how)
            self.process.wait(40)
            for session in sessions:
                _kill(session)
        return self.process.returncode

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()


def _kill(process: psutil.Process) -> None:
    deadline = time.monotonic() + 120
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:  # where the system's first process does not collect orphans
            assert time.monotonic() < deadline, f"{process} lives on"
            time.sleep(0.01)


class DSGo(FTPServer):
    """The one of this checkout, with any further settings in `environ`."""

    name = "dsgo"

    def __init__(self, home: Path, tls: bool = False, environ: dict[str, str] | None = None) -> None:
        super().__init__(home, tls)
        self._environ = {"DSGO_FTP_TLS": "true" if tls else "false", **(environ or {})}
        if tls:
            home.mkdir()
            self.key  # noqa: B018 - one that names the relay too; the server would make its own

    @property
    def environ(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("DSGO_")}
        own = {"DSGO_HOME": str(self.home), "DSGO_FTP_PORT": str(self.port), "PYTHONPATH": str(CHECKOUT)}
        return {**others, **own, **self._environ}

    def server_environ(self) -> dict[str, str]:
        return self.environ

    @property
    def settings(self) -> settings.Settings:
        return settings.load(self.environ)

    @property
    def user(self) -> str:
        return self.settings.ftp_user

    @property
    def password(self) -> str:
        return self.settings.ftp_password

    @property
    def uri(self) -> str:
        """Without `ftps`: the client knows the server of its own copy."""
        return f"ftp://{settings.HOST}:{self.port}/artifacts"

    def command(self) -> list[str]:
        return [sys.executable, str(CHECKOUT / "server" / "ftpserver.py")]


class Foreign(FTPServer):
    """A server of other people, with a configuration of its own in `home`."""

    account = pwd.getpwuid(os.getuid()).pw_name  # of the system, to act as

    def __init__(self, home: Path, tls: bool = False) -> None:
        super().__init__(home, tls)
        self.root.mkdir(parents=True)
        for path in (self.root, self.root.parent):
            shutil.chown(path, self.account)

    @classmethod
    def program(cls) -> str | None:
        return shutil.which(cls.name, path=PATH)

    @classmethod
    def why_not(cls) -> str | None:
        """Why this server cannot be started here."""
        if cls.program() is None:
            return f"{cls.name} is not installed: on Debian, as root, run tests/integration/ftp/get_servers.sh"
        if os.getuid() != 0:
            return f"{cls.name} changes to another user: run the tests as root"
        return None

    @property
    def ids(self) -> tuple[int, int]:
        """Numbers of user and group of `account`."""
        found = pwd.getpwnam(self.account)
        return found.pw_uid, found.pw_gid

    def write(self, name: str, text: str) -> str:
        """A configuration file, its path."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


class Pyftpdlib(Foreign):
    """What DSGo's own server is made from, as it comes."""

    name = "pyftpdlib"
    lacks: ClassVar = {
        BUNDLES: "an extension of DSGo",
        HASHES: "it has no such command",
    }

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "pyftpdlib", "-i", settings.HOST, "-p", str(self.port), "-w"]
        command += ["-d", str(self.root.parent), "-u", self.user, "-P", self.password]
        command += ["-r", f"{self.passive_ports[0]}-{self.passive_ports[-1]}"]
        if self.tls:
            command += ["--tls", "--tls-control-required", "--tls-data-required"]
            command += ["--keyfile", str(self.key), "--certfile", str(self.certificate)]
        return command


class Vsftpd(Foreign):
    """No MLSD; LIST hides names with a dot."""

    name = "vsftpd"
    lacks: ClassVar = {
        BUNDLES: "an extension of DSGo",
        HASHES: "it has no such command",
        PASSWORDS: "its accounts are those of the system's PAM, which tests leave alone; anonymous may give any",
    }
    user, password = "anonymous", "nobody@example.org"
    account = "daemon"  # it insists on a home that exists

    def command(self) -> list[str]:
        empty = self.home / "empty"
        empty.mkdir(exist_ok=True)
        self.root.parent.chmod(0o555)  # it insists
        os.chown(self.root.parent, 0, 0)
        lines = f"""
listen=YES
listen_address={settings.HOST}
listen_port={self.port}
background=NO
pasv_min_port={self.passive_ports[0]}
pasv_max_port={self.passive_ports[-1]}
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
ftp_username={self.account}
anon_root={self.root.parent}
secure_chroot_dir={empty}
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=YES
vsftpd_log_file={self.log}
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

    name = "proftpd"
    lacks: ClassVar = {
        BUNDLES: "an extension of DSGo",
        RESUMED_UPLOADS: "AllowStoreRestart is off by default",
    }
    account = "nobody"

    def command(self) -> list[str]:
        uid, gid = self.ids
        accounts = self.write(
            "accounts", f"{self.user}:{_crypt(self.password)}:{uid}:{gid}::{self.root.parent}:/bin/false\n"
        )
        lines = f"""
ModulePath {Path(self.program()).parents[1] / "lib" / "proftpd"}
LoadModule mod_digest.c
LoadModule mod_tls.c
ServerName "test"
ServerType standalone
DefaultServer on
Port {self.port}
DefaultAddress {settings.HOST}
SocketBindTight on
UseIPv6 off
PassivePorts {self.passive_ports[0]} {self.passive_ports[-1]}
User nobody
Group nogroup
AuthOrder mod_auth_file.c
AuthUserFile {accounts}
RequireValidShell off
DefaultRoot ~
UseReverseDNS off
WtmpLog off
TransferLog none
SystemLog {self.log}
PidFile {self.home / "pid"}
ScoreboardFile {self.home / "scoreboard"}
MaxInstances 60
<IfModule mod_delay.c>
DelayEngine off
</IfModule>
"""
        if self.tls:
            lines += f"""TLSEngine on
TLSRequired on
TLSProtocol TLSv1.2 TLSv1.3
TLSECCertificateFile {self.certificate}
TLSECCertificateKeyFile {self.key}
TLSLog {self.log}
"""
        return [self.program(), "--nodaemon", "--quiet", "--config", self.write("proftpd.conf", lines)]


class PureFTPd(Foreign):
    """MLSD, no hash."""

    name = "pure-ftpd"
    lacks: ClassVar = {
        BUNDLES: "an extension of DSGo",
        HASHES: "it has no such command",
        RESUMED_TLS: "it makes a new one for each connection",
        RESUMED_UPLOADS: "a part has its name only when the break was noticed, which may be too late",
        ODD_NAMES: "it writes an underscore for a space at the end or a control character, so the client refuses",
    }
    account = "nobody"

    def command(self) -> list[str]:
        base = str(self.home / "accounts.pdb")
        uid, gid = self.ids
        # Not by `pure-pw useradd`: its hash of the password takes the server seconds for each connection.
        line = f"{self.user}:{_crypt(self.password)}:{uid}:{gid}::{self.root.parent}/./::::::::::::\n"
        tool = shutil.which("pure-pw", path=str(Path(self.program()).parents[1] / "bin"))
        make = [tool, "mkdb", base, "-f", self.write("accounts", line)]
        subprocess.run(make, env=self.server_environ(), check=True, capture_output=True)
        command = [self.program(), "-S", f"{settings.HOST},{self.port}", "-l", f"puredb:{base}", "-A", "-E", "-H"]
        command += ["-p", f"{self.passive_ports[0]}:{self.passive_ports[-1]}", "-c", "60", "-C", "50"]
        command += ["-g", str(self.home / "pid")]
        if self.tls:
            both = self.write("both.pem", self.key.read_text() + self.certificate.read_text())
            command += ["-Y", "3", "-2", both]
        return command


def _crypt(password: str) -> str:
    """The password as Unix keeps it; the standard library's function for this is gone from Python 3.13."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(password.encode(), b"$6$saltofthetests$").decode()


KINDS = (DSGo, Pyftpdlib, Vsftpd, ProFTPD, PureFTPd)


class Case(NamedTuple):
    """A kind of server, with TLS or without; `bundles` is False for a client that makes no use of them."""

    kind: type[FTPServer]
    tls: bool
    bundles: bool = True

    def __str__(self) -> str:
        return self.kind.name + ("-tls" if self.tls else "") + ("" if self.bundles else "-singly")


CASES = [Case(kind, tls) for kind in KINDS for tls in (False, True)]
SINGLY = [Case(DSGo, tls, bundles=False) for tls in (False, True)]
TLS = [case for case in CASES if case.tls]
PLAIN = [case for case in CASES if not case.tls]


def against(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test against these servers; without this, one that asks for `server` runs against all `CASES`."""
    return pytest.mark.parametrize("server", cases, ids=str, indirect=True)
