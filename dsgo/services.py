"""The servers of one copy of DSGo: start them, wait until they answer, look at them, stop them.

`ftp` keeps artifacts, `tracking` is MLflow's tracking server and registry, `serve` answers with predictions of the
Production model over REST, `dashboard` shows it, `orchestrator` starts jobs by the clock and has Dagster's UI. They run
under supervisord (`dsgo.daemon`, `server/supervisord.conf`), which starts again what crashes.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil

from dsgo import daemon, exchange, probes
from dsgo.errors import NoProductionModel, RegistryError, ServiceError, SettingError
from dsgo.settings import HOST, Settings, prepare

DEFAULT_COLLECTION = "wind_solar"
LOCK_DEADLINE = 300.0  # seconds to wait for another `up`, `down` or `restore` of the same copy
LOG_TAIL = 20  # lines of a log that an error carries
Say = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """What is to be known about one server.

    Attributes:
        patience: seconds to become ready on a slow machine.
        needs: services that have to run for it.
        optional: nothing is amiss where it has not been started.
    """

    name: str
    setting: str
    scheme: str
    ready: probes.Probe
    patience: float
    needs: tuple[str, ...] = ()
    optional: bool = False

    def port(self, settings: Settings) -> int:
        """Port that the settings give this service."""
        return getattr(settings, f"{self.name}_port")

    def address(self, settings: Settings) -> str:
        """Address to reach it at."""
        return f"{self.scheme}://{HOST}:{self.port(settings)}"


SERVICES = {
    service.name: service
    for service in (
        Service("ftp", "DSGO_FTP_PORT", "ftp", probes.ftp_greets, 60),
        Service("tracking", "DSGO_TRACKING_PORT", "http", probes.http_answers("/health"), 180),
        Service("serve", "DSGO_SERVE_PORT", "http", probes.http_answers("/ping"), 240, ("ftp", "tracking")),
        Service("dashboard", "DSGO_DASHBOARD_PORT", "http", probes.http_answers("/ping"), 180, ("ftp", "tracking")),
        Service(
            *("orchestrator", "DSGO_DAGSTER_PORT", "http", probes.http_answers("/server_info"), 300),
            needs=("ftp", "tracking"),
            optional=True,
        ),
    )
}


@dataclass(frozen=True)
class Status:
    """One row of `status`. `state`: up, starting, restarting, failed, stopping, orphaned or down. `uptime`: s."""

    name: str
    state: str
    address: str
    pid: int | None = None
    uptime: float | None = None
    detail: str = ""


def _silent(_: str) -> None:
    pass


def up(settings: Settings, names: Sequence[str] = ("ftp", "tracking"), say: Say = _silent) -> Settings:
    """Start the services of `names` and those that they need, and wait until each answers.

    What runs already is left alone, unless the ports have changed since: then all services move to the new ones.

    Args:
        settings: which copy of DSGo.
        names: keys of `SERVICES`.
        say: called with one line for each service as it becomes ready.

    Returns:
        The settings now in force, with the FTP password that the first start makes up.

    Raises:
        ServiceError: a port is taken, or a service dies or is not ready in time; carries the end of its log.
        NoProductionModel: `serve` is asked for and there is no model to serve.
    """
    unknown = [name for name in names if name not in SERVICES]
    if unknown:
        raise ServiceError(unknown[0], "no such service.", f"There are {', '.join(SERVICES)}.")
    with lock(settings):
        exchange.complete(settings)
        settings = prepare(settings)
        names = {*names, *(needed for name in names for needed in SERVICES[name].needs)}
        if settings.elsewhere:
            _registry(settings, "get", {"name": DEFAULT_COLLECTION})  # finds out whether somebody answers there
            names -= {"ftp", "tracking"}
            if not names:
                return settings
        names |= _ensure_supervisor(settings, names)
        base = [name for name in SERVICES if name in names and not SERVICES[name].needs]
        for name in base:  # side by side: the tracking server takes its time
            _launch(settings, name)
        for name in base:
            _await(settings, name, say)
        others = [name for name in ("dashboard", "orchestrator") if name in names]
        for name in others:
            _launch(settings, name)
        if "serve" in names:
            _serve(settings, wanted_collection(settings), say)
        for name in others:
            _await(settings, name, say)
    return settings


def down(settings: Settings) -> None:
    """Stop all services of this copy and supervisord; return when none of their processes is left.

    Raises:
        ServiceError: a process does not end.
    """
    if daemon.folder(settings).exists():
        with lock(settings):
            daemon.stop(settings)


def restart(settings: Settings, name: str, say: Say = _silent) -> None:
    """Stop the service `name` if it runs, start it and wait until it answers. Raises as `up` does."""
    if name in SERVICES:
        with lock(settings), contextlib.suppress(daemon.Unreachable):
            _halt(settings, name)
    up(settings, (name,), say)


def serve(settings: Settings, collection: str = DEFAULT_COLLECTION, say: Say = _silent) -> str:
    """Make the `serve` service answer with the Production version of `collection`, restarting it if it serves another.

    Returns:
        The version that is served.

    Raises:
        SettingError: there is no such collection.
        NoProductionModel: no version is in Production yet.
        ServiceError: as `up`.
    """
    check_collection(settings, collection)
    settings = up(settings, SERVICES["serve"].needs, say)
    with lock(settings):
        return _serve(settings, collection, say)


def status(settings: Settings) -> list[Status]:
    """The state of each service, in the order of `SERVICES`, without optional ones that are down. Starts and writes nothing."""
    infos = _infos(settings)
    strays = {} if infos else daemon.processes(settings)
    rows = [_status_row(settings, service, infos.get(service.name), strays) for service in SERVICES.values()]
    return [row for row in rows if row.state != "down" or not SERVICES[row.name].optional]


def require(settings: Settings) -> None:
    """Make sure that store and tracking server are up, on this machine or where they are. Starts and writes nothing.

    Raises:
        ServiceError: one is not up.
        RegistryError: the tracking server elsewhere does not answer.
    """
    if settings.elsewhere:
        _registry(settings, "get", {"name": DEFAULT_COLLECTION})
        return
    for row in status(settings):
        if row.name in ("ftp", "tracking") and row.state != "up":
            raise ServiceError(row.name, "is not up; only the servers know what has been run.", "Start them: make up")


def check_collection(settings: Settings, collection: str) -> None:
    """Raises SettingError when there is no collection of that name in `projects/`."""
    known = sorted(file.parent.name for file in (settings.checkout / "projects").glob("*/collection.yaml"))
    if collection not in known:
        raise SettingError("COLLECTION", collection, f"one of {', '.join(known)}")


def production_version(settings: Settings, collection: str) -> str:
    """Number of the model version that is in Production for `collection`.

    Asks the tracking server's REST interface directly: importing MLflow takes seconds.

    Raises:
        NoProductionModel: there is none.
        RegistryError: the tracking server does not answer as it should.
    """
    answer = _registry(settings, "get-latest-versions", {"name": collection, "stages": "Production"})
    if not answer:
        raise NoProductionModel(collection)
    return answer["model_versions"][0]["version"]


def out_of_order(settings: Settings) -> list[str]:
    """Names of the collections that `dsgo.promotion.repair` has something to do for.

    Asks as `production_version` does, for the same reason.

    Raises:
        RegistryError, DatabaseError: one of the two does not answer.
    """
    from dsgo import ledger

    rows = ledger.read()
    known = {file.parent.name for file in (settings.checkout / "projects").glob("*/collection.yaml")}
    wrong = []
    for collection in sorted(known | {row.collection for row in rows}):
        own = [row for row in rows if row.collection == collection]
        path = ledger.in_production(own)
        wanted = [str(path[-1].version)] if path else []
        model = _registry(settings, "get", {"name": collection}).get("registered_model", {})
        champion = [alias["version"] for alias in model.get("aliases", []) if alias["alias"] == "champion"]
        staged = [each["version"] for each in model.get("latest_versions", []) if each["current_stage"] == "Production"]
        if any(row.state == ledger.BEGUN for row in own) or not champion == staged == wanted:
            wrong.append(collection)
    return wrong


def follow(settings: Settings, collection: str, say: Say = _silent) -> None:
    """Have the REST endpoint, if it runs and serves `collection`, answer with what is in Production now.

    Raises:
        ServiceError: as `up`.
    """
    running = _infos(settings).get("serve", {}).get("pid")
    if running and wanted_collection(settings) == collection:
        with lock(settings):
            _serve(settings, collection, say)


def _registry(settings: Settings, method: str, query: dict[str, str]) -> dict:
    """What the registry's REST interface answers to `registered-models/<method>`; empty where it has no such model."""
    connection = http.client.HTTPConnection(settings.servers, settings.tracking_port, timeout=30)
    try:
        connection.request("GET", f"/api/2.0/mlflow/registered-models/{method}?{urlencode(query)}")
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RegistryError(
            f"The tracking server at {settings.tracking_uri} does not answer: {error}.", "Start it with `make up`."
        ) from error
    finally:
        connection.close()
    if answer.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return {}
    if response.status != 200:
        raise RegistryError(f"The tracking server at {settings.tracking_uri} says: {answer}.")
    return answer


def wanted_collection(settings: Settings) -> str:
    """The collection that `serve` was last asked to serve."""
    return _read(_wanted_file(settings)).get("collection", DEFAULT_COLLECTION)


def record_served(settings: Settings, collection: str, version: str, pid: int) -> None:
    """Note what the process `pid` is about to serve, for `status` and for `serve` to compare."""
    _write(_served_file(settings), {"collection": collection, "version": version, "pid": pid})


def log_tail(settings: Settings, name: str) -> str:
    """The last lines of the log of service `name`."""
    try:
        lines = (settings.logs / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-LOG_TAIL:])


@contextlib.contextmanager
def lock(settings: Settings) -> Iterator[None]:
    """Only one process at a time changes which services of this copy run, or replaces the state that they run on.

    The kernel frees the lock of a killed one.

    Raises:
        ServiceError: another process has held it for longer than `LOCK_DEADLINE`.
    """
    folder = daemon.folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:

        def free() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not daemon.wait_until(free, LOCK_DEADLINE):
            raise ServiceError(
                "supervisord",
                f"another `up`, `down` or `restore` has been working on {settings.home} for {LOCK_DEADLINE:.0f} s.",
                "Wait for it or end it, then try again.",
            )
        yield


def _wanted_file(settings: Settings) -> Path:
    return daemon.folder(settings) / "serve.json"


def _served_file(settings: Settings) -> Path:
    return daemon.folder(settings) / "served.json"


def _read(file: Path) -> dict:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        return {}


def _write(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(file)


def _infos(settings: Settings) -> dict[str, dict]:
    """What supervisord knows of each service; empty if it does not run."""
    try:
        with daemon.supervisor(settings) as supervisor:
            return {info["name"]: info for info in supervisor.getAllProcessInfo()}
    except daemon.Unreachable:
        return {}


def _ensure_supervisor(settings: Settings, names: set[str]) -> set[str]:
    """Have a supervisord run with these settings. Returns the services that had to be stopped for it."""
    infos = _infos(settings)
    started = daemon.started_with(settings)
    if infos and all(started.get(name) == value for name, value in daemon.wanted(settings).items()):
        return set()
    daemon.stop(settings)  # also what a killed supervisord left running
    stopped = {name for name, info in infos.items() if info["pid"]}
    for name in names | stopped:
        _refuse_taken(settings, name)
    daemon.start(settings)
    return stopped


def _refuse_taken(settings: Settings, name: str) -> None:
    service = SERVICES[name]
    probes.refuse_taken(name, service.port(settings), service.setting)


def _launch(settings: Settings, name: str) -> None:
    """Tell supervisord to start the service, unless it runs or is starting."""
    state = _infos(settings)[name]["statename"]
    if state in ("RUNNING", "STARTING"):
        return
    _halt(settings, name)  # ends a pause between two retries, and waits for one that is stopping
    _refuse_taken(settings, name)
    with daemon.supervisor(settings) as supervisor:
        supervisor.startProcess(daemon.process_name(name), False)


def _halt(settings: Settings, name: str) -> None:
    """Stop the service and wait until it has, with all that it has started: a child may hold the port a moment longer."""
    started = _children(_infos(settings).get(name, {}).get("pid", 0))
    with daemon.supervisor(settings) as supervisor:
        # NOT_RUNNING: it stood still already.
        with contextlib.suppress(xmlrpc.client.Fault):
            supervisor.stopProcess(daemon.process_name(name), False)
        stopped = daemon.wait_until(
            lambda: supervisor.getProcessInfo(daemon.process_name(name))["pid"] == 0, daemon.STOP_DEADLINE
        )
    _, left = psutil.wait_procs(started, timeout=daemon.STOP_DEADLINE)
    if not stopped or left:
        raise ServiceError(name, f"does not stop within {daemon.STOP_DEADLINE:.0f} s.")


def _children(pid: int) -> list[psutil.Process]:
    """All that a process has started; none of one that is not there (0)."""
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []


def _await(settings: Settings, name: str, say: Say) -> None:
    """Wait until the service answers.

    Raises:
        ServiceError: it died or is not ready in time. It is stopped then, instead of being tried for ever.
    """
    service = SERVICES[name]
    began = time.monotonic()
    problem = ""

    def settled() -> bool:
        nonlocal problem
        info = _infos(settings).get(name)
        if info is None:
            problem = "supervisord ended while the service was starting."
        elif info["statename"] in ("BACKOFF", "FATAL"):
            problem = "ended while starting."
        return bool(problem) or _is_up(settings, service, info)

    if not daemon.wait_until(settled, service.patience):
        problem = f"is not ready at {service.address(settings)} after {service.patience:.0f} s."
    if problem:
        with contextlib.suppress(daemon.Unreachable):
            _halt(settings, name)
        log = settings.logs / f"{name}.log"
        raise ServiceError(name, problem, f"The end of {log}:\n{log_tail(settings, name)}")
    waited = time.monotonic() - began
    say(f"{name:<10} {service.address(settings)}  " + (f"ready after {waited:.1f} s" if waited >= 1 else "ready"))


def _is_up(settings: Settings, service: Service, info: dict) -> bool:
    """Whether the supervised process itself, and not a stranger, answers at the service's port."""
    port = service.port(settings)
    return (
        info["statename"] in ("RUNNING", "STARTING")
        and info["pid"] != 0
        and probes.listens(info["pid"], port)
        and service.ready(port)
    )


def _serve(settings: Settings, collection: str, say: Say) -> str:
    version = production_version(settings, collection)
    _write(_wanted_file(settings), {"collection": collection})
    info = _infos(settings)["serve"]
    if info["pid"] and _read(_served_file(settings)) != {
        "collection": collection,
        "version": version,
        "pid": info["pid"],
    }:
        _halt(settings, "serve")
    _launch(settings, "serve")
    _await(settings, "serve", say)
    return version


def _status_row(settings: Settings, service: Service, info: dict | None, strays: dict) -> Status:
    address = service.address(settings)
    if info is None:
        stray = strays.get(service.name)
        return Status(service.name, "orphaned" if stray else "down", address, stray[0].pid if stray else None)
    if not info["pid"]:
        state = {"BACKOFF": "restarting", "EXITED": "restarting", "FATAL": "failed"}.get(info["statename"], "down")
        return Status(service.name, state, address)
    state = "up" if _is_up(settings, service, info) else {"STOPPING": "stopping"}.get(info["statename"], "starting")
    served = _read(_served_file(settings)) if service.name == "serve" else {}
    detail = f"{served['collection']} version {served['version']}" if served.get("pid") == info["pid"] else ""
    return Status(service.name, state, address, info["pid"], float(info["now"] - info["start"]), detail)
