"""DSGo's FTP server: the artifact store of one copy, on the loopback address.

Run alone with `python server/ftpserver.py`, or under the supervisor. All settings come from `dsgo.settings`; the first
start makes the state folder and a password. Ends on SIGTERM or Ctrl-C after the transfers under way.
"""

# pyftpdlib deals in paths as plain strings, and checks a great many of them
# ruff: noqa: PTH114, PTH116, PTH118, PTH120, PTH123

from __future__ import annotations

import dataclasses
import errno
import hashlib
import hmac
import io
import logging
import os
import resource
import secrets
import signal
import socket
import stat
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from OpenSSL import SSL
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.exceptions import AuthenticationFailed
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.handlers.ftp.data import DTPHandler
from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP
from pyftpdlib.handlers.ftps.data import TLS_DTPHandler
from pyftpdlib.servers import ThreadedFTPServer

from dsgo import settings
from dsgo.errors import DSGoError, ServiceError, SettingError
from dsgo.ftp_bundle import SMALL, BundleError, Unpacker, can_be_named, pack_folder
from dsgo.ftp_certificate import ensure_certificate
from dsgo.ftp_hash import StreamHash
from dsgo.ftp_names import PART_LIFETIME_S, is_part

PERMISSIONS = "elradfmw"  # everything but changing modes and times
MAX_SESSIONS = 512
MAX_SESSIONS_PER_ADDRESS = 256  # 16 processes with a full pool of 8 each come to 128
IDLE_S = 600
LOGIN_S = 30  # from connecting to being logged in
ACCEPT_AGAIN_S = 1
WRONG_LOGIN_DELAY_S = 3
LONGEST_USER = 128
DRAIN_S = 20  # how long a stop waits for transfers; the supervisor must wait a little longer
SWEEP_EVERY_S = 3600
STORE_FEATURES = ("HASH SHA-256*", "XSHA256", "SITE MLSD", "SITE PACK", "SITE PUBLISH", "SITE UNPACK")
BLOCK = 1 << 18
MOST_UNREAD = 64  # pieces of replies, of up to 64 kB each, that may wait for a client to read them

log = logging.getLogger("dsgo.ftpserver")
PYFTPDLIB_LOG = logging.getLogger("pyftpdlib")


class HashedAuthorizer(DummyAuthorizer):
    """One user, whose password is kept as salted scrypt hash only.

    scrypt takes about 0.1 s, too long for clients that log in once a file. So a password found right is remembered
    as an HMAC under a key that dies with the process.
    """

    def __init__(self, user: str, password: str, root: Path) -> None:
        super().__init__()
        self._salt = secrets.token_bytes(16)
        self._hash = settings.password_hash(password, self._salt)
        self._key = secrets.token_bytes(32)
        self._verified: bytes | None = None
        self._one_at_a_time = threading.Lock()  # so that a storm of wrong logins cannot take 16 MB of memory each
        self.add_user(user, "", str(root), perm=PERMISSIONS)

    def validate_authentication(self, username: str, password: str, handler: FTPHandler) -> None:
        """Raise AuthenticationFailed unless user and password are right. Takes the same time for any wrong pair."""
        known = self.has_user(username)
        digest = hmac.digest(self._key, password.encode(errors="surrogateescape"), "sha256")
        if known and self._verified is not None and hmac.compare_digest(digest, self._verified):
            return
        with self._one_at_a_time:
            if known and self._verified is not None and hmac.compare_digest(digest, self._verified):
                return  # found right while this one was waiting
            right = hmac.compare_digest(settings.password_hash(password, self._salt), self._hash)
        if not (known and right):
            raise AuthenticationFailed("Authentication failed.")
        self._verified = digest


class StoredFile(io.FileIO):
    """A file being stored, hashed on its way unless it is the rest of one.

    Unbuffered, so that a full disk shows with the block that it hits, not when the file is closed.
    """

    def __init__(self, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self.anew = mode == "w"
        self.digest = StreamHash() if self.anew else None

    def write(self, data: bytes) -> int:
        if self.digest is not None:
            self.digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)

    def close(self) -> None:
        """Close the file; its hash can still be asked for."""
        super().close()
        if self.digest is not None:
            self.digest.close()

    def sha256(self) -> str:
        """SHA-256 of the whole file, as hexadecimal."""
        return self.digest.hexdigest() if self.digest is not None else sha256(self.name)


def sha256(path: str | Path) -> str:
    """SHA-256 of a plain file, as hexadecimal."""
    with open(path, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError(errno.EISDIR, "Not a plain file")
        return hashlib.file_digest(file, "sha256").hexdigest()


class ConfinedFS(AbstractedFS):
    """The store's folder as root; nothing outside can be reached, by symbolic links neither.

    The inherited checks resolve every component of every path several times a command, which took most of the
    server's time. Clients cannot make links, so a folder found free of them is taken to stay so for a few seconds, or
    until any session renames something: that may be a link which somebody has put there, or a folder with one in it.
    """

    TRUST_FOLDER_S = 5.0
    MOST_TRUSTED = 1000
    _free_of_links: ClassVar[dict[str, float]] = {}  # of all sessions; until when

    def validpath(self, path: str) -> bool:
        """Whether the real path `path` lies in the store, after following links."""
        if path == self.root:
            return True
        if not path.startswith(self.root + os.sep):
            return False
        folder, now = os.path.dirname(path), time.monotonic()
        trusted = ConfinedFS._free_of_links  # a rename during the check puts another in its place
        if trusted.get(folder, 0.0) < now:
            if os.path.realpath(folder) != folder:
                return self._resolves_inside(path)
            if len(trusted) >= self.MOST_TRUSTED:
                trusted.clear()
            trusted[folder] = now + self.TRUST_FOLDER_S
        return not os.path.islink(path) or self._resolves_inside(path)

    def _resolves_inside(self, path: str) -> bool:
        return os.path.commonpath([os.path.realpath(path), self.root]) == self.root

    def realpath(self, path: str) -> str:
        """The path itself: commands ask for this only after `validpath`, to tell the root from what is below it."""
        return path

    def fs2ftp(self, path: str) -> str:
        """The path as clients see it."""
        below = os.path.normpath(path).removeprefix(self.root)
        return below if below.startswith("/") else "/"

    def open(self, filename: str, mode: str) -> io.IOBase:
        """A file to send, or one to store."""
        if mode == "rb":
            return open(filename, mode, buffering=0)
        self.cmd_channel.stored = StoredFile(filename, mode.replace("b", ""))
        return self.cmd_channel.stored

    def rename(self, src: str, dst: str) -> None:
        """Rename what is in the store still: other sessions may have moved things since its name was checked."""
        if not self.validpath(src):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            super().rename(src, dst)
        finally:
            ConfinedFS._free_of_links = {}

    def chdir(self, path: str) -> None:
        # The inherited one changes the folder of the whole process, which the threads of all sessions share.
        os.stat(os.path.join(path, "."))  # fails unless it is a directory that may be entered
        self.cwd = self.fs2ftp(path)

    def listdir(self, path: str) -> list[str]:
        """Names in a folder, but for links that lead outside and names that no command could have."""
        with os.scandir(path) as entries:
            return [
                entry.name
                for entry in entries
                if can_be_named(entry) and (not entry.is_symlink() or self.validpath(entry.path))
            ]

    def format_mlsx(self, basedir: str, listing: list[str], perms: str, facts: list[str], ignore_err: bool = True):
        """Lines of MLSD and MLST with the facts that a store's client needs."""
        yield self.mlsd(basedir, listing, ignore_err).encode("utf-8", "replace")

    def mlsd(self, folder: str, names: list[str], ignore_err: bool = True) -> str:
        """Lines for the given names in a folder."""
        lines = []
        second, modified = None, ""
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # saves walking down to the folder for each name
        try:
            found = [(name, self._status(name, opened, ignore_err)) for name in names]
        finally:
            os.close(opened)
        for name, status in found:
            if status is None:
                continue
            if second != (second := int(status.st_mtime)):  # most files of a run come in the same few seconds
                modified = time.strftime("%Y%m%d%H%M%S", time.gmtime(second))
            if stat.S_ISDIR(status.st_mode):
                lines.append(f"modify={modified};type=dir; {name}\r\n")
            else:
                lines.append(f"modify={modified};size={status.st_size};type=file; {name}\r\n")
        return "".join(lines)

    @staticmethod
    def _status(name: str, folder: int, ignore_err: bool) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=folder)
        except OSError:
            if not ignore_err:
                raise
            return None


class FixedPassiveDTP(PassiveDTP):
    """Data connections on the given ports only. The inherited one falls back to any port, which a firewall blocks."""

    _one_at_a_time = threading.Lock()

    def __init__(self, cmd_channel: FTPHandler, extmode: bool = False) -> None:
        # Two sessions can bind one port, since both may reuse its address; the second of them then fails to listen.
        with self._one_at_a_time:
            super().__init__(cmd_channel, extmode)

    def bind(self, address: tuple[str, int]) -> None:
        if address[1] == 0:
            self.close()
            raise OSError(errno.EADDRINUSE, "no free passive port")
        super().bind(address)

    __repr__ = object.__repr__  # the inherited ones are long to make, and pyftpdlib makes them for every debug message


class BundleFile:
    """What a data connection writes a bundle to, instead of a file."""

    closed = False

    def __init__(self, unpacker: Unpacker) -> None:
        self.unpacker, self.name, self.write = unpacker, unpacker.folder, unpacker.feed

    def close(self) -> None:
        """Drop the file that is under way."""
        self.unpacker.close()
        self.closed = True


class StoreDTP(DTPHandler):
    """Data connections with blocks large enough for large artifacts."""

    ac_in_buffer_size = BLOCK
    ac_out_buffer_size = BLOCK
    __repr__ = object.__repr__

    def handle_close(self) -> None:
        """The other side has closed: the end of a file, but not of a bundle, which has an end of its own."""
        if not self._closed and isinstance(self.file_obj, BundleFile) and not self.file_obj.unpacker.finished:
            self._fail("451 The bundle is not complete.")
        else:
            super().handle_close()

    def handle_error(self) -> None:
        """Say what a disk or a bundle has against a transfer; the inherited one calls all of it a passing failure."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno is None:
            error = error.__cause__ or error  # pyftpdlib wraps what writing a file raises
        if isinstance(error, BundleError):
            self._fail(f"451 {error}.")
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._fail(f"452 {os.strerror(error.errno)}.")
        elif isinstance(error, OSError) and isinstance(self.file_obj, BundleFile):
            self._fail(f"550 {os.strerror(error.errno)}.")
        else:
            super().handle_error()

    def _fail(self, reply: str) -> None:
        self._resp = (reply, PYFTPDLIB_LOG.debug)
        self.close()


class BundleProducer:
    """Feeds a bundle to a data connection."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def more(self) -> bytes:
        """The next block, empty at the end."""
        try:
            return next(self._blocks, b"")
        except FileNotFoundError:
            raise BundleError("a file was moved or deleted while its folder was sent") from None


class StoreHandler(FTPHandler):
    """One session. Class attributes that depend on settings are set on a subclass made by `handler_for`."""

    abstracted_fs = ConfinedFS
    passive_dtp = FixedPassiveDTP
    dtp_handler = StoreDTP
    banner = "DSGo artifact store ready."
    __repr__ = object.__repr__
    timeout = IDLE_S
    login_timeout = LOGIN_S
    auth_failed_timeout = WRONG_LOGIN_DELAY_S
    _refusing = False
    _login_timer = None
    _held = b""
    proto_cmds: ClassVar = {
        **{
            name: rule
            for name, rule in FTPHandler.proto_cmds.items()
            if name not in ("PORT", "EPRT", "STOU", "SITE CHMOD", "MFMT")  # no active mode: no bouncing
        },
        "HASH": {"perm": "r", "auth": True, "arg": True, "help": "Syntax: HASH <SP> file-name (SHA-256 of a file)."},
        "XSHA256": {
            "perm": "r",
            "auth": True,
            "arg": True,
            "help": "Syntax: XSHA256 <SP> file-name (SHA-256 of a file).",
        },
        "SITE MLSD": {
            "perm": None,  # this and the next three check their path themselves
            "auth": True,
            "arg": True,
            "help": "Syntax: SITE MLSD <SP> path (MLSD on the control connection).",
        },
        "SITE PACK": {
            "perm": None,
            "auth": True,
            "arg": True,
            "help": "Syntax: SITE PACK <SP> bytes <SP> path (send a folder's files up to that size as one bundle).",
        },
        "SITE UNPACK": {
            "perm": None,
            "auth": True,
            "arg": True,
            "help": "Syntax: SITE UNPACK <SP> path (store a bundle of files below a folder).",
        },
        "SITE PUBLISH": {
            "perm": None,
            "auth": True,
            "arg": True,
            "help": "Syntax: SITE PUBLISH <SP> SHA-256 <SP> file-name (name what was just stored, if it has that).",
        },
    }

    def __init__(self, connection: socket.socket, server: StoreServer, ioloop=None) -> None:
        super().__init__(connection, server, ioloop)
        self._extra_feats = [*self._extra_feats, *STORE_FEATURES]
        self.stored: StoredFile | None = None
        server.sessions.add(self)

    def add_channel(self, map=None, events=None) -> None:
        self._refusing = False
        if self._closed:  # while a refused login was waiting
            return
        super().add_channel(map, events)
        # The idle timer was set on the loop of the thread that accepts; from here on it must run in the session's own.
        if getattr(self, "_idler", None) is not None and not self._idler.cancelled:
            self._idler.cancel()
            self._idler = self.ioloop.call_later(self.timeout, self.handle_timeout, _errback=self.handle_error)
            if self._login_timer is None:  # whoever knows no password must not hold a session for long
                self._login_timer = self.call_later(self.login_timeout, self._end_unless_logged_in)

    def _end_unless_logged_in(self) -> None:
        if not self.authenticated:
            self.handle_timeout()

    def handle_timeout(self) -> None:
        super().handle_timeout()
        if not self._closed:  # it waits for its last reply to be read, which may be never
            self.close()

    # --- a client that sends commands but does not read the replies: they would fill the memory

    def found_terminator(self) -> None:
        super().found_terminator()
        if len(self.producer_fifo) > MOST_UNREAD:
            self._held, self.ac_in_buffer = self.ac_in_buffer, b""  # ends asynchat's work on what it has received

    def initiate_send(self) -> None:
        super().initiate_send()
        if len(self.producer_fifo) > MOST_UNREAD and not self._closed:
            self._wanted_io_events = self.ioloop.WRITE
            self.ioloop.modify(self._fileno, self._wanted_io_events)

    def handle_write(self) -> None:
        super().handle_write()
        if self._held and len(self.producer_fifo) <= MOST_UNREAD:
            self.handle_read()

    def recv(self, buffer_size: int) -> bytes:
        """What has been held comes before anything new."""
        held, self._held = self._held, b""
        return held or super().recv(buffer_size)

    def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
        """Refuse what no command may contain, and who does not wait for the answer to a wrong password."""
        if self._refusing:
            self.close()  # else one burst of lines could try any number of passwords without delay
        elif "\0" in line:
            self.respond("501 A command cannot contain NUL.")
        elif cmd == "USER" and len(arg) > LONGEST_USER:
            self.respond("501 The name is too long.")
        else:
            super().pre_process_command(line, cmd, arg)

    def handle_auth_failed(self, msg: str, password: str) -> None:
        super().handle_auth_failed(msg, password)
        self._refusing = True

    def handle_auth_success(self, home: str, password: str, msg_login: str) -> None:
        super().handle_auth_success(home, "", msg_login)  # the session would keep the password

    def _make_epasv(self, extmode: bool = False) -> None:
        try:
            super()._make_epasv(extmode)
        except OSError as error:
            self.respond(f"425 Cannot open a data connection: {error.strerror}.")

    # --- commands

    def ftp_MLSD(self, path: str) -> None:
        """List a folder in one go; the inherited one sends twenty lines at a time."""
        if not self.fs.isdir(path):
            self.respond("501 No such directory.")
            return
        try:
            listing = self.fs.mlsd(path, self.fs.listdir(path))
        except OSError as error:
            self.respond(f"550 {error.strerror}.")
        else:
            self.push_dtp_data(listing.encode("utf-8", "replace"), cmd="MLSD")

    def ftp_SITE_MLSD(self, name: str) -> None:
        """Reply with the lines of MLSD on the control connection, which saves making a data connection."""
        path = self.fs.ftp2fs(name)
        try:
            if not self.fs.validpath(path):
                raise NotADirectoryError(errno.ENOTDIR, "The path is outside the root directory")
            listing = self.fs.mlsd(path, self.fs.listdir(path))
        except OSError as error:
            self.respond(f"550 {error.strerror}.")
        else:
            self.push(f"250-Listing\r\n{listing}")
            self.respond("250 End of list.")

    def ftp_XSHA256(self, path: str) -> None:
        """Reply with the SHA-256 of a file."""
        try:
            self.respond(f"250 {sha256(path)}")
        except OSError as error:
            self.respond(f"550 {error.strerror}.")

    def ftp_HASH(self, path: str) -> None:
        """Reply with the SHA-256 of a file, as draft-bryan-ftpext-hash has it."""
        try:
            self.respond(f"213 SHA-256 0-{self.fs.getsize(path)} {sha256(path)} {self.fs.fs2ftp(path)}")
        except OSError as error:
            self.respond(f"550 {error.strerror}.")

    def ftp_SITE_PUBLISH(self, line: str) -> None:
        """Rename what this session has stored last, if it has the SHA-256 given: three commands' work in one."""
        expected, _, name = line.partition(" ")
        stored, self.stored = self.stored, None
        path = self.fs.ftp2fs(name)
        if stored is None or not stored.closed:
            self.respond("503 Nothing was stored just before.")
        elif not name or not self.fs.validpath(path):
            self.respond("550 The name is missing or outside the root directory.")
        else:
            try:
                found = stored.sha256()
                if found != expected.lower():
                    self.respond(f"451 What arrived is not what was announced: its SHA-256 is {found}.")
                    return
                self.fs.rename(stored.name, path)
            except OSError as error:
                self.respond(f"550 {error.strerror}.")
            else:
                self.respond("250 Published.")

    def ftp_SITE_UNPACK(self, name: str) -> None:
        """Store the files of a bundle below a folder: what STOR and SITE PUBLISH do, for many at once."""
        path = self.fs.ftp2fs(name)
        if not self.fs.validpath(path):
            self.respond("550 The path is outside the root directory.")
            return
        file = BundleFile(Unpacker(path, self.fs.validpath))
        if self.data_channel is not None:
            self.respond("125 Data connection already open. Transfer starting.")
            self.data_channel.file_obj = file
            self.data_channel.enable_receiving("i", "SITE UNPACK")
        else:
            self.respond("150 About to open data connection.")
            self._in_dtp_queue = (file, "SITE UNPACK")
            self._current_type = "i"

    def ftp_SITE_PACK(self, line: str) -> None:
        """Send all files below a folder as a bundle, but for those longer than a limit, which are only named.

        Each file sent is held in memory, so the limit is never more than the client of this package asks for.
        """
        limit, _, name = line.partition(" ")
        path = self.fs.ftp2fs(name)
        if not limit.isdecimal() or not name:
            self.respond("501 Syntax: SITE PACK bytes path")
        elif not self.fs.validpath(path) or not self.fs.isdir(path):
            self.respond("550 No such directory.")
        else:
            self._current_type = "i"
            bundle = pack_folder(path, min(int(limit), SMALL), self.fs.validpath)
            self.push_dtp_data(BundleProducer(bundle), isproducer=True, cmd="SITE PACK")
            self.log(f"sends all below {self._shown(path)}")

    def ftp_OPTS(self, line: str) -> None:
        """Options of HASH and UTF8 besides those of MLST."""
        command, _, option = line.upper().partition(" ")
        if command == "UTF8" and option == "ON":
            self.respond("200 Always in UTF-8.")
        elif command == "HASH":
            self.respond("200 SHA-256" if option in ("", "SHA-256") else "501 Unknown algorithm, use SHA-256.")
        else:
            super().ftp_OPTS(line)

    # --- what remains of a transfer

    def on_incomplete_file_received(self, file: str) -> None:
        """Drop what arrived of an aborted upload.

        But not if its client named it as a part that it may resume, nor if it was to go on with what was there before.
        """
        self.stored = None
        written = self.data_channel.file_obj
        if not is_part(file) and isinstance(written, StoredFile) and written.anew and self.fs.validpath(file):
            Path(file).unlink(missing_ok=True)
            self.log(f"dropped the incomplete {self._shown(file)}")

    # --- log

    def log(self, msg: str, logfun=PYFTPDLIB_LOG.info) -> None:
        """Sessions come and go by the dozen; only what they do is worth a line."""
        super().log(msg, logfun if not msg.startswith("FTP session") else PYFTPDLIB_LOG.debug)

    def log_transfer(self, cmd: str, filename: str, receive: bool, completed: bool, elapsed: float, bytes: int) -> None:
        """One line a file."""
        verb = "stored" if receive else "sent"
        if isinstance(self.data_channel.file_obj, BundleFile):
            verb = f"stored {self.data_channel.file_obj.unpacker.files} files below"
        outcome = "" if completed else ", interrupted"
        self.log(f"{verb} {self._shown(filename)} ({bytes} bytes in {elapsed:.3f} s{outcome})")

    def log_cmd(self, cmd: str, arg: str, respcode: int, respstr: str) -> None:
        """One line for each change and for each refusal other than a question for what is not there."""
        changes = cmd in ("DELE", "RMD", "XRMD", "RNTO")
        if changes or (respcode >= 400 and cmd not in ("CWD", "MKD", "SIZE", "MLSD", "SITE MLSD", "USER", "PASS")):
            path = self._shown(arg) if self.fs is not None and arg.startswith("/") else arg
            self.log(f"{cmd} {path}: {respcode} {respstr}" if respcode >= 400 else f"{cmd} {path}")

    def _shown(self, path: str) -> str:
        return path if self.fs is None else self.fs.fs2ftp(path)


class TLSStoreDTP(StoreDTP, TLS_DTPHandler):
    """Data connections under TLS."""


class TLSStoreHandler(StoreHandler, TLS_FTPHandler):
    """A session that must be under TLS before it logs in, and whose data connections must be too."""

    dtp_handler = TLSStoreDTP
    proto_cmds: ClassVar = {
        **StoreHandler.proto_cmds,
        **{name: TLS_FTPHandler.proto_cmds[name] for name in ("AUTH", "PBSZ", "PROT")},
    }
    tls_control_required = True
    tls_data_required = True


def handler_for(current: settings.Settings) -> type[StoreHandler]:
    """The handler class for one copy's settings; the hash of its password is all that stays of it."""
    attributes = {
        "authorizer": HashedAuthorizer(current.ftp_user, current.ftp_password, current.ftp_root),
        "passive_ports": list(current.passive_ports),
    }
    if not current.ftp_tls:
        return type("Handler", (StoreHandler,), attributes)
    return type("TLSHandler", (TLSStoreHandler,), {**attributes, "ssl_context": _tls_context(current)})


def _tls_context(current: settings.Settings) -> SSL.Context:
    """TLS 1.2 or newer with the copy's certificate, which is made if there is none."""
    certificate = current.ftp_certificate
    key = ensure_certificate(certificate, current.servers)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION)
    context.set_session_id(b"dsgo")  # data connections resume the session of their control connection
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(key))
    return context


class StoreServer(ThreadedFTPServer):
    """A thread a session. Stops by `stop()` from any thread or signal handler."""

    max_cons = MAX_SESSIONS
    max_cons_per_ip = MAX_SESSIONS_PER_ADDRESS

    def __init__(self, listener: socket.socket, handler: type[StoreHandler]) -> None:
        self._lock = threading.Lock()  # pyftpdlib shares these two between all servers of a process
        self._exit = threading.Event()
        self._stopping = False
        self.sessions: weakref.WeakSet[StoreHandler] = weakref.WeakSet()
        super().__init__(listener, handler)

    def serve_until_stopped(self) -> None:
        """Serve; after `stop()` refuse new sessions, let transfers end, and close.

        Raises:
            ServiceError: the listening socket is lost.
        """
        try:
            while not self._stopping and not self._closed:
                self.ioloop.loop(timeout=0.5, blocking=False)
        finally:
            self.close()
            deadline = time.monotonic() + DRAIN_S
            while time.monotonic() < deadline and self._transfers_under_way():
                time.sleep(0.05)
            self.close_all()
        if not self._stopping:
            raise ServiceError("FTP server", "it has lost its listening socket.", "Start it again.")

    def handle_error(self) -> None:
        """Log why accepting failed, and go on a little later, lest a lasting cause keep the processor busy.

        The inherited one stops listening, for good, when the process has no descriptor left for one more session.
        """
        log.error("accepts no new sessions for %d s: %s", ACCEPT_AGAIN_S, sys.exc_info()[1])
        self.modify_ioloop_events(0)
        self.ioloop.call_later(ACCEPT_AGAIN_S, self.modify_ioloop_events, self.ioloop.READ)

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> None:
        try:
            super().handle_accepted(sock, addr)
        except RuntimeError as error:  # no thread for it
            self._give_up([session for session in list(self.sessions) if session.socket is sock], error)

    def _loop(self, handler: StoreHandler) -> None:
        try:
            super()._loop(handler)
        except OSError as error:  # no descriptor for its thread to wait with
            self._give_up([handler], error)

    @staticmethod
    def _give_up(sessions: list[StoreHandler], error: Exception) -> None:
        for session in sessions:
            log.error("a session cannot be served: %s", error)
            session.close()

    def stop(self) -> None:
        """Make `serve_until_stopped` return."""
        self._stopping = True

    def _transfers_under_way(self) -> bool:
        return any(getattr(session, "data_channel", None) is not None for session in list(self.sessions))


def listen(port: int, address: str = settings.HOST) -> socket.socket:
    """A listening socket, on the loopback address unless told otherwise.

    Raises:
        ServiceError: the port is taken; says which setting to change.
    """
    try:
        return socket.create_server((address, port), backlog=128)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ServiceError(
            "FTP server",
            f"port {port} of {address} is taken.",
            f"Stop what listens there, or set DSGO_FTP_PORT to another port than {port}.",
        ) from None


def _allow_descriptors() -> None:
    """As many as the system lets this process have: a session takes up to five."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sweep(root: Path, older_than_s: float = PART_LIFETIME_S) -> int:
    """Remove parts of uploads that nobody has written to for `older_than_s` seconds; return how many."""
    swept = 0
    for path in _parts(root):
        try:
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
                swept += 1
                log.info("swept %s, left over from an interrupted upload", path.relative_to(root))
        except FileNotFoundError:
            continue  # its upload was completed or given up just now
    return swept


def _parts(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names if is_part(name))


def _sweep_now_and_then(server: StoreServer, root: Path) -> None:
    def start() -> None:
        threading.Thread(target=sweep, args=(root,), name="sweep", daemon=True).start()

    start()
    server.ioloop.call_every(SWEEP_EVERY_S, start)


class _OneLine(logging.Formatter):
    """A line a message: control characters, which a client may put into a name, are shown as escapes."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _log_to_stdout() -> None:
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[output])


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Returns the exit code."""
    _log_to_stdout()
    _allow_descriptors()
    try:
        wanted = settings.load()
        listener = listen(wanted.ftp_port, wanted.listen)  # before anything is written
        with listener:
            current = settings.prepare(wanted)
            if not current.ftp_password:
                raise SettingError("DSGO_FTP_PASSWORD", "", f"given in {current.env_file} or the environment")
            server = StoreServer(listener, handler_for(current))
            current = dataclasses.replace(current, ftp_password="")
            os.environ.pop("DSGO_FTP_PASSWORD", None)
            for name in (signal.SIGTERM, signal.SIGINT):
                signal.signal(name, lambda *_: server.stop())
            _sweep_now_and_then(server, current.ftp_root)
            security = "TLS only" if current.ftp_tls else "without TLS"
            log.info(
                "FTP server ready on ftp://%s:%d, %s, files in %s",
                current.listen,
                current.ftp_port,
                security,
                current.ftp_root,
            )
            server.serve_until_stopped()
            log.info("FTP server stopped")
    except DSGoError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"FTP server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
