"""One MLflow Project as one step of a pipeline: run it, or reuse a finished run that would come out the same.

A step's key is the hash of everything that decides its outcome: the files of its project, the modules of `dsgo` that they
import, its parameters, its `conda.yaml`, and the digests of its inputs. The date, the machine, the run's name and the code
of other steps are not in it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from dsgo import tags
from dsgo.errors import StepError

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Step:
    """One step of a pipeline.

    Attributes:
        name: as in tags, logs and the orchestrator.
        project: folder of its MLproject.
        inputs: parameter → the step it comes from (`dataset` artifact of `process_data`) or steps (their run ids).
        parameters: plain parameters.
        reads: files outside the project that decide the outcome too, such as `collection.yaml`.
    """

    name: str
    project: Path
    inputs: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()

    @property
    def upstream(self) -> list[str]:
        """Names of the steps that must have run before."""
        names = []
        for source in self.inputs.values():
            names += [source] if isinstance(source, str) else source
        return list(dict.fromkeys(names))


def key_of(step: Step, runs: Mapping[str, Run]) -> str:
    """The step's key, given the finished runs of the steps before it."""
    parts: dict[str, object] = {
        "project": {str(path.relative_to(step.project)): _digest(path) for path in _project_files(step.project)},
        "shared": {path.name: _digest(path) for path in shared_code(step.project)},
        "reads": {path.name: _digest(path) for path in step.reads},
        "parameters": {name: _content(value) for name, value in step.parameters.items()},
        "inputs": {name: [_output(runs[up]) for up in _listed(source)] for name, source in step.inputs.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _content(parameter: str) -> str:
    """A parameter that is a file counts by its name and content, wherever it lies."""
    path = Path(parameter)
    return f"{path.name} {_digest(path)}" if path.is_absolute() and path.is_file() else parameter


def _listed(source: str | tuple[str, ...]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


def _output(run: Run) -> str:
    return run.data.tags.get(tags.OUTPUT_DIGEST) or run.data.tags[tags.STEP_KEY]


def _project_files(project: Path) -> Iterator[Path]:
    for path in sorted(project.rglob("*")):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(project).parts)
        if path.is_file() and not hidden:
            yield path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shared_code(project: Path) -> list[Path]:
    """Modules of `dsgo` that the project's code imports, and those that these import, however deep inside a function."""
    waiting = [path for path in _project_files(project) if path.suffix == ".py"]
    found: set[Path] = set()
    while waiting:
        for module in _imports(waiting.pop()):
            path = PACKAGE / f"{module}.py"
            if path.exists() and path not in found:
                found.add(path)
                waiting.append(path)
    return sorted(found)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Names of the modules of `dsgo` that one file imports."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            modules += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("dsgo.")]
        elif isinstance(node, ast.ImportFrom) and node.module == "dsgo":
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dsgo."):
            modules.append(node.module.split(".")[1])
    return ("__init__", *modules)


def find_finished(client: MlflowClient, experiment_id: str, key: str) -> tuple[Run | None, str]:
    """A finished run with this key whose artifacts are all there; else None and why not."""
    runs = client.search_runs(
        [experiment_id],
        f"tags.`{tags.STEP_KEY}` = '{key}' and attributes.status = 'FINISHED'",
        ViewType.ACTIVE_ONLY,
        max_results=5,
        order_by=["attributes.end_time DESC"],
    )
    why = "its code, parameters, environment or inputs are new"
    for run in runs:
        recorded = run.data.tags.get(tags.MANIFEST)
        if recorded is None:
            why = f"run {run.info.run_id} ended before its artifacts were listed"
        elif not _champion_stands(client, run):
            why = f"the champion has changed since run {run.info.run_id}"
        elif recorded != _manifest(client, run):
            why = f"artifacts of run {run.info.run_id} are missing or changed"
        else:
            return run, ""
    return None, why


def _champion_stands(client: MlflowClient, run: Run) -> bool:
    """Whether what a gate's run has left as champion is champion still. Other steps' runs do not care."""
    left = run.data.tags.get(tags.CHAMPION)
    if left is None:
        return True
    try:
        return client.get_model_version_by_alias(run.data.tags[tags.COLLECTION], "champion").run_id == left
    except MlflowException:  # no version has the alias
        return left == ""


def _manifest(client: MlflowClient, run: Run) -> str:
    """Digest of path and size of everything that the run has written."""
    run = client.get_run(run.info.run_id)  # its models are known only after it has ended
    roots = [run.info.artifact_uri]
    for output in run.outputs.model_outputs if run.outputs else []:
        roots.append(client.get_logged_model(output.model_id).artifact_location)
    entries = []
    for root in roots:
        repository = get_artifact_repository(root)
        folders = [""]
        while folders:
            for item in repository.list_artifacts(folders.pop() or None):
                if item.is_dir:
                    folders.append(item.path)
                else:
                    entries.append(f"{root} {item.path} {item.file_size}")
    return hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest()


def arguments(step: Step, runs: Mapping[str, Run]) -> dict[str, str]:
    """Parameters for `mlflow run`: plain ones, URIs of datasets, ids of runs."""
    values = dict(step.parameters)
    for name, source in step.inputs.items():
        if isinstance(source, str):
            values[name] = f"runs:/{runs[source].info.run_id}/dataset"
        else:
            values[name] = ",".join(runs[up].info.run_id for up in source)
    return values


def run_step(
    step: Step,
    runs: Mapping[str, Run],
    *,
    experiment: str,
    collection: str,
    parent: str,
    env_manager: str,
    at_once: int,
) -> Run:
    """Run the project as a child of the pipeline's run, and note what it has written.

    Args:
        at_once: steps that may run at the same time; they share the processor.

    Raises:
        StepError: it failed.
    """
    client = MlflowClient()
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    key = key_of(step, runs)
    run = client.create_run(
        experiment_id,
        run_name=step.name,
        tags={
            "mlflow.parentRunId": parent,
            tags.COLLECTION: collection,
            tags.STEP: step.name,
            tags.STEP_KEY: key,
            tags.CODE_VERSION: tags.code_version(step.project),
        },
    )
    run_id = run.info.run_id
    os.environ.update(thread_limits(at_once))
    try:
        mlflow.projects.run(
            str(step.project),
            parameters=arguments(step, runs),
            experiment_id=experiment_id,
            run_id=run_id,
            env_manager=env_manager,
        )
    except (ExecutionException, MlflowException) as error:
        end_run(client, run_id, "FAILED")
        raise StepError(step.name, "failed; what it said is above.", f"Its run is {run_id}.") from error
    run = client.get_run(run_id)
    client.set_tag(run_id, tags.MANIFEST, _manifest(client, run))
    return client.get_run(run_id)


def thread_limits(at_once: int) -> dict[str, str]:
    """Environment that gives a step its share of the processor; steps that each take all of it wait for each other."""
    threads = str(max(1, (os.cpu_count() or 1) // at_once))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return dict.fromkeys((*names, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)


def end_run(client: MlflowClient, run_id: str, status: str) -> None:
    """A run whose process died keeps the status RUNNING unless somebody ends it."""
    try:
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, status)
    except MlflowException as error:
        print(f"the run {run_id} could not be marked as {status.lower()}: {error}", flush=True)
