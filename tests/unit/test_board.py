"""What the dashboard reads of the application database, on real tables, and how seldom."""

import threading
import time

import pandas as pd
import pytest
from board import Board, InProduction
from standins import Production, Registry, make_predictions
from system import System

from dsgo import actions, findings, ledger, predictions
from dsgo.errors import DatabaseError
from dsgo.settings import load

WAIT_S = 20
CHECKED = findings.Checked("wind_solar", "8" * 32, "cd" * 32, synthetic=False, version=3)
COLUMNS = ["target", "utc_timestamp", "forecast", "p10", "p90", "source", "version", "data_digest", "synthetic"]
LAST = pd.Timestamp("2016-06-30T23:00Z")


class Half(Registry):
    """The registry is a stand-in, the application database is real."""

    def __init__(self, **productions):
        super().__init__(**productions)
        system, self.asked = System(load()), []
        for name in ("findings", "all_findings", "actions", "remedy", "predictions", "additions"):
            setattr(self, name, self._counted(name, getattr(system, name)))

    def _counted(self, name, ask):
        def asked(collection):
            self.asked.append(name)
            return ask(collection)

        return asked


def until(latest, holds):
    """The value of a source once it is what is waited for."""
    deadline = time.monotonic() + WAIT_S
    while True:
        reading = latest.read()
        if reading.value is not None and holds(reading.value):
            return reading.value
        assert time.monotonic() < deadline, reading
        time.sleep(0.01)


@pytest.fixture
def board():
    load().home.mkdir(parents=True)
    registry = Half(wind_solar=Production())
    return registry, Board(load(), registry, every=0.0)


def test_a_page_without_a_named_collection_shows_the_first_that_has_a_model_in_production(board):
    _, board = board
    assert next(iter(board.collections)) != "wind_solar"  # else this would say nothing
    for name, latest in board.production.items():
        until(latest, lambda value, name=name: isinstance(value, InProduction) == (name == "wind_solar"))
    assert board.default() == "wind_solar"


def alarm(kind="data"):
    return findings.Finding(kind, "windspeed", "level", LAST, LAST, 4.5, 3.0, True, "windspeed: too high.")


def test_findings_and_what_was_decided_come_from_the_tables(board):
    _, board = board
    quiet = until(board.watch["wind_solar"], lambda watch: True)
    assert quiet.newest.empty and quiet.actions.empty and quiet.remedy == ""
    findings.record(CHECKED, [alarm("fault")])
    actions.record(actions.Action("wind_solar", actions.ASK, "Look.", LAST, "cd" * 32))
    watch = until(board.watch["wind_solar"], lambda watch: len(watch.actions))
    assert list(watch.newest["text"]) == ["windspeed: too high."] and len(watch.history) == 1
    assert watch.actions.iloc[0]["action"] == "ask_a_person" and "make refresh" in watch.remedy
    assert ledger.read("wind_solar") == []


def test_all_checks_and_predictions_are_read_only_when_something_was_added(board):
    registry, board = board
    predictions.record("wind_solar", make_predictions()[COLUMNS], "7" * 32)
    findings.record(CHECKED, [alarm()])
    until(board.issued["wind_solar"], lambda issued: len(issued.table) == 144)
    until(board.watch["wind_solar"], lambda watch: len(watch.history) == 1)
    before = {name: registry.asked.count(name) for name in ("additions", "findings")}
    for latest, name in ((board.issued, "additions"), (board.watch, "findings")):
        until(latest["wind_solar"], lambda _, name=name: registry.asked.count(name) > before[name] + 3)
    assert registry.asked.count("predictions") == registry.asked.count("all_findings") == 1
    predictions.record("wind_solar", make_predictions(hours=1, forecast=1.0)[COLUMNS], "7" * 32)
    until(board.issued["wind_solar"], lambda issued: (issued.table["forecast"] == 1.0).sum() == 2)


def test_new_predictions_reach_the_history_without_another_look_at_the_model(board):
    _, board = board
    first = until(board.production["wind_solar"], lambda value: isinstance(value, InProduction))
    assert first.history.issued == {} and first.history.rows == first.history.known_rows
    predictions.record("wind_solar", make_predictions("naive", None, 1000)[COLUMNS], "7" * 32)
    value = until(board.production["wind_solar"], lambda value: value.history.issued)
    assert value.review is first.review and value.history.rows == first.history.rows + 1000
    assert set(value.history.issued["wind_GW"]["source"].dropna()) == {"naive"}
    assert value.history.known_rows == first.history.rows, "hours ahead are no missing data"
    assert value.history.completeness.equals(first.history.completeness)
    assert value.history.days("wind_GW").equals(first.history.days("wind_GW"))
    text = "".join(value.history.csv(["wind_GW"], value.history.known_last, value.history.last, []))
    head, row = text.splitlines()[:2]
    assert head.endswith(
        "wind_GW_issued,wind_GW_issued_p10,wind_GW_issued_p90,wind_GW_issued_source,wind_GW_issued_version"
    )
    assert row.startswith("2016-07-01T00:00:00Z,,,,,8,6.4,9.6,naive,")


def test_what_is_first_shown_of_a_model_has_its_predictions_however_slow_the_database(monkeypatch):
    registry = Registry(wind_solar=Production())
    registry.issued["wind_solar"] = make_predictions()
    asked, answered = threading.Event(), threading.Event()

    def additions(collection):
        asked.set()
        assert answered.wait(WAIT_S)
        return 1

    monkeypatch.setattr(registry, "additions", additions)
    board = Board(load(), registry, every=0.0)
    source = board.production["wind_solar"]
    source.read()
    assert asked.wait(WAIT_S)
    assert source.read().value is None, "a page that were drawn now would be drawn again"
    answered.set()
    assert until(source, lambda value: True).issued.additions == 1


def test_a_database_that_does_not_answer_hides_no_model(board):
    registry, board = board

    def down(collection):
        raise DatabaseError("The application database is down.")

    registry.additions = down
    assert isinstance(until(board.production["wind_solar"], lambda value: True), InProduction)
    deadline = time.monotonic() + WAIT_S
    while not isinstance(board.issued["wind_solar"].read().error, DatabaseError):
        assert time.monotonic() < deadline
