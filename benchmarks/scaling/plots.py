"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.charts import AMBER, BLUE, GREEN, GREY, PURPLE, RED, Drawn, style
from benchmarks.scaling.figures import Growth, Row
from benchmarks.scaling.limits import Limits
from benchmarks.scaling.setups import AS_SERVED, Layout

_COLOURS = (BLUE, GREEN)


def growth(rows: Sequence[Row], growths: Sequence[Growth], limits: Limits | None) -> Drawn:
    """Answers a second against cores: every setup, the lines along which they grow, and what they cannot exceed."""
    most = max(row.setup.cores for row in rows)
    first = rows[0]
    cores_M = np.linspace(0, 1.08 * most, 200)
    with style():
        figure = Figure(figsize=(9.5, 4.6))
        axes = figure.add_subplot()
        slope = first.rate.mean / first.setup.cores
        axes.plot(cores_M, slope * cores_M, ":", color=GREY, label=f"in proportion to {first.setup.name}")
        if limits is not None:
            axes.axhline(limits.ceiling, color=RED, lw=1, ls="--", label=f"one server at most: {limits.slowest.name}")
        along = {setup for line in growths for setup in line.setups}
        for line, colour in zip(growths, _COLOURS, strict=False):
            _points(axes, [row for row in rows if row.setup in line.setups], colour, "o", line.name)
            if line.law is not None:
                fitted = [line.law.rate(cores) for cores in cores_M]
                axes.plot(cores_M, fitted, "-", color=colour, lw=1, alpha=0.7, label="fitted law")
        others = [row for row in rows if row.setup not in along]
        apart = 0.02 * most
        shared, split = (Layout.SHARED, "s", "share all cores", -apart), (Layout.SPLIT, "^", "have a part each", apart)
        for layout, marker, words, shift in (shared, split):
            some = [row for row in others if row.setup.variant == AS_SERVED and row.setup.layout is layout]
            _points(axes, some, AMBER, marker, f"several servers, which {words}", shift=shift)
        ways = [row for row in others if row.setup.variant != AS_SERVED]
        _points(axes, ways, PURPLE, "D", "other ways to run it", shift=2 * apart)
        top = max([row.rate.high for row in rows] + ([limits.ceiling] if limits is not None else []))
        axes.set(xlabel="cores", ylabel="answers a second", xlim=(0, 1.08 * most), ylim=(0, 1.15 * top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best", framealpha=0.9)
    return Drawn(figure, "answers a second of every setup against its cores; bars span the rounds")


def _points(axes: Axes, rows: Sequence[Row], colour: str, marker: str, label: str, *, shift: float = 0.0) -> None:
    """Points with the range of their rounds; ``shift``, in cores, keeps what was measured on as many apart."""
    if not rows:
        return
    rates_M = np.array([row.rate.mean for row in rows])
    spans_2M = np.array([[row.rate.mean - row.rate.low, row.rate.high - row.rate.mean] for row in rows]).T
    cores = [row.setup.cores + shift for row in rows]
    axes.errorbar(cores, rates_M, spans_2M, fmt=marker, ms=6, color=colour, capsize=3, label=label)


def parts(limits: Limits) -> Drawn:
    """Processor time of each component for an answer, and the rate that it alone allows."""
    named = [*((part.name, part.processor_ms) for part in limits.parts), ("Triton itself", limits.server_ms)]
    named.sort(key=lambda one: one[1])
    with style():
        figure = Figure(figsize=(9.5, 3.6))
        axes_time, axes_rate = figure.subplots(1, 2)
        names = [name for name, _ in named]
        axes_time.barh(names, [ms for _, ms in named], color=BLUE)
        axes_time.set(xlabel="processor time for an answer, ms")
        cores = limits.setup.cores
        rates = {part.name: part.ceiling or 0.0 for part in limits.parts}
        bars = [rates.get(name, 0.0) for name in names]
        axes_rate.barh(names, bars, color=[RED if name == limits.slowest.name else GREY for name in names])
        axes_rate.axvline(limits.by_cores, color=BLUE, lw=1, ls="--", label=f"{cores} cores have time for")
        # A component that takes next to nothing would leave no room for the others.
        axes_rate.set(xlabel="answers a second that its instances allow")
        axes_rate.tick_params(labelleft=False)
        axes_rate.set_xlim(0, 6 * max(limits.ceiling, limits.by_cores))
        axes_rate.legend(loc="lower right", framealpha=0.9)
        figure.tight_layout()
    return Drawn(figure, "processor time of each component for an answer, and how many answers a second it allows")
