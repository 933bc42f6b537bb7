"""Stand-in for the promotion."""

from __future__ import annotations

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from dsgo import registry
from dsgo.errors import GateError, NoProductionModel
from dsgo.ledger import Evidence


def promote(collection: str, evidence: Evidence, *, replaces: int | None = None) -> ModelVersion:
    """Put the run's model in Production."""
    try:
        present = registry.load_production(collection).version
    except NoProductionModel:
        present = 0
    if replaces is not None and present != replaces:
        raise GateError(f"Version {present} is in Production by now, not {replaces}.", "Run again.")
    return registry.promote(collection, evidence.run_id)


def challenge(collection: str, evidence: Evidence) -> ModelVersion:
    """Register the run's model with the alias challenger."""
    client = MlflowClient()
    run = client.get_run(evidence.run_id)
    model = next(m for m in registry._logged_models(client, run) if m.name == "model")
    if not client.search_registered_models(f"name = '{collection}'"):
        client.create_registered_model(collection)
    version = client.create_model_version(
        collection, source=model.model_uri, run_id=evidence.run_id, model_id=model.model_id
    )
    client.set_registered_model_alias(collection, "challenger", version.version)
    return client.get_model_version(collection, version.version)


def refuse(collection: str, evidence: Evidence, level: str = "PROD") -> None:
    """A row."""


def keep(collection: str, evidence: Evidence, level: str = "PROD") -> None:
    """A row."""


def repair(collection: str | None = None) -> list[str]:
    """Nothing to do."""
    return []
