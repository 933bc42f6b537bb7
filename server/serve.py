"""The REST endpoint of the Production model: notes which version is in Production and becomes `mlflow models serve`.

    python server/serve.py

Serves the collection that `make serve COLLECTION=…` asked for last. The version is fixed when the process starts;
`make status` shows it, and `make serve` changes to the one in Production.
"""

from __future__ import annotations

import os
import shutil
import sys

from dsgo import services
from dsgo import settings as dsgo_settings
from dsgo.cli import reported
from dsgo.probes import refuse_taken


def main() -> None:
    """Replace this process by the scoring server."""
    settings = dsgo_settings.load()
    refuse_taken("serve", settings.serve_port, "DSGO_SERVE_PORT")
    collection = services.wanted_collection(settings)
    version = services.production_version(settings, collection)
    # MLflow downloads the model into the folder for temporary files and leaves it there.
    download = settings.cache / "served"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir(parents=True)
    os.environ.update(settings.child_environment(), TMPDIR=str(download), MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    services.record_served(settings, collection, version, os.getpid())
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{collection}/{version}"),
        *("--env-manager", "local", "-h", settings.listen, "-p", str(settings.serve_port)),
    ]
    os.execv(sys.executable, command)  # keeps the pid that was noted


if __name__ == "__main__":
    sys.exit(reported(main))
