"""A model served for a moment, as it would be in Production: `mlflow models serve` on a free port of this machine.

Not the model's own `predict` but what a client gets is compared and timed: start-up, signature, JSON both ways.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd

from dsgo.daemon import wait_until
from dsgo.errors import GateError
from dsgo.gate import Trial
from dsgo.probes import http_answers
from dsgo.served import example
from dsgo.settings import HOST

START_DEADLINE_S = 300.0  # a very busy machine imports MLflow, twice, for minutes
ANSWER_DEADLINE_S = 60.0
WARMING, TIMED = 10, 60  # requests
MB = 1e6
PR_SET_PDEATHSIG = 1  # of sys/prctl.h
LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def try_serving(model_uri: str, table: pd.DataFrame) -> Trial:
    """Serve the model, ask it for three rows and time it with one.

    Args:
        model_uri: of a logged `ServedForecaster`.
        table: rows with its inputs.

    Raises:
        GateError: the server does not start, although the model can be loaded here.
    """
    with tempfile.TemporaryDirectory(prefix="dsgo-trial-") as folder:
        model = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=folder))
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) / MB
        with _server(model, Path(folder) / "server.log") as ask:
            try:
                loaded = mlflow.pyfunc.load_model(str(model))  # while the server starts
                rows = example(loaded.unwrap_python_model().forecaster, table)
                expected = loaded.predict(rows)
            except (
                Exception
            ) as error:  # whatever a pickle or a model may raise: it could not answer in Production either
                return Trial(f"cannot be loaded and asked: {type(error).__name__}: {error}", float("nan"), size)
            complaint = _compare(ask(rows), expected)
            if complaint:
                return Trial(complaint, float("nan"), size)
            seconds = []
            for _ in range(WARMING + TIMED):
                start = time.perf_counter()
                ask(rows[-1:])
                seconds.append(time.perf_counter() - start)
    return Trial("", 1000 * statistics.median(seconds[WARMING:]), size)


def _compare(answer: tuple[int, bytes], expected: pd.DataFrame) -> str:
    """What is wrong with the endpoint's answer; empty if nothing is."""
    status, body = answer
    if status != 200:
        return f"the endpoint answers {status}: {body[:200].decode(errors='replace')}"
    try:
        given = pd.DataFrame(json.loads(body)["predictions"])
    except (ValueError, KeyError, TypeError) as error:
        return f"the endpoint's answer is no table: {error}"
    if list(given.columns) != list(expected.columns) or len(given) != len(expected):
        return f"the endpoint answers {len(given)} rows of {', '.join(map(str, given.columns))}"
    if not np.isfinite(expected.to_numpy(dtype=float)).all():
        return "the model's own numbers are not finite"
    if not np.allclose(given.to_numpy(dtype=float), expected.to_numpy(), rtol=1e-9, atol=1e-12):
        return "the endpoint's numbers are not the model's own"
    return ""


@contextlib.contextmanager
def _server(model: Path, log: Path) -> Iterator:
    """A scoring server of this model; gives a function that sends it rows and returns status and body.

    The function waits until the server is up. At the end the server is gone, with all that it has started.
    """
    port = _free_port()
    # MLflow starts uvicorn by its name: PATH begins with the folder of this Python, as in an active environment.
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-h", HOST, "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            },
            start_new_session=True,
            preexec_fn=_end_with_parent if LIBC else None,
        )
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_DEADLINE_S)
    ready = False

    def ask(rows: pd.DataFrame) -> tuple[int, bytes]:
        nonlocal ready
        if not ready:
            _await(process, port, log)
            ready = True
        body = json.dumps({"dataframe_split": rows.to_dict(orient="split")})
        try:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise GateError(f"The model on trial does not answer: {error!r}.{_said(log)}", "Run again.") from error

    try:
        yield ask
    finally:
        connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it has nothing to lose
        process.wait()


def _await(process: subprocess.Popen, port: int, log: Path) -> None:
    up = http_answers("/ping")
    wait_until(lambda: process.poll() is not None or up(port), START_DEADLINE_S)
    if process.poll() is None and up(port):
        return
    how = "did not answer in time" if process.poll() is None else f"ended with code {process.returncode}"
    raise GateError(f"`mlflow models serve` of the candidate {how}.{_said(log)}", "Mend what it says and run again.")


def _end_with_parent() -> None:
    """Called in the new process: the kernel ends it when this one is killed. MLflow does so for its own child."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _said(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f" It said: {lines[-1]}" if lines else ""
