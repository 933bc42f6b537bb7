"""What a run has written, by content: noted when it ends, compared before it is reused."""

from __future__ import annotations

import hashlib
import json

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from dsgo import tags
from dsgo.ingredients import Ingredients

RECORD = "dsgo_reuse.json"  # ingredients, and the manifest in full; the tag has its hash
Manifest = dict[str, list]  # path → size in bytes and SHA-256; None what the store does not tell


def of_run(client: MlflowClient, run_id: str) -> Manifest:
    """Every file that the run and its logged models have in the store at this moment."""
    run = client.get_run(run_id)  # anew: its models are known only after it has ended
    found = _below(run.info.artifact_uri, "")
    found.pop(RECORD, None)
    for output in run.outputs.model_outputs if run.outputs else []:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue  # deleted: its files are missing from what is found
        found |= _below(model.artifact_location, f"{model.name} {model.model_id}/")
    return found


def _below(root: str, prefix: str) -> Manifest:
    repository = get_artifact_repository(root)
    if hasattr(repository, "checksums"):
        return {prefix + path: list(facts) for path, facts in repository.checksums().items()}
    found, folders = {}, [None]
    for folder in folders:  # grows while it is walked
        for item in repository.list_artifacts(folder):
            if item.is_dir:
                folders.append(item.path)
            else:
                found[prefix + item.path] = [item.file_size, None]
    return found


def hash_of(manifest: Manifest) -> str:
    """The hash that stands for all of it."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def note(client: MlflowClient, run_id: str, ingredients: Ingredients) -> None:
    """Record at a finished run what it was made of and what it has written: from then on it can be reused.

    The tag comes last. A run that was killed before has none, and does not count.
    """
    manifest = of_run(client, run_id)
    record = {"ingredients": ingredients, "artifacts": manifest}
    client.log_text(run_id, json.dumps(record, indent=1, sort_keys=True), RECORD)
    client.set_tag(run_id, tags.MANIFEST, hash_of(manifest))


def damage(client: MlflowClient, run: Run) -> list[str]:
    """In words, which files of a run are not as it has left them; empty if all are."""
    found = of_run(client, run.info.run_id)
    if hash_of(found) == run.data.tags[tags.MANIFEST]:
        return []
    then = read_record(run).get("artifacts", {})
    if hash_of(then) != run.data.tags[tags.MANIFEST]:
        return [f"files, and {RECORD} which names them"]
    differing = [path for path in sorted(then.keys() | found.keys()) if then.get(path) != found.get(path)]
    return [f"{path} ({'damaged' if path in found else 'missing'})" for path in differing]


def read_record(run: Run) -> dict:
    """What `note` has recorded; empty where that is missing or damaged: it only serves to explain."""
    try:
        return json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{RECORD}"))
    except (MlflowException, ValueError):
        return {}
