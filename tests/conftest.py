"""What several tests share: free ports, copies of DSGo, one running pair of servers, and a guard against leaks."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dsgo import daemon, probes, services
from dsgo.settings import HOST, Settings, load

CHECKOUT = Path(__file__).resolve().parent.parent
# Below the ports that systems hand out for outgoing connections, and so are the FTP server's data ports, 10,000 above:
# a port stays free between choosing it and listening on it, and while a killed server is started again.
PORTS = range(15_000, 22_500)
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
IGNORED = {".pytest_cache", ".ruff_cache", "__pycache__", ".dsgo", ".venv"}


QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "NO_PROXY": HOST, "no_proxy": HOST}


def pytest_configure() -> None:
    """Before a test module imports MLflow, which looks at these once."""
    os.environ.update(QUIET)


def _own_processes(root: Path) -> list[str]:
    """Command lines of all processes whose DSGO_HOME is below `root`, and of all descendants of this one."""
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
            found.append(f"{process.pid} {command}")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test: no process, environment variable or file of the tests is left."""
    environment = dict(os.environ)
    files = {entry.name for entry in CHECKOUT.iterdir()} | IGNORED
    yield
    left = [command for command in _own_processes(tmp_path_factory.getbasetemp()) if "xdist" not in command]
    assert not left, f"processes left running: {left}"
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

    def choose(count: int) -> list[int]:
        found: list[int] = []
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            if not probes.is_taken(port):
                found.append(port)
        return found

    return choose


@pytest.fixture(scope="session")
def new_settings(
    free_ports: Callable[[int], list[int]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Settings]]:
    """Function: settings of a new copy of DSGo, on free ports in a folder of its own (or `home`).

    At the end all copies are stopped; that leaves no process and no taken port, or the tests fail.
    """
    made: list[Settings] = []

    def make(home: Path | None = None) -> Settings:
        ftp, tracking, serve, dashboard = free_ports(4)
        settings = dataclasses.replace(
            load({"DSGO_HOME": str(home or tmp_path_factory.mktemp("home"))}),
            ftp_port=ftp,
            tracking_port=tracking,
            serve_port=serve,
            dashboard_port=dashboard,
        )
        made.append(settings)
        return settings

    yield make
    for settings in made:
        services.down(settings)
        left = daemon.processes(settings)
        assert not left, f"still running: {left}"
        for service in services.SERVICES.values():
            assert not probes.is_taken(service.port(settings)), f"{service.name} still listens"


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
