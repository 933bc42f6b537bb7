"""Dagster's UI and daemon over the code of all collections, as one service under supervisord.

    python server/orchestrator.py [workspace.yaml]      the collections; default: projects/workspace.yaml

What one that was killed has left running is ended first: a second daemon would start every schedule twice.
"""

from __future__ import annotations

import os
import sys

import psutil

from dsgo import daemon, dagster_home
from dsgo.errors import ServiceError
from dsgo.settings import HOST, Settings, activate, load

SERVICE = "orchestrator"


def end_earlier(settings: Settings) -> None:
    """End processes of an earlier orchestrator of this copy. Jobs that it has started go on.

    Raises:
        ServiceError: one does not end even when killed.
    """

    def left() -> list[psutil.Process]:
        return [process for process in daemon.processes(settings).get(SERVICE, []) if process.pid != os.getpid()]

    def none_is_left() -> bool:
        for process in (found := left()):
            daemon.send(process.kill)
        return not found

    if not daemon.wait_until(none_is_left, daemon.ORPHAN_DEADLINE):
        raise ServiceError(SERVICE, "an earlier one does not end.", f"Processes: {[each.pid for each in left()]}.")


def main() -> None:
    """Become `dagster dev`, which starts the code servers, the daemon and the UI, and ends with the first of them that ends."""
    settings = load()
    activate(settings)
    end_earlier(settings)
    os.environ["DAGSTER_HOME"] = str(dagster_home.make(settings))
    workspace = sys.argv[1] if len(sys.argv) > 1 else settings.checkout / "projects" / "workspace.yaml"
    command = ["dagster", "dev", "--workspace", workspace, "--host", HOST, "--port", settings.orchestrator_port]
    quiet = ["--log-level", "warning", "--log-format", "json"]
    os.execv(sys.executable, [sys.executable, "-m", *map(str, command), *quiet])


if __name__ == "__main__":
    main()
