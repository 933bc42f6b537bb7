"""How the findings of a watch are shown: a table in the terminal and for the run in the tracking UI, a picture of what drifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dsgo.climatology import Deviations
from dsgo.decision import WIDTH, cell
from dsgo.findings import Finding
from dsgo.palette import BLUE, GREY, STYLE, VERMILION

SENTENCES = 10  # of a run's description; all are in findings.csv
WEEKS = 13  # drawn before the newest hour
PANELS = 6  # at most
FEWEST_HOURS = 6  # of a day, to be drawn
BAND = 2.0  # spreads of a day's mean about the season's, either way
DPI = 110
WIDTH_INCHES, PANEL_INCHES = 8.0, 1.9
HEADINGS = ("", "kind", "subject", "check", "measured", "limit")


def table(found: Sequence[Finding]) -> pd.DataFrame:
    """All findings, one a row, as the file `findings.csv` has them."""
    return pd.DataFrame([vars(one) for one in found])


def ordered(found: Sequence[Finding]) -> list[Finding]:
    """Alarms first."""
    return sorted(found, key=lambda one: not one.alarm)


def headline(found: Sequence[Finding]) -> str:
    """One line about all of them."""
    alarms = [one for one in found if one.alarm]
    if not alarms:
        return f"no alarm in {len(found)} checks"
    return f"{len(alarms)} of {len(found)} checks alarm: {', '.join(name(one) for one in alarms)}"


def name(one: Finding) -> str:
    """`fault windspeed stuck`."""
    return " ".join(part for part in (one.kind, one.subject, one.check) if part)


def show(found: Sequence[Finding]) -> None:
    """Print the table, then a sentence on each alarm and estimate; coloured in a terminal, plain in a log."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else WIDTH)
    shown = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in HEADINGS:
        shown.add_column(heading, overflow="fold", justify="right" if heading in HEADINGS[-2:] else "left")
    for one in ordered(found):
        shown.add_row(*map(escape, _cells(one)), style="bold red" if one.alarm else "")
    console.print(shown)
    for one in found:
        if one.alarm or one.estimate:
            console.print(escape(one.text))


def note(found: Sequence[Finding]) -> str:
    """The findings in Markdown: the tracking UI shows them as the run's description, which has little room for sentences."""
    lines = [f"**{cell(headline(found))}**", ""]
    lines += [f"- {cell(one.text)}" for one in [one for one in found if one.alarm or one.estimate][:SENTENCES]]
    lines += ["", f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, _cells(one)))} |" for one in ordered(found))])


def _cells(one: Finding) -> tuple[str, ...]:
    word = "ALARM" if one.alarm else "estimate" if one.estimate else "–" if one.measured is None else "ok"
    figures = ("" if value is None else f"{value:.3g}".replace("-", "−") for value in (one.measured, one.limit))
    return (word, one.kind, one.subject or "all", one.check, *figures)


def draw(
    path: Path,
    found: Sequence[Finding],
    data: pd.DataFrame,
    usual: Mapping[tuple[str, bool], Deviations | None],
    info: Mapping[str, Any],
) -> None:
    """Daily means of the newest weeks against the band of the season; columns with an alarm first, and marked.

    Args:
        data: the dataset's table.
        usual: of `dsgo.drift.usual_of`.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    alarms = {one.subject: [] for one in ordered(found)}
    for one in found:
        if one.alarm:
            alarms[one.subject].append(f"{one.kind} {one.check}")
    names = [name for name in (*alarms, *info["columns"]) if usual.get((name, False)) is not None]
    names = list(dict.fromkeys(names))[:PANELS]
    if not names:
        return
    with rc_context({**STYLE, "axes.grid": True, "axes.axisbelow": True}):
        figure = Figure(figsize=(WIDTH_INCHES, PANEL_INCHES * len(names) + 0.4), dpi=DPI, layout="constrained")
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for panel, column in zip(axes, names, strict=True):
            days = _daily(data[column], usual[column, False], info["columns"][column]["minimum"])
            colour = VERMILION if alarms.get(column) else BLUE
            panel.fill_between(days.index, days["low"], days["high"], color=GREY, alpha=0.3, lw=0, label="season")
            panel.plot(days.index, days["usual"], color=GREY, lw=1.0, ls="--")
            panel.plot(days.index, days["value"], color=colour, lw=1.4, marker="o", ms=2.5, label="mean of the day")
            said = f": {', '.join(alarms[column])}" if alarms.get(column) else ""
            panel.set_title(f"{column}{said}", loc="left", fontsize=9, color=colour if said else "black")
            panel.set_ylabel(info["columns"][column]["unit"])
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.1, fontsize=8)
        FigureCanvasAgg(figure).print_png(path)


def _daily(values: pd.Series, usual: Deviations, minimum: float) -> pd.DataFrame:
    """Means of the days of the newest weeks, what is usual for them, and the band about it."""
    rows = pd.DataFrame({"value": values.to_numpy(), "usual": usual.usual}, values.index).dropna()
    days = rows.resample("1D").agg(["mean", "size"])
    enough = days["usual", "size"] >= FEWEST_HOURS
    days = pd.DataFrame({column: days[column, "mean"].where(enough) for column in ("value", "usual")})
    spread = BAND * (days["value"] - days["usual"]).rolling(365, center=True, min_periods=30).std()
    days = days.assign(low=(days["usual"] - spread).clip(lower=minimum), high=days["usual"] + spread)
    return days[days.index > values.index[-1] - pd.Timedelta(weeks=WEEKS)]


def metrics(found: Sequence[Finding]) -> dict[str, float]:
    """`alarms`, and what was measured: `data.windspeed.level` …"""
    measured = {
        name(one).replace(" ", "."): float(one.measured)
        for one in found
        if one.measured is not None and np.isfinite(one.measured) and not one.estimate
    }
    return {"alarms": float(sum(one.alarm for one in found)), **measured}
