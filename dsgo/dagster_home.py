"""Dagster's own state, in the folder of this copy, and how Dagster is set up. Nothing here imports Dagster."""

from __future__ import annotations

import os
from pathlib import Path

from dsgo.settings import Settings

# What steps print is shown as it comes. To keep it as well Dagster would start four processes more for each step, which
# answer Ctrl-C with tracebacks of their own.
DAGSTER_YAML = """\
telemetry:
  enabled: false
python_logs:
  python_log_level: CRITICAL
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
nux:
  enabled: false
# What the UI, a schedule or the sensor starts is a pipeline like that of `make run`.
run_launcher:
  module: dsgo.launcher
  class: PipelineLauncher
concurrency:
  runs:
    tag_concurrency_limits:
      - key: dsgo.collection
        value: {applyLimitPerUniqueValue: true}
        limit: 1
"""


def make(settings: Settings) -> Path:
    """Folder of Dagster's state, with its configuration."""
    home = settings.home / "dagster"
    home.mkdir(exist_ok=True)
    part = home / f"dagster.yaml.{os.getpid()}"
    part.write_text(DAGSTER_YAML)
    part.replace(home / "dagster.yaml")  # another process may be reading it
    return home
