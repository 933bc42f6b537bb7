"""Which tests of a parallel run (`make test`, `pytest -n 3`) one worker does one after another, and what comes first.

A group is a file, or all tests that use the pipeline's run, which takes minutes. docs/tests.md tells how a new test joins.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

PIPELINE = (  # beginnings of the node ids of all tests that use the fixture `first`
    "tests/integration/test_pipeline.py",
    "tests/integration/test_readme.py::test_the_endpoint_answers_the_printed_question",
    "tests/integration/test_dashboard_server.py::test_everything_of_a_real_system_is_shown",
)
LONG = (  # groups that take a minute or more, the longest first: then the workers end at about the same time
    "pipeline",
    "tests/integration/test_reuse.py",
    "tests/integration/test_promotion.py",
    "tests/integration/test_tuning.py",
    "tests/integration/test_orchestrator.py",
    "tests/integration/test_services.py",
    "tests/integration/test_add_a_collection.py",
    "tests/integration/test_tracking_faults.py",
    "tests/integration/test_dask.py",
    "tests/integration/test_tracking_postgresql.py",
    "tests/integration/ftp/test_ftp_mlflow.py",
    "tests/integration/test_starting_point.py",
    "tests/browser/test_dashboard.py",
    "tests/integration/test_backup.py",
    "tests/integration/ftp/test_ftp_transfers.py",
    "tests/integration/test_readme.py",
    "tests/integration/test_gate.py",
    "tests/integration/test_trial.py",
    "tests/integration/ftp/test_ftp_server.py",
    "tests/integration/ftp/test_ftp_artifacts.py",
)


def group(node_id: str) -> str:
    return "pipeline" if node_id.startswith(PIPELINE) else node_id.split("::")[0]


def arrange(items: list[pytest.Item]) -> None:
    """Long groups first, tests of single parts (unit) last."""
    places = {name: place for place, name in enumerate(LONG)}

    def place(item: pytest.Item) -> int:
        return places.get(group(item.nodeid), len(LONG) + item.nodeid.startswith("tests/unit/"))

    items.sort(key=place)


def check(item: pytest.Item) -> None:
    """Fail a test that would have a second worker run the whole pipeline."""
    if {"first", "servers"} <= set(item.fixturenames) and group(item.nodeid) != "pipeline":  # not a parameter `first`
        pytest.fail(f"{item.nodeid} uses the fixture 'first': add it to PIPELINE in tests/groups.py", pytrace=False)


class GroupScheduling(LoadScopeScheduling):
    """Hands out whole groups, in the order of collection."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
