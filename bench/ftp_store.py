"""The FTP store against MLflow's built-in FTP store and raw ftplib, all in one run: medians of ratios.

    python bench/ftp_store.py [--rounds 5] [--large 1000] [--skip-slow]

Every round does each piece of work with the peer first, then with DSGo's plugin, against the same server: DSGo's own,
started here on free ports. The peer profits from that server too. Round trips of 20 ms are made by a relay in front
of it. Exit code 1 if an aim is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import ftplib
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FILES, FILE_BYTES = 300, 10_000
LISTINGS = 10  # a round: each takes milliseconds
ROUND_TRIP_S = 0.020
MB = 1_000_000

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="true",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
)

import mlflow  # noqa: E402
import psutil  # noqa: E402
from mlflow.store.artifact.ftp_artifact_repo import FTPArtifactRepository as BuiltIn  # noqa: E402
from servers import free_port, running  # noqa: E402

import dsgo.ftp_connection as ftp_connection  # noqa: E402
from dsgo import settings  # noqa: E402
from dsgo.ftp_artifacts import FTPArtifactRepository as Plugin  # noqa: E402


@dataclass
class Row:
    """One line of the table: seconds of the peer and ours, a pair a round."""

    work: str
    peer: str
    aim: float
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def time(self, theirs: Callable[[], object], ours: Callable[[], object]) -> None:
        """One round."""
        self.pairs.append((seconds(theirs), seconds(ours)))

    @property
    def ratio(self) -> float:
        return statistics.median(peer / ours for peer, ours in self.pairs)

    def __str__(self) -> str:
        peer, ours = (statistics.median(times) for times in zip(*self.pairs, strict=True))
        verdict = "reached" if self.ratio >= self.aim else "MISSED"
        ratio, aim = f"{self.ratio:.2f} ×", f"≥ {self.aim:g} ×"
        return f"{self.work:<44} {self.peer:<24} {peer:>9.4f} {ours:>9.4f} {ratio:>9} {aim:>8}  {verdict}"


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def free_ports() -> int:
    """A port below those that the system gives to clients, free with its passive ports on both addresses."""
    for port in range(11_000, 22_000, 50):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in (port, *settings.Settings(home=Path(), ftp_port=port).passive_ports):
                for host in ("127.0.0.1", "127.0.0.2"):
                    stack.enter_context(socket.create_server((host, number)))
            return port
    raise RuntimeError("no free ports")


@contextlib.contextmanager
def server(home: Path, tls: bool = False) -> Iterator[settings.Settings]:
    """DSGo's FTP server as a process of its own, and the settings that lead to it."""
    port = free_ports()
    environ = {**os.environ, "DSGO_HOME": str(home), "DSGO_FTP_PORT": str(port), "DSGO_FTP_TLS": str(tls).lower()}
    environ["PYTHONPATH"] = str(CHECKOUT)

    def answers() -> None:
        with socket.create_connection((settings.HOST, port), 5) as probe:
            probe.recv(1)  # it serves, so its login is written down

    command = [sys.executable, str(CHECKOUT / "server/ftpserver.py")]
    with running(command, environ, home.with_suffix(".log"), answers):
        try:
            yield settings.load(environ)
        finally:
            ftp_connection.close_pools()


class SlowRelay:
    """Passes all ports of 127.0.0.2 on to 127.0.0.1, each byte half a round trip later."""

    host = "127.0.0.2"

    def __init__(self, current: settings.Settings) -> None:
        self._listeners = [
            socket.create_server((self.host, port)) for port in (current.ftp_port, *current.passive_ports)
        ]

    def __enter__(self) -> SlowRelay:
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def __exit__(self, *args) -> None:
        ftp_connection.close_pools()
        for listener in self._listeners:
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(here, listener.getsockname()[1]), daemon=True).start()

    def _connect(self, here: socket.socket, port: int) -> None:
        time.sleep(ROUND_TRIP_S / 2)  # the first packet of the connection on its way
        try:
            there = socket.create_connection((settings.HOST, port))
        except OSError:
            here.close()
            return
        for one in (here, there):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pair in ((here, there), (there, here)):
            threading.Thread(target=self._delay, args=pair, daemon=True).start()

    def _delay(self, source: socket.socket, target: socket.socket) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        arrived = threading.Condition()

        def send() -> None:
            while True:
                with arrived:
                    while not waiting:
                        arrived.wait()
                    due, data = waiting.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)
                except OSError:
                    return

        threading.Thread(target=send, daemon=True).start()
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            with arrived:
                waiting.append((time.monotonic() + ROUND_TRIP_S / 2, data))
                arrived.notify()
            if not data:
                return


def use(current: settings.Settings) -> None:
    """Make the plugin find this server's login, as a user's environment does."""
    os.environ["DSGO_HOME"], os.environ["DSGO_FTP_PORT"] = str(current.home), str(current.ftp_port)
    os.environ["DSGO_FTP_TLS"] = str(current.ftp_tls).lower()
    os.environ["DSGO_FTP_USER"], os.environ["DSGO_FTP_PASSWORD"] = current.ftp_user, current.ftp_password


def built_in(current: settings.Settings, path: str, host: str = settings.HOST) -> BuiltIn:
    return BuiltIn(f"ftp://{current.ftp_user}:{current.ftp_password}@{host}:{current.ftp_port}/artifacts/{path}")


def plugin(current: settings.Settings, path: str, host: str = settings.HOST) -> Plugin:
    return Plugin(f"ftp://{host}:{current.ftp_port}/artifacts/{path}")


def up_and_down(rows: tuple[Row, Row], theirs: BuiltIn, ours: Plugin, folder: Path) -> None:
    """One round of both."""
    rows[0].time(partial(theirs.log_artifacts, folder), partial(ours.log_artifacts, folder))
    rows[1].time(partial(theirs.download_artifacts, ""), partial(ours.download_artifacts, ""))


def many_files(current: settings.Settings, folder: Path, rounds: int) -> list[Row]:
    both = (
        Row(f"up {FILES} files of 10 kB, loopback", "MLflow's built-in", 3),
        Row(f"down {FILES} files of 10 kB, loopback", "MLflow's built-in", 3),
    )
    listing = Row(f"list {FILES} files", "MLflow's built-in", 40)
    use(current)
    for number in range(rounds):
        theirs, ours = built_in(current, f"theirs{number}"), plugin(current, f"ours{number}")
        up_and_down(both, theirs, ours, folder)
        # One after the other would let the server close the peer's session, with its thread, while it answers ours.
        peer = [seconds(theirs.list_artifacts) for _ in range(LISTINGS)]
        listing.pairs += zip(peer, [seconds(ours.list_artifacts) for _ in range(LISTINGS)], strict=True)
        assert len(ours.list_artifacts()) == len(theirs.list_artifacts()) == FILES
    return [*both, listing]


def singly(current: settings.Settings, folder: Path, rounds: int) -> list[Row]:
    """What remains of the gain with a server that has no bundles: a transfer a file."""
    both = (
        Row(f"up {FILES} files, without bundles", "MLflow's built-in", 1),
        Row(f"down {FILES} files, without bundles", "MLflow's built-in", 1),
    )
    use(current)
    for number in range(rounds):
        theirs, ours = built_in(current, f"theirs-s{number}"), plugin(current, f"ours-s{number}")
        ours._offers = lambda feature: False
        up_and_down(both, theirs, ours, folder)
    return list(both)


def far_away(current: settings.Settings, folder: Path, rounds: int) -> list[Row]:
    rows = []
    use(current)
    with SlowRelay(current) as relay:
        for kind in ("", ", no bundles"):
            both = (
                Row(f"up {FILES} files, 20 ms round trip{kind}", "MLflow's built-in", 10),
                Row(f"down {FILES} files, 20 ms round trip{kind}", "MLflow's built-in", 10),
            )
            for number in range(rounds):
                theirs = built_in(current, f"far{bool(kind)}{number}", relay.host)
                ours = plugin(current, f"far-ours{bool(kind)}{number}", relay.host)
                if kind:
                    ours._offers = lambda feature: False
                up_and_down(both, theirs, ours, folder)
            rows += both
    return rows


def under_tls(plain: settings.Settings, tls: settings.Settings, folder: Path, rounds: int) -> list[Row]:
    both = (
        Row(f"up {FILES} files over TLS", "built-in without TLS", 1),
        Row(f"down {FILES} files over TLS", "built-in without TLS", 1),
    )
    use(tls)
    for number in range(rounds):
        up_and_down(both, built_in(plain, f"theirs-tls{number}"), plugin(tls, f"tls{number}"), folder)
    return list(both)


def one_large_file(current: settings.Settings, folder: Path, megabytes: int, rounds: int) -> tuple[list[Row], float]:
    """Also returns how many MB the memory of this process grew by. All files are new ones: to write over one gives raw
    ftplib, which first cuts it to nothing, memory that the system has at hand."""
    up = Row(f"up one file of {megabytes} MB", "raw ftplib STOR", 0.9)
    down = Row(f"down one file of {megabytes} MB", "raw ftplib RETR", 0.9)
    use(current)
    large, raw_back, back = folder / "large.bin", folder / "raw-back.bin", folder / "back.bin"
    with large.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MB))
    ours = plugin(current, "large")
    process, highest = psutil.Process(), 0
    before = process.memory_info().rss

    def watched(work: Callable[[], object]) -> None:
        nonlocal highest
        done = threading.Event()

        def watch() -> None:
            nonlocal highest
            while not done.wait(0.02):
                highest = max(highest, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        work()
        done.set()
        watcher.join()

    with ftplib.FTP() as ftp:
        ftp.connect(settings.HOST, current.ftp_port)
        ftp.login(current.ftp_user, current.ftp_password)

        def store() -> None:
            with large.open("rb") as file:
                ftp.storbinary("STOR artifacts/raw.bin", file)

        def remove() -> None:
            for file in (raw_back, back):
                file.unlink(missing_ok=True)
            ours.delete_artifacts("large.bin")
            with contextlib.suppress(ftplib.error_perm):
                ftp.delete("artifacts/raw.bin")

        def retrieve() -> None:
            with raw_back.open("wb") as file:
                ftp.retrbinary("RETR artifacts/raw.bin", file.write)

        for _ in range(rounds):
            remove()
            up.time(store, partial(watched, partial(ours.log_artifact, large)))
            down.time(retrieve, partial(watched, partial(ours._download_file, "large.bin", back)))
    grown = (highest - before) / MB
    for file in (large, raw_back, back):
        file.unlink()
    return [up, down], grown


def small_model(current: settings.Settings, base: Path, rounds: int) -> list[Row]:
    """log_model and load_model of a linear model; the peer is a tracking server that proxies to its local disk."""
    from mlflow.tracking import MlflowClient
    from sklearn.linear_model import LinearRegression

    row = Row("log_model + load_model of a small model", "proxy on local disk", 1)
    port = free_port()
    command = ["--backend-store-uri", f"sqlite:///{base / 'mlflow.db'}", "--host", settings.HOST, "--port", str(port)]
    command += ["--workers", "1", "--serve-artifacts", "--artifacts-destination", str(base / "proxied")]
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONPATH": str(CHECKOUT)}
    environ["MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES"] = "ftp"  # besides its own store, the proxied one

    def answers() -> None:
        socket.create_connection((settings.HOST, port), 1).close()

    with running([sys.executable, "-m", "mlflow", "server", *command], environ, base / "mlflow.log", answers):
        use(current)
        mlflow.set_tracking_uri(f"http://{settings.HOST}:{port}")
        client = MlflowClient()
        places = {
            "peer": client.create_experiment("proxied"),
            "ours": client.create_experiment("ftp", f"ftp://{settings.HOST}:{current.ftp_port}/artifacts/models"),
        }
        model = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])

        def log_and_load(experiment: str) -> None:
            with mlflow.start_run(experiment_id=experiment):
                info = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])
            mlflow.pyfunc.load_model(info.model_uri)

        for place in places.values():
            log_and_load(place)  # imports and connections
        for _ in range(max(rounds, 9)):
            row.time(partial(log_and_load, places["peer"]), partial(log_and_load, places["ours"]))
    return [row]


def show(rows: list[Row]) -> list[Row]:
    """Print rows as soon as they are measured."""
    for row in rows:
        print(row, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-slow", action="store_true", help="leave out the 20 ms round trips and the model")
    parser.add_argument("--large", type=int, default=1000, help="size of the large file in MB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        base = Path(name)
        os.environ["HOME"] = name
        (base / "files").mkdir()
        for number in range(FILES):
            (base / "files" / f"{number:03}.bin").write_bytes(os.urandom(FILE_BYTES))
        plain = stack.enter_context(server(base / "plain"))
        encrypted = stack.enter_context(server(base / "tls", tls=True))
        print(f"{'work':<44} {'against':<24} {'peer s':>9} {'ours s':>9} {'ratio':>9} {'aim':>8}", flush=True)
        rows = show(many_files(plain, base / "files", options.rounds))
        rows += show(singly(plain, base / "files", options.rounds))
        rows += show(under_tls(plain, encrypted, base / "files", options.rounds))
        large, grown = one_large_file(plain, base, options.large, max(3, options.rounds // 2))
        rows += show(large)
        if not options.skip_slow:
            rows += show(small_model(plain, base, options.rounds))
            rows += show(far_away(plain, base / "files", 1))  # the built-in store takes minutes for it
    memory = "reached" if grown < 64 else "MISSED"
    print(f"memory above the start with a file of {options.large} MB: {grown:.0f} MB (aim < 64 MB)  {memory}")
    return 0 if grown < 64 and all(row.ratio >= row.aim for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
