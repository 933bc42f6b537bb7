"""Colours and style of every picture. They lie apart from the pictures: what draws one kind does not depend on the others.

Blue and vermilion of Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008) stay apart for colour-blind readers and have a
contrast of 3:1 or more on white and on black.
"""

from __future__ import annotations

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREY = "#808080"
# Curves of more kinds than two, the same palette's others; drawn with different dashes as well, for orange is faint on white.
SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

STYLE = {  # of matplotlib
    "text.parse_math": False,  # a $ in a name is a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout on every machine
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
}
