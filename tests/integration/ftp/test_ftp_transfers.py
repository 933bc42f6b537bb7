"""Transfers that are cut, corrupted or killed: never half a file under its name, and resumed where that saves work."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import traceback
from pathlib import Path

import pytest
from ftp_relay import Relay
from ftp_servers import RESUMED_UPLOADS

from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_names import is_hidden, is_part
from dsgo.ftp_transfer import NotVerified, download, upload

MB = 1 << 20
KILLS = int(os.environ.get("DSGO_TEST_KILLS", "20"))  # a tenth of them for each server; 200 for the full count


@pytest.fixture
def large(tmp_path) -> Path:
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(12 * MB))
    return file


def repository_of(server) -> FTPArtifactRepository:
    return FTPArtifactRepository(f"ftp://127.0.0.1:{server.address[1]}/artifacts")


def cutting_handler(limits: list[int], log: list[tuple[bool, int]]):
    """Attributes of a handler whose data connections break after the next of `limits` bytes; `log` gets what moved."""
    import ftpserver

    class Cutting(ftpserver.StoreDTP):
        def __init__(self, sock, cmd_channel):
            super().__init__(sock, cmd_channel)
            self.limit = None

        def _cut(self) -> bool:
            if self.file_obj is None:
                return False
            if self.limit is None:
                self.limit = limits.pop(0) if limits else float("inf")
            return self.get_transmitted_bytes() >= self.limit

        def handle_read(self):
            if self._cut():
                self.cmd_channel.close()  # and with it the data connection
            else:
                super().handle_read()

        handle_read_event = handle_read

        def initiate_sendfile(self):
            if self._cut():
                self.cmd_channel.close()
            else:
                super().initiate_sendfile()

    def log_transfer(self, cmd, filename, receive, completed, elapsed, bytes):
        log.append((completed, bytes))

    return {"dtp_handler": Cutting, "log_transfer": log_transfer}


def test_a_cut_upload_is_resumed(in_process, large):
    moved = []
    server = in_process(**cutting_handler([7 * MB, 2 * MB], moved))
    repository_of(server).log_artifact(large)
    (stored,) = (path for path in Path(server.handler.authorizer.get_home_dir("dsgo")).rglob("*") if path.is_file())
    assert stored.name == "large.bin" and stored.read_bytes() == large.read_bytes()
    assert [completed for completed, _ in moved] == [False, False, True]
    assert 12 * MB <= sum(count for _, count in moved) < 12 * MB + 2 * MB, "what had arrived was sent again"


def test_a_cut_download_is_resumed(in_process, large, tmp_path):
    moved, limits = [], []
    server = in_process(**cutting_handler(limits, moved))
    repository = repository_of(server)
    repository.log_artifact(large)
    limits += [7 * MB, 2 * MB]
    del moved[:]
    repository._download_file("large.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()
    assert len(moved) == 3 and sum(count for _, count in moved) < 15 * MB
    assert not list(tmp_path.glob(".dsgo-*"))


def test_a_file_replaced_between_two_halves_of_its_download_is_fetched_anew(in_process, large, tmp_path):
    moved, limits = [], []
    tampering = cutting_handler(limits, moved)
    server = in_process(**tampering)
    repository = repository_of(server)
    repository.log_artifact(large)
    stored = Path(server.handler.authorizer.get_home_dir("dsgo"), "artifacts", "large.bin")
    other = os.urandom(12 * MB)

    def replace(self, cmd, filename, receive, completed, elapsed, bytes):
        stored.with_name("other").write_bytes(other)
        stored.with_name("other").replace(stored)

    server.handler.log_transfer = replace
    limits += [7 * MB]
    repository._download_file("large.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == other


@pytest.mark.parametrize("publish", [True, False], ids=["published", "renamed"])
def test_corruption_on_the_way_is_found(in_process, tmp_path, hasty, publish):
    import ftpserver

    class Corrupting(ftpserver.StoreDTP):
        def recv(self, size):
            return super().recv(size).replace(b"a", b"b")

    attributes = {"dtp_handler": Corrupting}
    if not publish:
        attributes["proto_cmds"] = {k: v for k, v in ftpserver.StoreHandler.proto_cmds.items() if k != "SITE PUBLISH"}
    server = in_process(**attributes)
    if not publish:
        hide_feature(server, "SITE PUBLISH")
    file = tmp_path / "a.txt"
    file.write_bytes(b"banana" * 1000)
    with pytest.raises(FTPStoreError, match=r"did not arrive unchanged.*alters it on the way"):
        repository_of(server).log_artifact(file)
    assert not [path for path in Path(server.handler.authorizer.get_home_dir("dsgo")).rglob("*") if path.is_file()]


def hide_feature(server, *names: str) -> None:
    """Make the server not announce `names`."""
    announce = server.handler.__init__

    def init(self, *args, **kwargs):
        announce(self, *args, **kwargs)
        self._extra_feats = [name for name in self._extra_feats if not name.startswith(names)]

    server.handler.__init__ = init


@pytest.mark.parametrize(
    "hidden", [(), ("SITE PUBLISH",), ("SITE PUBLISH", "XSHA256"), ("SITE PUBLISH", "XSHA256", "HASH")], ids=str
)
def test_each_way_of_verifying(in_process, tmp_path, hidden):
    server = in_process()
    if hidden:
        hide_feature(server, *hidden)
    file = tmp_path / "a.txt"
    for data in (b"first", b"second, longer"):
        file.write_bytes(data)
        repository_of(server).log_artifact(file, "x y")
    (stored,) = (path for path in Path(server.handler.authorizer.get_home_dir("dsgo")).rglob("*") if path.is_file())
    assert stored.read_bytes() == b"second, longer"


def test_a_server_that_does_not_rename_over_a_file(in_process, tmp_path):
    def ftp_RNTO(self, path):
        if Path(path).exists():
            self._rnfr = None
            self.respond("550 Already there.")
        else:
            super(server.handler, self).ftp_RNTO(path)

    server = in_process(ftp_RNTO=ftp_RNTO)
    hide_feature(server, "SITE PUBLISH")
    file = tmp_path / "a.txt"
    for data in (b"first", b"second"):
        file.write_bytes(data)
        repository_of(server).log_artifact(file)
    (stored,) = (path for path in Path(server.handler.authorizer.get_home_dir("dsgo")).rglob("*") if path.is_file())
    assert stored.read_bytes() == b"second"


@pytest.mark.parametrize("times", [1, 100])
def test_a_break_while_the_old_file_has_stepped_aside(in_process, tmp_path, hasty, times):
    """Right before the new file gets its name. The old one is there under some name until the new one is."""

    def ftp_RNTO(self, path):
        if Path(path).exists():
            self._rnfr = None
            self.respond("550 Already there.")
        elif path.endswith("a.txt") and breaks:
            breaks.pop()
            self.close()
        else:
            super(server.handler, self).ftp_RNTO(path)

    server, breaks = in_process(ftp_RNTO=ftp_RNTO), [None] * times
    hide_feature(server, "SITE PUBLISH")
    folder = Path(server.handler.authorizer.get_home_dir("dsgo"), "artifacts")
    (folder / "a.txt").write_bytes(b"old")
    (tmp_path / "a.txt").write_bytes(b"new")
    if times == 1:
        repository_of(server).log_artifact(tmp_path / "a.txt")
        assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.txt", b"new")]
    else:
        with pytest.raises(FTPStoreError, match="cannot be reached"):
            repository_of(server).log_artifact(tmp_path / "a.txt")
        kept = [path for path in folder.iterdir() if path.read_bytes() == b"old"]
        assert [is_hidden(path.name) and not is_part(path.name) for path in kept] == [True]
        assert repository_of(server).list_artifacts() == []


def test_what_stepped_aside_comes_back_when_the_upload_is_given_up(in_process, tmp_path, hasty):
    """After a break at the worst moment the disk is full."""
    full = False

    def ftp_RNTO(self, path):
        nonlocal full
        if Path(path).exists():
            self._rnfr = None
            self.respond("550 Already there.")
        elif path.endswith("a.txt") and not full:
            full = True
            self.close()
        else:
            super(server.handler, self).ftp_RNTO(path)

    def ftp_STOR(self, file, mode="w"):
        if full:
            self.respond("552 No space left on device.")
        else:
            super(server.handler, self).ftp_STOR(file, mode)

    server = in_process(ftp_RNTO=ftp_RNTO, ftp_STOR=ftp_STOR)
    hide_feature(server, "SITE PUBLISH")
    folder = Path(server.handler.authorizer.get_home_dir("dsgo"), "artifacts")
    (folder / "a.txt").write_bytes(b"old")
    (tmp_path / "a.txt").write_bytes(b"new")
    with pytest.raises(FTPStoreError, match="552"):
        repository_of(server).log_artifact(tmp_path / "a.txt")
    assert (folder / "a.txt").read_bytes() == b"old"
    assert not list(folder.glob("*.old"))


def test_when_the_new_file_cannot_get_its_name_the_old_one_keeps_it(in_process, tmp_path):
    def ftp_RNTO(self, path):
        if path.endswith("a.txt") and not (self._rnfr or "").endswith(self.aside or "-"):
            self._rnfr = None
            self.respond("550 No.")
        else:
            self.aside = Path(path).name
            super(server.handler, self).ftp_RNTO(path)

    server = in_process(ftp_RNTO=ftp_RNTO, aside=None)
    stored = Path(server.handler.authorizer.get_home_dir("dsgo"), "artifacts", "a.txt")
    stored.write_bytes(b"old")
    hide_feature(server, "SITE PUBLISH")
    (tmp_path / "a.txt").write_bytes(b"new")
    with pytest.raises(FTPStoreError, match="550"):
        repository_of(server).log_artifact(tmp_path / "a.txt")
    assert [(path.name, path.read_bytes()) for path in stored.parent.iterdir()] == [("a.txt", b"old")]


def test_an_upload_that_ends_in_a_read_error_leaves_nothing(repository, tmp_path, monkeypatch, folder_of):
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(3 * MB))

    class Failing:  # after its first megabyte
        def __init__(self, *args, **kwargs):
            self.file = io.FileIO(file)
            self.good = True

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def readinto(self, buffer):
            if not self.good:
                raise OSError(5, "Input/output error")
            self.good = False
            return self.file.readinto(buffer)

        def read(self, size):
            raise OSError(5, "Input/output error")

    def failing(out, source, offset, count):
        if offset:  # what is done then is to read and send
            raise OSError(5, "Input/output error")
        return sendfile(out, source, offset, count)

    sendfile = os.sendfile
    monkeypatch.setattr(os, "sendfile", failing)

    monkeypatch.setattr(Path, "open", Failing)
    with pytest.raises(OSError, match="Input/output error"):
        repository.log_artifact(file)
    monkeypatch.undo()
    assert [path.name for path in folder_of(repository).iterdir()] == []


def test_interrupted_transfers_are_completed(server, large, tmp_path, monkeypatch):
    """Through a relay that breaks all connections once each way in the middle of a transfer."""
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    with Relay(server) as relay:
        uri = f"{relay.uri}/interrupted"
        relay.cut_after(11 * MB)
        FTPArtifactRepository(uri).log_artifact(large)
        assert relay.cuts == 1
        assert relay.moved < 20 * MB or not server.can(RESUMED_UPLOADS)
        relay.cut_after(11 * MB)
        FTPArtifactRepository(uri)._download_file("large.bin", tmp_path / "back.bin")
        assert relay.cuts == 2 and relay.moved < 20 * MB
    assert (server.root / "interrupted" / "large.bin").read_bytes() == large.read_bytes()
    assert server.parts() == [] or not server.can(RESUMED_UPLOADS)
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()


def test_two_files_are_not_joined(server, large, tmp_path, monkeypatch):
    """Each is replaced by one as long while its transfer is interrupted."""
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)
    others = [os.urandom(12 * MB), os.urandom(12 * MB)]
    with Relay(server) as relay:
        repository = FTPArtifactRepository(f"{relay.uri}/joined")
        pool, stored = repository._pool("/"), server.root / "joined" / "large.bin"

        def replace(path: Path, other: bytes):
            moved = 0

            def progress(count: int) -> None:
                nonlocal moved
                moved += count
                if moved > 7 * MB and path.stat().st_mtime != 1:
                    path.with_name("other").write_bytes(other)
                    os.utime(path.with_name("other"), (1, 1))
                    path.with_name("other").replace(path)

            return progress

        relay.cut_after(11 * MB)
        upload(pool, large, f"{repository._root}/large.bin", replace(large, others[0]))
        assert relay.cuts == 1 and stored.read_bytes() == others[0]
        relay.cut_after(11 * MB)
        download(pool, f"{repository._root}/large.bin", tmp_path / "back.bin", replace(stored, others[1]))
        assert relay.cuts == 2 and (tmp_path / "back.bin").read_bytes() == others[1]
    shutil.rmtree(server.root / "joined")


def test_a_file_that_grows_is_stored_as_it_was_at_the_start(repository, large, folder_of):
    def grow(count: int) -> None:
        with large.open("ab") as file:
            file.write(b"more")

    before = large.read_bytes()
    upload(repository._pool("/"), large, f"{repository._root}/large.bin", grow)
    assert (folder_of(repository) / "large.bin").read_bytes() == before


def test_a_file_that_is_written_over_is_named(in_process, large, hasty):
    server = in_process()

    def write_over(count: int) -> None:
        with large.open("r+b") as file:
            file.write(os.urandom(12 * MB))

    with pytest.raises(NotVerified, match=r"large\.bin changed while it was sent"):
        upload(repository_of(server)._pool("/"), large, "/artifacts/large.bin", write_over)


@pytest.fixture
def upload_in_a_child(server, large, monkeypatch):
    """Function: log `large` through a relay in a process of its own, held at a random byte; its id.

    A fork, since each import of MLflow takes seconds.
    """
    for name, value in server.login.items():
        monkeypatch.setenv(name, value)

    def begin(relay: Relay) -> int:
        relay.hold_after(random.randint(2 * MB, 11 * MB))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                FTPArtifactRepository(f"{relay.uri}/killed").log_artifact(large)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert relay.holding.wait(300)
        return child

    yield begin
    shutil.rmtree(server.root / "killed", ignore_errors=True)


def test_a_killed_client_leaves_nothing_under_the_name(server, upload_in_a_child, large):
    repository = FTPArtifactRepository(f"{server.uri}/killed")
    for _ in range(KILLS // 10):
        with Relay(server) as relay:
            child = upload_in_a_child(relay)
            assert [is_part(path.name) for path in (server.root / "killed").iterdir()] == [True]
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert not (server.root / "killed" / "large.bin").exists()
        assert repository.list_artifacts() == [], "the part is listed"
        repository.log_artifact(large)
        assert (server.root / "killed" / "large.bin").read_bytes() == large.read_bytes()
        repository.delete_artifacts()


def test_a_killed_server_is_waited_for_and_the_upload_completed(server, upload_in_a_child, large):
    for _ in range(KILLS // 10):
        with Relay(server) as relay:
            child = upload_in_a_child(relay)
            server.stop(signal.SIGKILL)
            relay.cut()
            assert not (server.root / "killed" / "large.bin").exists()
            server.start()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (server.root / "killed" / "large.bin").read_bytes() == large.read_bytes()
        assert server.parts() == [] or not server.can(RESUMED_UPLOADS)
        shutil.rmtree(server.root / "killed")
