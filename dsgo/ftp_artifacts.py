"""MLflow's artifact repository for `ftp://` and `ftps://`, as a plugin (entry points in pyproject.toml).

Usable by any MLflow project with any FTP server: see docs/ftp_store.md.
"""

from __future__ import annotations

import contextlib
import ftplib
import netrc
import os
import posixpath
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

if "mlflow" not in sys.modules:
    # MLflow loads its plugins, this module too, in the midst of its own import. Were this one half-way then, MLflow
    # would quietly stay with its built-in store. So let it load the module anew: that one is what the importer gets.
    del sys.modules[__name__]

from mlflow.entities import FileInfo
from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact import host_policy
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.utils.file_utils import create_tmp_dir

from dsgo import settings
from dsgo.errors import StoreError
from dsgo.ftp_bundle import BATCH_BYTES, BATCH_FILES, SMALL
from dsgo.ftp_connection import (
    DISK_FULL,
    MAX_CONNECTIONS,
    Connection,
    InsecureServer,
    LoginRefused,
    NoDataConnection,
    Pool,
    Server,
    ServerGone,
    pool_for,
)
from dsgo.ftp_credentials import NO_LOGIN_REMEDY, Login, find_login, is_own_server
from dsgo.ftp_listing import Entry, list_directory
from dsgo.ftp_names import absolute_path, is_hidden, relative_path
from dsgo.ftp_progress import Progress, progress_bar
from dsgo.ftp_transfer import (
    NoSuchFile,
    NotVerified,
    download,
    download_bundle,
    offers_sha256,
    remote_sha256,
    upload,
    upload_bundle,
)

T = TypeVar("T")


class FTPStoreError(StoreError, MlflowException):
    """A `StoreError` that MLflow's clients and server understand too: they go by `error_code`."""

    def __init__(self, server: str, path: str, reply: object, remedy: str = "", code: int = INTERNAL_ERROR) -> None:
        super().__init__(server, path, reply, remedy)
        self.error_code = ErrorCode.Name(code)
        self._facts = (server, path, str(reply), remedy, code)

    def __reduce__(self) -> tuple:
        return type(self), self._facts


class _Workers(Executor):
    """One pool of threads a process for all repositories; unlike a plain executor it survives a fork."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._process = -1

    def submit(self, function, /, *args, **kwargs) -> Future:
        if self._process != os.getpid():
            self._executor = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="ftp")
            self._process = os.getpid()
        try:
            return self._executor.submit(function, *args, **kwargs)
        except RuntimeError:  # the interpreter is shutting down: no new threads, so do it here
            future: Future = Future()
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
            return future


_workers = _Workers()


class FTPArtifactRepository(ArtifactRepository):
    """Artifacts in a directory of an FTP server.

    `artifact_uri` is `ftp[s]://host[:port]/path`; `ftps` is explicit TLS (RFC 4217). The path is taken as it stands,
    without percent-decoding, because MLflow composes such URIs without encoding.
    """

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        scheme, _, rest = artifact_uri.partition("://")
        authority, slash, path = rest.partition("/")
        own_login, _, place = authority.rpartition("@")
        clean_uri = f"{scheme}://{place}{slash}{path}"
        super().__init__(clean_uri, tracking_uri, registry_uri)
        try:
            parsed = urlsplit(f"//{place}")
            self._host, self._port = parsed.hostname, parsed.port or ftplib.FTP_PORT
        except ValueError:
            self._host = None
        if not self._host or scheme.lower() not in ("ftp", "ftps"):
            raise _invalid(clean_uri, path, "this is not an address of the form ftp://host:port/path")
        self._tls = scheme.lower() == "ftps"
        self._address = f"{scheme.lower()}://{self._host}:{self._port}"
        try:
            self._root = absolute_path(path)
        except ValueError as error:
            raise _invalid(self._address, path, str(error)) from None
        user, colon, password = own_login.partition(":")
        self._uri_user = unquote(user) if user else None
        self._uri_password = unquote(password) if colon else None
        self._login: Login | None = None
        self._server: Server | None = None  # found at the first use, and asked for nothing after
        if self._tls:
            self._check_host_policy()

    # --- what MLflow calls

    def log_artifact(self, local_file: str | os.PathLike, artifact_path: str | None = None) -> None:
        """Store one local file in the directory `artifact_path` of the artifact root."""
        local = Path(local_file)
        remote = self._remote(posixpath.join(self._relative(artifact_path), local.name))
        if not local.is_file():
            raise _invalid(self._address, remote, f"there is no local file {local}", "Check the path.")
        with self._progress(f"Uploading {local.name}", local.stat().st_size) as progress:
            self._upload(local, remote, progress)

    def log_artifacts(self, local_dir: str | os.PathLike, artifact_path: str | None = None) -> None:
        """Store all files below `local_dir` in the directory `artifact_path`, several at a time."""
        base = Path(local_dir)
        if not base.is_dir():
            raise _invalid(self._address, str(artifact_path or ""), f"there is no local directory {base}")
        target = self._relative(artifact_path)
        files: list[tuple[Path, str]] = []
        empty: list[str] = []
        for folder, _, names in os.walk(base):
            below = Path(folder).relative_to(base).as_posix()
            folder_path = posixpath.join(target, "" if below == "." else below)
            inside = [(Path(folder, name), posixpath.join(folder_path, name)) for name in sorted(names)]
            inside = [(local, self._remote(path)) for local, path in inside if local.is_file()]
            files += inside
            if not inside:
                empty.append(self._remote(folder_path))
        for folder in empty:
            self._make_directories(folder)
        sizes = {local: local.stat().st_size for local, _ in files}
        with self._progress(f"Uploading {len(files)} files", sum(sizes.values())) as progress:
            transfers = []
            if len(files) > 1 and self._offers("SITE UNPACK"):
                small = [(local, remote) for local, remote in files if sizes[local] <= SMALL]
                files = [(local, remote) for local, remote in files if sizes[local] > SMALL]
                transfers += [partial(self._upload_bundle, batch, progress) for batch in _batches(small, sizes)]
            transfers += [partial(self._upload, local, remote, progress) for local, remote in files]
            self._each(transfers)

    def download_artifacts(self, artifact_path: str | None, dst_path: str | os.PathLike | None = None) -> str:
        """Download a file or directory to a local directory (a new one by default); return its local path."""
        relative = self._relative(artifact_path)
        remote = self._remote(relative)
        # On Windows MLflow's own way changes names that are impossible there.
        if os.name == "nt" or (dst_path and not Path(dst_path).is_dir()) or not self._offers("SITE PACK"):
            return super().download_artifacts(artifact_path, dst_path)
        base = Path(dst_path).absolute() if dst_path else Path(create_tmp_dir())
        local = base / relative
        with self._progress(f"Downloading {relative or 'all artifacts'}", None) as progress:
            with self._explained(remote):
                left = download_bundle(self._pool(remote), remote, local, progress)
            if left is None and relative:  # no directory, so a file
                local.parent.mkdir(parents=True, exist_ok=True)
                self._download(remote, local, progress)
            elif left is not None:
                local.mkdir(parents=True, exist_ok=True)
                transfers = []
                for name, _ in left:
                    (local / name).parent.mkdir(parents=True, exist_ok=True)
                    transfers.append(partial(self._download, posixpath.join(remote, name), local / name, progress))
                self._each(transfers)
        return str(local)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """What lies directly in the directory `path`; empty if that is a file or not there."""
        relative = self._relative(path)
        folder = relative + "/" if relative else ""
        entries = sorted(self._entries(self._remote(relative)) or [], key=itemgetter(0))
        return [FileInfo(folder + name, is_dir, size) for name, is_dir, size in entries if not is_hidden(name)]

    def checksums(self) -> dict[str, tuple[int | None, str | None]]:
        """Size in bytes and SHA-256, as the server sees them now, of all files below the artifact root by their paths.

        Servers that cannot hash give None for the latter. Nothing is downloaded.
        """
        folders, files = [""], {}
        for folder in folders:  # grows while it is walked
            for item in self.list_artifacts(folder or None):
                if item.is_dir:
                    folders.append(item.path)
                else:
                    files[item.path] = (item.file_size, None)
        if not self._run(self._root, offers_sha256):
            return files

        def hash_one(path: str) -> None:
            remote, size = self._remote(path), files[path][0]
            files[path] = size, self._run(remote, lambda connection: remote_sha256(connection, remote, size or 0))

        self._each([partial(hash_one, path) for path in sorted(files, key=lambda path: -(files[path][0] or 0))])
        return files

    def _is_directory(self, artifact_path: str | None) -> bool:
        remote = self._remote(self._relative(artifact_path))
        return self._run(remote, lambda connection: connection.is_directory(remote))

    def _download_file(self, remote_file_path: str, local_path: str | os.PathLike) -> None:
        remote, local = self._remote(self._relative(remote_file_path)), Path(local_path)
        with self._progress(f"Downloading {local.name}", None) as progress:
            self._download(remote, local, progress)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Delete a file, or a directory with all that it contains; what is not there counts as deleted."""
        remote = self._remote(self._relative(artifact_path))
        if self._run(remote, lambda connection: connection.is_directory(remote)):
            self._delete_tree(remote)
        else:
            self._run(remote, lambda connection: _delete_file(connection, remote))

    @property
    def max_workers(self) -> int:
        """Transfers at a time."""
        return MAX_CONNECTIONS

    def _create_thread_pool(self) -> Executor:
        return _workers

    # --- how it is done

    def _upload(self, local: Path, remote: str, progress: Progress) -> None:
        with self._explained(remote):
            upload(self._pool(remote), local, remote, progress)

    def _upload_bundle(self, files: list[tuple[Path, str]], progress: Progress) -> None:
        pairs = [(local, posixpath.relpath(remote, self._root)) for local, remote in files]
        with self._explained(self._root):
            upload_bundle(self._pool(self._root), pairs, self._root, progress)

    def _download(self, remote: str, local: Path, progress: Progress) -> None:
        with self._explained(remote):
            download(self._pool(remote), remote, local, progress)

    def _offers(self, feature: str) -> bool:
        return self._run(self._root, lambda connection: feature in connection.features)

    def _make_directories(self, remote: str) -> None:
        self._run(remote, lambda connection: connection.make_directories(remote))

    def _entries(self, remote: str) -> list[Entry] | None:
        return self._run(remote, lambda connection: list_directory(connection, remote))

    def _delete_tree(self, root: str) -> None:
        folders, files = [root], []
        for folder in folders:  # grows while it is walked: parents come before children
            for entry in self._entries(folder) or []:
                (folders if entry.is_dir else files).append(posixpath.join(folder, entry.name))
        self._each([partial(self._run, path, partial(_delete_file, path=path)) for path in files])
        for folder in reversed(folders):
            self._pool(folder).directories.discard(folder)
            self._run(folder, partial(_delete_directory, path=folder))

    def _each(self, tasks: list[Callable[[], object]]) -> None:
        """Do all tasks, several at a time; the first failure stops what has not begun."""
        if len(tasks) == 1:
            tasks[0]()
            return
        futures = [_workers.submit(task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            for future in futures:
                future.cancel()

    def _run(self, remote: str, action: Callable[[Connection], T]) -> T:
        with self._explained(remote):
            return self._pool(remote).run(action)

    def _relative(self, path: str | None) -> str:
        try:
            return relative_path(path)
        except ValueError as error:
            raise _invalid(self._address, str(path), f"this artifact path is refused: {error}") from None

    def _remote(self, relative: str) -> str:
        try:
            return posixpath.join(self._root, relative_path(relative)).rstrip("/") or "/"
        except ValueError as error:
            raise _invalid(self._address, relative, f"this name is refused: {error}", "Rename it.") from None

    def _pool(self, remote: str) -> Pool:
        if self._server is None:
            self._server = self._find_server(remote)
        return pool_for(self._server)  # asked for each time: a forked child has pools of its own

    def _find_server(self, remote: str) -> Server:
        try:
            self._login = find_login(self._host, self._port, self._uri_user, self._uri_password)
        except netrc.NetrcParseError as error:
            raise _invalid(self._address, remote, f"no login: {error}", "Mend the file, and `chmod 600` it.") from None
        if self._login is None:
            raise _invalid(
                self._address, remote, "no login is known for this server.", NO_LOGIN_REMEDY.format(host=self._host)
            )
        return Server(self._host, self._port, self._login.user, self._login.password, *self._encryption())

    def _encryption(self) -> tuple[bool, str | None]:
        """Whether to use TLS, and the file with the authority to check the server against (None: the system's).

        DSGo's own server uses TLS by one setting, and the addresses of its artifacts stay `ftp://` all the same.
        """
        own = settings.load()
        if not is_own_server(self._host, self._port, own):
            return self._tls, settings.ftp_ca() if self._tls else None
        if not (self._tls or own.ftp_tls):
            return False, None
        return True, settings.ftp_ca() or (str(own.ftp_certificate) if own.ftp_certificate.exists() else None)

    @contextlib.contextmanager
    def _explained(self, remote: str) -> Iterator[None]:
        """Turn what a connection raises into an error that says server, path, the server's words and what to do."""
        try:
            yield
        except NoSuchFile as error:
            raise FTPStoreError(
                self._address, remote, error, "Check the path; it may never have been logged.", RESOURCE_DOES_NOT_EXIST
            ) from None
        except LoginRefused as error:
            raise FTPStoreError(
                self._address,
                remote,
                f"login refused: {error}",
                f"The login came from {self._login.source}; mend it there.",
            ) from None
        except InsecureServer as error:
            raise FTPStoreError(
                self._address,
                remote,
                f"no trusted TLS connection: {error}",
                "Give the server's certificate authority in DSGO_FTP_CA, and address the server by the name in its "
                "certificate.",
            ) from None
        except ServerGone as error:
            raise FTPStoreError(
                self._address,
                remote,
                f"cannot be reached: {error}",
                "Check that the server runs, and its host and port.",
            ) from None
        except NoDataConnection as error:
            raise FTPStoreError(
                self._address,
                remote,
                f"answers, but there is {error}",
                "Open the server's passive ports in the firewalls between.",
            ) from None
        except NotVerified as error:
            raise FTPStoreError(
                self._address,
                remote,
                error,
                "It was tried several times: something changes the file meanwhile, or alters it on the way.",
            ) from None
        except (ftplib.error_perm, ftplib.error_temp) as error:
            raise FTPStoreError(self._address, remote, error, _remedy(str(error))) from None

    @contextlib.contextmanager
    def _progress(self, title: str, total: int | None) -> Iterator[Progress]:
        with progress_bar(title, total, MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.get()) as progress:
            yield progress

    def _check_host_policy(self) -> None:
        """In a tracking server, refuse hosts that clients made up. MLflow does so for ftp, but does not know ftps."""
        if not host_policy.is_tracking_server_process():
            return
        trusted = set()
        for variable in (host_policy._SERVER_ARTIFACT_ROOT_ENV_VAR, host_policy._SERVER_ARTIFACTS_DESTINATION_ENV_VAR):
            place = urlsplit(os.environ.get(variable, ""))
            trusted.add((place.scheme, place.hostname, place.port or ftplib.FTP_PORT))
        allowed = {scheme.lower() for scheme in host_policy.MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES.get()}
        if ("ftps", self._host, self._port) not in trusted and "ftps" not in allowed:
            raise _invalid(
                self._address, self._root, "the tracking server does not connect to hosts other than its own store's"
            )


def _batches(files: list[tuple[Path, str]], sizes: dict[Path, int]) -> Iterator[list[tuple[Path, str]]]:
    """`files` in groups of limited number and size, so that several connections can share them."""
    batch, length = [], 0
    for local, remote in files:
        batch.append((local, remote))
        length += sizes[local]
        if len(batch) == BATCH_FILES or length >= BATCH_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _delete_file(connection: Connection, path: str) -> None:
    try:
        connection.voidcmd(f"DELE {path}")
    except ftplib.error_perm:
        folder, name = posixpath.split(path)
        if any(entry.name == name for entry in list_directory(connection, folder) or []):
            raise


def _delete_directory(connection: Connection, path: str) -> None:
    try:
        connection.voidcmd(f"RMD {path}")
    except ftplib.error_perm:
        if connection.is_directory(path):
            raise


def _invalid(server: str, path: str, problem: str, remedy: str = "") -> FTPStoreError:
    return FTPStoreError(server, path, problem, remedy, INVALID_PARAMETER_VALUE)


def _remedy(reply: str) -> str:
    if any(words in reply.lower() for words in DISK_FULL) or reply.startswith(("452", "552")):
        return "Free space on the server's disk; nothing was stored."
    if reply.startswith("4"):
        return "The server was busy all the time; try again later."
    return "Check that the path is right and that the account may do this."
