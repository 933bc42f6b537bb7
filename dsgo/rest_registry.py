"""What is in Production, asked of the tracking server over HTTP alone: importing MLflow takes longer than a report.

Answers as `dsgo.registry` does; `tests/integration/test_pipeline.py` holds one against the other.
"""

from __future__ import annotations

import http.client
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from dsgo import production, tags
from dsgo.errors import DataError, DSGoError, NoProductionModel, RegistryError
from dsgo.notices import Watched
from dsgo.settings import Settings
from dsgo.tables import Dataset, read_files

ALIAS = "champion"
TIMEOUT_S = 60.0
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second where the model has no such alias
PROMOTIONS = ["time", "action", "version", "replaced", "reason", "step", "trained_to", "data_digest"]


@dataclass(frozen=True)
class Production(production.Production):
    """What is in Production, without MLflow."""

    registry: RestRegistry = field(repr=False, compare=False)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Forecasts of `utc_timestamp` and inputs. Only MLflow can load the model: this imports it."""
        return self.registry.forecaster(self.model_uri).predict(frame)

    def window(self) -> pd.DataFrame:
        """Out-of-sample predictions of the evaluated twin on the last window, with what was recorded."""
        return pd.read_parquet(io.BytesIO(self.registry.artifact(self.run_id, "predictions/window.parquet")))

    def regimes(self) -> pd.DataFrame | None:
        """Scores by regime, `evaluation/regimes.csv` of its run; None if it has left none."""
        content = self.registry.artifact(self.run_id, "evaluation/regimes.csv", optional=True)
        return None if content is None else pd.read_csv(io.BytesIO(content))

    def _dataset(self, uri: str) -> Dataset:
        return self.registry.dataset(uri)


class RestRegistry:
    """The model registry of one copy of DSGo."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._datasets: dict[str, Dataset] = {}

    def load_production(self, collection: str) -> Production:
        """What is in Production now.

        Raises:
            NoProductionModel: nothing is.
            RegistryError: the tracking server does not answer as it should.
        """
        answer = self._get("registered-models/alias", name=collection, alias=ALIAS)
        if answer.get("error_code") in NOT_THERE:
            raise NoProductionModel(collection)
        version = self._expect(answer, "model_version")
        known = _tags(version)
        run = self._expect(self._get("runs/get", run_id=version["run_id"]), "run")
        return Production(
            **production.facts(collection, version["version"], version["last_updated_timestamp"], known),
            run_id=version["run_id"],
            newest_uri=self._newest_uri(run["info"]["experiment_id"], collection, known),
            scores={metric["key"]: float(metric["value"]) for metric in run["data"].get("metrics", [])},
            registry=self,
        )

    def _newest_uri(self, experiment_id: str, collection: str, version_tags: Mapping[str, str]) -> str:
        """Address of the newest dataset of the same kind of data; of the version's own if none is found."""
        asked = {
            "experiment_ids": [experiment_id],
            "filter": tags.made_datasets(collection, version_tags[tags.SYNTHETIC]),
            "order_by": ["attributes.end_time DESC"],
            "max_results": 1,
        }
        found = self._expect(self._json(*self._ask("/api/2.0/mlflow/runs/search", body=asked)), None).get("runs")
        return f"runs:/{found[0]['info']['run_id']}/dataset" if found else version_tags[tags.DATASET]

    def predictions(self, collection: str, first: pd.Timestamp) -> pd.DataFrame:
        """The newest prediction of each target and hour from `first` on."""
        from dsgo import predictions  # brings SQLAlchemy, as the ledger does

        return predictions.newest(collection, first)

    def promotions(self, collection: str) -> pd.DataFrame:
        """What has gone into Production by a promotion or a rollback, the newest first, as the ledger has it.

        Returns:
            Columns `time`, `action`, `version`, `replaced` (None for the first), `reason` (a person's, for a rollback); and of
            the version `step`, `trained_to`, `data_digest`.
        """
        from dsgo import ledger  # brings SQLAlchemy; who only asks for the model need not wait for it

        known = self._version_tags(collection)
        rows = []
        for entry in reversed(ledger.read(collection)):
            if entry.state != ledger.DONE or entry.action not in (ledger.PROMOTION, ledger.ROLLBACK):
                continue
            of_version = known.get(entry.version, {})
            rows.append(
                {
                    "time": pd.Timestamp(entry.time),
                    "action": entry.action,
                    "version": entry.version,
                    "replaced": entry.replaced,
                    "reason": entry.evidence.reason if entry.action == ledger.ROLLBACK else "",
                    "step": of_version.get(tags.STEP, ""),
                    "trained_to": of_version.get(tags.TRAINED_TO, ""),
                    "data_digest": entry.evidence.data_digest,
                }
            )
        return pd.DataFrame(rows, columns=PROMOTIONS, dtype=object)

    def watched(self, collection: str, first: pd.Timestamp) -> Watched:
        """What the application database knows now: the newest check, the newest action, predictions from `first` on."""
        from dsgo import actions, findings  # they bring SQLAlchemy, as the ledger does

        return Watched(
            findings.newest(collection), actions.entries(collection, limit=1), self.predictions(collection, first)
        )

    def _version_tags(self, collection: str) -> dict[int, dict[str, str]]:
        """Tags of each version of the collection's model."""
        found: list[dict[str, Any]] = []
        page = ""
        while True:
            answer = self._get(
                "model-versions/search", filter=f"name='{collection}'", max_results="1000", page_token=page
            )
            self._expect(answer, None)
            found += answer.get("model_versions", [])
            page = answer.get("next_page_token", "")
            if not page:
                return {int(version["version"]): _tags(version) for version in found}

    def dataset(self, uri: str) -> Dataset:
        """A dataset by its address `runs:/<run id>/<path>`.

        Raises:
            DataError: it is not there or damaged.
        """
        if uri not in self._datasets:
            run_id, _, path = uri.removeprefix("runs:/").partition("/")
            self._datasets[uri] = read_files(lambda name: self.artifact(run_id, f"{path}/{name}"), uri)
        return self._datasets[uri]

    def forecaster(self, model_uri: str) -> Any:
        """The model itself, loaded by MLflow.

        Raises:
            RegistryError: it cannot be loaded.
        """
        os.environ.update(self._settings.child_environment())
        from mlflow.exceptions import MlflowException

        from dsgo.registry import load_forecaster

        try:
            return load_forecaster(model_uri)
        except DSGoError:
            raise
        except MlflowException as error:
            raise RegistryError(f"The model {model_uri} cannot be loaded: {error}") from error

    def artifact(self, run_id: str, path: str, optional: bool = False) -> bytes | None:
        """One file that a run has left; None if it is `optional` and not there.

        Raises:
            DataError: it cannot be had.
        """
        status, content = self._ask(f"/get-artifact?{urlencode({'run_id': run_id, 'path': path})}")
        if optional and status == 404:
            return None
        if status != 200:
            said = content.decode(errors="replace")[:300]
            raise DataError(
                f"runs:/{run_id}/{path}", f"cannot be downloaded: {said}", "Is the FTP server up? `make up`."
            )
        return content

    def _get(self, method: str, **query: str) -> dict[str, Any]:
        return self._json(*self._ask(f"/api/2.0/mlflow/{method}?{urlencode(query)}"))

    def _json(self, _: int, content: bytes) -> dict[str, Any]:
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._no_answer(error) from error

    def _ask(self, address: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and content of the answer; with a body it is asked by POST."""
        connection = http.client.HTTPConnection(self._settings.servers, self._settings.tracking_port, timeout=TIMEOUT_S)
        try:
            if body is None:
                connection.request("GET", address)
            else:
                connection.request("POST", address, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error
        finally:
            connection.close()

    def _no_answer(self, error: object) -> RegistryError:
        where = self._settings.tracking_uri
        return RegistryError(f"The tracking server at {where} does not answer: {error}.", "Start it with `make up`.")

    def _expect(self, answer: dict[str, Any], key: str | None) -> dict[str, Any]:
        if "error_code" in answer or (key and key not in answer):
            raise RegistryError(f"The tracking server at {self._settings.tracking_uri} says: {answer}.")
        return answer[key] if key else answer


def _tags(version: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in version.get("tags", [])}
