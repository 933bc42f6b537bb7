"""Backup and restore on a small store without servers: what is kept, what is refused, and kills at every step."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsgo import cli, exchange, services, snapshot
from dsgo.backup import backup
from dsgo.errors import BackupError, DSGoError, ServiceError, SettingError
from dsgo.ftp_names import part_name
from dsgo.restore import restore
from dsgo.settings import Settings, load, prepare

ARTIFACTS = {
    "1/run/artifacts/table.csv": b"a,b\n1,2\n",
    "1/run/artifacts/empty": b"",
    "1/models/m-1/artifacts/model.bin": bytes(range(256)) * 300,
    f"with space/ü/{'long ' * 40}.txt": b"a name that needs more than one header",
}


def silent(_: str) -> None:
    pass


def make_database(path: Path, artifact_root: str, text: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE experiments (artifact_location TEXT, creation_time INTEGER, name TEXT)")
        rows = [("ftp://ftp.example.org/x", 9, text), (f"{artifact_root}/1", 5, text), (None, 7, text)]
        connection.executemany("INSERT INTO experiments VALUES (?, ?, ?)", rows)


@pytest.fixture
def copy(tmp_path: Path) -> Settings:
    """A copy of DSGo that has run: artifacts, a database, a password, a certificate with its key, logs."""
    settings = prepare(load({"DSGO_HOME": str(tmp_path / "home of us")}))
    for name, content in ARTIFACTS.items():
        path = settings.ftp_root / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (settings.ftp_root / "artifacts" / "empty folder").mkdir()
    make_database(settings.tracking_database, settings.artifact_root, "as backed up")
    make_database(settings.application_database, "", "ledger as backed up")
    make_database(settings.outbox, "", "outbox of then")
    settings.ftp_certificate.write_text("-----BEGIN PRIVATE KEY-----")
    (settings.logs / "ftp.log").write_text("a log")
    return settings


@pytest.fixture
def file(copy: Settings, tmp_path: Path) -> Path:
    """A backup of `copy`, which has changed since."""
    file = backup(copy, tmp_path / "backup.tar", silent)
    (copy.ftp_root / "artifacts" / "1" / "run" / "artifacts" / "table.csv").write_bytes(b"later")
    (copy.ftp_root / "artifacts" / "later.txt").write_bytes(b"later")
    for database in copy.databases:
        database.unlink()
        make_database(database, copy.artifact_root, "later")
    copy.tracking_database.with_name("mlflow.db-wal").write_bytes(b"of the later one")
    return file


def contents(folder: Path) -> dict[str, str]:
    """Digest of each file below `folder` but for locks, and each folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "/"
        for path in folder.rglob("*")
        if path.name not in ("backup.lock", "lock", "supervisor")
    }


def replaced(folder: Path) -> dict[str, str]:
    """What of `contents` a restore replaces."""
    found = contents(folder).items()
    return {
        n: digest
        for n, digest in found
        if n.split("/")[0] == "ftp" or n.startswith(("mlflow.db", "dsgo.db", "sent.db"))
    }


def names_in(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM experiments")}


def is_as_backed_up(settings: Settings) -> bool:
    found = {name.removeprefix("ftp/artifacts/"): digest for name, digest in contents(settings.home).items()}
    artifacts = {name: digest for name, digest in contents(settings.ftp_root / "artifacts").items() if digest != "/"}
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in ARTIFACTS.items()}
    ledger, runs, outbox = (names_in(database) for database in settings.databases)
    databases = (ledger, runs, outbox) == ({"ledger as backed up"}, {"as backed up"}, {"outbox of then"})
    return artifacts == expected and found["empty folder"] == "/" and databases


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_everything_comes_back_after_everything_was_lost(copy: Settings, tmp_path: Path) -> None:
    (copy.ftp_root / "artifacts" / part_name()).write_bytes(b"on its way")
    (tmp_path / "outside.txt").write_text("outside")
    (copy.ftp_root / "artifacts" / "link.txt").symlink_to(tmp_path / "outside.txt")
    (copy.ftp_root / "artifacts" / "folder link").symlink_to(tmp_path)
    os.mkfifo(copy.ftp_root / "artifacts" / "pipe")
    file = backup(copy, tmp_path / "all.tar", silent)
    shutil.rmtree(copy.home)
    said: list[str] = []
    restore(copy, file, said.append)
    assert is_as_backed_up(copy)
    assert {path.name for path in copy.home.iterdir()} == {
        "ftp",
        "dsgo.db",
        "mlflow.db",
        "sent.db",
        "backup.lock",
        "supervisor",
    }
    assert len(said) == 1 and said[0].startswith("Restored 7 files, 0.")
    assert {stat.S_IMODE(path.stat().st_mode) for path in copy.ftp_root.rglob("*")} == {0o600, 0o700}


def test_the_file_is_for_its_owner_and_has_no_secret(copy: Settings) -> None:
    file = backup(copy, say=silent)
    assert file.parent == copy.backups
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    assert copy.ftp_password and copy.ftp_password.encode() not in content
    assert b"PRIVATE KEY" not in content
    with tarfile.open(file) as tar:
        assert {name.split("/")[0] for name in tar.getnames()[:-1]} == {"ftp", "dsgo.db", "mlflow.db", "sent.db"}


def test_the_present_state_is_kept_and_all_else_stays(copy: Settings, file: Path) -> None:
    before, others = replaced(copy.home), contents(copy.logs)
    password = copy.env_file.read_text()
    said: list[str] = []
    restore(copy, file, said.append)
    assert is_as_backed_up(copy)
    (aside,) = copy.home.glob("before-restore-*")
    assert contents(aside) == before
    assert str(aside) in said[1]
    assert contents(copy.logs) == others and copy.env_file.read_text() == password
    assert not copy.tracking_database.with_name("mlflow.db-wal").exists(), (
        "the later database's log is taken for its own"
    )
    restore(copy, file, silent)  # in the same second, perhaps
    assert len(list(copy.home.glob("before-restore-*"))) == 2


def test_backups_made_at_once_do_not_disturb_each_other(copy: Settings, tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [threading.Thread(target=lambda: made.append(backup(copy, say=silent))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4
    for file in made:
        shutil.move(file, tmp_path)
        restore(copy, tmp_path / file.name, silent)
        assert is_as_backed_up(copy)


@pytest.mark.parametrize("links", [True, False])
def test_deleted_and_added_meanwhile(
    links: bool, copy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the store and the second: what the databases knew at their moment is in the file."""
    root = copy.ftp_root / "artifacts" / "1" / "run" / "artifacts"
    copy_database, now = snapshot._copy_database, snapshot.time.time_ns

    def put(name: str, content: str) -> None:
        (root / "new").write_text(content)
        (root / "new").replace(root / name)

    def moment() -> int:
        put("replaced before.txt", "new, not the same length")
        put("added before.txt", "known")
        return now()

    def meanwhile(source: Path, target: Path) -> None:
        if source != copy.databases[0]:
            return copy_database(source, target)
        began = now()
        while (root / "kept.txt").stat().st_ctime_ns <= began:  # the file system's clock ticks in milliseconds
            put("kept.txt", "new, not the same length")
        shutil.rmtree(copy.ftp_root / "artifacts" / "1" / "models")
        (root / "table.csv").unlink()
        return copy_database(source, target)

    for name in ("replaced before.txt", "kept.txt"):
        put(name, "old")
    monkeypatch.setattr(snapshot.time, "time_ns", moment)
    monkeypatch.setattr(snapshot, "_copy_database", meanwhile)
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    file = backup(copy, tmp_path / "meanwhile.tar", silent)
    monkeypatch.undo()
    restore(copy, file, silent)
    for name, content in ARTIFACTS.items():
        assert (copy.ftp_root / "artifacts" / name).read_bytes() == content, name
    assert (root / "replaced before.txt").read_text() == "new, not the same length"
    assert (root / "added before.txt").read_text() == "known"
    assert (root / "kept.txt").read_text() == "old"
    assert not list(copy.ftp_root.rglob(".dsgo-*"))


def test_a_writer_of_the_database_is_not_stopped(copy: Settings, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy.tracking_database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE experiments SET name = 'not yet'")
        file = backup(copy, tmp_path / "meanwhile.tar", silent)
        writer.commit()
    restore(copy, file, silent)
    assert names_in(copy.tracking_database) == {"as backed up"}


# --- what is refused --------------------------------------------------------------------------------------------------


def rewritten(file: Path, edit: Callable[[list[tuple[tarfile.TarInfo, bytes]], dict], None]) -> None:
    """Write the backup anew after `edit` of its members and manifest, with a manifest of the right hash."""
    with tarfile.open(file) as tar:
        members = [(member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar.getmembers()]
    manifest = json.loads(members.pop()[1])
    edit(members, manifest)
    content = json.dumps(manifest).encode()
    last = tarfile.TarInfo(f"manifest-{hashlib.sha256(content).hexdigest()}.json")
    with tarfile.open(file, "w") as tar:
        for member, data in [*members, (last, content)]:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def added(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "", listed: bool = True) -> Callable[[Path], None]:
    def edit(members: list, manifest: dict) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, linkname
        data = b"evil" if kind == tarfile.REGTYPE else b""
        members.append((member, data))
        if listed:
            manifest["files"][name] = (len(data), hashlib.sha256(data).hexdigest())

    return lambda file: rewritten(file, edit)


def without_last(file: Path) -> None:
    def edit(members: list, manifest: dict) -> None:
        members.pop()

    rewritten(file, edit)


def newer(file: Path) -> None:
    rewritten(file, lambda _, manifest: manifest.update(format=2, dsgo="9.9.9"))


def cut(where: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, where(file.stat().st_size))


def flipped(words: bytes) -> Callable[[Path], None]:
    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        place = content.rindex(words)
        content[place] ^= 1
        file.write_bytes(content)

    return flip


def other_tar(file: Path) -> None:
    with tarfile.open(file, "w") as tar:
        tar.add(__file__, "test.py")


def compressed(file: Path) -> None:
    done = subprocess.run(["gzip", "--stdout", file], stdout=subprocess.PIPE, check=True)
    file.write_bytes(done.stdout)


DAMAGE = {
    "not there": (Path.unlink, "there is no such file"),
    "empty": (cut(lambda size: 0), "no backup of DSGo, or is damaged"),
    "not a tar": (lambda file: file.write_text("text\n" * 1000), "no backup of DSGo, or is damaged"),
    "compressed": (compressed, "no backup of DSGo, or is damaged"),
    "another tar": (other_tar, "does not end with its manifest"),
    "cut in a header": (cut(lambda size: 700), "does not end with its manifest|is damaged"),
    "cut in the middle": (cut(lambda size: size // 2), "no backup of DSGo, or is damaged|does not end with"),
    "cut in the manifest": (cut(lambda size: size - tarfile.RECORDSIZE + 600), "is damaged|does not end with"),
    "bit in an artifact": (flipped(b"a,b\n1,2"), r"is damaged: ftp/artifacts/1/run/artifacts/table.csv is not"),
    "bit in the database": (flipped(b"as backed up"), "is damaged: mlflow.db is not as it was backed up"),
    "bit in the manifest": (flipped(b'"artifact_root"'), "is damaged: its manifest"),
    "bit in a header": (flipped(b"ustar"), "is damaged|does not end with its manifest"),
    "newer format": (newer, r"written by DSGo 9\.9\.9 in a newer format"),
    "absolute name": (added("/etc/evil"), "'/etc/evil' has a name that leads elsewhere"),
    "name that climbs": (added("ftp/../../evil"), "'ftp/../../evil' has a name that leads elsewhere"),
    "no name": (added("."), "'.' has a name that leads elsewhere|is unknown"),
    "symbolic link": (added("ftp/link", tarfile.SYMTYPE, "/etc", listed=False), "neither file nor folder"),
    "hard link": (added("ftp/link", tarfile.LNKTYPE, "mlflow.db", listed=False), "neither file nor folder"),
    "device": (added("ftp/null", tarfile.CHRTYPE, listed=False), "neither file nor folder"),
    "unknown file": (added(".env"), r"'\.env' is unknown to this version"),
    "file that is not listed": (added("ftp/evil", listed=False), "not those that its manifest lists"),
    "file twice": (added("mlflow.db", listed=False), "not those that its manifest lists"),
    "file that is missing": (without_last, "not those that its manifest lists"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_file_is_refused_and_nothing_changed(
    damage: Callable[[Path], None], message: str, copy: Settings, file: Path
) -> None:
    before = contents(copy.home)
    damage(file)
    with pytest.raises(BackupError, match=message) as refusal:
        restore(copy, file, silent)
    assert str(refusal.value).startswith(str(file))
    assert contents(copy.home) == before


def test_random_damage_is_refused_or_harmless(copy: Settings, file: Path) -> None:
    """A bit anywhere: what is restored then is still what was backed up, or nothing is."""
    choose, whole, refused = random.Random(20261124), file.read_bytes(), 0
    before = contents(copy.home)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[choose.randrange(len(whole))] ^= 1 << choose.randrange(8)
        file.write_bytes(damaged)
        try:
            restore(copy, file, silent)
        except DSGoError:
            refused += 1
            assert contents(copy.home) == before
        else:
            assert is_as_backed_up(copy)
            before = contents(copy.home)
    assert refused > 30


def test_running_servers_are_named(copy: Settings, file: Path) -> None:
    before = contents(copy.home)
    environment = {**os.environ, "DSGO_HOME": str(copy.home), "DSGO_SERVICE": "tracking"}
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        with pytest.raises(ServiceError, match=r"tracking: runs.*make down"):
            restore(copy, file, silent)
        server.communicate(b"\n")
    assert contents(copy.home) == before
    restore(copy, file, silent)


def test_up_and_down_are_waited_for(copy: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "LOCK_DEADLINE", 0.1)
    before = contents(copy.home)
    with services.lock(copy), pytest.raises(ServiceError, match="another `up`, `down` or `restore`"):
        restore(copy, file, silent)
    assert contents(copy.home) == before


def test_other_port_is_refused(copy: Settings, file: Path) -> None:
    before = contents(copy.home)
    moved = load({"DSGO_HOME": str(copy.home), "DSGO_FTP_PORT": "2999"})
    with pytest.raises(SettingError, match="DSGO_FTP_PORT=2999 cannot be used: it must be 2121"):
        restore(moved, file, silent)
    assert contents(copy.home) == before


def test_port_is_the_one_of_the_database_not_of_the_shell(copy: Settings, tmp_path: Path) -> None:
    moved = load({"DSGO_HOME": str(copy.home), "DSGO_FTP_PORT": "2999"})
    restore(copy, backup(moved, tmp_path / "moved.tar", silent), silent)
    assert is_as_backed_up(copy)


def test_mount_point_is_refused(copy: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == copy.ftp_root)
    with pytest.raises(BackupError, match="is a mount point"):
        restore(copy, file, silent)


def no_space(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(settings.home)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_too_little_space_is_found_before(copy: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copy.home)
    no_space(copy, monkeypatch)
    with pytest.raises(BackupError, match=r"[\d.]+ MB are needed, 0\.0 MB are free"):
        restore(copy, file, silent)
    with pytest.raises(BackupError, match=r"[\d.]+ MB are needed, 0\.0 MB are free"):
        backup(copy, file.with_name("second.tar"), silent)
    assert contents(copy.home) == before
    assert not list(file.parent.glob("second*"))


def test_places_that_cannot_be_written_to(copy: Settings, file: Path) -> None:
    with pytest.raises(BackupError, match=r"backup\.tar: is there already"):
        backup(copy, file, silent)
    with pytest.raises(BackupError, match="its folder does not exist"):
        backup(copy, file.parent / "none" / "new.tar", silent)
    copy.backups.write_text("a file where the folder should be")
    with pytest.raises(BackupError, match=r"no backup could be written: .*File exists"):
        backup(copy, say=silent)
    folder = file.parent / "folder"
    folder.mkdir()
    assert backup(copy, folder, silent).parent == folder


def test_nothing_to_back_up(tmp_path: Path) -> None:
    settings = load({"DSGO_HOME": str(tmp_path / "none")})
    with pytest.raises(BackupError, match="nothing to back up"):
        backup(settings, say=silent)
    assert not settings.home.exists()


def test_damaged_database_is_not_backed_up(copy: Settings, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy.tracking_database)) as connection, connection:
        connection.execute("CREATE INDEX by_name ON experiments (name)")
        connection.execute("PRAGMA writable_schema = ON")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'experiments'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(copy.tracking_database.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    copy.tracking_database.write_bytes(content)
    with pytest.raises(BackupError, match=r"mlflow\.db: the database is damaged"):
        backup(copy, tmp_path / "damaged.tar", silent)
    assert not list(tmp_path.glob("damaged*"))
    assert not (copy.home / ".backup").exists()


def test_command_line(copy: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("DSGO_HOME", str(copy.home))
    monkeypatch.chdir(copy.home.parent)
    assert cli.main(["backup", "--to", "here.tar"]) == 0
    assert capsys.readouterr().out == f"Backup of 7 files, 0.1 MB: {copy.home.parent / 'here.tar'}\n"
    assert cli.main(["backup", "--to", ""]) == 0
    assert len(list(copy.backups.iterdir())) == 1
    assert cli.main(["restore", ""]) == 1
    assert capsys.readouterr().err == f"error: FROM: names no file. Backups usually lie in {copy.backups}.\n"
    assert cli.main(["restore", "here.tar"]) == 0
    assert is_as_backed_up(copy)


# --- kills ------------------------------------------------------------------------------------------------------------


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process of its own that ends, as a killed one does, before it moves or removes for the `step`th time.

    Whether it got that far.
    """
    child = os.fork()
    if child == 0:
        done = 0

        def counted(call: Callable) -> Callable:
            def counting(*arguments: object, **options: object) -> object:
                nonlocal done
                done += 1
                if done == step:
                    os._exit(9)
                return call(*arguments, **options)

            return counting

        for name in ("rename", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, 9)
    return ended == 9


def again(settings: Settings, file: Path) -> None:
    restore(settings, file, silent)


def up(settings: Settings, file: Path) -> None:
    """What `services.up` does first."""
    prepare(settings)  # by a server that somebody starts by hand
    with services.lock(settings):
        exchange.complete(settings)


@pytest.fixture
def saved(copy: Settings, file: Path) -> Iterator[Callable[[], None]]:
    """A function that puts the home back to what it is now."""
    shutil.copytree(copy.home, file.with_name("saved"), symlinks=True)

    def reset() -> None:
        shutil.rmtree(copy.home)
        shutil.copytree(file.with_name("saved"), copy.home, symlinks=True)

    yield reset


@pytest.mark.parametrize("then", [again, up])
@pytest.mark.parametrize("lost", [False, True], ids=["", "nothing there before"])
def test_restore_killed_at_every_step(
    then: Callable, lost: bool, copy: Settings, file: Path, saved: Callable[[], None]
) -> None:
    step = interrupted = 0
    while True:
        step += 1
        saved()
        if lost:
            shutil.rmtree(copy.home)
        before = replaced(copy.home)
        if not killed_before(step, lambda: restore(copy, file, silent)):
            break
        begun = bool(exchange.unfinished(copy))
        interrupted += begun
        then(copy, file)
        if then is again or begun:
            assert is_as_backed_up(copy)
            assert exchange.unfinished(copy) == []
            asides = copy.home.glob("before-restore-*")
            assert lost or any(before.items() <= contents(aside).items() for aside in asides)
        else:  # before the present state was touched, or after all was done
            assert replaced(copy.home) == before | {"ftp": "/", "ftp/artifacts": "/"} or is_as_backed_up(copy)
    assert interrupted >= (3 if lost else 6)


def test_unfinished_restore_is_not_backed_up(copy: Settings, file: Path) -> None:
    assert killed_before(4, lambda: restore(copy, file, silent))
    assert exchange.unfinished(copy)
    copy.tracking_database.touch()  # as a server would that somebody starts by hand
    with pytest.raises(BackupError, match="a restore was interrupted here"):
        backup(copy, file.with_name("second.tar"), silent)


def test_killed_backup_leaves_nothing_behind_for_long(copy: Settings) -> None:
    step = 1
    while killed_before(step, lambda: backup(copy, say=silent)):
        step += 1
    assert step > 5
    backup(copy, say=silent)
    assert {path.suffix for path in copy.backups.iterdir()} == {".tar"}
    assert not (copy.home / ".backup").exists()
    for file in list(copy.backups.iterdir()):
        restore(copy, file, silent)
        assert is_as_backed_up(copy)
