"""Connections to FTP servers: opened with or without TLS, kept in one bounded pool a server, replaced when they die.

The pools belong to the process: threads share them, a fork starts with none, and exit closes them.
"""

from __future__ import annotations

import atexit
import contextlib
import ftplib
import os
import posixpath
import random
import selectors
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

MAX_CONNECTIONS = 8  # to one server from one process
TIMEOUT_S = 60.0  # without any sign from the server
CONNECT_TIMEOUT_S = 20.0
PROBE_AFTER_S = 30.0  # of silence: a router may have forgotten the connection without telling
PROBE_TIMEOUT_S = 5.0
KEEPALIVE_S = 60
KEEP_S = 120.0  # an idle connection is closed at the next use of the pool after this
RETRY_DELAYS_S = (0.1, 0.3, 0.9, 2.7, 8.1, 8.1)  # outlasts a restart by the supervisor, also on a busy machine

DEAD = (EOFError, ConnectionError, TimeoutError, ssl.SSLError, ftplib.error_proto, ftplib.error_reply)
DISK_FULL = ("no space left", "quota exceeded", "disk full", "insufficient storage")
# Unlike select(), poll() is not limited to file descriptors below 1024; Windows has only the former.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """Where to connect and as whom. Neither user nor password shows in a repr."""

    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    tls: bool = False
    ca: str | None = None

    @property
    def address(self) -> str:
        """Address without credentials, for messages."""
        return f"{'ftps' if self.tls else 'ftp'}://{self.host}:{self.port}"


class LoginRefused(Exception):
    """The server refuses the login, in its own words."""


class InsecureServer(Exception):
    """TLS was asked for, and the server has none that can be trusted."""


class ServerGone(Exception):
    """The server cannot be reached, or went away and did not come back within all retries."""


class TransferFailed(ConnectionError):
    """A transfer fails though the server is there. Tried again like after a broken connection, then raised as it is."""


class NoDataConnection(TransferFailed):
    """The server has told a port for data, and it cannot be connected to."""


class _Wire:
    """What plain and TLS connections have in common, over `ftplib`.

    `ftplib` is told Latin-1, which maps every byte, and names are turned into UTF-8 here: so a reply in some other
    encoding cannot break a session, and a listed name goes back to the server as the bytes that it came as.
    """

    in_step = True  # False from the start of a transfer to its final reply: such a connection cannot be used again
    features: dict[str, str]

    def putline(self, line: str) -> None:
        super().putline(line.encode("utf-8", "surrogateescape").decode("latin-1"))

    def getline(self) -> str:
        return super().getline().encode("latin-1").decode("utf-8", "surrogateescape")

    def open_data(self, command: str, offset: int = 0) -> socket.socket:
        """Start a transfer and return its data socket; `finish` must follow.

        The command is sent before the data connection is opened, which saves a round trip.
        """
        host, port = self.makepasv()
        if offset:
            self.sendcmd(f"REST {offset}")
        self.in_step = False
        self.putcmd(command)
        try:
            data = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
        except OSError as error:
            problem = NoDataConnection(f"no connection to its data port {port}: {_words(error)}")
            raise self._reason_for_refusal(problem) from None
        try:
            data.settimeout(self.timeout)
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                reply = self.getresp()
                while reply[0] == "2":  # some servers send a 200 before the 150
                    reply = self.getresp()
            except (ftplib.error_temp, ftplib.error_perm):
                self.in_step = True
                raise
            if reply[0] != "1":
                raise ftplib.error_proto(reply)
            return self.secure(data)
        except BaseException:
            data.close()
            raise

    def secure(self, data: socket.socket) -> socket.socket:
        return data

    @contextlib.contextmanager
    def patience(self, extra_s: float) -> Iterator[None]:
        """Wait longer for replies (or less, if negative), since the server has much to do."""
        self.sock.settimeout(self.timeout + extra_s)
        try:
            yield
        finally:
            if self.sock is not None:
                self.sock.settimeout(self.timeout)

    def finish(self, data: socket.socket) -> str:
        """Close the data socket and return the server's final reply."""
        close_data(data)
        try:
            reply = self.voidresp()
        except (ftplib.error_temp, ftplib.error_perm):
            self.in_step = True
            raise
        self.in_step = True
        return reply

    def reason_for_break(self, data: socket.socket, fallback: OSError) -> Exception:
        """Why the server broke off a transfer: its own words where it sent some, else `fallback`."""
        try:
            with self.patience(PROBE_TIMEOUT_S - self.timeout):
                self.finish(data)
        except (ftplib.error_temp, ftplib.error_perm) as error:
            return error
        except (OSError, EOFError, ftplib.Error):
            return fallback
        return fallback

    def _reason_for_refusal(self, fallback: NoDataConnection) -> Exception:
        """Why the data port does not answer: the server may have refused the command and closed it, else `fallback`."""
        try:
            with self.patience(PROBE_TIMEOUT_S - self.timeout):
                self.getresp()
        except (ftplib.error_temp, ftplib.error_perm) as error:
            return error
        except (OSError, EOFError, ftplib.Error):
            return fallback
        return fallback

    def receive_all(self, command: str) -> bytes:
        """Everything that `command` (a listing) sends."""
        data = self.open_data(command)
        chunks = []
        try:
            while chunk := data.recv(1 << 16):
                chunks.append(chunk)
        except BaseException:
            data.close()
            raise
        self.finish(data)
        return b"".join(chunks)

    def receive_reply(self, command: str) -> bytes:
        """The lines that `command` sends within its reply, 250, on the control connection."""
        self.putcmd(command)
        first = self.getline()
        if not first.startswith("250-"):
            raise {"4": ftplib.error_temp, "5": ftplib.error_perm}.get(first[:1], ftplib.error_proto)(first)
        lines = []
        while not (line := self.file.readline()).startswith("250 "):
            if not line:
                raise EOFError
            lines.append(line)
        return "".join(lines).encode("latin-1")

    def is_directory(self, path: str) -> bool:
        """Whether `path` is a directory that may be entered."""
        try:
            self.voidcmd(f"CWD {path}")
        except ftplib.error_perm:
            return False
        return True

    def make_directories(self, path: str) -> None:
        """Make the directory `path` and those above it; one that exists already is fine."""
        for last_try in (False, True):
            try:
                self.voidcmd(f"MKD {path}")
                return
            except ftplib.error_perm:
                if path == "/" or self.is_directory(path):
                    return
                if last_try:
                    raise
                parent = posixpath.dirname(path)
                if not self.is_directory(parent):
                    self.make_directories(parent)

    def is_broken(self) -> bool:
        """Whether an idle connection cannot be used: the server has spoken (421) or hung up, or no longer answers."""
        if self.sock is None or not self.in_step:
            return True
        with _Selector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            if selector.select(0):
                return True
        if time.monotonic() - self.last_used > PROBE_AFTER_S:
            try:
                with self.patience(PROBE_TIMEOUT_S - self.timeout):
                    self.voidcmd("NOOP")
            except (OSError, EOFError, ftplib.Error):
                return True
        return False

    def drop(self) -> None:
        """Close at once, without waiting for the server."""
        with contextlib.suppress(OSError):
            self.close()


class _PlainConnection(_Wire, ftplib.FTP):
    pass


class _TLSConnection(_Wire, ftplib.FTP_TLS):
    def secure(self, data: socket.socket) -> socket.socket:
        # Many servers demand that the data connection resumes the control connection's session (RFC 4217, section 10).
        return self.context.wrap_socket(data, server_hostname=self.host, session=self.sock.session)


Connection = _PlainConnection | _TLSConnection


def close_data(data: socket.socket) -> None:
    """Close a data socket so that the other side sees the end even if a forked child still holds a copy of it."""
    try:
        if isinstance(data, ssl.SSLSocket):
            data = data.unwrap()
        data.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError):
        pass  # the other side was first
    finally:
        data.close()


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Verifies certificate and host name against `ca` (default: the system's authorities), TLS 1.2 at least."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def parse_features(reply: str) -> dict[str, str]:
    """Names (upper case) and parameters of a reply to FEAT (RFC 2389)."""
    features = {}
    for line in reply.split("\n")[1:-1]:
        line = line.strip()
        name, _, parameters = line.partition(" ")
        if name.upper() == "SITE":  # each line is a feature of its own
            name, parameters = line, ""
        features[name.upper()] = parameters
    return features


class Pool:
    """Connections to one server, at most `MAX_CONNECTIONS` at a time. Safe for threads."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.directories: set[str] = set()  # known to exist, which saves asking again; forgotten when found wrong
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._idle: deque[Connection] = deque()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._features: dict[str, str] | None = None
        self._context: ssl.SSLContext | None = None

    def run(self, action: Callable[[Connection], T]) -> T:
        """`action(connection)`, called again on another connection when the one it had turns out dead.

        `action` must be such that doing it again is harmless.

        Raises:
            ftplib.error_perm, ftplib.error_temp: the server's refusal.
            LoginRefused, InsecureServer, ServerGone: no connection can be had.
            TransferFailed: the server is there, and all the same each try has failed.
        """
        for delay in (*RETRY_DELAYS_S, None):
            try:
                with self.connection() as connection:
                    return action(connection)
            except ftplib.error_temp as error:
                if delay is None or any(words in str(error).lower() for words in DISK_FULL):
                    raise
            except DEAD as error:
                if delay is None:
                    raise error if isinstance(error, TransferFailed) else ServerGone(_words(error)) from None
            time.sleep(delay * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for the time of a `with` block; it goes back to the pool unless it is out of step or dead."""
        with self._slots:
            connection = self._idle_connection() or self._new_connection()
            try:
                yield connection
            except (ftplib.error_perm, ftplib.error_temp) as error:
                if str(error).startswith("421"):
                    connection.in_step = False
                raise
            except BaseException as error:
                if not isinstance(error, Exception) or isinstance(error, (*DEAD, OSError)):
                    connection.in_step = False
                raise
            finally:
                if connection.in_step:
                    connection.last_used = time.monotonic()
                    self._idle.append(connection)
                else:
                    connection.drop()

    def _idle_connection(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            try:
                connection = self._idle.pop()  # the last used is the least likely to be dead
            except IndexError:  # another thread took it
                return None
            if now - connection.last_used > KEEP_S:
                connection.drop()
                continue
            if connection.is_broken():
                connection.drop()
                continue
            self._close_stale(now)
            return connection
        return None

    def _close_stale(self, now: float) -> None:
        with self._lock:
            while self._idle and now - self._idle[0].last_used > KEEP_S:
                try:
                    stale = self._idle.popleft()
                except IndexError:
                    return
                stale.drop()

    def _new_connection(self) -> Connection:
        server = self.server
        try:
            if server.tls:
                connection = _TLSConnection(context=self._tls_context(), timeout=TIMEOUT_S, encoding="latin-1")
            else:
                connection = _PlainConnection(timeout=TIMEOUT_S, encoding="latin-1")
        except OSError as error:
            raise InsecureServer(f"the certificate authority {server.ca} cannot be read: {error}") from None
        self._open.add(connection)
        try:
            self._log_in(connection)
        except BaseException:
            connection.drop()
            raise
        connection.last_used = time.monotonic()
        return connection

    def _log_in(self, connection: Connection) -> None:
        server = self.server
        try:
            connection.connect(server.host, server.port, CONNECT_TIMEOUT_S)
        except (socket.gaierror, ftplib.error_perm) as error:
            raise ServerGone(_words(error)) from None
        except DEAD:
            raise
        except OSError as error:  # no route, network down: may pass like a refused connection
            raise ConnectionError(_words(error)) from None
        connection.timeout = TIMEOUT_S
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):  # a long transfer leaves this one silent: no router shall forget it
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        if server.tls:
            try:
                connection.auth()
            except ssl.SSLCertVerificationError as error:
                raise InsecureServer(error.verify_message) from None
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):  # it went away, and may come back
                raise
            except (ssl.SSLError, ftplib.error_perm) as error:
                raise InsecureServer(_words(error)) from None
        try:
            if server.tls:
                ftplib.FTP.login(connection, server.user, server.password)
                connection.prot_p()
            else:
                connection.login(server.user, server.password)
        except (ftplib.error_perm, ftplib.error_reply) as error:
            raise LoginRefused(_without(str(error), server.password)) from None
        except ValueError:
            raise LoginRefused("user or password contains a line break") from None
        if self._features is None:
            self._features = self._ask_features(connection)
        connection.features = self._features
        if "UTF8" in self._features:
            with contextlib.suppress(ftplib.error_perm):  # some speak UTF-8 only when told, others refuse being told
                connection.voidcmd("OPTS UTF8 ON")
        connection.voidcmd("TYPE I")

    def _ask_features(self, connection: Connection) -> dict[str, str]:
        try:
            return parse_features(connection.sendcmd("FEAT"))
        except ftplib.error_perm:
            return {}

    def _tls_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = tls_context(self.server.ca)
            return self._context

    def close(self, *, quit: bool) -> None:
        """Close all idle connections; `quit` says goodbye to the server without waiting for its answer."""
        while self._idle:
            connection = self._idle.popleft()
            if quit:
                with contextlib.suppress(OSError, ValueError):
                    connection.putcmd("QUIT")
            connection.drop()

    def abandon(self) -> None:
        """Close the copies of connections that a fork has given to this process; the parent's go on working.

        Only their descriptors: a thread that was reading holds the lock of its file object, and is not here to free it.
        """
        for connection in list(self._open):
            if connection.sock is not None and (descriptor := connection.sock.detach()) >= 0:
                os.close(descriptor)


def _words(error: BaseException) -> str:
    return str(error) or {EOFError: "the server closed the connection"}.get(type(error), type(error).__name__)


def _without(text: str, secret: str) -> str:
    return text.replace(secret, "***") if secret else text


_pools: dict[Server, Pool] = {}
_pools_lock = threading.Lock()


def pool_for(server: Server) -> Pool:
    """This process's pool of connections to `server`."""
    pool = _pools.get(server)
    if pool is None:
        with _pools_lock:
            pool = _pools.setdefault(server, Pool(server))
    return pool


@atexit.register
def close_pools() -> None:
    """Close all idle connections of this process. Later calls open new ones."""
    for pool in list(_pools.values()):
        pool.close(quit=True)


def _start_afresh_after_fork() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()
    inherited = list(_pools.values())
    _pools.clear()
    for pool in inherited:
        pool.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_after_fork)
