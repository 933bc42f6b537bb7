"""A decision shows every rule alike in the terminal, on the page and in the run's description, whatever stands in its texts."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sample_datasets import COLLECTION

from dsgo import decision
from dsgo.comparison import Comparison, Measured
from dsgo.gate import KEPT, REFUSED, Candidate, Rule, Verdict

LONGEST = "wind storm: −131.0 % [−110.6, +163.5]"
ODD = "<b>[red]a|b*c_d`</b>"


def verdict(name: str, outcome: str, *rules: Rule) -> Verdict:
    candidate = Candidate(name, "0123456789abcdef" * 2, {}, True, pd.DataFrame)
    return Verdict(candidate, outcome, ODD, rules)


VERDICTS = [
    verdict(
        "gradient_boosting",
        REFUSED,
        Rule("evidence", ODD, "all 4343 rows", False),
        Rule("late", "not tried", "x", None),
    ),
    verdict(
        "kernel_ridge",
        KEPT,
        Rule("solar_GW skill over naive", "0.546 [0.477, 0.608]", "low end ≥ 0.10", True),
        Rule("RMSE beside version 12", LONGEST, "high end < 0", False),
        Rule("wind_GW in worst regime", LONGEST, "≤ +10 %", False),
    ),
]


def test_the_terminal_shows_each_rule_within_the_width_that_a_log_has(capsys):
    decision.show(VERDICTS)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= decision.WIDTH
    assert "\x1b" not in shown
    assert "gradient_boosting, run 01234567: refused" in shown
    assert re.search(r"^FAILS evidence +<b>\[red\]a\|b\*c_d`</b>", shown, re.M)
    assert re.search(r"^– +late +not tried", shown, re.M)
    assert re.search(r"^holds solar_GW skill over naive 0.546 \[0.477, 0.608\] +low end ≥ 0.10", shown, re.M)
    assert re.search(r"^tie +RMSE beside version 12", shown, re.M)
    assert re.search(r"^FAILS wind_GW in worst regime", shown, re.M)


def test_the_page_shows_the_same_and_means_nothing_else():
    page = decision.page(VERDICTS, ODD, {"champion": ODD}, b"png")
    assert "<h1>kept</h1>" in page
    assert "<b>" not in page
    for word, count in (("FAILS", 2), ("tie", 1), ("holds", 1), ("–", 1)):
        assert page.count(f"<td>{word}</td>") == count
    assert "src='data:image/png;base64,cG5n'" in page
    assert "<img" not in decision.page(VERDICTS, ODD, {}, None)
    assert not re.search(r"(src|href)='?http", page)


def test_the_description_is_a_table_of_the_same_rules():
    rows = [line for line in decision.note(VERDICTS, ODD).splitlines() if line.startswith("| ")][0:]
    assert sum(row.startswith("| FAILS |") for row in rows) == 2
    assert sum(row.startswith("| tie |") for row in rows) == 1
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


def test_the_table_of_rules_has_a_row_for_each():
    table = decision.rule_table(VERDICTS)
    assert list(table["candidate"]) == ["gradient_boosting"] * 2 + ["kernel_ridge"] * 3
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert list(again["holds"].fillna("not tried")) == [False, "not tried", True, False, False]


@pytest.mark.parametrize("value", [-0.4, 0.4])
def test_the_picture_shows_a_difference_on_its_side_of_zero(tmp_path, value):
    row = {
        "regime": "all",
        "value": "all",
        "champion_rmse": 2.0,
        "difference": value,
        "low": value - 0.1,
        "high": value + 0.1,
    }
    parts = pd.DataFrame([{"target": target, **row} for target in COLLECTION.targets])
    comparison = Comparison(Measured(value, value, value), parts)
    decision.draw(tmp_path / "a.png", comparison, COLLECTION.dataset, ("candidate", "version 1"), 0.1)
    picture = imread(tmp_path / "a.png")[..., :3]
    blue = (np.abs(picture - np.array([0, 0x72, 0xB2]) / 255) < 0.02).all(axis=2)
    red = (np.abs(picture - np.array([0xD5, 0x5E, 0]) / 255) < 0.02).all(axis=2)
    assert (blue.sum() > 100) == (value < 0)
    assert red.sum() > 100  # the limit's line at least
