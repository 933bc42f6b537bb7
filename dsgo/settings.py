"""The settings of one copy of DSGo: the only reader of the environment.

Each setting comes from the environment, else from `$DSGO_HOME/.env`, else has a default. The file is written, readable
by its owner only, when the first server starts; it holds the FTP password that was made up for this copy.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from dsgo.errors import SettingError

HOST = "127.0.0.1"  # one spelling everywhere: MLflow compares hosts of artifact URIs letter by letter
EVERYWHERE = "0.0.0.0"  # what reaches the dashboard from other machines too
CHECKOUT = Path(__file__).resolve().parent.parent
FTP_USER = "dsgo"
SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}  # RFC 6409, RFC 8314, RFC 5321
SOURCE_NAME = re.compile(
    r"[a-z][a-z0-9_]*"
)  # what raw data can be called besides a file or a URL; collections have the names
FAILURE_FILE = "DSGO_FAILURE_FILE"  # in the environment of a step that a pipeline has started
MULTIPROCESS, DASK = "multiprocess", "dask"  # where a pipeline's steps are run
PASSIVE_PORTS = 40  # data connections that the FTP server can have open at once


@dataclass(frozen=True)
class Smtp:
    """The mail server that reports are sent by, and to whom. `password` never shows in a repr."""

    host: str = ""
    port: int = 587
    security: str = "starttls"
    """`starttls`, `tls` or `none`."""
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""
    recipients: tuple[str, ...] = ()
    ca: str = ""
    """File with the certificates that the server's is checked against; empty for the system's."""


@dataclass(frozen=True)
class Settings:
    """Addresses, ports and folders of one copy of DSGo. `ftp_password` never shows in a repr."""

    home: Path
    ftp_port: int = 2121
    tracking_port: int = 5000
    dashboard_port: int = 8050
    serve_port: int = 8003
    orchestrator_port: int = 3000
    data: str = "sample"
    """Raw data for jobs that nobody gives others: a source's name such as `sample`, a URL, or an absolute path of a CSV file."""
    ftp_user: str = FTP_USER
    ftp_password: str = field(default="", repr=False)
    ftp_tls: bool = False
    database_url: str = field(default="", repr=False)
    tracking_database_url: str = field(default="", repr=False)
    """Of a PostgreSQL; empty for the SQLite file `tracking_database`."""
    servers: str = HOST
    """Name or address by which everybody reaches store and tracking server; another machine's where `listen` is HOST."""
    listen: str = HOST
    """Address that the servers of this machine listen on."""
    executor: str = MULTIPROCESS
    dask_scheduler: str = ""
    asked_by: str = ""
    smtp: Smtp = Smtp()
    dashboard_host: str = HOST
    dashboard_user: str = ""
    dashboard_password: str = field(default="", repr=False)
    checkout: Path = CHECKOUT

    @property
    def elsewhere(self) -> bool:
        """Whether store and tracking server run on another machine, so that this one starts neither."""
        return self.servers != HOST and self.listen == HOST

    @property
    def env_file(self) -> Path:
        """The file that keeps what was generated for this copy."""
        return self.home / ".env"

    @property
    def tracking_uri(self) -> str:
        """Address of the MLflow tracking server."""
        return f"http://{self.servers}:{self.tracking_port}"

    @property
    def artifact_root(self) -> str:
        """Root of all artifacts, without credentials."""
        return f"ftp://{self.servers}:{self.ftp_port}/artifacts"

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard."""
        return f"http://{HOST}:{self.dashboard_port}"

    @property
    def serve_url(self) -> str:
        """Address of the REST endpoint of the Production model."""
        return f"http://{HOST}:{self.serve_port}"

    @property
    def orchestrator_url(self) -> str:
        """Address of the orchestrator's UI."""
        return f"http://{HOST}:{self.orchestrator_port}"

    @property
    def ftp_root(self) -> Path:
        """Folder that the FTP server shows as its root; artifacts lie in `artifacts` below it."""
        return self.home / "ftp"

    @property
    def ftp_certificate(self) -> Path:
        """Certificate of the FTP server, made by it and trusted by clients of this copy, when `ftp_tls` is on."""
        return self.home / "ftp-certificate.pem"

    @property
    def tracking_database(self) -> Path:
        """SQLite file of the tracking server and the registry, where `tracking_database_url` names no other database."""
        return self.home / "mlflow.db"

    @property
    def application_database(self) -> Path:
        """SQLite file of the ledger, where `database_url` names no other database."""
        return self.home / "dsgo.db"

    @property
    def databases(self) -> tuple[Path, ...]:
        """SQLite files in `home` that cannot be made again: what a backup holds besides the artifacts.

        A backup copies them in this order: a ledger that is older than the registry has nothing that the registry lacks.
        """
        return (self.application_database, self.tracking_database, self.outbox)

    @property
    def in_postgresql(self) -> tuple[str, ...]:
        """Settings that name databases in PostgreSQL: what a backup does not hold, as its own tools do that."""
        named = {
            "DSGO_DATABASE_URL": self.database_url.startswith("postgresql"),
            "DSGO_TRACKING_DATABASE_URL": bool(self.tracking_database_url),
        }
        return tuple(setting for setting, there in named.items() if there)

    @property
    def outbox(self) -> Path:
        """SQLite file that tells which reports have been sent to whom."""
        return self.home / "sent.db"

    @property
    def backups(self) -> Path:
        """Folder of backups that are not told to go elsewhere."""
        return self.home / "backups"

    @property
    def logs(self) -> Path:
        """Folder of the servers' logs."""
        return self.home / "logs"

    @property
    def cache(self) -> Path:
        """Folder of downloads that can be made again."""
        return self.home / "cache"

    @property
    def tuning(self) -> Path:
        """Folder of the studies of settings, one SQLite file each: a search that was cut short goes on from there."""
        return self.home / "tuning"

    @property
    def wheels(self) -> Path:
        """Folder of the locally built `dsgo` wheel, for environments of single projects."""
        return self.home / "wheels"

    @property
    def environments(self) -> Path:
        """Folder of the environments that MLflow makes for single projects; they hold this copy's `dsgo`.

        MLflow puts the path into a shell command unquoted: a `home` with a space or the like cannot hold them.
        """
        inside = self.home / "environments"
        if shlex.quote(str(inside)) == str(inside):
            return inside
        return Path.home() / ".mlflow" / f"dsgo-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]}"

    @property
    def passive_ports(self) -> range:
        """Data ports of the FTP server, fixed and derived from its port so that two copies do not meet."""
        first = self.ftp_port + 10_000 if self.ftp_port + 10_000 + PASSIVE_PORTS <= 65_535 else self.ftp_port - 10_000
        return range(first, first + PASSIVE_PORTS)

    def of_a_collection(self, name: str, default: str) -> str:
        """A setting that only one collection knows, such as an address of its raw data; of the environment, else of `.env`."""
        return os.environ.get(name) or dotenv_values(self.env_file).get(name) or default

    def child_environment(self) -> dict[str, str]:
        """What a plain `mlflow` command or a step's process needs, to be laid over the caller's environment.

        Carries no password: whoever needs it reads it from `env_file`, which `DSGO_HOME` names.
        """
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        for host in (HOST, "localhost", self.servers):
            direct = _with(direct.split(","), host, ",")
        return {
            "DSGO_HOME": str(self.home),
            "DSGO_SERVERS": self.servers,
            "DSGO_LISTEN": self.listen,
            "DSGO_FTP_PORT": str(self.ftp_port),
            "DSGO_FTP_TLS": str(self.ftp_tls).lower(),
            "DSGO_TRACKING_PORT": str(self.tracking_port),
            "DSGO_DASHBOARD_PORT": str(self.dashboard_port),
            "DSGO_SERVE_PORT": str(self.serve_port),
            "DSGO_DAGSTER_PORT": str(self.orchestrator_port),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
            # As URLs, in which spaces are escaped: uv splits its list at commas, pip at spaces.
            "UV_FIND_LINKS": _with(os.environ.get("UV_FIND_LINKS", "").split(","), self.wheels.as_uri(), ","),
            "PIP_FIND_LINKS": _with(os.environ.get("PIP_FIND_LINKS", "").split(), self.wheels.as_uri(), " "),
            "UV_PYTHON_DOWNLOADS": "never",
            "MLFLOW_ENV_ROOT": str(self.environments),
            # Without these, a proxy that the environment names would be asked for this copy's own servers.
            "NO_PROXY": direct,
            "no_proxy": direct,
        }


def _with(listed: list[str], added: str, separator: str) -> str:
    """A list as an environment variable holds it, `added` at its end, nothing twice."""
    return separator.join(dict.fromkeys([*filter(None, listed), added]))


def _port(values: Mapping[str, str | None], name: str, default: int) -> int:
    text = values.get(name) or str(default)
    if not text.isdecimal() or not 1024 <= int(text) <= 65_535:
        raise SettingError(name, text, "a port number from 1024 to 65535")
    return int(text)


def _switch(values: Mapping[str, str | None], name: str) -> bool:
    text = (values.get(name) or "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise SettingError(name, text, "true or false")
    return text in ("true", "1")


def _database_url(values: Mapping[str, str | None], name: str, schemes: tuple[str, ...]) -> str:
    text = values.get(name) or ""
    if text and not text.startswith(schemes):
        scheme = text.partition(":")[0] if "://" in text else ""  # the rest may hold a password
        raise SettingError(name, f"{scheme}:…", "postgresql://user:password@host:port/database")
    return text


def _data(values: Mapping[str, str | None]) -> str:
    text = values.get("DSGO_DATA") or Settings.data
    if not SOURCE_NAME.fullmatch(text) and "://" not in text and not Path(text).is_absolute():
        raise SettingError("DSGO_DATA", text, "a source's name such as sample, a URL, or a file's absolute path")
    return text


def _where(values: Mapping[str, str | None]) -> dict[str, str]:
    """The name of the machine of store and tracking server, and where those listen."""
    servers, listen = values.get("DSGO_SERVERS") or HOST, values.get("DSGO_LISTEN") or HOST
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", servers):
        raise SettingError("DSGO_SERVERS", servers, "the name or IPv4 address of a machine, without a port")
    try:
        ipaddress.IPv4Address(listen)
    except ValueError:
        raise SettingError("DSGO_LISTEN", listen, f"an IPv4 address of this machine; {EVERYWHERE} for all") from None
    if listen != HOST and servers == HOST:
        raise SettingError(
            "DSGO_SERVERS", servers, "set where DSGO_LISTEN is: by what name do others reach this machine?"
        )
    return {"servers": servers, "listen": listen}


def _executor(values: Mapping[str, str | None]) -> dict[str, str]:
    """Where the steps are run: `multiprocess`, or `dask` with the address of a scheduler."""
    executor, scheduler = values.get("DSGO_EXECUTOR") or MULTIPROCESS, values.get("DSGO_DASK_SCHEDULER") or ""
    if executor not in (MULTIPROCESS, DASK):
        raise SettingError("DSGO_EXECUTOR", executor, f"{MULTIPROCESS} or {DASK}")
    if executor == DASK and not scheduler.startswith(("tcp://", "tls://")):
        raise SettingError(
            "DSGO_DASK_SCHEDULER", scheduler, "the address of a Dask scheduler, tcp://host:8786 or tls://…"
        )
    return {"executor": executor, "dask_scheduler": scheduler}


def _smtp(values: Mapping[str, str | None]) -> Smtp:
    def text(name: str) -> str:
        return (values.get(f"DSGO_SMTP_{name}") or "").strip()

    security = text("SECURITY").lower() or Smtp.security
    if security not in SMTP_PORTS:
        raise SettingError("DSGO_SMTP_SECURITY", security, f"one of {', '.join(SMTP_PORTS)}")
    port = text("PORT") or str(SMTP_PORTS[security])
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65_535):
        raise SettingError("DSGO_SMTP_PORT", port, "a port number from 1 to 65535")
    return Smtp(
        host=text("HOST"),
        port=int(port),
        security=security,
        user=text("USER"),
        password=values.get("DSGO_SMTP_PASSWORD") or "",
        sender=text("SENDER"),
        recipients=tuple(dict.fromkeys(filter(None, (part.strip() for part in text("RECIPIENTS").split(","))))),
        ca=text("CA"),
    )


def _who_may_see(values: Mapping[str, str | None]) -> dict[str, str]:
    """Where the dashboard listens, and the user and password that it asks for."""
    host = values.get("DSGO_DASHBOARD_HOST") or HOST
    user, password = (values.get(f"DSGO_DASHBOARD_{name}") or "" for name in ("USER", "PASSWORD"))
    if ":" in user:
        raise SettingError("DSGO_DASHBOARD_USER", user, "without a colon")
    if bool(user) != bool(password):
        missing = "PASSWORD" if user else "USER"
        raise SettingError(f"DSGO_DASHBOARD_{missing}", "", "set where the other of user and password is")
    if host not in (HOST, EVERYWHERE) or (host == EVERYWHERE and not user):
        wanted = f"{HOST}, or {EVERYWHERE} with DSGO_DASHBOARD_USER and DSGO_DASHBOARD_PASSWORD set"
        raise SettingError("DSGO_DASHBOARD_HOST", host, wanted)
    return {"dashboard_host": host, "dashboard_user": user, "dashboard_password": password}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in force. Reads `environ` (the process's by default) over `$DSGO_HOME/.env`.

    Raises:
        SettingError: a port is no number from 1024 to 65535, two services share one, or a choice is none of those there are.
    """
    environ = os.environ if environ is None else environ
    home = Path(environ.get("DSGO_HOME") or CHECKOUT / ".dsgo").expanduser().absolute()
    values = {**dotenv_values(home / ".env"), **{k: v for k, v in environ.items() if v}}
    ports = {
        "DSGO_FTP_PORT": _port(values, "DSGO_FTP_PORT", 2121),
        "DSGO_TRACKING_PORT": _port(values, "DSGO_TRACKING_PORT", 5000),
        "DSGO_DASHBOARD_PORT": _port(values, "DSGO_DASHBOARD_PORT", 8050),
        "DSGO_SERVE_PORT": _port(values, "DSGO_SERVE_PORT", 8003),
        "DSGO_DAGSTER_PORT": _port(values, "DSGO_DAGSTER_PORT", 3000),
    }
    for name, port in ports.items():
        for other, taken in ports.items():
            if other < name and port == taken:
                raise SettingError(name, port, f"different from {other}")
    return Settings(
        home=home,
        ftp_port=ports["DSGO_FTP_PORT"],
        tracking_port=ports["DSGO_TRACKING_PORT"],
        dashboard_port=ports["DSGO_DASHBOARD_PORT"],
        serve_port=ports["DSGO_SERVE_PORT"],
        orchestrator_port=ports["DSGO_DAGSTER_PORT"],
        data=_data(values),
        ftp_user=values.get("DSGO_FTP_USER") or FTP_USER,
        ftp_password=values.get("DSGO_FTP_PASSWORD") or "",
        **_who_may_see(values),
        **_executor(values),
        **_where(values),
        ftp_tls=_switch(values, "DSGO_FTP_TLS"),
        smtp=_smtp(values),
        database_url=_database_url(values, "DSGO_DATABASE_URL", ("sqlite:///", "postgresql://"))
        or f"sqlite:///{home / 'dsgo.db'}",
        tracking_database_url=_database_url(values, "DSGO_TRACKING_DATABASE_URL", ("postgresql://",)),
        asked_by=values.get("DSGO_ASKED_BY") or "",
    )


def ftp_login_of_environment(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """User and password that the environment itself names (not `.env`); empty where it does not."""
    environ = os.environ if environ is None else environ
    return environ.get("DSGO_FTP_USER", ""), environ.get("DSGO_FTP_PASSWORD", "")


def ftp_ca(environ: Mapping[str, str] | None = None) -> str | None:
    """File with the certificate authority that FTPS servers are checked against; None is the system's."""
    environ = os.environ if environ is None else environ
    return environ.get("DSGO_FTP_CA") or None


def failure_file(environ: Mapping[str, str] | None = None) -> Path | None:
    """File in which a step tells the pipeline why it has failed; None if no pipeline has started it."""
    environ = os.environ if environ is None else environ
    return Path(environ[FAILURE_FILE]) if environ.get(FAILURE_FILE) else None


def prepare(settings: Settings) -> Settings:
    """Make the state folder and, once, its `.env` with a generated FTP password; return the settings then in force."""
    for folder in (settings.home, settings.ftp_root / "artifacts", settings.logs, settings.cache, settings.wheels):
        folder.mkdir(parents=True, exist_ok=True)
    if not settings.env_file.exists():
        password = settings.ftp_password or secrets.token_urlsafe(24)
        descriptor, name = tempfile.mkstemp(prefix=".env.", dir=settings.home)  # mode 0600
        part = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"DSGO_FTP_USER={settings.ftp_user}\nDSGO_FTP_PASSWORD={password}\n")
        try:
            os.link(part, settings.env_file)  # fails if another process was first: its password stands
        except FileExistsError:
            pass
        finally:
            part.unlink()
    return load({**os.environ, **_explicit(settings)})


def _explicit(settings: Settings) -> dict[str, str]:
    return {
        "DSGO_HOME": str(settings.home),
        "DSGO_SERVERS": settings.servers,
        "DSGO_LISTEN": settings.listen,
        "DSGO_FTP_PORT": str(settings.ftp_port),
        "DSGO_FTP_TLS": str(settings.ftp_tls).lower(),
        "DSGO_TRACKING_PORT": str(settings.tracking_port),
        "DSGO_DASHBOARD_PORT": str(settings.dashboard_port),
        "DSGO_SERVE_PORT": str(settings.serve_port),
        "DSGO_DAGSTER_PORT": str(settings.orchestrator_port),
        "DSGO_ASKED_BY": settings.asked_by,
    }


def password_hash(password: str, salt: bytes) -> bytes:
    """scrypt hash of the FTP password (RFC 7914, n=2^14, r=8, p=1), so that the server need not keep it in clear."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def activate(settings: Settings) -> None:
    """Make these settings those of this process and of all it starts, with its own interpreter first on the path."""
    os.environ.update(settings.child_environment(), DSGO_ASKED_BY=settings.asked_by)
    first = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != first:
        os.environ["PATH"] = os.pathsep.join([first, os.environ.get("PATH", os.defpath)])
