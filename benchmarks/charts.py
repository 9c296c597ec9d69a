"""What the plots of all reports have in common: colours, quiet axes, and a sentence for those who cannot see them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from benchmarks import report

mpl.use("Agg")

GREY, BLUE, RED, AMBER, GREEN, PURPLE = "#57606a", "#0969da", "#cf222e", "#bf8700", "#009e73", "#cc79a7"
"""Grey is for what others are compared with, red for what failed; green and purple are Okabe and Ito's (2008)."""

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=[BLUE, AMBER, GREY, GREEN, PURPLE, RED]),
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure, and what it shows."""

    figure: Figure
    about: str
    """One line, for those who cannot see it."""

    def to_html(self) -> str:
        """The figure inside a page."""
        return report.image(report.png(self.figure), self.about)


def style() -> AbstractContextManager[None]:
    """The look of the reports, for all that is drawn inside of a ``with`` block."""
    return mpl.rc_context(_STYLE)
