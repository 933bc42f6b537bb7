"""How a decision of the gate is shown: a table in the terminal, a page and a picture for the run in the tracking UI."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.comparison import Comparison
from dsgo.gate import KEPT, Rule, Verdict
from dsgo.palette import BLUE, GREY, STYLE, VERMILION

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 77  # of the table in a log: with the step's name before each line it stays within 100 columns
WORDS = {True: "holds", False: "FAILS", None: "–"}
COLOURS = {True: "green", False: "bold red", None: "dim"}
CLASSES = {"holds": "holds", "FAILS": "fails", "tie": "tie", "–": "untried"}
TITLE = "Difference between candidate and champion"
DPI = 110
WIDTH_INCHES = 3.9  # of one target: the tracking UI shows the picture some 9 inches wide
CSS = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.2em; }
h1 { font-size: 1.3em; margin: 0; } h2 { font-size: 1.05em; margin: 1.4em 0 0; } p { margin: .3em 0 .8em; max-width: 60em; }
.run { color: #666; font-size: .85em; margin: 0 0 .4em; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25em .9em .25em 0; vertical-align: top; }
th { font-weight: 600; color: #666; white-space: nowrap; }
td { overflow-wrap: anywhere; } .rules td:first-child { white-space: nowrap; } tr + tr td { border-top: 1px solid #e0e0e0; }
.fails td { color: #b03a00; font-weight: 600; } .tie td { color: #7a5c00; font-weight: 600; } .untried td { color: #777; }
img { max-width: 100%; margin-top: 1.4em; }
"""


def rule_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """All rules of all candidates that were tried: `candidate`, `run_id`, `decision`, and name, measured, asked, holds."""
    rows = [
        {"candidate": v.candidate.step, "run_id": v.candidate.run_id, "decision": v.decision, **vars(rule)}
        for v in verdicts
        for rule in v.rules
    ]
    return pd.DataFrame(rows)


def word(verdict: Verdict, rule: Rule) -> str:
    """`holds`, `FAILS`, `tie` (the rule that is broken by a tie) or `–` (not tried)."""
    tie = verdict.decision == KEPT and rule.holds is False and rule.name.startswith("RMSE beside")
    return "tie" if tie else WORDS[rule.holds]


def show(verdicts: Sequence[Verdict]) -> None:
    """Print a table for each candidate that was tried; coloured in a terminal, plain in a log."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else WIDTH)
    for verdict in verdicts:
        console.print(_terminal_table(verdict))


def _terminal_table(verdict: Verdict) -> Table:
    from rich.markup import escape
    from rich.table import Table

    title = f"{verdict.candidate.step}, run {verdict.candidate.run_id[:8]}: {verdict.decision}"
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0), header_style="dim"
    )
    for heading in ("", "rule", "measured", "asked"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "measured")
    for rule in verdict.rules:
        table.add_row(
            *map(escape, (word(verdict, rule), rule.name, rule.measured, rule.asked)), style=COLOURS[rule.holds]
        )
    return table


def note(verdicts: Sequence[Verdict], reason: str) -> str:
    """The decision in Markdown: the tracking UI shows it as the run's description."""
    lines = [f"**{verdicts[-1].decision}**: {cell(reason)}"]
    for verdict in verdicts:
        lines += [
            "",
            f"**{verdict.candidate.step}**: {verdict.decision}",
            "",
            "| | rule | measured | asked |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {word(verdict, rule)} | {cell(rule.name)} | {cell(rule.measured)} | {cell(rule.asked)} |"
            for rule in verdict.rules
        ]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text that means nothing else in Markdown. With a backslash before a `<`, MLflow's page shows no table at all."""
    return html.escape("".join(f"\\{letter}" if letter in "\\|_*`[]" else letter for letter in text)).replace("\n", " ")


def page(verdicts: Sequence[Verdict], reason: str, facts: Mapping[str, str], picture: bytes | None) -> str:
    """The decision as one HTML page that loads nothing."""
    parts = [f"<h1>{html.escape(verdicts[-1].decision)}</h1><p>{html.escape(reason)}</p><table class='facts'>"]
    parts += [f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items()]
    parts.append("</table>")
    for verdict in verdicts:
        parts.append(f"<h2>{html.escape(verdict.candidate.step)}: {html.escape(verdict.decision)}</h2>")
        parts.append(f"<p class='run'>run {html.escape(verdict.candidate.run_id)}</p>")
        parts.append("<table class='rules'><tr><th></th><th>rule</th><th>measured</th><th>asked</th></tr>")
        for rule in verdict.rules:
            outcome = word(verdict, rule)
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in (outcome, rule.name, rule.measured, rule.asked))
            parts.append(f"<tr class='{CLASSES[outcome]}'>{cells}</tr>")
        parts.append("</table>")
    if picture:
        parts.append(f"<img alt='{TITLE}' src='data:image/png;base64,{base64.b64encode(picture).decode()}'>")
    body = "\n".join(parts)
    head = f"<meta charset='utf-8'><title>Gate</title><style>{CSS}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>"


def draw(path: Path, comparison: Comparison, info: Mapping[str, Any], names: tuple[str, str], limit: float) -> None:
    """The difference of the RMSE with its interval, of each target in each regime.

    Args:
        names: of candidate and champion.
        limit: by how much a regime may be worse, as a share of the champion's RMSE over all hours.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    targets = columns_of(info, "target")
    with rc_context(STYLE):
        most = int(comparison.parts.groupby("target").size().max())
        figure = Figure(figsize=(WIDTH_INCHES * len(targets), 1.6 + 0.2 * most), dpi=DPI, layout="constrained")
        axes = figure.subplots(1, len(targets), squeeze=False)[0]
        for axis, target in zip(axes, targets, strict=True):
            rows = comparison.parts[comparison.parts["target"] == target].iloc[::-1]
            places = np.arange(len(rows))
            colours = np.where(rows["high"] < 0, BLUE, np.where(rows["low"] > 0, VERMILION, GREY))
            for place, (_, row), colour in zip(places, rows.iterrows(), colours, strict=True):
                thick = 2.6 if row["regime"] == "all" else 1.4
                axis.plot([row["low"], row["high"]], [place, place], color=colour, lw=thick, solid_capstyle="butt")
            axis.scatter(rows["difference"], places, c=colours, s=18, zorder=3)
            axis.axvline(0, color="black", lw=0.8)
            whole = rows.loc[rows["regime"] == "all", "champion_rmse"]
            if len(whole):
                axis.axvline(limit * whole.item(), color=VERMILION, lw=0.9, ls="--")
            labels = [r.regime if r.regime == "all" else f"{r.regime} {r.value}" for r in rows.itertuples()]
            axis.set_yticks(places, labels)
            axis.set_ylim(-0.7, len(rows) - 0.3)
            axis.grid(axis="x")
            axis.set_axisbelow(True)
            axis.set_xlabel(f"RMSE of {names[0]} − {names[1]}, {info['columns'][target]['unit']}")
            axis.set_title(target, loc="left")
        figure.suptitle(
            f"{TITLE}: blue better, red worse, grey a tie; dashed: the limit", x=0.01, ha="left", fontsize=10
        )
        figure.savefig(path)
