"""Pictures of an evaluation: what the forecasts rest on, whether their intervals hold, where they miss.

Drawn from the tables that lie beside them, so that every point in a picture is a number in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dsgo.collection import columns_of
from dsgo.palette import BLUE, GREY, STYLE, VERMILION
from dsgo.regimes import SEASONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
WIDTH_INCHES = 10.0
ROW_INCHES = 3.1  # height of one target's row
LETTER_INCHES = 0.08
SPREAD = 0.32  # of points about their row, so that equal ones do not hide each other
LOW_TO_HIGH = "viridis"  # lightness grows along it: it can be read without colour
SPANS = {"window": ("window", "-"), "backtest": ("back-test", ":")}


def draw_importance(
    path: Path, importance: pd.DataFrame, contributions: pd.DataFrame, table: pd.DataFrame, info: Mapping[str, Any]
) -> None:
    """How much each group matters, and what it adds to single forecasts, for each target. `table` has the inputs."""

    def draw(figure: Figure, axes: np.ndarray, target: str, unit: str) -> None:
        rows = importance[importance["target"] == target].sort_values("rmse_increase")
        places = np.arange(len(rows))
        left, right = axes
        left.barh(places, rows["rmse_increase"], xerr=rows["rmse_increase_sd"], color=BLUE, ecolor=GREY, height=0.6)
        left.set_yticks(places, rows["group"])
        left.set_xlabel(f"Growth of the RMSE when shuffled, {unit}")
        left.set_title(f"{target}: importance", loc="left")
        chosen = contributions[contributions["target"] == target]
        for place, group in enumerate(rows["group"]):
            colours: Any = GREY
            if group in table:
                colours = table.loc[pd.DatetimeIndex(chosen["utc_timestamp"]), group].rank(pct=True).to_numpy()
            heights = place + SPREAD * _spread(chosen[group].to_numpy())
            style = {"s": 9, "alpha": 0.8, "linewidths": 0}
            right.scatter(chosen[group], heights, c=colours, cmap=None if colours is GREY else LOW_TO_HIGH, **style)
        right.set_yticks(places, [])
        right.axvline(0, color=GREY, lw=0.8)
        right.set_xlabel(f"Added to one forecast (Shapley value), {unit}")
        right.set_title(f"{len(chosen)} forecasts; dark to bright: input low to high", loc="left")

    longest = int(importance["group"].str.len().max())
    _draw(path, info, 2, draw, left_inches=0.3 + LETTER_INCHES * longest)


def draw_reliability(path: Path, scores: pd.DataFrame, info: Mapping[str, Any]) -> None:
    """Whether as many values lie below the quantiles, and inside the interval, as should, for each target."""

    def draw(figure: Figure, axes: np.ndarray, target: str, unit: str) -> None:
        rows = scores[(scores["span"] == "window") & (scores["target"] == target)]
        left, right = axes
        bins = rows[(rows["regime"] == "forecast") & (rows["value"] != "least")].sort_values("forecast")
        for column, name, colour, nominal in (
            ("below_p90", "p90", VERMILION, 0.9),
            ("below_forecast", "forecast", GREY, 0.5),
            ("below_p10", "p10", BLUE, 0.1),
        ):
            left.axhline(100 * nominal, color=colour, lw=0.9, ls="--")
            left.plot(bins["forecast"], 100 * bins[column], color=colour, marker="o", ms=3.5, lw=1.5, label=name)
        _percent(left, "Recorded values below, %")
        left.set_xlabel(f"Forecast (mean of each tenth), {unit}")
        left.set_title(f"{target}: quantiles", loc="left")
        _legend(left)
        daylight = bool(info["columns"][target].get("dark_at_night"))
        months = rows[(rows["regime"] == ("month by day" if daylight else "month")) & (rows["value"] != "night")]
        places = np.arange(len(months))
        right.axhline(80, color=GREY, lw=0.9, ls="--")
        right.plot(places, 100 * months["coverage80"], color=BLUE, marker="o", ms=3.5, lw=1.5, label="p10 to p90")
        constant = {"color": VERMILION, "marker": "s", "ms": 3.5, "lw": 1.2, "ls": ":"}
        right.plot(places, 100 * months["constant_coverage80"], label="constant width", **constant)
        right.set_xticks(places, months["value"], rotation=30 if len(places) > 6 else 0)
        _percent(right, "Recorded values inside, %")
        right.set_xlabel("Month (hours of daylight)" if daylight else "Month")
        right.set_title(f"{target}: 80 % interval", loc="left")
        _legend(right)

    _draw(path, info, 2, draw)


def draw_residuals(path: Path, scores: pd.DataFrame, info: Mapping[str, Any]) -> None:
    """RMSE and bias by hour, season and size of the forecast, on the window and in the back-test, for each target."""

    def draw(figure: Figure, axes: np.ndarray, target: str, unit: str) -> None:
        of_target = scores[scores["target"] == target]
        lines = []
        for span, (name, dashes) in SPANS.items():
            rows = of_target[of_target["span"] == span]
            hours = rows[rows["regime"] == "hour"]
            seasons = rows[rows["regime"] == "season"].set_index("value").reindex(SEASONS)
            bins = rows[rows["regime"] == "forecast"].sort_values("forecast")
            at = (hours["value"].astype(int), range(len(SEASONS)), bins["forecast"])
            for measure, colour in (("RMSE", BLUE), ("bias", VERMILION)):
                style = {
                    "color": colour,
                    "ls": dashes,
                    "lw": 1.5,
                    "marker": "o",
                    "ms": 3,
                    "label": f"{measure}, {name}",
                }
                for panel, across, part in zip(axes, at, (hours, seasons, bins), strict=True):
                    (line,) = panel.plot(across, part[measure.lower()], **style)
                lines.append(line)
        labels = (f"Hour of the day ({info['timezone']})", "Season", f"Forecast, {unit}")
        for panel, label in zip(axes, labels, strict=True):
            panel.axhline(0, color=GREY, lw=0.8)
            panel.set_xlabel(label)
        axes[0].set_xticks(range(0, 24, 6))
        axes[1].set_xticks(range(len(SEASONS)), SEASONS)
        axes[0].set_ylabel(f"Error (forecast − recorded), {unit}")
        axes[0].set_title(target, loc="left")
        if not figure.legends:  # one does for all targets
            figure.legend(handles=lines, loc="upper right", ncols=4, frameon=False, fontsize=8)

    _draw(path, info, 3, draw)


def _draw(
    path: Path,
    info: Mapping[str, Any],
    columns: int,
    draw: Callable[[Figure, np.ndarray, str, str], None],
    left_inches: float = 0.8,
) -> None:
    """A PNG with one row of panels for each target. Margins are given: finding them costs as much as drawing."""
    # The object-oriented interface: pyplot would look for a display and keep every figure alive.
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    targets = columns_of(info, "target")
    height = ROW_INCHES * len(targets) + 0.1
    with mpl.rc_context({**STYLE, "axes.grid": True, "axes.axisbelow": True, "axes.titlesize": 10}):
        figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI)
        axes = figure.subplots(len(targets), columns, squeeze=False)
        figure.subplots_adjust(
            left=left_inches / WIDTH_INCHES,
            right=1 - 0.2 / WIDTH_INCHES,
            bottom=0.55 / height,
            top=1 - 0.45 / height,
            wspace=0.2,
            hspace=0.4,
        )
        for row, target in zip(axes, targets, strict=True):
            draw(figure, row, target, info["columns"][target]["unit"])
        FigureCanvasAgg(figure).print_png(path)


def _percent(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 10, 50, 80, 90, 100])
    axes.set_ylabel(label)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0.1, fontsize=8)


def _spread(values: np.ndarray) -> np.ndarray:
    """Heights in -1..1 for points at `values`: neighbours in value lie apart."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (ranks * 0.618034 % 1) * 2 - 1
