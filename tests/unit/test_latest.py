import threading
import time

import latest
from latest import Latest


def until(condition, seconds=10):
    """Poll `condition` until it is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.005)
    return value


class Source:
    """Answers what it is told to; counts the questions and remembers what it was asked with."""

    def __init__(self, answer=None):
        self.answer, self.known, self.gate = answer, [], threading.Event()
        self.gate.set()

    def __call__(self, known):
        self.known.append(known)
        assert self.gate.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_reading_never_waits_and_nothing_is_asked_before_somebody_reads():
    source = Source("first")
    source.gate.clear()
    reader = Latest(source, every=60)
    assert source.known == []
    for _ in range(5):
        assert reader.read().value is None
    source.gate.set()
    assert until(lambda: reader.read().value) == "first"
    assert source.known == [None], "one question at a time, and no second before it is due"


def test_a_new_answer_shows_and_an_old_one_does_not_count_as_a_change():
    source = Source("first")
    reader = Latest(source, every=0)
    changes = until(lambda: reader.read().changes)
    until(lambda: reader.read() and len(source.known) > 3)
    assert reader.read().changes == changes == 1
    assert set(source.known[1:]) == {"first"}, "the source sees its last answer, so that it can spare itself work"
    source.answer = "second"
    assert until(lambda: reader.read().value == "second")
    assert reader.read().changes == 2


def test_a_failure_leaves_the_last_good_answer_and_passes():
    source = Source("good")
    reader = Latest(source, every=0)
    at = until(lambda: reader.read().at)
    source.answer = OSError("down")
    failed = until(lambda: (reading := reader.read()).error and reading)
    assert failed.value == "good" and str(failed.error) == "down" and failed.at >= at
    asked = len(source.known)
    until(lambda: reader.read() and len(source.known) > asked + 3)
    assert reader.read().changes == failed.changes, "the same failure again is nothing new"
    source.answer = "good"
    recovered = until(lambda: (reading := reader.read()).error is None and reading)
    assert recovered.value == "good" and recovered.changes > failed.changes


def test_a_source_that_does_not_answer_is_called_overdue_once_and_recovers(monkeypatch):
    monkeypatch.setattr(latest, "OVERDUE", 0.05)
    source = Source("late")
    source.gate.clear()
    reader = Latest(source, every=0.01)
    overdue = until(lambda: (reading := reader.read()).error and reading)
    assert isinstance(overdue.error, TimeoutError)
    assert reader.read().changes == overdue.changes and len(source.known) == 1
    source.gate.set()
    assert until(lambda: (reading := reader.read()).value == "late" and reading).error is None


def test_many_readers_ask_once():
    source = Source("answer")
    source.gate.clear()
    reader = Latest(source, every=60)
    barrier = threading.Barrier(8)

    def read():
        barrier.wait(10)
        reader.read()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    source.gate.set()
    assert until(lambda: reader.read().value) == "answer" and len(source.known) == 1
