"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.charts import AMBER, BLUE, GREY, Drawn, style
from benchmarks.peers.figures import Measure, Row


def costs(rows: Sequence[Row]) -> Drawn:
    """Throughput, processor time and memory, a bar for each server."""
    with style():
        figure = Figure(figsize=(9.5, 0.42 * len(rows) + 1.3))
        axes = figure.subplots(1, 3, sharey=True)
        quantities = (
            ("answers a second, saturated", [row.rate for row in rows], "%.2f"),
            ("processor seconds an answer", [row.cpu_s for row in rows], "%.3f"),
            ("memory (PSS), MB", [row.memory_mb for row in rows], "%.0f"),
        )
        places = np.arange(len(rows))
        for one, (label, values, form) in zip(axes, quantities, strict=True):
            one.barh(places, values, height=0.6, color=[BLUE if not place else GREY for place in places])
            ends = (
                [max(value, *row.by_round[Measure.RATE]) for value, row in zip(values, rows, strict=True)]
                if one is axes[0]
                else values
            )
            for place, value, end in zip(places, values, ends, strict=True):
                one.annotate(form % value, (end, place), xytext=(5, -3), textcoords="offset points")
            one.set(xlabel=label, xlim=(0, 1.25 * max(ends)))
            one.grid(axis="y", visible=False)
        for place, row in zip(places, rows, strict=True):
            axes[0].plot(
                row.by_round[Measure.RATE], [place] * len(row.by_round[Measure.RATE]), "|", color="black", ms=9, mew=1.2
            )
        axes[0].set_yticks(places, [row.title for row in rows])
        axes[0].invert_yaxis()
        figure.tight_layout()
    return Drawn(figure, "throughput, processor time and memory of each server; black marks are the single rounds")


def latency(rows: Sequence[Row]) -> Drawn:
    """Median and 99th percentile at one client and at half load."""
    with style():
        figure = Figure(figsize=(9.5, 0.55 * len(rows) + 1.5))
        axes = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(rows))
        for one, label, found in (
            (axes[0], "one client", [(row.one, row.by_round[Measure.ONE_P99]) for row in rows]),
            (axes[1], "half of its own throughput", [(row.half, row.by_round[Measure.P99]) for row in rows]),
        ):
            bars = one.barh(places - 0.19, [latency.p50 for latency, _ in found], height=0.36, color=BLUE, label="p50")
            one.bar_label(bars, fmt="%.0f", padding=3)
            p99 = np.array([latency.p99 for latency, _ in found])
            low, high = np.array([(min(rounds), max(rounds)) for _, rounds in found]).T
            one.barh(places + 0.19, p99, height=0.36, color=AMBER, label="p99")
            error = np.maximum(0.0, [p99 - low, high - p99])
            one.errorbar(p99, places + 0.19, xerr=error, fmt="none", ecolor="black", elinewidth=1, capsize=2)
            for place, value, end in zip(places, p99, high, strict=True):
                one.annotate(
                    f"{value:.0f}", (max(value, end), place + 0.19), xytext=(4, -3), textcoords="offset points"
                )
            one.set(xlabel=f"latency at {label}, ms", xlim=(0, 1.15 * float(np.nanmax([*p99, *high]))))
            one.grid(axis="y", visible=False)
        axes[0].set_yticks(places, [row.title for row in rows])
        axes[0].invert_yaxis()
        axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        figure.tight_layout()
    return Drawn(figure, "median and 99th percentile of the latency of each server; lines span the rounds' own p99")
