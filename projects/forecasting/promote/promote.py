"""Compare the trained candidates, and put the best in Production if it deserves it.

Reads: a dataset, and the runs that were trained on it (all of them, or those named by `candidates`).
Writes: a run with the leaderboard and the table of rules; in the registry a new version in stage `Production` with alias
    `champion` if all rules hold; on the candidate's run the decision and its reason.
Fails when: there is no candidate, or one cannot be judged. A refused candidate is no failure: the champion stays.
"""

from __future__ import annotations

import argparse
import os

import mlflow
import pandas as pd
import yaml
from mlflow.tracking import MlflowClient

from dsgo import ledger, promotion, registry, tags
from dsgo.command import main
from dsgo.errors import NoProductionModel, SettingError
from dsgo.evaluation import plan
from dsgo.forecaster import Forecaster
from dsgo.gate import Rule, judge
from dsgo.served import example
from dsgo.tables import Dataset, read_dataset


def promote() -> None:
    """Parse, compare, judge, act."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dataset", required=True, help="URI of a dataset, runs:/<run id>/dataset")
    options.add_argument("--candidates", default="", help="comma-separated run ids; default: all on this dataset")
    options.add_argument("--rules", required=True, help="the gate's rules, as YAML without the outer braces")
    options = options.parse_args()
    rules = parse_rules(options.rules)
    dataset = read_dataset(options.dataset)
    if mlflow.active_run() is None:
        mlflow.start_run(run_name=None if "MLFLOW_RUN_ID" in os.environ else "promote")
    mlflow.set_tags(
        {
            tags.COLLECTION: dataset.collection,
            tags.STEP: "promote",
            tags.DATA_DIGEST: dataset.sha256,
            tags.DATASET: options.dataset,
            tags.SYNTHETIC: str(dataset.synthetic).lower(),
            tags.CODE_VERSION: tags.code_version(),
        }
    )
    runs = registry.named_candidates(dataset, options.candidates)
    board = registry.leaderboard_table(runs, {})
    mlflow.log_text(board.to_csv(index=False), "leaderboard.csv")
    best = next(run for run in runs if run.info.run_id == board["run_id"].iloc[0])
    print(f"best by back-test: {best.data.tags[tags.STEP]} ({best.info.run_id})", flush=True)

    for sentence in promotion.repair(dataset.collection):
        print(sentence, flush=True)
    champion = current_champion(dataset.collection)
    if champion is not None and champion.run_id == best.info.run_id:
        reason = f"version {champion.version} is the best candidate and in Production already"
        promotion.keep(dataset.collection, evidence(best.info.run_id, dataset, [], reason))
        conclude("kept", reason, [], champion.run_id)
        return
    outcome = [] if champion is None else comparable(champion, dataset)
    if all(rule.holds for rule in outcome):
        outcome += judge(
            best.data.metrics,
            dataset.targets,
            rules,
            registry.load_predictions(best.info.run_id, "window"),
            None if champion is None else champion_on_window(champion, dataset),
        )
        outcome.append(smoke(best.info.run_id, dataset))
    failed = [rule for rule in outcome if not rule.holds]
    client = MlflowClient()
    if failed:
        reason = "; ".join(f"{rule.name}: {rule.measured}, asked: {rule.asked}" for rule in failed)
        decision = "refused"
        promotion.refuse(dataset.collection, evidence(best.info.run_id, dataset, outcome, reason))
    else:
        present = champion.version if champion else 0
        why = evidence(best.info.run_id, dataset, outcome, "all rules hold")
        version = promotion.promote(dataset.collection, why, replaces=present)
        reason, decision = f"all rules hold: version {version.version} is in Production", "accepted"
    client.set_tag(best.info.run_id, tags.DECISION, decision)
    client.set_tag(best.info.run_id, tags.REASON, reason)
    conclude(decision, reason, outcome, best.info.run_id)


def evidence(run_id: str, dataset: Dataset, outcome: list[Rule], reason: str) -> ledger.Evidence:
    """What the ledger keeps of the decision."""
    return ledger.Evidence(
        run_id=run_id,
        gate_run_id=mlflow.active_run().info.run_id,
        rules=tuple(vars(rule) for rule in outcome),
        figures={},
        reason=reason,
        data_digest=dataset.sha256,
        synthetic=dataset.synthetic,
        code_version=tags.code_version(),
        asked_by=ledger.asked_by(),
    )


def parse_rules(text: str) -> dict:
    """`minimum_skill: 0.1, coverage80: [0.7, 0.9]` as a mapping."""
    try:
        rules = yaml.safe_load("{" + text + "}")
    except yaml.YAMLError as error:
        raise SettingError("rules", text, f"YAML such as 'minimum_skill: 0.1' ({error})") from error
    return rules


def current_champion(collection: str) -> registry.Production | None:
    """What is in Production, if anything."""
    try:
        return registry.load_production(collection)
    except NoProductionModel:
        return None


def comparable(champion: registry.Production, dataset: Dataset) -> list[Rule]:
    """Rules that must hold before scores of candidate and champion mean anything beside each other."""
    kind = "synthetic" if dataset.synthetic else "recorded"
    asked = "any" if champion.synthetic else "recorded, as the champion's"
    rules = [Rule("kind of data", kind, asked, champion.synthetic or not dataset.synthetic)]
    if champion.synthetic == dataset.synthetic:
        _, window = plan(dataset.table.index, dataset.info)
        learned_to = champion_twin(champion).trained_to
        measured, asked = (
            f"learned up to {learned_to:%Y-%m-%d %H:%M}",
            f"before {window.start:%Y-%m-%d}, the window's start",
        )
        rules.append(Rule("champion has not seen the window", measured, asked, learned_to < window.start))
    return rules


def champion_on_window(champion: registry.Production, dataset: Dataset) -> pd.DataFrame:
    """Forecasts of the champion's twin for the rows of this dataset's window."""
    _, window = plan(dataset.table.index, dataset.info)
    _, rows = window.split(dataset.table)
    with_history = dataset.table[dataset.table.index < window.end]
    return champion_twin(champion).forecast(with_history).loc[rows.index]


def champion_twin(champion: registry.Production) -> Forecaster:
    """The evaluated twin of the version in Production."""
    return registry.load_forecaster(f"runs:/{champion.run_id}/twin")


def smoke(run_id: str, dataset: Dataset) -> Rule:
    """Load the model that would be served and let it answer rows as a client would send them."""
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    answer = model.predict(example(model.unwrap_python_model().forecaster, dataset.table))
    good = len(answer) == 3 and bool(answer.notna().all(axis=None))
    return Rule("answers a request", f"{len(answer)} rows", "3 rows without gaps", good)


def conclude(decision: str, reason: str, outcome: list[Rule], run_id: str) -> None:
    """Log and print the decision."""
    table = pd.DataFrame([vars(rule) for rule in outcome], columns=["name", "measured", "asked", "holds"])
    mlflow.log_text(table.to_csv(index=False), "rules.csv")
    mlflow.set_tags({tags.DECISION: decision, tags.REASON: reason, "dsgo.candidate": run_id})
    champion = current_champion(mlflow.get_run(run_id).data.tags[tags.COLLECTION])
    mlflow.set_tags({tags.OUTPUT_DIGEST: run_id, tags.CHAMPION: champion.run_id if champion else ""})
    for rule in outcome:
        print(f"{'holds' if rule.holds else 'FAILS'}: {rule.name}: {rule.measured} (asked: {rule.asked})", flush=True)
    print(f"{decision}: {reason}", flush=True)


if __name__ == "__main__":
    main(promote)
