"""Judge the trained candidates, and put one in Production if it deserves it.

Reads: a dataset, and the runs that were trained on it (all of them, or those named by `candidates`).
Writes: a run with the leaderboard and, in the folder `gate`, the decision, its table of rules and its picture; if all rules
    hold, in the registry a new version in stage `Production` with alias `champion`, or at level DEV with alias `challenger`
    only; on each candidate's run the decision and its reason; rows of the ledger.
Fails when: there is no candidate, or candidates cannot be judged for a reason that lies outside of them (rules, champion,
    store). A refused candidate is no failure: the champion stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from dsgo import decision, ledger, promotion, registry, step_run, tags
from dsgo.bootstrap import BLOCK_DAYS
from dsgo.command import main
from dsgo.errors import GateError, NoProductionModel, SettingError
from dsgo.evaluation import months, plan
from dsgo.gate import ACCEPTED, KEPT, Candidate, Champion, Verdict, judge
from dsgo.rival import forecast_unseen, load
from dsgo.rules import Rules
from dsgo.rules import read as read_rules
from dsgo.tables import Dataset, read_dataset
from dsgo.trial import try_serving

DEV, PROD = "DEV", "PROD"
MOMENT = "%Y-%m-%d %H:%M"


def promote() -> None:
    """Parse, judge, show, act."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dataset", required=True, help="URI of a dataset, runs:/<run id>/dataset")
    options.add_argument("--rules", required=True, help="`gate` of collection.yaml, as YAML without the outer braces")
    options.add_argument("--candidates", default="", help="comma-separated run ids; default: all on this dataset")
    options.add_argument(
        "--level", default=PROD, help="DEV: what passes becomes challenger; PROD: it goes to Production"
    )
    options.add_argument(
        "--part", default="", help="of the data, such as a year, whose model stays registered in any case"
    )
    options.add_argument("--give-up", default="", help="number of the version in Production, if its files are lost")
    options = options.parse_args()
    if options.level not in (DEV, PROD):
        raise SettingError("level", options.level, f"{DEV} or {PROD}")
    rules = parse_rules(options.rules)
    dataset = read_dataset(options.dataset)
    step_run.begin("promote", dataset, options.dataset)
    mlflow.set_tags({tags.LEVEL: options.level})
    for sentence in promotion.repair(dataset.collection):
        print(sentence, flush=True)
    # Before the ledger is read: a rollback in between is then either in the ledger, or has changed what is replaced.
    champion = current_champion(dataset, options.give_up)
    taken = ledger.rolled_back(ledger.read(dataset.collection))
    candidates = ranked(registry.named_candidates(dataset, options.candidates), taken)
    verdicts = judge(
        candidates, champion, dataset, rules, lambda c: try_serving(f"runs:/{c.run_id}/model", dataset.table)
    )
    show(verdicts, champion, dataset, rules)
    act(verdicts, champion, dataset, options.level)
    if options.part:
        number = promotion.register(dataset.collection, verdicts[-1].candidate.run_id, options.part)
        print(f"the model of {options.part} is version {number}", flush=True)


def parse_rules(text: str) -> Rules:
    """`minimum_skill: 0.1, coverage80: [0.7, 0.9], …` as rules."""
    try:
        return read_rules(yaml.safe_load("{" + text + "}"))
    except yaml.YAMLError as error:
        raise SettingError("rules", text, f"YAML such as 'minimum_skill: 0.1' ({error})") from error


def ranked(runs: Sequence[Run], rolled_back: set[str]) -> list[Candidate]:
    """The runs as candidates, the best by back-test first; also logs them as the leaderboard."""
    board = registry.leaderboard_table(list(runs), {})
    mlflow.log_text(board.to_csv(index=False), "leaderboard.csv")
    by_id = {run.info.run_id: run for run in runs}
    return [
        Candidate(
            step=run.data.tags[tags.STEP],
            run_id=run.info.run_id,
            metrics=run.data.metrics,
            synthetic={"true": True, "false": False}.get(run.data.tags.get(tags.SYNTHETIC)),
            window=partial(registry.load_predictions, run.info.run_id, "window"),
            rolled_back=run.info.run_id in rolled_back,
        )
        for run in (by_id[run_id] for run_id in board["run_id"] if run_id)
    ]


def current_champion(dataset: Dataset, give_up: str) -> Champion | None:
    """What is in Production, if anything.

    Args:
        give_up: number of a version that a person says is lost: it is not compared with, if it really cannot be loaded.
    """
    try:
        production = registry.load_production(dataset.collection)
    except NoProductionModel:
        production = None
    present = str(production.version) if production else "none"
    if give_up and give_up != present:
        raise SettingError("give_up", give_up, f"the version in Production, which is {present}")
    if production is None:
        return None
    if give_up and can_be_loaded(production):
        raise GateError(f"Version {give_up} is not lost: its models can be loaded.", "Run without give_up.")
    return Champion(
        version=production.version,
        run_id=production.run_id,
        synthetic=production.synthetic,
        forecast=partial(forecast_unseen, production, dataset),
        given_up=bool(give_up),
    )


def can_be_loaded(production: registry.Production) -> bool:
    """Whether both models of the version are there."""
    try:
        for uri in (production.model_uri, f"runs:/{production.run_id}/twin"):
            load(production, uri)
    except GateError:
        return False
    return True


def show(verdicts: Sequence[Verdict], champion: Champion | None, dataset: Dataset, rules: Rules) -> None:
    """Print the rules, and log them as table, page, picture and description of the run."""
    last = verdicts[-1]
    decision.show(verdicts)
    print(f"{last.decision}: {last.reason}", flush=True)
    _, window = plan(dataset.table.index, dataset.info)
    facts = {
        "candidates tried": ", ".join(f"{verdict.candidate.step} ({verdict.decision})" for verdict in verdicts),
        "champion": f"version {champion.version}, run {champion.run_id}" if champion else "none yet",
        "window": f"{months(window, dataset.info)}: {window.start:{MOMENT}} to {window.end:{MOMENT}} UTC, the end left out",
        "data": f"{'synthetic' if dataset.synthetic else 'recorded'}, SHA-256 {dataset.sha256}",
        "intervals": f"{100 * rules.confidence:g} %, paired bootstrap of blocks of {BLOCK_DAYS} days",
    }
    with TemporaryDirectory(prefix="dsgo-gate-") as folder:
        path = Path(folder)
        decision.rule_table(verdicts).to_csv(path / "rules.csv", index=False)
        if last.comparison:
            names = last.candidate.step, f"version {champion.version}"
            last.comparison.parts.to_csv(path / "difference.csv", index=False)
            decision.draw(path / "difference.png", last.comparison, dataset.info, names, rules.worse_in_a_regime)
        picture = (path / "difference.png").read_bytes() if last.comparison else None
        (path / "decision.html").write_text(decision.page(verdicts, last.reason, facts, picture), encoding="utf-8")
        mlflow.log_artifacts(folder, "gate")
    mlflow.set_tag(tags.NOTE, decision.note(verdicts, last.reason))


def act(verdicts: Sequence[Verdict], champion: Champion | None, dataset: Dataset, level: str) -> None:
    """Do what was decided, and write down why."""
    client = MlflowClient()
    for verdict in verdicts:
        why = evidence(verdict, dataset)
        if verdict.decision == ACCEPTED and level == PROD:
            version = promotion.promote(dataset.collection, why, replaces=champion.version if champion else 0)
            print(f"version {version.version} is in Production", flush=True)
        elif verdict.decision == ACCEPTED:
            version = promotion.challenge(dataset.collection, why)
            print(f"version {version.version} is challenger: level {DEV} changes nothing in Production", flush=True)
        elif verdict.decision == KEPT:
            promotion.keep(dataset.collection, why, level)
        else:
            promotion.refuse(dataset.collection, why, level)
        client.set_tag(verdict.candidate.run_id, tags.DECISION, verdict.decision)
        client.set_tag(verdict.candidate.run_id, tags.REASON, verdict.reason)
    last = verdicts[-1]
    mlflow.set_tags({tags.DECISION: last.decision, tags.REASON: last.reason, tags.CANDIDATE: last.candidate.run_id})
    try:
        left = registry.load_production(dataset.collection).run_id
    except NoProductionModel:
        left = ""
    mlflow.set_tags({tags.OUTPUT_DIGEST: last.candidate.run_id, tags.CHAMPION: left})


def evidence(verdict: Verdict, dataset: Dataset) -> ledger.Evidence:
    """What the ledger keeps of one candidate's verdict."""
    targets = dataset.targets
    wanted = [f"window.{target}.{name}" for target in targets for name in ("rmse", "naive_rmse", "skill", "coverage80")]
    figures: dict[str, object] = {name: verdict.candidate.metrics.get(name) for name in wanted}
    _, window = plan(dataset.table.index, dataset.info)
    figures |= {"window_start": window.start.isoformat(), "window_end": window.end.isoformat()}
    figures["rows"] = len(window.split(dataset.table)[1])
    if verdict.comparison:
        figures["rmse_change"] = vars(verdict.comparison.overall)
        parts = verdict.comparison.parts
        for part in parts[parts["regime"] == "all"].to_dict("records"):
            figures[f"difference.{part['target']}"] = {
                name: part[name] for name in ("candidate_rmse", "champion_rmse", "difference", "low", "high")
            }
    return ledger.Evidence(
        run_id=verdict.candidate.run_id,
        gate_run_id=mlflow.active_run().info.run_id,
        rules=tuple(vars(rule) for rule in verdict.rules),
        figures=figures,
        reason=verdict.reason,
        data_digest=dataset.sha256,
        synthetic=dataset.synthetic,
        code_version=tags.code_version(),
        asked_by=ledger.asked_by(),
    )


if __name__ == "__main__":
    main(promote)
