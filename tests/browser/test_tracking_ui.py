"""The tracking UI in a real browser: it shows what lies on the FTP store, and never the login."""

import mlflow
import pytest
from playwright.sync_api import expect

from dsgo import decision
from dsgo.gate import REFUSED, Candidate, Rule, Verdict

WAIT = 60_000  # milliseconds; the UI is 20 MB of scripts, on two slow cores shared with other tests
TEXT = "wind comes first, ☀ second"
ODD = "+2 % [+1, +4], a|b <i>*c_d`"
RULES = (Rule("RMSE", ODD, "high end < 0", False),)


@pytest.fixture(scope="module")
def logged(servers):
    """A finished run with files whose names are odd, and with a model."""

    class Same(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    with mlflow.start_run(experiment_id=mlflow.create_experiment("tracking UI")) as run:
        mlflow.log_text(TEXT, "two words/größe & ☀.txt")
        mlflow.log_text("other", "plain.txt")
        verdict = Verdict(Candidate("forest", run.info.run_id, {}, True, None), REFUSED, ODD, RULES)
        mlflow.set_tag("mlflow.note.content", decision.note([verdict], ODD))
        model = mlflow.pyfunc.log_model(name="model", python_model=Same(), pip_requirements=["mlflow"])
    return run.info, model


@pytest.fixture
def page(logged, servers, browser):
    """A page of the UI; no answer that it gets, and nothing that it shows, holds the FTP password."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    answers = []
    page.on("response", lambda answer: answers.append(answer))
    yield page
    assert servers.ftp_password not in page.content()
    bodies = [answer.body() for answer in answers if answer.request.resource_type in ("document", "xhr", "fetch")]
    assert any(servers.artifact_root.encode() in body for body in bodies), "not the answers that could hold it"
    assert [body for body in bodies if servers.ftp_password.encode() in body] == []
    context.close()


def shows(page, text):
    expect(page.get_by_text(text).first).to_be_visible(timeout=WAIT)


def test_a_runs_files_are_listed_and_shown(page, logged, servers):
    run, _ = logged
    page.goto(f"{servers.tracking_uri}/#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts")
    shows(page, "plain.txt")
    page.get_by_text("two words").first.click()
    page.get_by_text("größe & ☀.txt").first.click()
    shows(page, TEXT)


def test_a_models_files_are_listed_and_shown(page, logged, servers):
    run, model = logged
    page.goto(f"{servers.tracking_uri}/#/experiments/{run.experiment_id}/models/{model.model_id}/artifacts")
    shows(page, "python_model.pkl")
    page.get_by_text("MLmodel").first.click()
    shows(page, model.model_id)


def test_a_decision_is_shown_as_a_table(page, logged, servers):
    run, _ = logged
    page.goto(f"{servers.tracking_uri}/#/experiments/{run.experiment_id}/runs/{run.run_id}")
    for text in ("FAILS", "RMSE", ODD, "high end < 0"):
        expect(page.get_by_role("cell", name=text, exact=True).first).to_be_visible(timeout=WAIT)
