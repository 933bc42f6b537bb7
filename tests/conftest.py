"""What several tests share: free ports, copies of DSGo, one running pair of servers, and a guard against leaks."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import groups
import ports
import psutil
import pytest

from dsgo import daemon, probes, services
from dsgo.settings import HOST, Settings, load

CHECKOUT = Path(__file__).resolve().parent.parent
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
COUNTER = itertools.count()
PORT_FREE_S = 10.0
IGNORED = {".pytest_cache", ".ruff_cache", "__pycache__", ".dsgo", ".venv"}

# Several threads of OpenMP that wait for each other on cores shared with another worker take many times as long.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "NO_PROXY": HOST, "no_proxy": HOST}


def pytest_configure() -> None:
    """Before a test module imports MLflow, which looks at these once."""
    os.environ.update(QUIET)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.update(ONE_THREAD)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> groups.GroupScheduling:
    return groups.GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        groups.arrange(items)


@pytest.hookimpl(tryfirst=True)  # before any fixture is made
def pytest_runtest_setup(item: pytest.Item) -> None:
    groups.check(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around xdist's, which ends the workers
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """End what workers have left that could not clean up, because they crashed or the user interrupted the run."""
    if not session.config.getoption("numprocesses", None):
        return (yield)
    started = psutil.Process().children(recursive=True)
    result = yield
    root = session.config._tmp_path_factory.getbasetemp()  # the workers' folders lie in it
    while left := [*filter(_lives, started), *_own_processes(root)]:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, 20)
    return result


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _own_processes(root: Path) -> list[psutil.Process]:
    """All processes whose DSGO_HOME is below `root`, and all descendants of this one."""
    found = []
    descendants = psutil.Process().children(recursive=True)
    for process in psutil.process_iter():
        try:
            inside = Path(process.environ().get("DSGO_HOME", "/")).is_relative_to(root)
            command = " ".join(process.cmdline())
        except (psutil.Error, OSError):
            continue
        # multiprocessing's and loky's trackers live as long as the process that they watch
        if process.pid != os.getpid() and (inside or process in descendants) and "resource_tracker" not in command:
            found.append(process)
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test: no process, environment variable or file of the tests is left."""
    environment = dict(os.environ)
    files = {entry.name for entry in CHECKOUT.iterdir()} | IGNORED
    yield
    left = _own_processes(tmp_path_factory.getbasetemp())
    assert not left, f"processes left running: {[process.cmdline() for process in left]}"
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # written by mlflow.set_experiment, which has no counterpart
    changed = {name for name in {*os.environ, *environment} if os.environ.get(name) != environment.get(name)}
    changed = {name for name in changed if not name.startswith(("PYTEST_", "KMP_"))}  # KMP_: importing scikit-learn
    assert not changed, f"environment variables left changed: {sorted(changed)}"
    added = {entry.name for entry in CHECKOUT.iterdir()} - files
    assert not added, f"files left in the checkout: {sorted(added)}"


@pytest.fixture(autouse=True)
def own_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each test without `servers` has a DSGO_HOME of its own, not yet made, and no settings of the developer's copy."""
    if "servers" not in request.fixturenames:
        for name in [name for name in os.environ if name.startswith(("DSGO_", "MLFLOW_"))]:
            if name not in (*QUIET, "DSGO_SHARED_DATA"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("DSGO_HOME", str(tmp_path_factory.getbasetemp() / f"home-of-a-test-{next(COUNTER)}"))


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Function: `free_ports(n)` gives n different ports that nobody listens on."""
    return ports.free_ports


@pytest.fixture(scope="session")
def new_settings(
    free_ports: Callable[[int], list[int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Settings]]:
    """Function: settings of a new copy of DSGo, on free ports in a folder of its own (or `home`).

    At the end all copies are stopped; that leaves no process and no taken port, or the tests fail.
    """
    made: list[Settings] = []

    def make(home: Path | None = None) -> Settings:
        tracking, serve, dashboard, orchestrator = free_ports(4)
        settings = dataclasses.replace(
            load({"DSGO_HOME": str(home or tmp_path_factory.mktemp("home"))}),
            ftp_port=ports.free_ftp_port(),
            tracking_port=tracking,
            serve_port=serve,
            dashboard_port=dashboard,
            orchestrator_port=orchestrator,
        )
        made.append(settings)
        return settings

    yield make
    for settings in made:
        services.down(settings)
    for settings in made:  # after all are stopped: what one leaves must not keep the others running
        left = daemon.processes(settings)
        assert not left, f"still running: {left}"
        for service in services.SERVICES.values():
            # A killed process with threads can be a zombie while the last of them still holds its port.
            deadline = time.monotonic() + PORT_FREE_S
            while probes.is_taken(service.port(settings)):
                assert time.monotonic() < deadline, (
                    f"{service.name} still listens: {probes.holder(service.port(settings))}"
                )
                time.sleep(0.05)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DSGO_HOME of `servers`."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def servers(new_settings: Callable[..., Settings], home: Path) -> Iterator[Settings]:
    """A real FTP store and tracking server, shared by all tests that ask for them, and the environment to use them.

    Gives the settings, with the FTP password. Tests share what is in there: take names of your own for experiments
    and models.
    """
    settings = services.up(new_settings(home))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.child_environment().items():
            patch.setenv(name, value)
        yield settings


@pytest.fixture(scope="session")
def postgresql(free_ports: Callable[[int], list[int]]) -> Iterator[str]:
    """Address, with its password, of a real PostgreSQL that ends with the tests. Without one they are skipped, on CI fail."""
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    # PostgreSQL does not run as root; Debian's package makes a user for it.
    user = [] if os.getuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    possible = found and (not user or subprocess.run([*user, "true"], capture_output=True, check=False).returncode == 0)
    if not possible:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no PostgreSQL, or no user to run it")
    programs = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="dsgo-postgresql-"))  # pytest's own folders are closed to that user
    password, (port,) = secrets.token_hex(8), free_ports(1)
    (folder / "password").write_text(password)
    if user:
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(folder / "password", "postgres", "postgres")

    def run(program: str, *arguments: object) -> None:
        command = [*user, programs / program, "-D", folder / "data", *arguments]
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run("initdb", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=dsgo", "--no-sync")
        listen = f"-c listen_addresses={HOST} -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "start", "--wait", "--log", folder / "log", "--options", listen)
        yield f"postgresql://dsgo:{password}@{HOST}:{port}/postgres"
        run("pg_ctl", "stop", "--wait", "--mode=fast")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Without one tests are skipped, but on CI they fail."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("CI") == "true":
        pytest.fail("there is no chromium")
    pytest.skip("there is no chromium")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """One Chromium for the tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data files, which are not part of the checkout: DSGO_SHARED_DATA, else ../shared/data."""
    folder = Path(os.environ.get("DSGO_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the real data is not at hand ({folder})")
    return folder
