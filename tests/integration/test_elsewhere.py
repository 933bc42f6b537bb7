"""Servers that others reach by a name: another address of the loopback stands for another machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import ports
import pytest

from dsgo import daemon, services
from dsgo.errors import RegistryError
from dsgo.ftp_artifacts import FTPArtifactRepository
from dsgo.settings import CHECKOUT, HOST, Settings, load

THERE = "127.0.0.2"
DEADLINE_S = 120


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A store that listens there; the environment is that of a machine which only uses it."""
    port = ports.free_ftp_port()
    common = {"DSGO_SERVERS": THERE, "DSGO_FTP_PORT": str(port), "DSGO_FTP_PASSWORD": "of-both"}
    environment = {**os.environ, **common, "DSGO_LISTEN": THERE, "DSGO_HOME": str(tmp_path / "there")}
    command = [sys.executable, CHECKOUT / "server" / "ftpserver.py"]
    with subprocess.Popen(
        command, env={**environment, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.DEVNULL
    ) as process:
        try:
            assert daemon.wait_until(lambda: listens(THERE, port), DEADLINE_S)
            for name, value in {**common, "DSGO_HOME": str(tmp_path / "here")}.items():
                monkeypatch.setenv(name, value)
            yield load()
        finally:
            process.terminate()


def listens(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def test_artifacts_go_to_the_machine_of_that_name_and_come_back(store: Settings, tmp_path: Path) -> None:
    assert not listens(HOST, store.ftp_port)
    assert store.artifact_root.startswith(f"ftp://{THERE}:")
    file = tmp_path / "file.txt"
    file.write_text("content")
    repository = FTPArtifactRepository(f"{store.artifact_root}/1")
    repository.log_artifact(str(file))
    assert (tmp_path / "there" / "ftp" / "artifacts" / "1" / "file.txt").read_text() == "content"
    assert Path(repository.download_artifacts("file.txt")).read_text() == "content"


def test_a_machine_that_only_uses_servers_starts_none_and_says_which_do_not_answer(
    tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> None:
    settings = load({"DSGO_HOME": str(tmp_path), "DSGO_SERVERS": THERE, "DSGO_TRACKING_PORT": str(free_ports(1)[0])})
    for look in (services.up, services.require):
        with pytest.raises(RegistryError, match=f"http://{THERE}:{settings.tracking_port} does not answer"):
            look(settings)
    assert daemon.processes(settings) == {}
