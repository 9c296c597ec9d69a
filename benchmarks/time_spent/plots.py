"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.charts import AMBER, BLUE, GREEN, GREY, PURPLE, Drawn, style
from benchmarks.time_spent.account import BEFORE, BETWEEN, OUTSIDE, PARTS, SENDER, Account
from benchmarks.time_spent.figures import Component, LoadFigures

_PART_COLOURS = {"queue": "#c9d1d9", "input": AMBER, "infer": BLUE, "output": GREEN, "rest": GREY}
_PART_LABELS = {
    "queue": "queue",
    "input": "handing inputs over",
    "infer": "work",
    "output": "handing outputs over",
    "rest": "rest",
}
_ROW_COLOURS = {
    SENDER: "#c9d1d9",
    OUTSIDE: GREY,
    BEFORE: "#8c959f",
    "preprocess": AMBER,
    "classifier": "#56b4e9",
    "detector": BLUE,
    "entity_recognizer": PURPLE,
    "fusion": GREEN,
    BETWEEN: "#24292f",
}
_TELLING = 0.04
"""Share of a bar from which on its part is named in it."""


def components(loads: Sequence[LoadFigures]) -> Drawn:
    """What each component takes of a request, stacked, at each load."""
    with style():
        figure = Figure(figsize=(9.5, 4.4))
        all_axes = figure.subplots(1, len(loads), sharey=True, sharex=True, squeeze=False)[0]
        for axes, load in zip(all_axes, loads, strict=True):
            names = [f"↳ {one.name}" if one.inner else one.name for one in load.components]
            places = range(len(names))
            left = [0.0] * len(names)
            for part in (*PARTS, "rest"):
                widths = [_a_request(one, part) for one in load.components]
                axes.barh(places, widths, left=left, height=0.66, color=_PART_COLOURS[part], label=_PART_LABELS[part])
                left = [begin + width for begin, width in zip(left, widths, strict=True)]
            for place, one, end in zip(places, load.components, left, strict=True):
                calls = "" if one.calls == 1 else f"  {one.calls:.2g} calls"
                axes.annotate(f"{end:.1f}{calls}", (end, place), xytext=(4, 0), textcoords="offset points", va="center")
            axes.set_yticks(places, names)
            axes.set(title=load.name, xlabel="ms a request")
            axes.margins(x=0.22)
            axes.grid(axis="y", visible=False)
        all_axes[0].invert_yaxis()
        all_axes[0].set_xlim(left=0)
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
        figure.tight_layout(rect=(0, 0.06, 1, 1))
    return Drawn(figure, "waiting, work and handing over of each component, in milliseconds a request, at each load")


def _a_request(component: Component, part: str) -> float:
    """Milliseconds a request to the ensemble; a rest below zero is not drawn."""
    return max(0.0, float(getattr(component, part))) * component.calls


def accounts(loads: Sequence[LoadFigures]) -> Drawn:
    """How the parts add up to the latency, one bar for each load."""
    with style():
        figure = Figure(figsize=(9.5, 0.9 * len(loads) + 1.5))
        axes = figure.add_subplot()
        for place, load in enumerate(loads):
            _stack(axes, place, load.account)
        axes.set_yticks(range(len(loads)), [load.name for load in loads])
        axes.invert_yaxis()
        axes.set(xlabel="mean latency, ms", xlim=(0, None))
        axes.grid(axis="y", visible=False)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            list(unique.values()),
            list(unique),
            loc="upper center",
            bbox_to_anchor=(0.45, -0.2),
            ncols=4,
            frameon=False,
        )
    return Drawn(figure, "the parts of a request that add up to the latency which callers measure")


def _stack(axes: Axes, place: int, account: Account) -> None:
    left = 0.0
    for row in account.rows:
        width = max(0.0, row.ms)
        axes.barh(place, width, left=left, height=0.6, color=_ROW_COLOURS[row.name], label=row.name)
        if width > _TELLING * account.latency_ms:
            colour = "black" if row.name == SENDER else "white"
            axes.annotate(f"{row.ms:.1f}", (left + width / 2, place), ha="center", va="center", color=colour, size=8)
        left += width


def course(load: LoadFigures) -> Drawn:
    """When each step waits and works, on average, from the moment at which the ensemble is asked."""
    with style():
        figure = Figure(figsize=(9.5, 2.7))
        axes = figure.add_subplot()
        for place, moment in enumerate(load.timeline):
            for part, (begin, end) in moment.parts.items():
                axes.barh(place, end - begin, left=begin, height=0.6, color=_PART_COLOURS[part])
            if moment.last is not None:
                end = max(end for _, end in moment.parts.values())
                text = f"the last of the three in {100 * moment.last:.0f} %"
                axes.annotate(text, (end, place), xytext=(5, 0), textcoords="offset points", va="center")
        axes.axvline(load.account.ensemble_ms, color=GREY, ls="--", lw=1)
        axes.set_yticks(range(len(load.timeline)), [moment.model for moment in load.timeline])
        axes.invert_yaxis()
        axes.set(
            title=load.name,
            xlabel=f"ms since the ensemble was asked, means over {load.account.requests} requests",
            xlim=(0, 1.3 * load.account.ensemble_ms),  # room for what stands behind the bars
        )
        axes.grid(axis="y", visible=False)
        for part in PARTS:
            axes.barh(0, 0, color=_PART_COLOURS[part], label=_PART_LABELS[part])
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.25), ncols=len(PARTS), frameon=False)
    return Drawn(figure, f"the mean course of a request through the ensemble, {load.name}")
