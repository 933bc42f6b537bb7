"""Requests that would take away what is or was in Production, as REST clients make them and the UI does."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest
from candidates import Candidates, evidence
from mlflow.tracking import MlflowClient

from dsgo import promotion, tags
from dsgo.settings import Settings

INTERFACES = ("api", "ajax-api")
# Values are names of what `two_in_production` gives, or, after "=", as they stand.
REQUESTS = {
    "run that was": ("POST", "runs/delete", {"run_id": "was"}),
    "run that is": ("POST", "runs/delete", {"run_id": "is"}),
    "run of the dataset": ("POST", "runs/delete", {"run_id": "dataset"}),
    "experiment": ("POST", "experiments/delete", {"experiment_id": "experiment"}),
    "version that was": ("DELETE", "model-versions/delete", {"name": "name", "version": "=1"}),
    "version that is": ("DELETE", "model-versions/delete", {"name": "name", "version": "=2"}),
    "registered model": ("DELETE", "registered-models/delete", {"name": "name"}),
    "its name": ("POST", "registered-models/rename", {"name": "name", "new_name": "=other"}),
    "logged model": ("DELETE", "logged-models/{model_id}", {}),
    "mark": ("DELETE", "model-versions/delete-tag", {"name": "name", "version": "=1", "key": f"={tags.PROMOTED}"}),
    "mark's value": (
        "POST",
        "model-versions/set-tag",
        {"name": "name", "version": "=1", "key": f"={tags.PROMOTED}", "value": "=false"},
    ),
}


def two_in_production(name: str, candidates: Candidates) -> dict[str, str]:
    """A version that was in Production, one that is, and what they need; every name as `REQUESTS` has it."""
    for number in (0, 1):
        promotion.promote(name, evidence(candidates.runs[number]))
    run = MlflowClient().get_run(candidates.runs[0])
    return {
        "name": name,
        "was": candidates.runs[0],
        "is": candidates.runs[1],
        "dataset": candidates.dataset_run,
        "experiment": candidates.experiment,
        "model_id": run.outputs.model_outputs[0].model_id,
    }


def refused(settings: Settings, kept: Mapping[str, str], name: str, interface: str = INTERFACES[0]) -> None:
    """The server refuses the request `name`, once and for all, and says why without the SQL."""
    method, path, body = REQUESTS[name]
    body = {key: value.removeprefix("=") if value.startswith("=") else kept[value] for key, value in body.items()}
    url = f"{settings.tracking_uri}/{interface}/2.0/mlflow/{path.format(**kept)}"
    headers = {"Content-Type": "application/json"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers, method=method))
    with caught.value as answered:
        said = json.load(answered)
    assert answered.code in (400, 403, 409), "no client tries these again"
    assert "is or was in Production and is kept for a rollback" in said["message"]
    for inside in ("sqlite", "psycopg", "CONTEXT", "[SQL"):
        assert inside not in said["message"]
