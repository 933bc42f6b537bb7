"""Search for better settings of a training step, scored on the folds before the window, which is never looked at.

    python -m dsgo.tuning random_forest.py --dataset runs:/<id>/dataset --trials 20

The step's script brings `SPACE` and `regressor` (see `dsgo.space`). The score is the mean over targets of the back-test's RMSE as
a share of the naive baseline's: 1 − the skill by which the gate ranks candidates. The first trial is the default setting, so the
best is never worse. A setting that after a fold is worse than the median of the earlier ones is given up.

The study is kept in a file that is named by data, code, space and seed. A search that was killed goes on where it stopped, and
comes to the same result: each trial's proposal depends on the seed, its number and the finished trials, nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import yaml
from mlflow.tracking import MlflowClient
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL

from dsgo import settings, space, step_run, tags
from dsgo.command import main
from dsgo.errors import SettingError, StepError
from dsgo.evaluation import score_predictions
from dsgo.ingredients import Step, key_of
from dsgo.steps import end_run
from dsgo.training import Training, parser

RANDOM_TRIALS = 5  # before the sampler follows what it has seen, and before any trial is given up
TRIALS_A_SEED = 10_000  # seeds of trials do not meet those of another search's seed
WHAT_A_SETTING_MAY_RAISE = (ValueError, ArithmeticError, np.linalg.LinAlgError)


def run() -> None:
    """Parse, search, log the result."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("script", type=Path, help="the step's Python file")
    options.add_argument(
        "--trials", type=int, default=20, help="settings to try, finished ones of earlier runs included"
    )
    options.add_argument(
        "--timeout-s", type=float, default=3600.0, help="seconds after which no further trial is begun"
    )
    options = options.parse_args()
    for name in ("trials", "timeout_s"):
        if not getattr(options, name) > 0:
            raise SettingError(name, getattr(options, name), "more than 0")
    script = options.script.resolve()
    step = _module(script)
    training = Training(f"{script.stem}.tune", options.dataset)
    with study_of(script, training, options.seed) as study:
        search(study, step, training, options)
        log_result(study, script.stem, step.SPACE, training, options.seed)


def search(study: optuna.Study, step: ModuleType, training: Training, options: argparse.Namespace) -> None:
    """Try settings until there are `trials` finished ones or the time is over; one line a trial."""
    _end_what_was_killed(study)
    if done := len(finished(study)):
        print(f"resumes: {done} of {options.trials} trials are done", flush=True)
    began = time.monotonic()
    while (done := len(finished(study))) < options.trials:
        if done and time.monotonic() - began > options.timeout_s:
            print(f"the time of {options.timeout_s:g} s is over after {done} of {options.trials} trials", flush=True)
            break
        if not done and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial(space.defaults(step.SPACE))
        seed = options.seed * TRIALS_A_SEED + done
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
        trial = study.ask(distributions(step.SPACE))
        started = time.monotonic()
        said = try_setting(study, trial, step, training, options.seed)
        best = f"best {study.best_value:.4f}" if finished(study, TrialState.COMPLETE) else "none finished yet"
        shown = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
        seconds = time.monotonic() - started
        print(f"trial {done + 1} of {options.trials}: {said}, {best}; {shown}; {seconds:.0f} s", flush=True)


def try_setting(study: optuna.Study, trial: Trial, step: ModuleType, training: Training, seed: int) -> str:
    """Back-test one setting in a nested run; say how it ended."""
    client, status = MlflowClient(), "FINISHED"
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True) as nested:
        trial.set_user_attr("run", nested.info.run_id)
        mlflow.set_tags(step_run.tags_of(f"{training.step}.trial", training.dataset, training.dataset_uri))
        mlflow.log_params({**trial.params, "seed": seed})
        try:
            score = _score(trial, step.regressor(trial.params, seed), training)
        except optuna.TrialPruned as pruned:
            study.tell(trial, state=TrialState.PRUNED)
            outcome, said, status = "pruned", f"given up: {pruned}", "KILLED"
        except WHAT_A_SETTING_MAY_RAISE as error:
            default = not finished(study)
            if not default:
                trial.set_user_attr("error", str(error))
            study.tell(trial, state=TrialState.FAIL)
            if default:
                raise  # the fault is not the setting's
            outcome, said, status = "failed", f"failed: {error}", "FAILED"
        else:
            study.tell(trial, score)
            outcome, said = "finished", f"score {score:.4f}"
            mlflow.log_metric("score", score)
        mlflow.set_tag(tags.TRIAL, outcome)
    if status != "FINISHED":
        client.set_terminated(nested.info.run_id, status)
    return said


def _score(trial: Trial, regressor: Any, training: Training) -> float:
    parts = []
    for number, (fold, predictions) in enumerate(training.by_fold(regressor)):
        parts.append(predictions)
        metrics = score_predictions(predictions, training.targets, fold.name, training.full_scale)
        mlflow.log_metrics(metrics)
        trial.report(share_of_naive(metrics, fold.name, training.targets), number)
        if number + 1 < len(training.folds) and trial.should_prune():
            raise optuna.TrialPruned(f"{fold.name} is worse than the median")
    metrics = score_predictions(pd.concat(parts), training.targets, "backtest", training.full_scale)
    mlflow.log_metrics(metrics)
    return share_of_naive(metrics, "backtest", training.targets)


def share_of_naive(metrics: Mapping[str, float], prefix: str, targets: list[str]) -> float:
    """Mean over targets of RMSE / RMSE of the naive baseline."""
    return float(np.mean([1.0 - metrics[f"{prefix}.{target}.skill"] for target in targets]))


def distributions(of: space.Space) -> dict[str, BaseDistribution]:
    """A space in Optuna's words."""
    return {name: _distribution(spec) for name, spec in of.items()}


def _distribution(spec: Mapping[str, Any]) -> BaseDistribution:
    if "choices" in spec:
        return CategoricalDistribution(spec["choices"])
    kind = IntDistribution if isinstance(spec["low"], int) else FloatDistribution
    return kind(spec["low"], spec["high"], log=spec.get("log", False))


def finished(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Trials that need no repetition: not the one that was under way when a search was killed."""
    wanted = states or (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [t for t in study.get_trials(states=wanted) if t.state != TrialState.FAIL or "error" in t.user_attrs]


def _end_what_was_killed(study: optuna.Study) -> None:
    """End the runs that an earlier search of this study has left open, and its last trial if that was under way."""
    cut_short = study.get_trials(states=(TrialState.RUNNING,))
    left_open = [each.user_attrs.get("run") for each in (study, *cut_short)]
    for run_id in filter(None, left_open):
        end_run(MlflowClient(), run_id, "KILLED")
    for trial in cut_short:
        study.tell(trial.number, state=TrialState.FAIL)
    study.set_user_attr("run", mlflow.active_run().info.run_id)


@contextlib.contextmanager
def study_of(script: Path, training: Training, seed: int) -> Iterator[optuna.Study]:
    """The study of this step on this data, a new one or the one that was begun earlier.

    Raises:
        StepError: another process is working on it.
    """
    parameters = {"dataset": training.dataset.digest, "seed": str(seed)}
    key = key_of(Step(script.stem, script.parent, parameters=parameters, reads=(Path(__file__),)), {})
    folder = settings.load().tuning
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{training.dataset.collection}-{script.stem}-{key[:12]}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (folder / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError(
                training.step, "runs already with these data and code.", "Wait until it has ended."
            ) from None
        url = URL.create("sqlite", database=str(folder / f"{name}.db")).render_as_string()
        storage = optuna.storages.RDBStorage(url)
        try:
            pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=0)
            yield optuna.create_study(
                storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True
            )
        finally:
            storage.remove_session()
            storage.engine.dispose()


def log_result(study: optuna.Study, step: str, searched: space.Space, training: Training, seed: int) -> None:
    """Log `settings.yaml`, the table of trials, and the tags by which the pipeline finds the result."""
    done, best = finished(study), study.best_trial
    default = finished(study, TrialState.COMPLETE)[0]
    result = {
        "step": step,
        "values": best.params,
        "score": best.value,
        "default_score": default.value,
        "trials": len(done),
        "seed": seed,
        "data_digest": training.dataset.sha256,
        "scored_to": training.window.start.isoformat(),
    }
    mlflow.log_text(yaml.safe_dump(result, sort_keys=False), space.SETTINGS_FILE)
    table = [
        {"trial": t.number, "state": t.state.name, "score": t.value, **t.params, "run_id": t.user_attrs["run"]}
        for t in done
    ]
    mlflow.log_text(pd.DataFrame(table).to_csv(index=False), "trials.csv")
    mlflow.log_metrics({"score": best.value, "default_score": default.value, "trials": len(done)})
    mlflow.set_tags(
        {
            tags.SEARCH_SPACE: space.digest(searched),
            tags.SCORED_TO: result["scored_to"],
            tags.OUTPUT_DIGEST: hashlib.sha256(json.dumps(best.params, sort_keys=True).encode()).hexdigest(),
        }
    )
    gain = 100 * (1 - best.value / default.value)
    print(
        f"best of {len(done)}: score {best.value:.4f}, {gain:.1f} % below the default's {default.value:.4f}", flush=True
    )
    print(f"Settings: runs:/{mlflow.active_run().info.run_id}/{space.SETTINGS_FILE}", flush=True)


def _module(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or not script.is_file():
        raise SettingError("script", str(script), "a training step's Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(run)
