"""What a pipeline leaves behind when it is told to stop after its last step."""

from __future__ import annotations

import subprocess
import sys

import psutil

SCRIPT = """
import os, signal, subprocess, sys
from dsgo import pipeline
report = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
print(report.pid, flush=True)
pipeline.start_report = lambda *_: report
pipeline.services.serve = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
try:
    pipeline.report_and_serve(None, "any")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_who_stops_it_while_the_report_is_written_ends_the_report_too():
    done = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, timeout=300, check=False)
    report = int(done.stdout)
    left = psutil.pid_exists(report)
    if left:
        psutil.Process(report).kill()
    assert not left
    assert done.returncode == 130
