"""Findings as table, description and picture: alarms first, and short enough for the tracking server."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from sample_datasets import dataset

from dsgo import watch_shown
from dsgo.drift import usual_of
from dsgo.findings import DATA, FAULT, MODEL, Finding

LAST = pd.Timestamp("2015-03-15 23:00", tz="UTC")
LEVEL = Finding(DATA, "windspeed", "level", LAST, LAST, -1.25, 4.0, False, "level: fine")
STUCK = Finding(FAULT, "temperature", "stuck", LAST, LAST, 30.0, 6.0, True, "stuck | for <30> hours")
OPEN = Finding(MODEL, "wind_GW", "error", LAST, LAST, None, None, False, "too few hours")
LONGEST = 8000  # characters of a tag, in the tracking server


def test_alarms_come_first_and_are_told_in_the_headline() -> None:
    text = watch_shown.note([LEVEL, STUCK, OPEN])
    assert text.startswith("**1 of 3 checks alarm: fault temperature stuck**")
    assert text.index("ALARM") < text.index("−1.25") and "stuck \\| for &lt;30&gt; hours" in text
    assert watch_shown.headline([LEVEL, OPEN]) == "no alarm in 2 checks"


def test_the_description_fits_into_a_tag_even_if_everything_alarms() -> None:
    loud = dataclasses.replace(STUCK, text=300 * "x")
    assert len(watch_shown.note(60 * [loud])) < LONGEST


def test_metrics_are_what_was_measured() -> None:
    assert watch_shown.metrics([LEVEL, STUCK, OPEN]) == {
        "alarms": 1.0,
        "data.windspeed.level": -1.25,
        "fault.temperature.stuck": 30.0,
    }


def test_the_table_in_a_log_stays_within_its_width(capsys) -> None:
    watch_shown.show([LEVEL, STUCK, OPEN])
    lines = capsys.readouterr().out.splitlines()
    assert any("ALARM" in line for line in lines) and max(map(len, lines)) <= 77


def test_the_picture_is_drawn_where_there_is_a_season_to_compare_with(tmp_path: Path) -> None:
    table = dataset().table.loc[:LAST]
    training = np.asarray(table.index <= pd.Timestamp("2014-12-31 23:00", tz="UTC"))
    usual = usual_of(table, dataset().info, training)
    watch_shown.draw(tmp_path / "drift.png", [LEVEL, STUCK], table, usual, dataset().info)
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    nothing = dict.fromkeys(usual)
    watch_shown.draw(tmp_path / "none.png", [STUCK], table, nothing, dataset().info)
    assert not (tmp_path / "none.png").exists()
