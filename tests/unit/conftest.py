"""What tests of downloads share."""

import pytest
from file_server import Server, running

from dsgo import download, settings


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "FIRST_PAUSE_S", 0.001)
    with running(Server()) as server:
        yield server


@pytest.fixture
def here(tmp_path):
    return settings.load({"DSGO_HOME": str(tmp_path)})
