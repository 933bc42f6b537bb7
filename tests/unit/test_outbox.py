import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dsgo.errors import MailError
from dsgo.outbox import Letter, opened

LETTER = Letter("wind_solar", "2016-W25", "Client@Example.org")
ROOT = Path(__file__).resolve().parents[2]


def test_a_letter_is_begun_ended_and_known_to_later_processes(tmp_path):
    file = tmp_path / "home" / "sent.db"
    with opened(file) as outbox:
        assert outbox.find(LETTER) is None
        outbox.begin(LETTER)
        outbox.end(LETTER)
    with opened(file) as outbox:
        record = outbox.find(Letter("wind_solar", "2016-W25", "client@example.ORG"))
        assert record.ended >= record.began
        outbox.forget(LETTER)
        assert outbox.find(LETTER), "what has been sent is not forgotten"
        for other in (
            Letter("wind_solar", "2016-W26", LETTER.recipient),
            Letter("other", "2016-W25", LETTER.recipient),
            Letter("wind_solar", "2016-W25", "b@example.org"),
        ):
            assert outbox.find(other) is None


def test_a_letter_cannot_be_begun_twice(tmp_path):
    with pytest.raises(MailError, match="UNIQUE"), opened(tmp_path / "sent.db") as outbox:
        outbox.begin(LETTER)
        outbox.begin(LETTER)


def test_what_was_begun_by_a_killed_process_is_in_doubt_until_it_is_forgotten(tmp_path):
    code = "import sys, pathlib; from dsgo.outbox import *; context = opened(pathlib.Path(sys.argv[1]));"
    code += "outbox = context.__enter__(); outbox.begin(Letter('wind_solar', '2016-W25', 'client@example.org'));"
    code += "print('begun', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "sent.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGKILL)
    with opened(tmp_path / "sent.db") as outbox:  # the lock of the killed one is free
        assert outbox.find(LETTER).ended is None
        outbox.forget(LETTER)
        assert outbox.find(LETTER) is None


def test_a_damaged_record_is_said(tmp_path):
    (tmp_path / "sent.db").write_bytes(b"no database" * 1000)
    with pytest.raises(MailError, match=r"sent\.db cannot be used"), opened(tmp_path / "sent.db"):
        pass
