"""The rules of a collection: each must be there, none may be unknown, and each has a number that means something."""

from __future__ import annotations

import pytest
import yaml
from sample_datasets import COLLECTION

from dsgo.errors import GateError
from dsgo.rules import one_line, read

GIVEN = dict(COLLECTION.gate)


def test_the_shipped_rules_can_be_read():
    rules = read(GIVEN)
    assert rules.coverage80 == (0.7, 0.9)
    assert rules.minimum_skill == 0.1


def test_rules_go_to_a_step_on_one_line_and_come_back_as_they_were():
    line = one_line(GIVEN)
    assert "\n" not in line
    assert yaml.safe_load("{" + line + "}") == GIVEN


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_missing_rule_is_refused_by_name(name):
    with pytest.raises(GateError, match=f"gate.{name} is missing"):
        read({key: value for key, value in GIVEN.items() if key != name})


def test_an_unknown_rule_is_refused_and_the_known_ones_are_named():
    with pytest.raises(GateError, match=r"gate\.minimum_skil: there is no such rule.*minimum_skill"):
        read(GIVEN | {"minimum_skil": 0.3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("minimum_skill", "high"),
        ("minimum_skill", True),
        ("minimum_skill", float("nan")),
        ("minimum_skill", None),
        ("maximum_bias", -0.1),
        ("confidence", 1.0),
        ("confidence", 95),
        ("coverage80", 0.8),
        ("coverage80", [0.9, 0.7]),
        ("coverage80", [0.7, 0.8, 0.9]),
        ("coverage80", [0.7, 1.9]),
        ("latency_ms", [1]),
    ],
)
def test_a_value_that_means_nothing_is_refused(name, value):
    with pytest.raises(GateError, match=f"gate.{name}"):
        read(GIVEN | {name: value})


def test_what_is_no_mapping_holds_no_rules():
    with pytest.raises(GateError, match="holds no rules"):
        read("minimum_skill")
