"""The plugin within MLflow's import, whichever comes first, and what the constructor makes of a URI."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dsgo.ftp_artifacts import FTPArtifactRepository, FTPStoreError

CHECKOUT = Path(__file__).resolve().parents[2]
CHECK = """
import warnings
warnings.filterwarnings("error", message="Failure attempting to register")
import {first}
import {second}
import dsgo.ftp_artifacts
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
for scheme in ("ftp", "ftps"):
    assert type(get_artifact_repository(scheme + "://host/x")) is dsgo.ftp_artifacts.FTPArtifactRepository
"""


@pytest.mark.parametrize("first, second", [("mlflow", "dsgo.ftp_artifacts"), ("dsgo.ftp_artifacts", "mlflow")])
def test_mlflow_finds_the_plugin(first, second):
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    code = CHECK.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("uri", ["ftp://", "ftp:///path", "ftp://host:port/x", "ftp://host:99999/x", "http://host/x"])
def test_what_is_no_address_is_refused(uri):
    with pytest.raises(FTPStoreError, match="not an address"):
        FTPArtifactRepository(uri)


def test_parts_of_the_uri():
    repository = FTPArtifactRepository("ftp://u%40x:p%3A%2Fw%25@Host:2121/a b/100%25#?;x/")
    assert (repository._host, repository._port) == ("host", 2121)
    assert (repository._uri_user, repository._uri_password) == ("u@x", "p:/w%")
    assert repository._root == "/a b/100%25#?;x"
    assert repository.artifact_uri == "ftp://Host:2121/a b/100%25#?;x/"
    assert FTPArtifactRepository("ftps://host")._root == "/" and FTPArtifactRepository("ftps://[::1]/x")._host == "::1"


def test_in_a_tracking_server_ftps_goes_to_its_own_store_only(monkeypatch):
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "ftps://store.example:2121/artifacts")
    FTPArtifactRepository("ftps://store.example:2121/artifacts/1")
    for foreign in ("ftps://other.example:2121/x", "ftps://store.example/x"):
        with pytest.raises(FTPStoreError, match="does not connect to hosts"):
            FTPArtifactRepository(foreign)
    monkeypatch.setenv("MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES", "ftps")
    FTPArtifactRepository("ftps://other.example:2121/x")


def test_errors_cross_process_borders():
    error = FTPStoreError("ftp://h:21", "/x", "550 no", "do this")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and copy.error_code == error.error_code and copy.path == "/x"
