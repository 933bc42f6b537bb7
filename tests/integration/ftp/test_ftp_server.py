"""DSGo's FTP server as any client sees it."""

from __future__ import annotations

import contextlib
import errno
import ftplib
import gc
import hashlib
import io
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from ports import free_ftp_port

from dsgo import settings
from dsgo.errors import ServiceError
from dsgo.ftp_names import PART_LIFETIME_S, part_name

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def session(store):
    with logged_in(store) as ftp:
        yield ftp


@contextlib.contextmanager
def logged_in(store):
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", store.port)
        ftp.login(store.settings.ftp_user, store.settings.ftp_password)
        ftp.voidcmd("TYPE I")
        yield ftp


def test_wrong_logins_are_delayed_and_cut_off(store):
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", store.port)
        begin = time.monotonic()
        for user, password in ((store.settings.ftp_user, "wrong"), ("nobody", store.settings.ftp_password)):
            with pytest.raises(ftplib.error_perm, match="530"):
                ftp.login(user, password)
        with pytest.raises(ftplib.error_perm, match=r"530.*Disconnecting"):
            ftp.login("anonymous", "a@b")
        assert time.monotonic() - begin >= 9
        with pytest.raises((EOFError, ConnectionError)):
            ftp.voidcmd("NOOP")


def test_the_delay_cannot_be_bypassed_by_a_burst(store):
    """Many logins in one packet, the last of them right."""
    user, password = store.settings.ftp_user, store.settings.ftp_password
    burst = "".join(f"USER {user}\r\nPASS {guess}\r\n" for guess in ("a", "b", "c", password)).encode()
    with socket.create_connection(("127.0.0.1", store.port), 20) as intruder:
        intruder.recv(200)
        intruder.sendall(burst)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := intruder.recv(1000):
                answer += part
    assert b"230" not in answer


def test_wrong_logins_do_not_delay_others(store, session):
    with contextlib.ExitStack() as stack:
        intruders = [stack.enter_context(socket.create_connection(("127.0.0.1", store.port), 20)) for _ in range(20)]
        for intruder in intruders:
            intruder.recv(200)
            intruder.sendall(b"USER dsgo\r\n")
            assert intruder.recv(200).startswith(b"331")
        for intruder in intruders:
            intruder.sendall(b"PASS wrong\r\n")
        answered = 0
        while not select.select(intruders, [], [], 0)[0]:  # the first is told after three seconds
            session.voidcmd("NOOP")
            answered += 1
        assert answered > 20, "the others waited with them"
        for intruder in intruders:
            assert intruder.recv(200).startswith(b"530")


def test_nothing_without_login(store):
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", store.port)
        for command in ("MLSD /", "RETR x", "STOR x", "SITE PUBLISH x y", "XSHA256 x", "DELE x", "PASV", "CWD /"):
            with pytest.raises(ftplib.error_perm, match="530"):
                ftp.sendcmd(command)


def test_the_root_cannot_be_left(store, session, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    inside = store.settings.ftp_root / "confined"
    inside.mkdir()
    (inside / "file-link").symlink_to(secret)
    (inside / "folder-link").symlink_to(tmp_path)
    (inside / "good.txt").write_text("good")
    (inside / "good-link").symlink_to("good.txt")
    for name in ("../" * 20 + str(secret), str(secret), "confined/file-link", "confined/folder-link/secret.txt"):
        for command in ("RETR", "SIZE", "DELE", "RNFR", "XSHA256", "HASH", "MDTM", "MLST"):
            with pytest.raises(ftplib.error_perm, match="550"):
                session.sendcmd("TYPE I")
                session.sendcmd(f"{command} {name}")
    for name in ("confined/file-link", "confined/folder-link/new.txt"):
        with pytest.raises(ftplib.error_perm, match="550"):
            session.storbinary(f"STOR {name}", io.BytesIO(b"x"))
        session.storbinary("STOR confined/new.txt", io.BytesIO(b"x"))
        with pytest.raises(ftplib.error_perm, match="550"):
            session.sendcmd(f"SITE PUBLISH {hashlib.sha256(b'x').hexdigest()} {name}")
    for command in ("CWD confined/folder-link", "MKD confined/folder-link/x", "RMD confined/folder-link"):
        with pytest.raises(ftplib.error_perm, match="550"):
            session.sendcmd(command)
    session.cwd("/../../..")
    assert session.pwd() == "/"
    listed = {name for name, _ in session.mlsd("confined")}
    assert listed == {"good.txt", "good-link", "new.txt"}
    assert secret.read_text() == "secret" and {path.name for path in tmp_path.iterdir()} >= {"secret.txt"}
    with pytest.raises(ftplib.error_perm, match="550"):
        session.rmd("/")


@pytest.fixture
def swap(store, session):
    """A folder `/swap` in the store, and a function with which one session puts a link to outside in its place.

    The link is one that leads inside from where it lies, but not from there.
    """
    root = store.settings.ftp_root
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "up").symlink_to("../..")
    (root / "swap").mkdir()
    outside = root.parent.parent / "outside.txt"
    outside.write_text("outside")
    name = f"swapped-{os.urandom(4).hex()}"

    def swap() -> None:
        session.rename("/swap", f"/{name}")
        session.rename("/deep/er/up", "/swap")

    yield swap
    (root / "swap").unlink()
    shutil.rmtree(root / "deep")
    shutil.rmtree(root / name)
    assert outside.read_text() == "outside"
    outside.unlink()
    assert not (root.parent.parent / "new.txt").exists()


def test_the_root_cannot_be_left_behind_another_session(store, swap):
    """What one session has found free of links another renames."""
    with logged_in(store) as second:
        second.storbinary("STOR /swap/new.txt", io.BytesIO(b"x"))
        swap()
        for command in ("RETR", "SIZE", "DELE", "RNFR", "XSHA256", "MLST"):
            with pytest.raises(ftplib.error_perm, match="550"):
                second.sendcmd(f"{command} /swap/outside.txt")
        with pytest.raises(ftplib.error_perm, match="550"):
            second.storbinary("STOR /swap/new.txt", io.BytesIO(b"x"))


def test_a_rename_begun_before_cannot_fetch_from_outside(store, swap):
    (store.settings.ftp_root / "swap" / "outside.txt").touch()
    with logged_in(store) as second:
        second.sendcmd("RNFR /swap/outside.txt")
        swap()
        with pytest.raises(ftplib.error_perm, match="550"):
            second.sendcmd("RNTO /stolen.txt")


def test_publishing_cannot_fetch_from_outside(store, swap):
    with logged_in(store) as second:
        second.storbinary("STOR /swap/outside.txt", io.BytesIO(b"x"))
        swap()
        with pytest.raises(ftplib.error_perm, match="550"):
            second.sendcmd(f"SITE PUBLISH {hashlib.sha256(b'x').hexdigest()} /stolen.txt")


def test_an_aborted_upload_cannot_delete_outside(store, swap):
    with logged_in(store) as second:
        data = second.transfercmd("STOR /swap/outside.txt")
        data.sendall(b"x")
        wait_until(lambda: (store.settings.ftp_root / "swap" / "outside.txt").stat().st_size == 1)
        swap()
        second.putcmd("ABOR")
        with pytest.raises(ftplib.error_temp, match="426"):
            second.getresp()
        data.close()


def test_a_bundle_sent_slowly_cannot_leave_the_root(store, swap):
    """By the time its turn comes, a folder has become a link."""
    root = store.settings.ftp_root
    (root / "swap" / "b").mkdir()
    for name in (*(f"a{number}" for number in range(16)), "b/outside.txt"):  # more than waits in sockets
        (root / "swap" / name).write_bytes(bytes(1 << 20))
    (root.parent.parent / "b").mkdir()
    (root.parent.parent / "b" / "outside.txt").write_text("outside")
    with logged_in(store) as second:
        data = second.transfercmd("SITE PACK 1048576 /swap", rest=None)
        data.recv(1)
        swap()
        received = b"".join(iter(lambda: data.recv(1 << 16), b""))
        with pytest.raises(ftplib.error_temp, match=r"451 .*moved"):
            second.getresp()
        data.close()
    assert len(received) < 16 << 20 and b"outside" not in received
    shutil.rmtree(root.parent.parent / "b")


@pytest.mark.parametrize("command", ["PORT 127,0,0,1,200,10", "EPRT |1|127.0.0.1|51210|", "SITE CHMOD 777 x", "STOU"])
def test_commands_that_a_store_does_not_need_are_not_there(session, command):
    with pytest.raises(ftplib.error_perm, match="500"):
        session.sendcmd(command)


def test_data_ports_are_the_settings(store, session):
    ports = {ftplib.parse227(session.sendcmd("PASV"))[1] for _ in range(100)}
    assert len(ports) > 10 and ports <= set(store.settings.passive_ports)


def test_sessions_do_not_take_the_same_data_port(store):
    """Without care some of many concurrent PASV fail, as two sessions bind one port and only one can listen."""

    def ask() -> int:
        failed = 0
        with ftplib.FTP(timeout=20) as ftp:
            ftp.connect("127.0.0.1", store.port)
            ftp.login(store.settings.ftp_user, store.settings.ftp_password)
            for _ in range(300):
                try:
                    ftp.sendcmd("PASV")
                except ftplib.error_temp:
                    failed += 1
        return failed

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: ask(), range(8))) == 0


def test_busy_data_ports_are_a_passing_error(store, session):
    with_all_taken = []
    try:
        for port in store.settings.passive_ports:
            with_all_taken.append(socket.create_server(("127.0.0.1", port)))
        with pytest.raises(ftplib.error_temp, match="425"):
            session.sendcmd("PASV")
    finally:
        for taken in with_all_taken:
            taken.close()
    assert session.sendcmd("PASV").startswith("227")


def test_hash_commands(store, session):
    data = os.urandom(300_000)
    digest = hashlib.sha256(data).hexdigest()
    session.storbinary("STOR hashed.bin", io.BytesIO(data))
    assert session.sendcmd("XSHA256 hashed.bin") == f"250 {digest}"
    assert session.sendcmd("HASH hashed.bin") == f"213 SHA-256 0-300000 {digest} /hashed.bin"
    assert session.sendcmd("OPTS HASH SHA-256").startswith("200")
    for command in ("OPTS HASH MD5", "XSHA256 /", "HASH nothing"):
        with pytest.raises(ftplib.error_perm):
            session.sendcmd(command)
    features = session.sendcmd("FEAT")
    assert all(
        f"\n {name}" in features for name in ("HASH SHA-256*", "XSHA256", "SITE PUBLISH", "UTF8", "MLST", "REST")
    )


def test_publish(store, session):
    data = b"data"
    digest = hashlib.sha256(data).hexdigest()
    with pytest.raises(ftplib.error_perm, match="503"):
        session.sendcmd(f"SITE PUBLISH {digest} published.bin")
    session.storbinary("STOR some part", io.BytesIO(data))
    with pytest.raises(ftplib.error_temp, match="451"):
        session.sendcmd(f"SITE PUBLISH {'0' * 64} published.bin")
    assert not (store.settings.ftp_root / "published.bin").exists()
    session.storbinary("STOR some part", io.BytesIO(data))
    session.sendcmd(f"SITE PUBLISH {digest.upper()} name with space")
    assert (store.settings.ftp_root / "name with space").read_bytes() == data
    with pytest.raises(ftplib.error_perm, match="503"):
        session.sendcmd(f"SITE PUBLISH {digest} again")


@pytest.mark.parametrize("name, stays", [("aborted.bin", False), (part_name(), True)], ids=["file", "part"])
def test_an_aborted_upload_is_dropped(store, session, name, stays):
    session.voidcmd("TYPE I")
    data = session.transfercmd(f"STOR {name}")
    data.sendall(b"x" * 100_000)
    target = store.settings.ftp_root / name
    wait_until(lambda: target.stat().st_size == 100_000)
    session.putcmd("ABOR")
    with pytest.raises(ftplib.error_temp, match="426"):
        session.getresp()
    assert session.getresp().startswith("226")
    data.close()
    assert target.exists() is stays
    target.unlink(missing_ok=True)


@pytest.mark.parametrize("command, rest", [("APPE", None), ("STOR", 1000)])
def test_an_aborted_continuation_keeps_what_was_there(store, session, command, rest):
    session.storbinary("STOR continued.log", io.BytesIO(b"x" * 1000))
    target = store.settings.ftp_root / "continued.log"
    data = session.transfercmd(f"{command} continued.log", rest=rest)
    data.sendall(b"y" * 10)
    wait_until(lambda: target.stat().st_size == 1010)
    session.putcmd("ABOR")
    with pytest.raises(ftplib.error_temp, match="426"):
        session.getresp()
    assert session.getresp().startswith("226")
    data.close()
    assert target.read_bytes() == b"x" * 1000 + b"y" * 10


def wait_until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_stop_lets_a_transfer_end(own_store):
    with ftplib.FTP(timeout=20) as ftp, ftplib.FTP(timeout=20) as idle:
        for session in (ftp, idle):
            session.connect("127.0.0.1", own_store.port)
            session.login(own_store.settings.ftp_user, own_store.settings.ftp_password)
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("STOR slow.bin")
        data.sendall(b"first")
        wait_until(lambda: (own_store.settings.ftp_root / "slow.bin").stat().st_size == 5)
        own_store.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(own_store.port))
        data.sendall(b" second")
        data.close()
        assert ftp.getresp().startswith("226")
    assert own_store.process.wait(10) == 0
    assert (own_store.settings.ftp_root / "slow.bin").read_bytes() == b"first second"
    assert "stopped" in own_store.log.read_text()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_taken_port_is_a_clear_error(store, tmp_path):
    environ = {**store.environ, "DSGO_HOME": str(tmp_path / "other")}
    command = [sys.executable, str(CHECKOUT / "server" / "ftpserver.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert str(store.port) in done.stderr and "DSGO_FTP_PORT" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "other").exists()


def test_the_log_is_readable_and_cannot_be_forged(store, session):
    session.storbinary("STOR a report.txt", io.BytesIO(b"12345"))
    session.sock.sendall(b"DELE x\n2030-01-01 INFO forged \x1b[31m\r\n")
    with pytest.raises(ftplib.error_perm):
        session.getresp()
    wait_until(lambda: "forged" in store.log.read_text())
    lines = store.log.read_text().split("\n")
    assert any("stored /a report.txt (5 bytes in " in line for line in lines)
    assert not any(line.startswith("2030") or "\x1b" in line for line in lines)
    later = [line for line in lines if "FTP server ready on" not in line]  # each start names the folder
    assert str(store.settings.ftp_root) not in "".join(later)


def test_leftovers_are_swept_when_old(own_store):
    import ftpserver

    folder = own_store.root / "run"
    folder.mkdir(parents=True)
    old, fresh, kept = folder / part_name(), folder / part_name(), folder / "old file.part"
    for path in (old, fresh, kept):
        path.write_text("x")
    for path in (old, kept):
        os.utime(path, (0, time.time() - PART_LIFETIME_S - 60))
    own_store.restart()
    wait_until(lambda: not old.exists())
    assert fresh.exists() and kept.exists()
    assert ftpserver.sweep(own_store.settings.ftp_root, older_than_s=0) == 1


def test_the_password_is_not_kept(tmp_path):
    import ftpserver

    password = "-".join(["never", "to", "be", "found"])
    authorizer = ftpserver.HashedAuthorizer("dsgo", password, tmp_path)
    authorizer.validate_authentication("dsgo", password, None)
    authorizer.validate_authentication("dsgo", password, None)
    with pytest.raises(ftpserver.AuthenticationFailed):
        authorizer.validate_authentication("dsgo", password + "x", None)
    assert not holds(authorizer, password)
    authorizer.user_table["dsgo"]["pwd"] = password  # where pyftpdlib's own keeps it
    assert holds(authorizer, password)


def holds(root: object, text: str) -> bool:
    """Whether `text`, as text or bytes, can be reached from an object, classes and functions aside."""
    seen, todo = set(), [root]
    while todo:
        value = todo.pop()
        if id(value) in seen or isinstance(value, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(value))
        if (isinstance(value, str) and text in value) or (isinstance(value, bytes) and text.encode() in value):
            return True
        todo += gc.get_referents(value)
    return False


def test_a_session_does_not_keep_the_password(in_process):
    server = in_process(password="kept-nowhere")
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", server.address[1])
        ftp.login("dsgo", "kept-nowhere")
        assert [handler.password for handler in server.sessions] == [""]
        assert "kept-nowhere" not in repr([vars(handler) for handler in server.sessions])


def test_idle_sessions_are_ended(in_process):
    server = in_process(timeout=1)
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", server.address[1])
        ftp.login("dsgo", "secret")
        with pytest.raises(ftplib.error_temp, match="421"):
            ftp.getresp()


def test_who_does_not_log_in_is_ended_soon(in_process):
    server = in_process(login_timeout=1)
    with ftplib.FTP(timeout=20) as stranger, ftplib.FTP(timeout=20) as user:
        for ftp in (stranger, user):
            ftp.connect("127.0.0.1", server.address[1])
        user.login("dsgo", "secret")
        with pytest.raises(ftplib.error_temp, match="421"):
            for _ in range(100):  # being busy does not help
                stranger.sendcmd("NOOP")
                time.sleep(0.05)
        assert user.sendcmd("NOOP").startswith("200")


def test_who_does_not_read_is_ended_when_idle(in_process):
    """The farewell, which nobody reads, must not keep the session."""
    server = in_process(timeout=1)
    with socket.create_connection(("127.0.0.1", server.address[1])) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        wait_until(lambda: len(server.ip_map) == 1)
        next(iter(server.sessions)).socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        deaf.sendall(b"HELP\r\n" * 200)
        wait_until(lambda: server.ip_map == [])


def test_running_out_of_descriptors_passes(own_store):
    server = psutil.Process(own_store.process.pid)
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1, hard))
    with socket.create_connection(("127.0.0.1", own_store.port)):
        wait_until(lambda: "accepts no new sessions" in own_store.log.read_text())
        busy = sum(server.cpu_times()[:2])
        wait_until(lambda: own_store.log.read_text().count("accepts no new sessions") > 1)  # a second later
        assert sum(server.cpu_times()[:2]) - busy < 0.5
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", own_store.port)
        ftp.login(own_store.settings.ftp_user, own_store.settings.ftp_password)


@pytest.mark.parametrize("lacking", ["descriptor", "thread"])
def test_a_session_that_cannot_be_served_leaves_nothing(in_process, monkeypatch, lacking):
    server = in_process()

    def refuse(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files") if lacking == "descriptor" else RuntimeError("no thread")

    with monkeypatch.context() as patch:
        if lacking == "descriptor":
            patch.setattr(type(server.ioloop), "factory", refuse)
        else:
            patch.setattr(server, "_start_task", lambda **_: type("NoThread", (), {"start": refuse})())
        with socket.create_connection(("127.0.0.1", server.address[1]), 20) as unlucky:
            while unlucky.recv(100):
                pass
        wait_until(lambda: server.ip_map == [])
    with ftplib.FTP(timeout=20) as ftp:
        ftp.connect("127.0.0.1", server.address[1])
        ftp.login("dsgo", "secret")


def test_descriptors_for_all_sessions(store):
    soft, hard = resource.prlimit(store.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_lost_listener_ends_the_server(tmp_path):
    import ftpserver

    current = settings.Settings(tmp_path, ftp_port=free_ftp_port(), ftp_user="dsgo", ftp_password="secret")
    current.ftp_root.mkdir()
    server = ftpserver.StoreServer(ftpserver.listen(current.ftp_port), ftpserver.handler_for(current))
    server.handle_close()
    with pytest.raises(ServiceError, match="listening socket"):
        server.serve_until_stopped()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_replies_that_nobody_reads_do_not_pile_up(in_process, tls):
    """Commands are worked on as their replies are read, and none is lost."""
    import ftpserver

    most = 0

    def push(handler: ftpserver.StoreHandler, data: str) -> None:
        nonlocal most
        ftpserver.StoreHandler.push(handler, data)
        most = max(most, sum(len(piece) for piece in handler.producer_fifo if piece))

    server = in_process(tls=tls, push=push)
    for number in range(500):
        Path(server.handler.authorizer.get_home_dir("dsgo"), f"{number:0200}").touch()
    with (ftplib.FTP_TLS if tls else ftplib.FTP)(timeout=20) as ftp:
        ftp.connect("127.0.0.1", server.address[1])
        ftp.login("dsgo", "secret")
        ftp.sock.sendall(b"SITE MLSD /\r\n" * 300)
        wait_until(lambda: most > 2 << 20)
        for _ in range(300):
            ftp.voidresp()
        ftp.voidcmd("NOOP")
    assert most < 4 << 20


def test_no_limit_makes_the_server_hold_a_large_file(store, session):
    from dsgo.ftp_bundle import SMALL

    folder = store.settings.ftp_root / "large"
    folder.mkdir()
    for name, size in (("most.bin", SMALL), ("more.bin", SMALL + 1)):
        (folder / name).write_bytes(bytes(size))
    bundle = io.BytesIO()
    session.retrbinary("SITE PACK 99999999999 /large", bundle.write)
    header, _, rest = bundle.getvalue().partition(b"\n")
    assert header == b'{"name": "more.bin", "size": 1048577, "left": true}' and len(rest) < SMALL + 100


def test_names_that_no_command_could_have_are_left_out(store, session):
    """Such files come from elsewhere; all others can still be had."""
    folder = store.settings.ftp_root / "foreign"
    folder.mkdir()
    for name in (b"caf\xe9.txt", b"line\nbreak", b"carriage\rreturn", "café.txt".encode()):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("x")
    Path(os.fsdecode(bytes(folder) + b"/folder\xe9")).mkdir()
    assert [line.partition("; ")[2] for line in session.sendcmd("SITE MLSD /foreign").split("\n")[1:-1]] == ["café.txt"]
    assert [name for name, _ in session.mlsd("/foreign")] == ["café.txt"]
    bundle = io.BytesIO()
    session.retrbinary("SITE PACK 100 /foreign", bundle.write)
    assert bundle.getvalue() == '{"name": "café.txt", "size": 1}\nx{"end": 1}\n'.encode()
    assert r"left out 'caf\udce9.txt'" in store.log.read_text()
