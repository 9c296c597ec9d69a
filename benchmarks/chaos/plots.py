"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.chaos.accounting import End, Ended, Stream
from benchmarks.chaos.figures import NOTICED_S, READY_S, Row
from benchmarks.chaos.readiness import unready_spans
from benchmarks.chaos.record import Run
from benchmarks.charts import AMBER, BLUE, GREEN, GREY, PURPLE, RED, Drawn, style

_COLOURS = {
    End.RIGHT: GREEN,
    End.REFUSED: AMBER,
    End.LOST: RED,
    End.WRONG: PURPLE,
    End.NOT_SENT: GREY,
}
_MOST_BARS = 300
_LEAST_S = 1.0
"""Shortest time that a bar stands for."""


def timeline(run: Run, ended: Sequence[Ended]) -> Drawn:
    """What became of the requests without retries, when it was not ready, memory and processes; faults are lines."""
    length = max(run.end - run.begin, 1.0)
    width = max(_LEAST_S, length / _MOST_BARS)
    edges = np.arange(0.0, length + 2 * width, width)
    raw = [one for one in ended if one.stream in (Stream.LOAD, Stream.BAD)]
    with style():
        figure = Figure(figsize=(10.5, 7.2))
        axes_requests, axes_memory, axes_count = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 1))
        bottom = np.zeros(len(edges) - 1)
        for end, colour in _COLOURS.items():
            moments = [one.answer.planned - run.begin for one in raw if one.end is end]
            if not moments:
                continue
            rate = np.histogram(moments, edges)[0] / width
            axes_requests.bar(edges[:-1], rate, width, bottom=bottom, align="edge", color=colour, label=end, lw=0)
            bottom += rate
        for number, (begin, end_) in enumerate(unready_spans(run.changes, run.end)):
            label = "not ready" if number == 0 else None
            axes_requests.axvspan(begin - run.begin, end_ - run.begin, color=GREY, alpha=0.25, lw=0, label=label)
        top = max(float(bottom.max(initial=0.0)), 1.0)
        for fault in run.faults:
            for axes in (axes_requests, axes_memory, axes_count):
                for moment in fault.moments or (fault.begin,):
                    axes.axvline(moment - run.begin, color="black", lw=0.6, ls=":")
            at = (fault.moments or (fault.begin,))[0] - run.begin
            name = f"{fault.kind} {fault.victim}".strip()
            axes_requests.annotate(name, (at, 1.02 * top), rotation=90, fontsize=6, ha="center", va="bottom")
        axes_requests.set(ylabel="requests a second,\nby planned moment", ylim=(0, 1.75 * top))
        axes_requests.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=6, frameon=False)
        seconds = [sample.at - run.begin for sample in run.samples]
        axes_memory.plot(seconds, [sample.memory_mb for sample in run.samples], color=BLUE, label="memory (PSS)")
        axes_memory.plot(seconds, [sample.shared_mb for sample in run.samples], color=AMBER, label="used in /dev/shm")
        axes_memory.set(ylabel="MB", ylim=(0, None))
        axes_memory.legend(loc="lower left")
        axes_count.step(seconds, [sample.processes for sample in run.samples], where="post", color=BLUE)
        axes_count.set(xlabel="seconds", ylabel="processes", ylim=(0, None), xlim=(0, length))
        figure.tight_layout()
    return Drawn(figure, "requests a second by what became of them, memory and processes over the run, with the faults")


def by_kind(rows: Sequence[Row]) -> Drawn:
    """How soon each kind was noticed, and how soon it was ready again. At least one row, of kinds that are felt."""
    with style():
        figure = Figure(figsize=(9.5, 0.36 * len(rows) + 1.4))
        axes_noticed, axes_ready = figure.subplots(1, 2, sharey=True)
        for axes, name, aim, text in (
            (axes_noticed, "noticed", NOTICED_S, "not ready after, s"),
            (axes_ready, "ready", READY_S, "ready again after, s"),
        ):
            for place, row in enumerate(rows):
                values = getattr(row, name)
                axes.plot(values, [place] * len(values), "o", color=BLUE, ms=5, alpha=0.6)
            axes.axvline(aim, color=GREY, ls="--", lw=1, label=f"aim: {aim:g} s")
            axes.set(xlabel=text, xlim=(0, None))
            axes.legend(loc="lower right")
        axes_noticed.set_yticks(range(len(rows)), [row.kind for row in rows])
        axes_noticed.set(ylim=(len(rows) - 0.5, -0.5))
        figure.tight_layout()
    return Drawn(figure, "seconds until it said that it is not ready, and until it was again, by kind of fault")
