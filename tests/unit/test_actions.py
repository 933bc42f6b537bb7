"""What follows from findings, ledger and earlier actions: pure decisions, and the table that keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from dsgo import actions, findings, ledger
from dsgo.actions import ASK, FAILED, GO_ON, NOTHING, RETRAINING, WAIT, Action, decide
from dsgo.routine import Act
from dsgo.settings import load, prepare

RULES = Act(cool_down_days=28, refusals=3)
NOW = datetime(2020, 1, 1, tzinfo=UTC)  # decisions know no clock; rows only have an order
DATA_TO = datetime(2016, 6, 1, tzinfo=UTC)


def found(kind: str = "data", *, alarm: bool = True, estimate: bool = False, text: str = "", last: datetime = DATA_TO):
    text = text or f"There is {kind}."
    return {"kind": kind, "alarm": alarm, "estimate": estimate, "text": text, "last": last, "data_digest": "new"}


def before(action: str, days: float = 0, order: int = 0) -> Action:
    """An action with data that ended so many days before those of now."""
    return Action("toy", action, "…", DATA_TO - timedelta(days=days), time=NOW + timedelta(hours=order))


def entry(action: str, order: int, digest: str = "old", level: str = "PROD") -> ledger.Entry:
    evidence = ledger.Evidence("run", "gate", (), {}, "…", digest, True, "code", "test")
    return ledger.Entry("toy", action, "done", level, evidence, 1, time=NOW + timedelta(hours=order))


DRIFT, MODEL, FAULT, STALE = found("data"), found("model"), found("fault"), found("stale")


@pytest.mark.parametrize(
    ("given", "rows", "earlier", "action", "reason"),
    [
        pytest.param([], [], [], NOTHING, "No alarm", id="never checked"),
        pytest.param([found(alarm=False)], [], [], NOTHING, "No alarm", id="no alarm"),
        pytest.param([DRIFT], [], [], RETRAINING, "There is data.", id="drift"),
        pytest.param([MODEL], [], [], RETRAINING, "There is model.", id="errors"),
        pytest.param(
            [found(alarm=False), DRIFT, MODEL], [], [], RETRAINING, "There is data. There is model.", id="both"
        ),
        pytest.param([DRIFT, FAULT], [], [], ASK, "are faulty.* There is fault.", id="a fault comes before drift"),
        pytest.param([STALE], [], [], ASK, "There is stale.", id="nothing new has come"),
        pytest.param([STALE, DRIFT], [], [], RETRAINING, "There is data.", id="late data have drifted"),
        pytest.param([found("model", estimate=True)], [], [], WAIT, "an estimate", id="only an estimate"),
        pytest.param([DRIFT], [entry("refusal", 0, "new")], [], WAIT, "judged", id="judged, refused"),
        pytest.param([DRIFT], [entry("promotion", 0, "new")], [], WAIT, "judged", id="judged, promoted"),
        pytest.param([DRIFT], [entry("challenge", 0, "new", "DEV")], [], RETRAINING, "data", id="judged for DEV"),
        pytest.param([DRIFT], [], [before(RETRAINING, 27.9)], WAIT, "2016-06-01 02:24 UTC", id="cooling down"),
        pytest.param([DRIFT], [], [before(RETRAINING, 28)], RETRAINING, "data", id="cooled down"),
        pytest.param([DRIFT], [], [before(RETRAINING, 40), before(WAIT, 30, 1)], RETRAINING, "data", id="waited"),
        pytest.param([DRIFT], [], [before(FAILED, 0)], WAIT, "no end", id="failed with these data"),
        pytest.param([DRIFT], [], [before(FAILED, 1)], RETRAINING, "data", id="failed, new data"),
        pytest.param([DRIFT], [], [before(FAILED, 0), before(GO_ON, 0, 1)], RETRAINING, "data", id="failed, mended"),
        pytest.param(
            [DRIFT], [], [before(RETRAINING, 90 - n, n) for n in range(2)], RETRAINING, "data", id="two in vain"
        ),
        pytest.param(
            [DRIFT], [], [before(RETRAINING, 90 - n, n) for n in range(3)], ASK, "3 retrainings in a row", id="3"
        ),
        pytest.param(
            [DRIFT],
            [],
            [before(RETRAINING, 90), before(FAILED, 89, 1), before(FAILED, 88, 2)],
            ASK,
            "3",
            id="failures count",
        ),
        pytest.param(
            *([DRIFT], [entry("promotion", 1)], [before(RETRAINING, 90 - n, n) for n in range(3)], RETRAINING, "data"),
            id="the second brought something",
        ),
        pytest.param(
            *([DRIFT], [entry("kept", 5)], [before(RETRAINING, 90 - n, n) for n in range(3)], ASK, "3 retrainings"),
            id="a tie brings nothing",
        ),
        pytest.param(
            *([DRIFT], [entry("rollback", 5)], [before(RETRAINING, 90 - n, n) for n in range(3)], ASK, "3 retrainings"),
            id="a rollback brings nothing",
        ),
        pytest.param(
            *([DRIFT], [entry("promotion", 9)], [before(RETRAINING, 90 - n, n) for n in range(3)], RETRAINING, "data"),
            id="released by a promotion",
        ),
        pytest.param(
            *(
                [DRIFT],
                [],
                [*(before(RETRAINING, 90 - n, n) for n in range(3)), before(GO_ON, 0, 9)],
                RETRAINING,
                "data",
            ),
            id="released by a person",
        ),
        pytest.param(
            *(
                [DRIFT],
                [],
                [*(before(RETRAINING, 60 - 20 * n, n) for n in range(3)), before(GO_ON, 0, 9)],
                WAIT,
                "next may",
            ),
            id="a person does not end the cool-down",
        ),
        pytest.param(
            *([FAULT], [entry("promotion", 9)], [before(GO_ON, 0, 9)], ASK, "faulty"),
            id="a fault is released by data only",
        ),
    ],
)
def test_what_is_due(given, rows, earlier, action, reason):
    due = decide("toy", given, rows, earlier, RULES)
    assert due.action == action
    assert pd.Series([due.reason]).str.contains(reason).all(), due.reason


def test_no_more_than_a_few_findings_are_told_in_full():
    due = decide("toy", [found(text=f"Number {n}.") for n in range(5)], [], [], RULES)
    assert due.reason == "Number 0. Number 1. Number 2. And 2 more."


def test_a_decision_names_the_newest_hour_and_the_data():
    due = decide("toy", [found(last=DATA_TO - timedelta(days=9)), found(alarm=False)], [], [], RULES)
    assert (due.last, due.data_digest) == (DATA_TO, "new")


@pytest.fixture
def home():
    prepare(load())


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, monkeypatch, home):
    if request.param == "postgresql":
        monkeypatch.setenv("DSGO_DATABASE_URL", request.getfixturevalue("postgresql"))


def test_the_table_keeps_what_is_new(database, request):
    name = f"toy {request.node.name}"
    ask = Action(name, ASK, "Look.", pd.Timestamp(DATA_TO), "new")
    assert not actions.record(Action(name, NOTHING, "No alarm."))  # never was one
    assert actions.record(ask)
    assert not actions.record(ask)
    assert actions.record(Action(name, ASK, "Look.", DATA_TO + timedelta(hours=1), "newer"))
    assert actions.record(Action(name, NOTHING, "No alarm."))
    assert not actions.record(Action(name, NOTHING, "No alarm."))
    assert actions.record(Action(name, RETRAINING, "Drift.", DATA_TO, "new", "run", time=NOW))
    assert actions.record(Action(name, RETRAINING, "Drift.", DATA_TO, "new", "run 2", time=NOW))  # each is one
    rows = actions.read(name)
    assert [row.action for row in rows] == [ASK, ASK, NOTHING, RETRAINING, RETRAINING]
    assert rows[0].last == DATA_TO
    assert rows[3].time == NOW
    assert rows[3].asked_by
    table = actions.entries(name, limit=2)
    assert list(table["run_id"]) == ["run 2", "run"]
    assert str(table["last"].dtype).endswith("UTC]")


def test_looking_makes_no_file_and_finds_nothing():
    assert actions.read() == []
    assert actions.questions() == {}
    assert actions.entries().empty


def test_a_question_is_open_until_something_else_is_decided_or_promoted():
    question = before(ASK, order=1)
    assert actions.open_question([], [question]) is question
    assert actions.open_question([entry("promotion", 0)], [question]) is question
    assert actions.open_question([entry("refusal", 2)], [question]) is question
    assert actions.open_question([entry("promotion", 2)], [question]) is None
    assert actions.open_question([], [question, before(WAIT, order=2)]) is None
    assert actions.open_question([], [question, before(GO_ON, order=2)]) is None


def test_questions_are_found_in_the_database(home):
    actions.record(Action("one", ASK, "Look.", DATA_TO, "new"))
    actions.record(Action("other", WAIT, "Later.", DATA_TO, "new"))
    assert list(actions.questions()) == ["one"]
    assert "make refresh COLLECTION=one ARGS=--go-on" in actions.remedy(actions.questions()["one"])
    actions.record(Action("one", GO_ON, "Looked."))
    assert actions.questions() == {}


def test_what_is_due_now_is_read_from_the_database(home):
    time = pd.Timestamp("2016-05-01", tz="UTC")
    one = findings.Finding("data", "wind", "level", time, time, 2.0, 1.0, True, "The wind has drifted.")
    findings.record(findings.Checked("toy", "run", "new", True, 1), [one])
    due = actions.due_now("toy", RULES)
    assert (due.action, due.reason) == (RETRAINING, "The wind has drifted.")
    actions.record(due)
    assert actions.due_now("toy", RULES).action == WAIT
