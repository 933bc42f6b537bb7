"""The served model's class."""

from __future__ import annotations

import subprocess
import sys


def test_whoever_loads_a_model_is_not_told_how_to_write_one() -> None:
    """`make rollback` showed MLflow's advice to add type hints."""
    done = subprocess.run([sys.executable, "-c", "import dsgo.served"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
