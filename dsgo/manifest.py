"""What a run has written, by content: noted when it ends, compared before it is reused."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from tempfile import TemporaryDirectory

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
    found = {}
    for prefix, root in _roots(client, run_id).items():
        found |= _below(root, prefix)
    found.pop(RECORD, None)
    return found


def _roots(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Where a run's files lie, by what comes before their names in a manifest: nothing, or a model's name and id."""
    run = client.get_run(run_id)  # anew: its models are known only after it has ended
    roots = {"": run.info.artifact_uri}
    for output in run.outputs.model_outputs if run.outputs else []:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue  # deleted: its files are missing from what is found
        roots[f"{model.name} {model.model_id}/"] = model.artifact_location
    return roots


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


def mend(client: MlflowClient, run: Run, spare_id: str) -> bool:
    """Put back what a finished run has lost, as far as a newer run of the same step has written the very same; whether all is.

    So what refers to the run, such as a version in Production, is whole again without being made anew.
    """
    then = read_record(run).get("artifacts", {})
    if hash_of(then) != run.data.tags[tags.MANIFEST]:
        return False
    found, roots = of_run(client, run.info.run_id), _roots(client, run.info.run_id)
    spare_roots = _roots(client, spare_id)
    spares = {_without_id(path): (path, facts) for path, facts in of_run(client, spare_id).items()}
    for path in (path for path, facts in then.items() if found.get(path) != facts):
        spare, facts = spares.get(_without_id(path), ("", None))
        root = _root_of(path, roots)
        if facts != then[path] or facts[1] is None or root is None:
            continue
        prefix, name = root
        spare_prefix, spare_name = _root_of(spare, spare_roots)
        with TemporaryDirectory(prefix="dsgo-mend-") as folder:
            local = get_artifact_repository(spare_roots[spare_prefix]).download_artifacts(spare_name, folder)
            get_artifact_repository(roots[prefix]).log_artifact(local, posixpath.dirname(name) or None)
    return hash_of(of_run(client, run.info.run_id)) == run.data.tags[tags.MANIFEST]


def _without_id(path: str) -> str:
    """`model m-…/MLmodel` as `model/MLmodel`: ids differ from run to run."""
    return re.sub(r"^(\S+) m-[0-9a-f]+/", r"\1/", path)


def _root_of(path: str, roots: Mapping[str, str]) -> tuple[str, str] | None:
    """The prefix of a manifest's path and the rest; None if its model has been deleted."""
    prefix = match[0] if (match := re.match(r"\S+ m-[0-9a-f]+/", path)) else ""
    return (prefix, path.removeprefix(prefix)) if prefix in roots else None
