"""What a pipeline that was killed leaves behind: processes that still work, and runs that say RUNNING for ever.

While a pipeline runs, its process holds a lock, and whatever it starts carries the collection's name in `DSGO_PIPELINE`. The
system lets go of the lock when the process is gone, however it went. So who has the lock knows: what else carries the name
belongs to a pipeline that is no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing import resource_tracker
from pathlib import Path

import psutil

from dsgo import daemon, tags
from dsgo.errors import DSGoError
from dsgo.settings import Settings

MARK = "DSGO_PIPELINE"
END_DEADLINE_S = 10.0


@contextlib.contextmanager
def only_one(settings: Settings, collection: str, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Have only one pipeline of a collection at a time: two would do the same work and race for Production.

    Args:
        wait: is told which process has the lock, and then this one waits for it.

    Raises:
        DSGoError: another one is at work, and there is no `wait`.
    """
    with (settings.home / f"pipeline-{collection}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            busy = f"A pipeline of {collection} is running already in {settings.home} (process {file.read() or 'unknown'})."
            if wait is None:
                raise DSGoError(busy, "Wait until it has ended.") from None
            wait(busy)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def marked(settings: Settings, collection: str) -> Iterator[None]:
    """While this lasts, processes that this one starts carry the mark; none of them outlives it.

    Raises:
        DSGoError: a process does not end even when killed.
    """
    # Python's keeper of semaphores is to outlive them: a second one complains of each that it was never told of. This one says
    # nothing of those that a killed process leaves: it cleans them up.
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"
    resource_tracker.ensure_running()
    del os.environ["PYTHONWARNINGS"]
    if before is not None:
        os.environ["PYTHONWARNINGS"] = before
    os.environ[MARK] = collection
    try:
        yield
    finally:
        del os.environ[MARK]
        end_processes(settings, collection)


def processes(settings: Settings, collection: str) -> list[psutil.Process]:
    """Running processes of pipelines of this collection in this copy, but for the process that asks."""
    home = os.path.realpath(settings.home)
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # another user's, a kernel thread, a zombie, or ended meanwhile
        same = environment.get(MARK) == collection and os.path.realpath(environment.get("DSGO_HOME", "")) == home
        if same and process.pid != os.getpid():
            found.append(process)
    return found


def end_processes(settings: Settings, collection: str) -> list[int]:
    """Kill all of them, until no more are found; return their process ids.

    Only for who holds the lock. They are killed at once, since a step that is asked to end may end its run as failed, and a
    worker that sees its step end may start the next.
    """
    ended: set[int] = set()

    def none_is_left() -> bool:
        left = processes(settings, collection)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        ended.update(process.pid for process in left)
        return not left

    if not daemon.wait_until(none_is_left, END_DEADLINE_S):
        raise DSGoError(f"A step of an earlier pipeline of {collection} does not end.", f"Processes: {sorted(ended)}.")
    return sorted(ended)


def identity(pid: int | None = None) -> str:
    """A process, this one by default, so that it can be told from any that later has its number: host, boot, number, start.

    Raises:
        ProcessLookupError: there is no such process.
    """
    pid = os.getpid() if pid is None else pid
    return f"{platform.node()} {_boot()} {pid} {_started(pid)}"


def is_gone(process: str) -> bool:
    """Whether the process of this `identity` is known to have ended. Of another host's nothing is known."""
    host, boot, pid, _ = process.rsplit(" ", 3)
    if host != platform.node():
        return False
    if boot != _boot():
        return True
    try:
        return identity(int(pid)) != process
    except ProcessLookupError:
        return True


@cache
def _boot() -> str:
    """What changes with each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        return f"{psutil.boot_time():.0f}"


def _started(pid: int) -> str:
    """When a process has started: on Linux in ticks since the machine's start, which setting the clock does not change."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        try:
            return f"{psutil.Process(pid).create_time():.0f}"
        except psutil.NoSuchProcess:
            raise ProcessLookupError(pid) from None
    state, *_, started = stat.rpartition(")")[2].split()[
        :20
    ]  # the name before may hold anything (proc(5), fields 3 to 22)
    if state in "ZX":
        raise ProcessLookupError(pid)
    return started


def end_runs(client, experiment_id: str) -> list[str]:
    """Mark as KILLED every run whose process is gone; return their ids. Runs of live processes and of nobody's are left."""
    open_runs = client.search_runs(
        [experiment_id], f"attributes.status = 'RUNNING' and tags.`{tags.PROCESS}` != ''", max_results=1000
    )
    gone = [run.info.run_id for run in open_runs if is_gone(run.data.tags[tags.PROCESS])]
    for run_id in gone:
        client.set_terminated(run_id, "KILLED")
    return gone


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, and SIGHUP of a closed terminal, do what Ctrl-C does. What is ignored (`nohup`) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    taken = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
