"""Which failures are tried again: those of connections, whatever they were turned into on their way, and nothing else."""

from __future__ import annotations

import ftplib
from types import SimpleNamespace

import dagster as dg
import pytest
import requests
import toy_collection
from mlflow.exceptions import ExecutionException, MlflowException

from dsgo import command, failure, flow
from dsgo.errors import DatabaseError, DataError, GateError, NoProductionModel, SourceError, StepError, StoreError
from dsgo.ftp_connection import InsecureServer, LoginRefused, ServerGone, TransferFailed
from dsgo.ftp_transfer import NoSuchFile, NotVerified
from dsgo.transient import is_transient


def store_error() -> StoreError:
    return StoreError("127.0.0.1:2121", "/artifacts", "cannot be reached")


def raised(error: Exception, cause: Exception | None, *, hidden: bool = False) -> Exception:
    """The error as it comes out of the handler of its cause."""
    try:
        try:
            raise cause or error
        except Exception as caught:
            if caught is error:
                raise
            if hidden:
                raise error from None
            raise error  # noqa: B904 - as MLflow does it
    except Exception as found:
        return found


@pytest.mark.parametrize(
    ("error", "cause", "expected"),
    [
        (store_error(), ServerGone("refused"), True),
        (store_error(), TransferFailed("broken"), True),
        (store_error(), ConnectionResetError(), True),
        (store_error(), ftplib.error_temp("421 too many"), True),
        (store_error(), ftplib.error_perm("550 no space"), False),
        (store_error(), LoginRefused("530"), False),
        (store_error(), InsecureServer("certificate"), False),
        (store_error(), NoSuchFile("550"), False),
        (store_error(), NotVerified("differs"), False),
        (store_error(), None, False),
        (MlflowException("API request failed"), requests.ConnectionError(), True),
        (MlflowException("API request failed"), requests.Timeout(), True),
        (MlflowException("API request failed"), requests.exceptions.ChunkedEncodingError(), True),
        (MlflowException("API request failed"), requests.exceptions.RetryError(), True),
        (MlflowException("no such run"), None, False),
        (MlflowException("invalid"), ValueError(), False),
        (DataError("a.csv", "is empty"), ConnectionResetError(), False),
        (SourceError("https://example.org", "is gone"), requests.ConnectionError(), False),
        (DatabaseError("does not answer"), TimeoutError(), False),
        (GateError("cannot be judged"), ConnectionResetError(), False),
        (NoProductionModel("toy"), ConnectionResetError(), False),
        (StepError("left", "failed"), ConnectionResetError(), False),
        (StepError("left", "failed", transient=True), None, True),
        (ValueError("a bug"), None, False),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_what_passes_by_itself(error, cause, expected, hidden):
    assert is_transient(raised(error, cause, hidden=hidden)) is expected


@pytest.mark.parametrize(("cause", "transient"), [(ConnectionResetError(), True), (ftplib.error_perm("550"), False)])
def test_a_step_tells_its_pipeline(tmp_path, monkeypatch, cause, transient):
    monkeypatch.setenv("DSGO_FAILURE_FILE", str(tmp_path / "noted"))
    assert failure.told(tmp_path / "noted") == failure.Failure()

    def step() -> None:
        raise raised(store_error(), cause)

    with pytest.raises(SystemExit, match="Error: FTP store"):
        command.main(step)
    assert failure.told(tmp_path / "noted") == failure.Failure(str(store_error()), transient)


@pytest.fixture
def attempts(tmp_path, monkeypatch):
    """Function: run a job whose step `left` fails with these errors, one an attempt; whether it succeeds, and the attempts."""
    monkeypatch.setattr(flow, "PAUSES_S", (0, 0))

    def run(*errors: Exception) -> tuple[bool, int]:
        waiting, made = list(errors), []

        def step_run(collection, step, upstream, said):
            if step.name == "left":
                made.append(step)
                if waiting:
                    raise waiting.pop(0)
            return SimpleNamespace(info=SimpleNamespace(run_id=f"run of {step.name}"))

        monkeypatch.setattr(flow, "_run", step_run)
        toy = toy_collection.make(tmp_path / "toy")
        job = flow.job_of(str(toy.folder / "flow.py"), "training")
        with dg.DagsterInstance.ephemeral() as instance:
            said = {flow.PARENT: "0" * 32}
            return job.execute_in_process(instance=instance, tags=said, raise_on_error=False).success, len(made)

    return run


def test_a_step_that_fails_by_what_passes_is_tried_again(attempts):
    assert attempts(StepError("left", "failed", transient=True), raised(store_error(), TimeoutError())) == (True, 3)


def test_it_is_not_tried_for_ever(attempts):
    assert attempts(*(StepError("left", "failed", transient=True) for _ in range(9))) == (False, 3)


@pytest.mark.parametrize(
    "error", [StepError("left", "failed"), DataError("a.csv", "is empty"), ExecutionException("failed")]
)
def test_any_other_failure_is_final(attempts, error):
    assert attempts(error) == (False, 1)
