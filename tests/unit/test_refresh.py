"""`make refresh`: predict, watch, and then what is due; a retraining is written down when it has ended."""

from __future__ import annotations

import contextlib
import datetime

import pandas as pd
import pytest

from dsgo import actions, collection, findings, pipeline
from dsgo.errors import StepError
from dsgo.settings import load, prepare

KNOWN = collection.find("wind_solar")
TIME = pd.Timestamp("2016-05-01", tz="UTC")


@pytest.fixture
def done(monkeypatch):
    """What was executed; `fails` are the jobs that fail."""
    prepare(load())
    executed, fails = [], set()

    def execute(settings, known, data, level, job="training", *, reason="", orchestrate=None):
        executed.append((job, reason) if reason else job)
        if job in fails:
            raise StepError(job, "failed.")
        return "parent"

    @contextlib.contextmanager
    def at_work(settings, name):
        yield settings, KNOWN

    monkeypatch.setattr(pipeline, "execute", execute)
    monkeypatch.setattr(pipeline, "_at_work", at_work)
    monkeypatch.setattr(pipeline.services, "follow", lambda *_: executed.append("follow"))
    execute.executed, execute.fails = executed, fails
    return execute


def alarm(kind: str = "data") -> None:
    found = findings.Finding(kind, "wind", "level", TIME, TIME, 2.0, 1.0, True, "The wind has changed.")
    findings.record(findings.Checked("wind_solar", "", "digest", True, 1), [found])


def refresh(**given: bool) -> list[str]:
    """Refresh; the actions in the table then."""
    pipeline.refresh(load(), collection="wind_solar", data="sample", **given)
    return [row.action for row in actions.read("wind_solar")]


def test_without_an_alarm_it_predicts_and_watches(done, capsys):
    assert refresh() == []
    assert done.executed == ["production", "validation"]
    assert "nothing: No alarm." in capsys.readouterr().out


def test_after_an_alarm_it_trains_and_predicts_anew(done):
    alarm()
    before = datetime.datetime.now(datetime.UTC)
    assert refresh() == [actions.RETRAINING]
    reason = "The wind has changed."
    assert done.executed == ["production", "validation", ("training", reason), "follow", "production", "validation"]
    (row,) = actions.read("wind_solar")
    assert (row.reason, row.run_id, row.last, row.data_digest) == (reason, "parent", TIME, "digest")
    assert before < row.time
    assert refresh() == [actions.RETRAINING, actions.WAIT]
    assert done.executed[6:] == ["production", "validation"]


def test_a_retraining_that_fails_is_written_down_as_such(done):
    alarm()
    done.fails.add("training")
    with pytest.raises(StepError, match="Step training"):
        refresh()
    (row,) = actions.read("wind_solar")
    assert row.action == actions.FAILED
    assert "The retraining failed." in row.reason
    assert refresh() == [actions.FAILED, actions.WAIT]


def test_a_retraining_that_is_killed_is_due_still(done, monkeypatch):
    alarm()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pipeline, "execute", killed)
        pipeline.act(load(), KNOWN, "sample")
    assert actions.read("wind_solar") == []
    assert actions.due_now("wind_solar", KNOWN.act).action == actions.RETRAINING


def test_a_person_is_asked_and_can_let_it_go_on(done, capsys):
    alarm("fault")
    assert refresh() == [actions.ASK]
    assert "ARGS=--go-on" in capsys.readouterr().out
    assert refresh(go_on=True) == [actions.ASK, actions.GO_ON, actions.ASK]  # the fault is there still


def test_without_a_new_check_nothing_is_decided(done):
    alarm()
    done.fails.add("validation")
    with pytest.raises(StepError, match=r"validation \(job validation\)"):
        refresh()
    assert done.executed == ["production", "validation"]
    assert actions.read("wind_solar") == []


def test_failed_predictions_keep_it_from_nothing_else(done):
    alarm()
    done.fails.add("production")
    with pytest.raises(StepError, match=r"production \(job production\)"):
        refresh()
    assert [row.action for row in actions.read("wind_solar")] == [actions.RETRAINING]
