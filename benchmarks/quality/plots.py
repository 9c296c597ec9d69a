"""The plots of the report. Several versions lie over each other, told apart by colour and by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from textwrap import fill
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from benchmarks.charts import AMBER, BLUE, GREEN, GREY, PURPLE, RED, Drawn, style
from benchmarks.quality.calibration import Reliability

_COLOURS = (BLUE, AMBER, GREEN, PURPLE, GREY, RED)
_LINES = ("-", "--", "-.", ":")
_GUIDE = "#8b949e"
_WIDEST = 26
"""Letters in a line of a panel's legend."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a panel."""

    name: str
    x: Floats
    y: Floats
    step: bool = False
    """Whether the value holds until the next point."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that belong together."""

    title: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, float]] = ()
    """Points that are marked, as the threshold in use, for the lines in their order."""


def _styles(count: int) -> list[dict[str, Any]]:
    """A colour and a kind of line for each version."""
    return [
        {"color": colour, "linestyle": line}
        for colour, line in islice(zip(cycle(_COLOURS), cycle(_LINES), strict=False), count)
    ]


def _drawn(line: Line) -> Literal["steps-post", "default"]:
    return "steps-post" if line.step else "default"


def curves(panels: Sequence[Panel], xlabel: str, ylabel: str, *, diagonal: bool = False, about: str) -> Drawn:
    """Small multiples with both axes from 0 to 1.

    Args:
        panels: The parts, three in a row.
        xlabel: Of all of them.
        ylabel: Likewise.
        diagonal: Whether to draw what guessing would give.
        about: What it shows, for those who cannot see it.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        figure = Figure(figsize=(3.3 * columns, 3.1 * rows), layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, panel in zip(places, panels, strict=False):
            if diagonal:
                axes.plot([0, 1], [0, 1], color=_GUIDE, lw=0.8, ls=":")
            for line, look in zip(panel.lines, _styles(len(panel.lines)), strict=True):
                axes.plot(line.x, line.y, lw=1.4, label=fill(line.name, _WIDEST), drawstyle=_drawn(line), **look)
            for (x, y), look in zip(panel.marks, _styles(len(panel.marks)), strict=True):
                axes.plot([x], [y], "o", ms=6, mfc="none", mew=1.5, color=look["color"])
            axes.set_title(panel.title, fontsize=9)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
            axes.legend(fontsize=7, framealpha=0.85, loc="lower right" if diagonal else "best")
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel(xlabel, fontsize=9)
        figure.supylabel(ylabel, fontsize=9)
    return Drawn(figure, about)


def reliability_diagram(sides: Mapping[str, Reliability], *, scores: str, right: str, about: str) -> Drawn:
    """Share that is right against the mean score of each bin, and how many scores lie in each bin.

    Args:
        sides: The bins of each version, by its name.
        scores: What the scores are, for the axis.
        right: What it is to be right, for the axis.
        about: What it shows, for those who cannot see it.
    """
    with style():
        figure = Figure(figsize=(4.6, 4.6), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=_GUIDE, lw=0.8, ls=":", label="as it should be")
        for (name, one), look in zip(sides.items(), _styles(len(sides)), strict=True):
            full = one.counts > 0
            ece = "none" if one.ece is None else f"{one.ece:.3f}"
            axes.plot(one.scores[full], one.right[full], "o", ms=4, lw=1.4, label=f"{name}: ECE {ece}", **look)
            edges = np.linspace(0, 1, len(one.counts) + 1)
            below.stairs(one.counts / max(1, one.count), edges, lw=1.4, **look)
        axes.set(ylabel=right, xlim=(0, 1), ylim=(-0.02, 1.02))
        axes.legend(fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))  # above: it hides no curve
        below.set(xlabel=scores, ylabel="share of them", ylim=(0, None))
    return Drawn(figure, about)


def matrix(
    counts_RC: npt.NDArray[np.integer[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    ylabel: str,
    xlabel: str,
    about: str,
) -> Drawn:
    """A table of counts as colours, with the numbers written in; what has the same name on both sides is bold.

    Args:
        counts_RC: How often.
        rows: What is true.
        columns: What was said.
        ylabel: Of the rows.
        xlabel: Of the columns.
        about: What it shows, for those who cannot see it.
    """
    side = 0.21 if len(columns) > 30 else 0.3
    with style():
        figure = Figure(figsize=(side * len(columns) + 2.4, side * len(rows) + 1.8))
        axes = figure.add_subplot()
        most = max(2, int(counts_RC.max(initial=0)))
        shown = np.where(counts_RC > 0, counts_RC, np.nan)
        axes.imshow(shown, cmap="Blues", norm=LogNorm(0.5, most), aspect="equal")
        small: Any = {"fontsize": 5.5 if len(columns) > 30 else 7.5}
        for row, column in np.argwhere(counts_RC > 0).tolist():
            count = int(counts_RC[row, column])
            dark = np.log(count / 0.5) > 0.6 * np.log(most / 0.5)
            weight = "bold" if rows[row] == columns[column] else "normal"
            colour = "white" if dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, weight=weight, **small)
        axes.set_yticks(range(len(rows)), rows, **small)
        axes.set_xticks(range(len(columns)), columns, rotation=90, **small)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.set(ylabel=ylabel, xlabel=xlabel)
    return Drawn(figure, about)


def by_position(
    sides: Mapping[str, Sequence[float]], labels: Sequence[str], *, ylabel: str, xlabel: str, about: str
) -> Drawn:
    """Shares in order, a point each, of one version with their values."""
    apart = 0.16
    with style():
        figure = Figure(figsize=(max(4.0, 0.75 * len(labels)), 2.8), layout="constrained")
        axes = figure.add_subplot()
        for number, ((name, values), look) in enumerate(zip(sides.items(), _styles(len(sides)), strict=True)):
            places = np.arange(len(values)) + (number - (len(sides) - 1) / 2) * apart
            axes.plot(places, values, "o", ms=5, lw=0.8, label=name, **look)
            if len(sides) == 1:
                for place, value in zip(places, values, strict=True):
                    above: Any = {"xytext": (0, 5), "textcoords": "offset points"}
                    axes.annotate(f"{value:.3f}", (place, value), ha="center", fontsize=6.5, **above)
        axes.set_xticks(range(len(labels)), labels)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(y=0.18)
        axes.grid(axis="x", visible=False)
        if len(sides) > 1:
            axes.legend(fontsize=7.5, loc="best", framealpha=0.9)
    return Drawn(figure, about)


def similarities(sides: Mapping[str, tuple[Floats, npt.NDArray[np.bool_], float]], *, about: str) -> Drawn:
    """How similar pairs of faces are, the same person's and others'.

    Args:
        sides: Similarities, whether a pair is the same person's, and the threshold, for each version.
        about: What it shows, for those who cannot see it.
    """
    edges = np.linspace(-1, 1, 61)
    with style():
        figure = Figure(figsize=(6.5, 2.2 * len(sides)), layout="constrained")
        for axes, (name, (similarity_P, same_P, threshold)) in zip(
            figure.subplots(len(sides), 1, squeeze=False, sharex=True).ravel(), sides.items(), strict=True
        ):
            axes.hist(similarity_P[same_P], edges, color=_COLOURS[0], alpha=0.75, label="the same person")
            axes.hist(similarity_P[~same_P], edges, color=_COLOURS[1], alpha=0.75, label="two persons", hatch="//")
            axes.axvline(threshold, color="black", lw=1.0, ls="--", label=f"threshold {threshold:g}")
            axes.set(ylabel="pairs", xlim=(-1, 1))
            axes.set_title(name, fontsize=9)
            axes.legend(fontsize=7.5, loc="upper left")
        axes.set(xlabel="similarity (cosine)")
    return Drawn(figure, about)
