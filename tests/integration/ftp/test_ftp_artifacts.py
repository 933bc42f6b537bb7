"""The artifact repository against every server."""

from __future__ import annotations

import contextlib
import errno
import ftplib
import hashlib
import logging
import os
import signal
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from ftp_relay import Relay
from ftp_servers import CASES, ODD_NAMES, PASSWORDS, SINGLY, FTPServer, against
from mlflow.exceptions import MlflowException

import dsgo.ftp_connection as ftp_connection
from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_bundle import SMALL

NAMES = [
    "plain.txt",
    "with space.txt",
    " leading and trailing ",
    "ünï–код 数据.csv",
    "-dash",
    "per%20cent",
    "a;b=c;d",
    ".hidden",
    "two  spaces",
    "tab\there",
]
ODD = {" leading and trailing ", "tab\there"}
REFUSED = ["../outside", "a/../../b", "/etc/passwd", "a\r\nDELE plain.txt", "a\nb", "a\0b", ".."]


def names_on(server: FTPServer) -> list[str]:
    return [name for name in NAMES if server.can(ODD_NAMES) or name not in ODD]


@pytest.fixture
def tree(tmp_path, server) -> Path:
    """Files with awkward names on three levels, an empty file and an empty folder."""
    base = tmp_path / "tree"
    for depth, folder in enumerate(["", "sub folder", "sub folder/ö"]):
        (base / folder).mkdir(parents=True, exist_ok=True)
        for name in names_on(server):
            (base / folder / name).write_bytes(os.urandom(1000 + depth))
    (base / "empty.bin").write_bytes(b"")
    (base / "nothing inside").mkdir()
    return base


def content(folder: str | Path) -> dict[str, str]:
    """Relative path → hash of each file; folders end in a slash."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix() + ("/" if path.is_dir() else ""): (
            "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.rglob("*")
    }


@against(CASES + SINGLY)
def test_a_tree_comes_back_as_it_went(repository, tree, tmp_path, folder_of):
    (tree / "sub folder" / "large.bin").write_bytes(os.urandom(SMALL + 1))
    repository.log_artifacts(tree, "in side")
    assert content(folder_of(repository) / "in side") == content(tree)
    (tmp_path / "back").mkdir()
    assert content(repository.download_artifacts("in side", tmp_path / "back")) == content(tree)
    assert content(repository.download_artifacts("")) == {
        "in side/": "",
        **{f"in side/{path}": digest for path, digest in content(tree).items()},
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_file_with_an_awkward_name(repository, tree, name, server):
    if name not in names_on(server):
        (tree / name).write_text("x")
        with pytest.raises(FTPStoreError, match=r"deeper/.*: 553.*does not keep"):
            repository.log_artifact(tree / name, "folder/deeper")
        return
    repository.log_artifact(tree / name, "folder/deeper")
    assert [(info.path, info.is_dir, info.file_size) for info in repository.list_artifacts("folder/deeper")] == [
        (f"folder/deeper/{name}", False, 1000)
    ]
    assert Path(repository.download_artifacts(f"folder/deeper/{name}")).read_bytes() == (tree / name).read_bytes()


def test_listing(repository, tree, server):
    names = names_on(server)
    assert repository.list_artifacts() == []  # a run without artifacts has no folder yet
    repository.log_artifacts(tree)
    infos = repository.list_artifacts()
    assert [info.path for info in infos] == sorted([*names, "sub folder", "empty.bin", "nothing inside"])
    assert {info.path: info.file_size for info in infos if not info.is_dir} == {
        **dict.fromkeys(names, 1000),
        "empty.bin": 0,
    }
    assert [info.path for info in repository.list_artifacts("sub folder/")] == sorted(
        [f"sub folder/{name}" for name in [*names, "ö"]]
    )
    assert repository.list_artifacts("plain.txt") == []
    assert repository.list_artifacts("not there") == []
    assert repository.list_artifacts("nothing inside") == []


def test_a_file_is_replaced_as_a_whole(repository, tmp_path, folder_of):
    file = tmp_path / "model.bin"
    for data in (b"first version", b"second"):
        file.write_bytes(data)
        repository.log_artifact(file)
        assert (folder_of(repository) / "model.bin").read_bytes() == data


@pytest.mark.parametrize("path", REFUSED)
def test_paths_that_would_leave_the_root_are_refused(repository, tree, path, server, tmp_path):
    before = content(server.root.parent)
    for call in (
        lambda: repository.log_artifact(tree / "plain.txt", path),
        lambda: repository.log_artifacts(tree, path),
        lambda: repository.list_artifacts(path),
        lambda: repository._download_file(path, tmp_path / "out"),
        lambda: repository.delete_artifacts(path),
        lambda: repository._is_directory(path),
    ):
        with pytest.raises(FTPStoreError, match="refused"):
            call()
    assert content(server.root.parent) == before
    assert not (tmp_path / "out").exists()


def test_a_root_that_climbs_is_refused(server):
    with pytest.raises(FTPStoreError, match=r"'\.\.'"):
        FTPArtifactRepository(f"{server.uri}/../..")


def test_a_local_name_with_a_line_break_is_refused_before_anything_is_sent(repository, tree, folder_of):
    (tree / "sub folder" / "two\nlines").write_text("x")
    with pytest.raises(FTPStoreError, match="refused"):
        repository.log_artifacts(tree)
    assert not folder_of(repository).exists()


def test_missing_local_files_are_named(repository, tmp_path):
    with pytest.raises(FTPStoreError, match=r"nowhere\.txt"):
        repository.log_artifact(tmp_path / "nowhere.txt")
    with pytest.raises(FTPStoreError, match="no local directory"):
        repository.log_artifacts(tmp_path / "nowhere")


def test_a_missing_artifact_or_destination(repository, tree, tmp_path):
    with pytest.raises(MlflowException) as caught:
        repository.download_artifacts("not there")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException, match="does not exist"):
        repository.download_artifacts("", tmp_path / "no such folder")
    assert list(Path(repository.download_artifacts("")).iterdir()) == []
    repository.log_artifacts(tree)
    local = Path(repository.download_artifacts("sub folder/ö/plain.txt", tmp_path))
    assert local == tmp_path / "sub folder/ö/plain.txt" and local.is_file()


def test_a_missing_artifact(repository, tmp_path):
    with pytest.raises(FTPStoreError) as caught:
        repository._download_file("not/there.txt", tmp_path / "out")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert "not/there.txt" in str(caught.value) and "550" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_delete(repository, tree, folder_of):
    repository.log_artifacts(tree)
    repository.delete_artifacts("plain.txt")
    assert not (folder_of(repository) / "plain.txt").exists()
    repository.delete_artifacts("plain.txt")
    repository.delete_artifacts("sub folder")
    assert not (folder_of(repository) / "sub folder").exists()
    (folder_of(repository) / f".dsgo-{'0' * 32}.part").write_text("left over")
    repository.delete_artifacts()
    assert not folder_of(repository).exists()
    repository.delete_artifacts()
    repository.log_artifact(tree / "plain.txt", "sub folder")  # though the folder was known to exist
    assert (folder_of(repository) / "sub folder" / "plain.txt").exists()
    assert not list(folder_of(repository).rglob(".dsgo-*"))


def test_a_folder_removed_by_someone_else_is_made_again(repository, tree, folder_of):
    repository.log_artifact(tree / "plain.txt", "a/b")
    (folder_of(repository) / "a/b/plain.txt").unlink()
    (folder_of(repository) / "a/b").rmdir()
    repository.log_artifact(tree / "plain.txt", "a/b")
    assert (folder_of(repository) / "a/b/plain.txt").exists()


def test_a_file_in_the_way_of_a_folder_is_the_servers_refusal(repository, tree):
    repository.log_artifact(tree / "plain.txt")
    with pytest.raises(FTPStoreError, match=r"5\d\d"):
        repository.log_artifact(tree / "plain.txt", "plain.txt/x")


# --- credentials


def test_without_any_login_nothing_is_sent(monkeypatch, tmp_path):
    monkeypatch.setenv("DSGO_HOME", str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        repository = FTPArtifactRepository(f"ftp://127.0.0.1:{listener.getsockname()[1]}/artifacts")
        with pytest.raises(FTPStoreError, match="DSGO_FTP_PASSWORD"):
            repository.list_artifacts()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_login_from_each_source(server, monkeypatch, tmp_path):
    user, password = server.user, server.password
    monkeypatch.setenv("DSGO_HOME", str(tmp_path / "none"))
    for name in ("DSGO_FTP_USER", "DSGO_FTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    if server.tls:
        monkeypatch.setenv("DSGO_FTP_CA", str(server.certificate))
    uri = f"{'ftps' if server.tls else 'ftp'}://127.0.0.1:{server.port}/artifacts"
    with pytest.raises(FTPStoreError, match="no login"):
        FTPArtifactRepository(uri).list_artifacts()
    in_uri = uri.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@")
    assert FTPArtifactRepository(in_uri).list_artifacts("x") == []
    netrc = tmp_path / ".netrc"
    netrc.write_text(f'machine 127.0.0.1 login {user} password "{password}"\n')
    netrc.chmod(0o600)
    assert FTPArtifactRepository(uri).list_artifacts("x") == []
    netrc.write_text("machine 127.0.0.1 login nobody password wrong\n")
    monkeypatch.setenv("DSGO_FTP_USER", user)
    monkeypatch.setenv("DSGO_FTP_PASSWORD", password)
    assert FTPArtifactRepository(uri).list_artifacts("x") == []


def test_odd_characters_in_the_login_of_a_uri(in_process, monkeypatch):
    port = in_process("ü@ser:x", "p/a:s@s%#? word").address[1]
    monkeypatch.delenv("DSGO_FTP_PASSWORD")
    login = f"{quote('ü@ser:x', safe='')}:{quote('p/a:s@s%#? word', safe='')}"
    assert FTPArtifactRepository(f"ftp://{login}@127.0.0.1:{port}/artifacts").list_artifacts() == []


def test_no_secret_in_any_message(server, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-of-nobody"
    monkeypatch.setenv("DSGO_FTP_USER", "intruder")
    monkeypatch.setenv("DSGO_FTP_PASSWORD", secret)
    scheme, _, place = server.uri.partition("://")
    repository = FTPArtifactRepository(f"{scheme}://intruder:{secret}@{place}/x")
    with pytest.raises(FTPStoreError, match="530") as caught:
        repository.list_artifacts()
    shown = "".join(traceback.format_exception(caught.value)) + repr(repository) + repr(vars(repository)["_login"])
    shown += repr(list(ftp_connection._pools)) + caplog.text + "".join(capfd.readouterr()) + server.log.read_text()
    assert secret not in shown
    assert "DSGO_FTP_PASSWORD" in str(caught.value)
    assert "intruder" not in repository.artifact_uri
    if server.can(PASSWORDS):
        assert server.password not in server.log.read_text()


# --- the pool


def test_connections_are_kept_and_bounded(server, tmp_path, monkeypatch):
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    for number in range(40):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(2000))
    with Relay(server) as relay, ThreadPoolExecutor(30) as threads:
        repository = FTPArtifactRepository(f"{relay.uri}/kept and bounded")
        list(threads.map(lambda n: repository.log_artifact(tmp_path / f"{n % 40}.bin", f"{n % 3}"), range(120)))
        list(
            threads.map(lambda n: FTPArtifactRepository(repository.artifact_uri).list_artifacts(f"{n % 3}"), range(60))
        )
        assert 1 <= relay.sessions <= ftp_connection.MAX_CONNECTIONS


def test_a_restarted_server_is_found_again(server, repository, tmp_path, monkeypatch):
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(2000))
    monkeypatch.setattr(repository, "_offers", lambda feature: False)  # so that many connections are made
    repository.log_artifacts(tmp_path, "before")
    pool = next(iter(ftp_connection._pools.values()))
    assert len(pool._idle) > 1
    server.restart()
    assert repository.list_artifacts("before")
    server.restart()
    repository.log_artifacts(tmp_path, "after")
    assert len(repository.list_artifacts("after")) >= 20


def test_a_server_that_is_gone_is_a_clear_error(server, hasty):
    repository = FTPArtifactRepository(server.uri)
    repository.list_artifacts()
    server.stop()
    with pytest.raises(FTPStoreError, match=f"127.0.0.1:{server.port}.*cannot be reached.*Check that the server runs"):
        repository.list_artifacts()


@against(CASES + SINGLY)
def test_a_forked_child_has_connections_of_its_own(repository, tmp_path, folder_of):
    for number in range(12):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(5000))
    repository.log_artifacts(tmp_path, "parent")  # worker threads and idle connections exist now
    inherited = {connection.sock.fileno() for pool in ftp_connection._pools.values() for connection in pool._idle}
    assert inherited
    child = os.fork()
    if child == 0:
        code = 1
        try:
            repository.log_artifacts(tmp_path, "child")
            repository.download_artifacts("child")
            code = 0
        finally:
            os._exit(code)
    repository.log_artifacts(tmp_path, "parent too")
    assert os.waitpid(child, 0)[1] == 0
    for folder in ("parent", "child", "parent too"):
        assert content(folder_of(repository) / folder) == content(tmp_path)


def test_a_fork_while_a_thread_waits_for_a_reply():
    """The child must not wait for what that thread holds, which is not there to let go of it."""
    asked, answer = threading.Event(), threading.Event()
    replies = {b"USER": b"331 ?\r\n", b"PASS": b"230 .\r\n", b"FEAT": b"500 .\r\n"}

    def serve() -> None:
        session, _ = listener.accept()
        with contextlib.suppress(ConnectionError), session, session.makefile("rb") as lines:
            session.sendall(b"220 .\r\n")
            for line in lines:
                if line.startswith(b"NOOP"):
                    asked.set()
                    assert answer.wait(120)
                session.sendall(replies.get(line.split()[0], b"200 .\r\n"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = ftp_connection.pool_for(ftp_connection.Server("127.0.0.1", listener.getsockname()[1], "u", "p"))
        answered = []
        server = threading.Thread(target=serve)
        client = threading.Thread(
            target=lambda: answered.append(pool.run(lambda connection: connection.voidcmd("NOOP")))
        )
        server.start()
        client.start()
        assert asked.wait(120)
        child = os.fork()
        if child == 0:
            os._exit(0)
        deadline = time.monotonic() + 120
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if ended == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        answer.set()
        client.join()
        ftp_connection.close_pools()
        server.join()
    assert ended == (child, 0), "the child hangs"
    assert answered == ["200 ."], "the parent's connection is broken"


def test_blocked_data_ports_are_named_and_not_the_server(server, repository, monkeypatch, tmp_path, hasty):
    def create_connection(address, *args, **kwargs):
        if address[1] != server.port:
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        return connect(address, *args, **kwargs)

    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", create_connection)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FTPStoreError, match=r"answers, but there is no connection to its data port \d+.*passive ports"):
        repository.log_artifact(tmp_path / "a.txt")


def test_an_answer_in_another_encoding_does_not_break_the_session(repository, server):
    pool = repository._pool("/")
    # Pure-FTPd does not answer an unknown command that is not ASCII; from 0xf0 on some servers see Telnet's commands.
    line = b"XYZ\xe9 \xff\r\n" if server.name in ("dsgo", "pyftpdlib") else b"CWD \xe9\xe8\r\n"

    def ask(connection):
        connection.sock.sendall(line)
        with pytest.raises(ftplib.error_perm):
            connection.getresp()
        return connection.voidcmd("NOOP")

    assert pool.run(ask).startswith("200")


def test_threads_that_wait_for_a_connection_get_one(repository, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    repository.log_artifact(tmp_path / "a.bin")
    pool = next(iter(ftp_connection._pools.values()))
    held = [pool.connection() for _ in range(ftp_connection.MAX_CONNECTIONS)]
    for connection in held:
        connection.__enter__()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (repository.list_artifacts(), done.set()))
    thread.start()
    assert not done.wait(0.3)
    held.pop().__exit__(None, None, None)
    assert done.wait(10)
    thread.join()
    for connection in held:
        connection.__exit__(None, None, None)
