"""Faults in numbers: kills at random moments, a full disk, many processes at once, hostile command lines."""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dsgo import ftp_connection, settings
from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError
from dsgo.ftp_connection import close_pools

KILLS = int(os.environ.get("DSGO_TEST_KILLS", "20"))  # 200 for the full count
HOSTILE_LINES = 1000


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def tree(tmp_path) -> Path:
    """Small files, which go in a bundle, and larger ones."""
    base = tmp_path / "tree"
    base.mkdir()
    for number in range(60):
        (base / f"small {number}.bin").write_bytes(os.urandom(random.randint(0, 20_000)))
    for number in range(3):
        (base / f"large {number}.bin").write_bytes(os.urandom(6 << 20))
    return base


def in_a_child(store, folder: Path, name: str) -> int:
    """Log `folder` in a process of its own and return its id. A fork, since each import of MLflow takes seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            FTPArtifactRepository(f"{store.uri}/{name}").log_artifacts(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def at_a_random_byte(store, folder: Path, name: str) -> int:
    """Start to log `folder`; return the child's id when a random share of it has come, or the child has ended.

    A random share of the usual time would often be too late: on a busy machine no two uploads take equally long.
    """
    before = stored_bytes(store.root.parent)
    wanted = random.random() * sum(path.stat().st_size for path in folder.iterdir())
    child = in_a_child(store, folder, name)
    while stored_bytes(store.root.parent) - before < wanted:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    return child


def stored_bytes(root: Path) -> int:
    """Bytes below a folder of which files come and go meanwhile."""
    found = 0
    for parent, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += Path(parent, name).stat().st_size
    return found


def assert_whole_files_only(found: Path, expected: dict[str, str]) -> int:
    stored = {name: digest for name, digest in digests(found).items() if not name.startswith(".dsgo-")}
    assert stored.items() <= expected.items(), "half a file under its name"
    return len(stored)


def test_servers_killed_at_random_moments(own_store, tree):
    """The client is not told and completes each upload by itself, once the server is back."""
    expected, interrupted = digests(tree), 0
    for number in range(KILLS // 2):
        child = at_a_random_byte(own_store, tree, f"run {number}")
        own_store.stop(signal.SIGKILL)
        interrupted += assert_whole_files_only(own_store.root / f"run {number}", expected) < len(expected)
        own_store.start()
        assert ended_well(child)
        assert assert_whole_files_only(own_store.root / f"run {number}", expected) == len(expected)
        shutil.rmtree(own_store.root / f"run {number}")
    print(f"{KILLS // 2} servers killed, {interrupted} before the upload was complete")
    assert interrupted > 0, "the kills came too late to show anything"


def test_clients_killed_at_random_moments(own_store, tree):
    """What a killed client leaves is no half file, and the rerun completes the upload."""
    expected, interrupted = digests(tree), 0
    for number in range(KILLS // 2):
        child = at_a_random_byte(own_store, tree, f"run {number}")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += assert_whole_files_only(own_store.root / f"run {number}", expected) < len(expected)
        repository = FTPArtifactRepository(f"{own_store.uri}/run {number}")
        repository.log_artifacts(tree)
        assert {info.path for info in repository.list_artifacts()} == set(expected)
        assert assert_whole_files_only(own_store.root / f"run {number}", expected) == len(expected)
        repository.delete_artifacts()
    print(f"{KILLS // 2} clients killed, {interrupted} before the upload was complete")
    assert interrupted > 0, "the kills came too late to show anything"


def test_a_full_disk(own_store, tmp_path, monkeypatch):
    """On a file system of 4 MB, mounted where the artifacts go."""
    full = own_store.root / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(full)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this user may not mount a small file system")
    try:
        repository = FTPArtifactRepository(f"{own_store.uri}/full")
        (tmp_path / "kept.bin").write_bytes(os.urandom(1 << 20))
        repository.log_artifact(tmp_path / "kept.bin")
        (tmp_path / "kept.bin").rename(tmp_path / "saved.bin")
        (tmp_path / "kept.bin").write_bytes(os.urandom(5 << 20))
        waited = []  # between tries, whatever else takes its time on a busy machine

        def wait(seconds: float) -> None:
            waited.append(seconds)
            time.sleep(seconds)

        monkeypatch.setattr(ftp_connection, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))
        with pytest.raises(FTPStoreError, match=r"No space left on device.*Free space"):
            repository.log_artifact(tmp_path / "kept.bin")
        many = tmp_path / "many"
        many.mkdir()
        for number in range(100):
            (many / f"{number}.bin").write_bytes(os.urandom(100_000))
        with pytest.raises(FTPStoreError, match=r"No space left on device.*Free space"):
            repository.log_artifacts(many, "many")
        assert sum(waited) < 1, "waiting frees no space"
        assert (full / "kept.bin").read_bytes() == (tmp_path / "saved.bin").read_bytes(), "the old one is damaged"
        assert assert_whole_files_only(full / "many", digests(many)) < 100
        assert own_store.parts() == []
        repository.delete_artifacts("many")
        repository.log_artifact(many / "1.bin")
        assert (full / "1.bin").read_bytes() == (many / "1.bin").read_bytes()
    finally:
        subprocess.run(["umount", "--lazy", str(full)], check=True)


def test_many_processes_at_once(store, tmp_path):
    """16 processes log 100 files each, at the same time."""
    trees = []
    for number in range(16):
        trees.append(tmp_path / f"tree{number}")
        trees[-1].mkdir()
        for count in range(100):
            (trees[-1] / f"{count}.bin").write_bytes(os.urandom(3000))
    children = [in_a_child(store, tree, f"at once {number}") for number, tree in enumerate(trees)]
    assert [ended_well(child) for child in children] == [True] * 16
    for number, tree in enumerate(trees):
        assert digests(store.root / f"at once {number}") == digests(tree)


def hostile_line(choose: random.Random, victim: str) -> bytes:
    commands = ["RETR", "STOR", "DELE", "MKD", "RMD", "CWD", "MLSD", "LIST", "SIZE", "RNFR", "RNTO", "XSHA256", "HASH"]
    commands += ["APPE", "REST", "TYPE", "USER", "PASS", "OPTS", "SITE", "SITE PACK", "SITE UNPACK", "SITE PUBLISH"]
    commands += ["PORT", "EPRT", "EPSV", "PASV", "FEAT", "STAT", "ABOR", "NOOP", "MODE", "STRU", "MFMT", "QUUX", "MDTM"]
    arguments = [
        b"../" * choose.randint(1, 60) + victim.encode(),
        victim.encode(),
        b"/../../../../etc/passwd",
        b"..\\..\\etc\\passwd",
        b"~root/.ssh/id_rsa",
        b"%2e%2e/%2e%2e/etc/passwd",
        b"A" * choose.choice((255, 2047, 2049, 10_000, 100_000)),
        bytes(choose.randrange(256) for _ in range(choose.randint(1, 400))).replace(b"\r", b"").replace(b"\n", b""),
        b"10,0,0,1,0,22",
        b"|1|10.0.0.1|22|",
        b"99999999999999999999999",
        b"-1",
        b"0" * 64 + b" ../../../x",
        b"1000000 ../../..",
        b"\0\0\0",
        b"a/" * 900,
        "%s%n%x\x1b[2J\u202e".encode(),
        b"",
    ]
    return (
        choose.choice(commands).encode()
        + b" "
        + choose.choice(arguments)
        + choose.choice((b"\r\n", b"\n\r\n", b"\r\n"))
    )


def outside(store) -> dict[str, str]:
    """What lies in the home of a server, but not in its store."""
    return {name: digest for name, digest in digests(store.home).items() if not name.startswith("ftp/")}


def test_hostile_command_lines(own_store, tmp_path):
    """1,000 of them, from sessions with and without login, while another user works on undisturbed."""
    choose = random.Random(20261121)
    victim = tmp_path / "victim.txt"
    victim.write_text("untouched")
    descriptors = psutil.Process(own_store.process.pid).num_fds()
    (own_store.home / "logs" / "other.log").write_text("untouched")
    before = outside(own_store)
    assert {".env", "logs/other.log"} <= before.keys()
    repository = FTPArtifactRepository(f"{own_store.uri}/other user")
    given = tmp_path / "given"
    given.mkdir()
    for number in range(20):
        (given / f"{number}.bin").write_bytes(os.urandom(5000))
    stop, failures, rounds = threading.Event(), [], 0

    def other_user() -> None:
        nonlocal rounds
        while not stop.is_set():
            try:
                repository.log_artifacts(given, f"{rounds}")
                assert len(repository.list_artifacts(f"{rounds}")) == 20
                rounds += 1
            except Exception as error:
                failures.append(error)
                return

    thread = threading.Thread(target=other_user)
    thread.start()
    try:
        answered = 0
        for session in range(50):
            with socket.create_connection((settings.HOST, own_store.port), 20) as hostile:
                hostile.recv(200)
                if session % 2:
                    current = own_store.settings
                    hostile.sendall(f"USER {current.ftp_user}\r\nPASS {current.ftp_password}\r\n".encode())
                for _ in range(HOSTILE_LINES // 50):
                    with contextlib.suppress(ConnectionError):  # being thrown out is a fair answer
                        hostile.sendall(hostile_line(choose, str(victim)))
                with contextlib.suppress(ConnectionError):
                    hostile.sendall(b"NOOP\r\nQUIT\r\n")
                    hostile.shutdown(socket.SHUT_WR)
                    while part := hostile.recv(1 << 16):
                        answered += part.count(b"\r\n")
        assert answered > HOSTILE_LINES // 2
    finally:
        stop.set()
        thread.join()
    assert not failures and rounds > 0
    assert own_store.process.poll() is None
    assert victim.read_text() == "untouched"
    assert outside(own_store) == before
    assert {path.name for path in own_store.home.iterdir()} == {".env", "ftp", "logs", "cache", "wheels"}
    assert "Traceback" not in own_store.log.read_text()
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect(settings.HOST, own_store.port)
        ftp.login(own_store.settings.ftp_user, own_store.settings.ftp_password)
    close_pools()
    deadline = time.monotonic() + 120
    while psutil.Process(own_store.process.pid).num_fds() > descriptors:  # every session's files and sockets go with it
        assert time.monotonic() < deadline
        time.sleep(0.01)
