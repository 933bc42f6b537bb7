"""docs/add_a_collection.md, followed to the letter: the files are taken out of the page, and the rest of DSGo is as it was."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import toy_collection
from board import Board
from system import System

from dsgo import collection, registry
from dsgo.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "add_a_collection.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`(projects/[^`]+)`\n\n```(?:yaml|python)\n(.*?)```", PAGE, re.DOTALL))
CANDIDATES = {"gradient_boosting", "linear_regression", "ensemble"}
FIRST_COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a pipeline and a report need, with the page's collection."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("dsgo", "projects", "report"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["bash", "-euc", FIRST_COMMANDS], cwd=folder, check=True)
    for path, content in FILES.items():
        (folder / path).write_text(content, encoding="utf-8")
    return folder


def python(checkout: Path, *arguments: str | Path) -> str:
    """What Python printed, with the copy's code."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def training(servers: Settings, checkout: Path) -> str:
    """What the training job printed."""
    return python(checkout, "-c", toy_collection.DRIVER, checkout / "projects/heat/collection.yaml")


def test_the_page_has_every_file_and_all_are_in_one_folder():
    assert {path.removeprefix("projects/heat/") for path in FILES} == {
        *("collection.yaml", "de.yaml", "flow.py", "process_data/MLproject", "process_data/process_data.py")
    }


def test_a_model_gets_into_production(training):
    assert "17,520 hours, 2013-01-01 00:00 to 2014-12-31 23:00 UTC" in training
    assert "Outlook: 168 hours" in training
    champion = registry.load_production("heat")
    assert champion.step in CANDIDATES
    assert champion.synthetic
    forecast = champion.predict(champion.dataset().outlook.reset_index())
    assert len(forecast) == 168
    assert (forecast["heat_MW_p10"] <= forecast["heat_MW"]).all() and forecast["heat_MW"].between(0, 200).all()


def test_the_dashboard_has_its_data(training, servers, checkout, monkeypatch):
    monkeypatch.setattr(collection, "find", partial(collection.find, root=checkout))
    system = System(dataclasses.replace(servers, checkout=checkout))
    board = Board(system.settings, system, every=60)
    known = board.collections["heat"]
    assert known.title == "Heat of the town"
    shown = board._load("heat", None)
    assert shown.history.title("heat_MW") == "Heat taken from the network, mean of the hour"
    assert shown.review.targets == ["heat_MW"]
    assert set(system.leaderboard("heat")["model"]) == {*CANDIDATES, "naive"}
    assert {"season", "hour", "month"} <= set(system.evaluation("heat", shown.production.run_id)["regimes"]["regime"])
    [pipeline] = system.pipelines(known)
    assert {step["step"] for step in pipeline["steps"]} == {"process_data", *CANDIDATES, "promote"}
    assert list(system.ledger("heat")["action"]) == ["promotion"]


def test_the_report_is_written_in_english_and_in_german(training, checkout, tmp_path):
    for language, words in {"en": ("Heat of the town",), "de": ("Wärme der Stadt", "Wärme aus dem Netz")}.items():
        printed = python(
            *(checkout, checkout / "report/create_report.py", "--collection", "heat"),
            *("--language", language, "--output", tmp_path / language),
        )
        page = Path(printed.strip().splitlines()[-1]).read_text(encoding="utf-8")
        assert all(word in page for word in words)
