"""How a step or tool ends: a fault that its user can mend is one message and exit code 1, anything else a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dsgo import failure
from dsgo.errors import DSGoError


def main(function: Callable[[], None]) -> None:
    """Call `function`; turn a DSGoError, or MLflow's own complaint, into a message on stderr and exit code 1."""
    try:
        function()
    except DSGoError as error:
        failure.tell(error)
        sys.exit(f"Error: {error}")
    except Exception as error:
        failure.tell(error)
        if type(error).__module__ != "mlflow.exceptions":  # compared by name: importing mlflow takes seconds
            raise
        sys.exit(f"Error: MLflow: {error}")
