"""Changing what is in Production: the one place that does, so that registry and ledger always tell the same.

A version in Production has the stage `Production` and the alias `champion`. MLflow has deprecated stages in favour of
aliases; people and commands still use `models:/<name>/Production`, so both are set.

Every change is written down before it is made and again when it is made. After a kill at any moment `repair` finds the first
row without the second and finishes the change, or where that cannot be, undoes it. The ledger is the truth: stage
and alias that differ from it are put right.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import mlflow
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from dsgo import ledger, tags
from dsgo import settings as dsgo_settings
from dsgo.errors import GateError, RegistryError
from dsgo.ledger import Entry, Evidence
from dsgo.registry import ALIAS, CHALLENGER, STAGE

KEPT_TAGS = (tags.COLLECTION, tags.STEP, tags.DATA_DIGEST, tags.DATASET, tags.SYNTHETIC, tags.CODE_VERSION)


def promote(collection: str, evidence: Evidence, *, replaces: int | None = None) -> ModelVersion:
    """Put the model of a training run in Production; the version that was there is archived.

    Args:
        collection: whose model.
        evidence: why, and of which run.
        replaces: the version that the evidence compares the candidate with, 0 for none; None is not checked.

    Raises:
        RegistryError: the run has no model named `model`, or the model or its data are deleted.
        GateError: another version than `replaces` is in Production by now.
    """
    return _take(collection, ledger.PROMOTION, ledger.PROD, evidence, replaces)


def challenge(collection: str, evidence: Evidence) -> ModelVersion:
    """Register the model of a training run under the alias `challenger`; Production stays. Raises as `promote`."""
    return _take(collection, ledger.CHALLENGE, ledger.DEV, evidence, None)


def register(collection: str, run_id: str, part: str) -> int:
    """Make the model of a training run a version, whatever the gate said of it, under the alias `of-<part>`.

    Returns:
        The version's number; Production stays as it is.

    Raises:
        RegistryError: the run has no model named `model`, or the model or its data are deleted.
    """
    client = MlflowClient()
    with ledger.exclusive():
        number = _registered(client, collection, run_id)
        client.set_model_version_tag(collection, str(number), tags.PART, part)
        client.set_registered_model_alias(collection, f"of-{part}", str(number))
    return number


def refuse(collection: str, evidence: Evidence, level: str = ledger.PROD) -> None:
    """Write down that a candidate is not good enough."""
    _note(collection, ledger.REFUSAL, level, evidence)


def keep(collection: str, evidence: Evidence, level: str = ledger.PROD) -> None:
    """Write down that what is in Production stays: a tie, or it is the best candidate itself."""
    _note(collection, ledger.KEPT, level, evidence)


def rollback(collection: str, *, to_version: int | None = None, reason: str = "", asked_by: str) -> ModelVersion:
    """Put a version back in Production that was there before.

    Args:
        collection: whose model.
        to_version: which; None is the one that was in Production before the present one. Rolling back twice goes back
            two; a promotion afterwards starts from where the rollback has led.
        reason: why, for the ledger.
        asked_by: who or what asks, see `ledger.asked_by`.

    Raises:
        RegistryError: there is no such version, it was never in Production or is there now, or cannot be used any more.
            Nothing is changed then.
    """
    client = MlflowClient()
    with ledger.exclusive():
        _repair(client, collection)
        rows = ledger.read(collection)
        path = ledger.in_production(rows)
        target = _target(client, collection, rows, path, to_version)
        version = _usable(client, target)
        entry = Entry(
            collection,
            ledger.ROLLBACK,
            ledger.BEGUN,
            ledger.PROD,
            dataclasses.replace(
                target.evidence,
                gate_run_id="",
                rules=(),
                figures={},
                reason=reason or f"back to version {target.version}",
                code_version=tags.code_version(dsgo_settings.CHECKOUT),
                asked_by=asked_by,
            ),
            version=int(version.version),
            replaced=path[-1].version,
        )
        return _change(client, entry)


def repair(collection: str | None = None) -> list[str]:
    """Finish or undo what a kill has interrupted, and make stage and alias agree with the ledger.

    Args:
        collection: which; None is all that there are.

    Returns:
        A sentence for each thing that was done; each is a row in the ledger too.
    """
    client = MlflowClient()
    known = {file.parent.name for file in (dsgo_settings.CHECKOUT / "projects").glob("*/collection.yaml")}
    with ledger.exclusive():
        names = [collection] if collection else sorted(known | set(ledger.collections()))
        return [sentence for name in names for sentence in _repair(client, name)]


def _take(collection: str, action: str, level: str, evidence: Evidence, replaces: int | None) -> ModelVersion:
    client = MlflowClient()
    with ledger.exclusive():
        _repair(client, collection)
        _candidate(client, evidence.run_id)
        present = _present(ledger.in_production(ledger.read(collection)))
        if replaces is not None and replaces != (present or 0):
            raise GateError(
                f"The candidate was compared with version {replaces} of {collection}, but by now "
                f"{f'version {present}' if present else 'no version'} is in Production.",
                "Run the step promote again.",
            )
        replaced = present if action == ledger.PROMOTION else None
        entry = Entry(collection, action, ledger.BEGUN, level, evidence, replaced=replaced)
        return _change(client, entry)


def _note(collection: str, action: str, level: str, evidence: Evidence) -> None:
    with ledger.exclusive():
        present = _present(ledger.in_production(ledger.read(collection)))
        ledger.append(Entry(collection, action, ledger.DONE, level, evidence, version=present))


def _present(path: Sequence[Entry]) -> int | None:
    return path[-1].version if path else None


def _change(client: MlflowClient, entry: Entry) -> ModelVersion:
    """Write down what will be done, do it, write down that it is done."""
    (number,) = ledger.append(entry)
    version = _apply(client, entry)
    ledger.append(dataclasses.replace(entry, state=ledger.DONE, version=version, begun=number))
    return client.get_model_version(entry.collection, str(version))


def _apply(client: MlflowClient, entry: Entry) -> int:
    """Bring the registry to what `entry` asks for, however much of it is done already. Returns the version's number.

    Raises:
        RegistryError: the version, or the run that it is to be made of, is not there any more.
    """
    if entry.version and _standing(entry, _versions(client, entry.collection)) is None:
        raise RegistryError(f"Version {entry.version} of {entry.collection} is not in the registry any more.")
    version = entry.version or _registered(client, entry.collection, entry.evidence.run_id)
    if entry.action == ledger.CHALLENGE:
        client.set_registered_model_alias(entry.collection, CHALLENGER, str(version))
    else:
        _put(client, entry.collection, version)
    return version


def _put(client: MlflowClient, collection: str, version: int) -> None:
    """Stage and alias on this version, and on no other."""
    client.set_model_version_tag(collection, str(version), tags.PROMOTED, "true")  # before: from now on it is kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of stages being deprecated: see the top of this file
        client.transition_model_version_stage(collection, str(version), STAGE, archive_existing_versions=True)
    client.set_registered_model_alias(collection, ALIAS, str(version))
    if _aliases(client, collection).get(CHALLENGER) == version:
        client.delete_registered_model_alias(collection, CHALLENGER)


def _registered(client: MlflowClient, collection: str, run_id: str) -> int:
    """The version of a training run; registers it if it is not yet."""
    run, model = _candidate(client, run_id)
    found = [number for number, each in _versions(client, collection).items() if each.run_id == run.info.run_id]
    if found:
        return max(found)
    try:
        client.get_registered_model(collection)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(collection)
    version_tags = {name: run.data.tags[name] for name in KEPT_TAGS}
    version_tags |= {name: model.tags[name] for name in (tags.TRAINED_FROM, tags.TRAINED_TO)}
    version = client.create_model_version(
        collection, source=model.model_uri, run_id=run.info.run_id, model_id=model.model_id, tags=version_tags
    )
    return int(version.version)


def _candidate(client: MlflowClient, run_id: str) -> tuple[Run, LoggedModel]:
    """The training run and its model. Raises RegistryError if the model cannot become a version."""
    remedy = "Run its training step again."
    try:
        run = client.get_run(run_id)
        logged = [client.get_logged_model(out.model_id) for out in (run.outputs.model_outputs if run.outputs else [])]
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(f"Run {run_id} or a model of it is deleted.", remedy) from error
    models = [model for model in logged if model.name == "model"]
    if not models:
        raise RegistryError(f"Run {run_id} has logged no model named 'model'.", remedy)
    missing = [name for name in KEPT_TAGS if name not in run.data.tags]
    missing += [name for name in (tags.TRAINED_FROM, tags.TRAINED_TO) if name not in models[0].tags]
    if missing:
        raise RegistryError(f"Run {run_id} or its model has no tag {', '.join(missing)}.", remedy)
    for needed in (run_id, _run_of(run.data.tags[tags.DATASET])):
        _require_active(client, needed, remedy)
    return run, models[0]


def _require_active(client: MlflowClient, run_id: str, remedy: str) -> None:
    try:
        stage = client.get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        stage = "deleted"
    if stage == "deleted":  # for `mlflow gc` to take away at any time
        raise RegistryError(f"Run {run_id} is deleted.", f"`mlflow runs restore --run-id {run_id}`, or: {remedy}")


def _run_of(uri: str) -> str:
    """The run of `runs:/<run id>/dataset`."""
    return uri.removeprefix("runs:/").partition("/")[0]


def _target(
    client: MlflowClient, collection: str, rows: Sequence[Entry], path: Sequence[Entry], to_version: int | None
) -> Entry:
    """The row that tells of the version to roll back to. Raises RegistryError if there is none."""
    if not path:
        raise RegistryError(f"No version of {collection} is in Production, so there is nothing to roll back from.")
    listed = "`make ledger` lists what was in Production."
    if to_version is None:
        if len(path) < 2:
            problem = f"Before version {path[-1].version} no version of {collection} was in Production."
            raise RegistryError(problem, listed)
        return path[-2]
    if to_version == path[-1].version:
        raise RegistryError(f"Version {to_version} of {collection} is in Production already.")
    states = (ledger.PROMOTION, ledger.FOUND)
    were = [row for row in rows if row.action in states and row.state == ledger.DONE and row.version == to_version]
    if were:
        return were[-1]
    if to_version not in _versions(client, collection):
        raise RegistryError(f"There is no version {to_version} of {collection}.", listed)
    raise RegistryError(f"Version {to_version} of {collection} was never in Production.", listed)


def _usable(client: MlflowClient, target: Entry) -> ModelVersion:
    """The version that `target` tells of, after looking whether all that its users need is there and it loads.

    Raises:
        RegistryError: not so.
    """
    version = _standing(target, _versions(client, target.collection))
    name = f"Version {target.version} of {target.collection}"
    another = "Another one: `make rollback ARGS='--to <version>'`."
    if version is None:
        raise RegistryError(f"{name} is not in the registry any more.", another)
    dataset = version.tags.get(tags.DATASET, "")
    folders = {f"runs:/{version.run_id}/predictions": ("window.parquet",), dataset: ("dataset.yaml", "table.parquet")}
    for folder, files in folders.items():
        try:
            there = {item.path.rpartition("/")[2] for item in mlflow.artifacts.list_artifacts(artifact_uri=folder)}
        except MlflowException as error:
            raise RegistryError(f"{name} cannot be used: {folder}: {error}", another) from error
        if missing := [file for file in files if file not in there]:
            raise RegistryError(f"{name} cannot be used: {', '.join(missing)} is gone from {folder}.", another)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of differing patch versions of packages that are not used here
            mlflow.pyfunc.load_model(f"models:/{target.collection}/{target.version}")
    except Exception as error:  # whatever the model's own code raises: it could not be served
        raise RegistryError(f"{name} cannot be loaded: {error}", another) from error
    return version


def _versions(client: MlflowClient, collection: str) -> dict[int, ModelVersion]:
    return {int(version.version): version for version in client.search_model_versions(f"name = '{collection}'")}


def _aliases(client: MlflowClient, collection: str) -> dict[str, int]:
    try:
        aliases = client.get_registered_model(collection).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: int(version) for alias, version in aliases.items()}


def _standing(entry: Entry, versions: dict[int, ModelVersion]) -> ModelVersion | None:
    """The version that `entry` tells of, if the registry has it."""
    version = versions.get(entry.version)
    return version if version is not None and (version.run_id or "") == entry.evidence.run_id else None


# --- repair -----------------------------------------------------------------------------------------------------------


def _repair(client: MlflowClient, collection: str) -> list[str]:
    rows = ledger.read(collection)
    said = [_finish(client, entry, rows) for entry in rows if entry.state == ledger.BEGUN]
    path = ledger.in_production(ledger.read(collection) if said else rows)
    versions, aliases = _versions(client, collection), _aliases(client, collection)
    staged = sorted(number for number, version in versions.items() if version.current_stage == STAGE)
    champion = aliases.get(ALIAS)
    if not path:
        if staged or champion:
            said.append(_adopt(client, collection, versions, champion or staged[-1]))
        return said
    standing = next((entry for entry in reversed(path) if _standing(entry, versions)), None)
    problems = []
    if standing is not path[-1]:
        problems.append(f"version {path[-1].version}, in Production by the ledger, is not in the registry")
    if standing is not None and (staged != [standing.version] or champion != standing.version):
        problems.append(f"in the registry {_named(staged, champion)}")
    if problems:
        outcome = f"version {standing.version} is in Production now" if standing else "no version is left"
        sentence = f"{collection}: {'; '.join(problems)}: {outcome}, as the ledger has it."
        version = standing.version if standing else None
        ledger.append(_repair_row(standing or path[-1], version, path[-1].version, sentence))
        said.append(sentence)
        if standing is not None:
            _put(client, collection, standing.version)
        elif staged or champion:  # of a registry that is not the one the ledger tells of
            said.append(_adopt(client, collection, versions, champion or staged[-1]))
    return said


def _named(staged: Sequence[int], champion: int | None) -> str:
    stage = ", ".join(map(str, staged)) or "none"
    return f"the stage {STAGE} is on version {stage} and the alias {ALIAS} on {champion or 'none'}"


def _finish(client: MlflowClient, entry: Entry, rows: Sequence[Entry]) -> str:
    """End a change that was interrupted; where it cannot go forward, nothing of it stands."""
    what = f"{entry.collection}: the {entry.action} begun {entry.time:%Y-%m-%d %H:%M:%S} UTC was interrupted"
    try:
        version = _apply(client, entry)
    except RegistryError as error:
        state, version = ledger.UNDONE, entry.version
        sentence = f"{what} and cannot be finished, so it is undone: {error}"
    else:
        state, sentence = ledger.DONE, f"{what} and is finished: version {version}."
    end = dataclasses.replace(entry, state=state, version=version, begun=entry.id)
    path = ledger.in_production([*rows, end])
    ledger.append(end, _repair_row(path[-1] if path else end, _present(path), entry.replaced, sentence))
    return sentence


def _adopt(client: MlflowClient, collection: str, versions: dict[int, ModelVersion], present: int) -> str:
    """First rows of a collection whose versions were in Production before there was a ledger."""
    before = sorted(n for n, each in versions.items() if each.current_stage == "Archived" and n != present)
    found = [*before, present]
    asked_by, code = ledger.asked_by(), tags.code_version(dsgo_settings.CHECKOUT)
    new = []
    for place, number in enumerate(found):
        of = versions[number].tags
        evidence = Evidence(
            run_id=versions[number].run_id or "",
            gate_run_id="",
            rules=(),
            figures={},
            reason="was in Production before there was a ledger",
            data_digest=of.get(tags.DATA_DIGEST, ""),
            synthetic=of.get(tags.SYNTHETIC) == "true",
            code_version=of.get(tags.CODE_VERSION, code),
            asked_by=asked_by,
        )
        replaced = found[place - 1] if place else None
        new.append(Entry(collection, ledger.FOUND, ledger.DONE, ledger.PROD, evidence, number, replaced))
    ledger.append(*new)
    for number in before:
        client.set_model_version_tag(collection, str(number), tags.PROMOTED, "true")
    _put(client, collection, present)
    return f"{collection}: version {present} was in Production before there was a ledger; the ledger begins with it."


def _repair_row(like: Entry, version: int | None, replaced: int | None, sentence: str) -> Entry:
    """A row that tells what was repaired. `version` is what is in Production after it, of the run that `like` tells of."""
    evidence = dataclasses.replace(
        like.evidence, gate_run_id="", rules=(), figures={}, reason=sentence, asked_by=ledger.asked_by()
    )
    return Entry(like.collection, ledger.REPAIR, ledger.DONE, ledger.PROD, evidence, version, replaced)
