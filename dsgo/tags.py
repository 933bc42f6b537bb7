"""Tags that every run and version carries, so that each figure can be traced to data and code."""

from __future__ import annotations

import subprocess
from pathlib import Path

COLLECTION = "dsgo.collection"
STEP = "dsgo.step"
STEP_KEY = "dsgo.step_key"
OUTPUT_DIGEST = "dsgo.output_digest"
DATA_DIGEST = "dsgo.data_digest"
CODE_VERSION = "dsgo.code_version"
SYNTHETIC = "dsgo.synthetic"
DATASET = "dsgo.dataset"
TRAINED_FROM = "dsgo.trained_from"
TRAINED_TO = "dsgo.trained_to"
MANIFEST = "dsgo.manifest"
PROMOTED = "dsgo.promoted"
INPUT_RUNS = "dsgo.input_runs"
PROCESS = "dsgo.process"
CHAMPION = "dsgo.champion"
SOURCE = "dsgo.source"
RECORDED = "dsgo.recorded"
REASON = "dsgo.gate.reason"
DECISION = "dsgo.gate.decision"
CANDIDATE = "dsgo.candidate"
LEVEL = "dsgo.level"
SEARCH_SPACE = "dsgo.search_space"
SCORED_TO = "dsgo.scored_to"
TRIAL = "dsgo.trial"
JOB = "dsgo.job"
CAUSE = "dsgo.cause"
ALARMS = "dsgo.alarms"
PART = "dsgo.part"
NOTE = "mlflow.note.content"  # what the tracking UI shows as a run's description


def code_version(folder: Path | str = ".") -> str:
    """Git commit of the code in `folder`, `+changes` when the working tree differs; `unknown` outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:  # git is not installed
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return commit + ("+changes" if git("status", "--porcelain") else "")


def made_datasets(collection: str, synthetic: str) -> str:
    """The condition by which MLflow finds the finished runs that made a collection's datasets; `synthetic`: true or false."""
    wanted = {STEP: "process_data", COLLECTION: collection, SYNTHETIC: synthetic}
    return " and ".join(["attributes.status = 'FINISHED'", *(f"tags.`{n}` = '{v}'" for n, v in wanted.items())])
