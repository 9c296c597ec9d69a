"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.answers import Answer
from benchmarks.charts import AMBER, BLUE, GREY, RED, Drawn, style
from benchmarks.swaps.resources import Sample
from benchmarks.swaps.rollouts import Swap
from benchmarks.swaps.windows import ALL, STEADY, Group, Requests


def latency_over_time(answers: Sequence[Answer], swaps: Sequence[Swap], begin: float) -> Drawn:
    """Every request at the moment at which it was planned, with the swaps behind."""
    requests = Requests(answers)
    during = requests.under_way(map(requests.span_of, swaps))
    with style():
        figure = Figure(figsize=(9.5, 3.4))
        axes = figure.add_subplot()
        for swap in swaps:
            axes.axvspan((swap.begin - begin) / 60, (swap.end - begin) / 60, color=BLUE, alpha=0.10, lw=0)
        minutes_N = (requests.planned_N - begin) / 60
        for mask, colour, label in ((~during, GREY, "outside of swaps"), (during, BLUE, "during a swap")):
            axes.plot(minutes_N[mask], requests.latency_N[mask], ".", ms=2.0, color=colour, label=label)
        failed = [answer for answer in answers if not answer.ok]
        if failed:
            moments = [(answer.planned - begin) / 60 for answer in failed]
            axes.plot(moments, [answer.latency_ms for answer in failed], "x", color=RED, label="failed")
        axes.set(xlabel="minutes", ylabel="latency, ms", ylim=(0, None))
        axes.legend(loc="upper right", markerscale=4, framealpha=0.9)
    return Drawn(figure, "latency of every request over time, swaps shaded")


def distribution(requests: Requests, swaps: Sequence[Swap]) -> Drawn:
    """Which share of requests took longer than so long, steady and during swaps, so that the tail can be seen."""
    with style():
        figure = Figure(figsize=(9.5, 3.4))
        axes_cdf, axes_tail = figure.subplots(1, 2)
        kinds = (
            (requests.latency_N[requests.steady(swaps)], GREY, STEADY),
            (requests.latency_N[requests.under_way(map(requests.span_of, swaps))], BLUE, "during swaps"),
        )
        for values_N, colour, label in kinds:
            if not len(values_N):
                continue
            ordered = np.sort(values_N)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            axes_cdf.step(ordered, share, where="post", color=colour, label=f"{label} ({len(ordered)})")
            axes_tail.step(ordered, 1 - share + 1 / len(ordered), where="post", color=colour, label=label)
        axes_cdf.set(xlabel="latency, ms", ylabel="share of requests", ylim=(0, 1), xlim=(0, None))
        axes_tail.set(xlabel="latency, ms", ylabel="share that takes at least so long", yscale="log", xlim=(0, None))
        axes_tail.axhline(0.01, color="black", lw=0.7, ls=":")
        axes_tail.annotate("p99", (0, 0.01), xytext=(3, 3), textcoords="offset points")
        axes_cdf.legend(loc="lower right")
        figure.tight_layout()
    return Drawn(figure, "distribution of latencies, steady against during swaps")


def by_component(steady: Group, groups: Sequence[Group]) -> Drawn:
    """Median and 99th percentile during each component's swaps."""
    shown = [group for group in groups if group.latency is not None]
    with style():
        figure = Figure(figsize=(9.5, 0.42 * len(shown) + 1.2))
        axes = figure.add_subplot()
        places = np.arange(len(shown))
        for offset, name, colour in ((-0.2, "p50", "#9fb9d6"), (0.2, "p99", BLUE)):
            values = [getattr(group.latency, name) for group in shown]
            bars = axes.barh(places + offset, values, height=0.38, color=colour, label=name)
            axes.bar_label(bars, fmt="%.0f", padding=3)
        if steady.latency is not None:
            for value, dashes, label in (
                (steady.latency.p50, ":", "steady p50"),
                (steady.latency.p99, "--", "steady p99"),
                (1.5 * steady.latency.p99, "-", "1.5 × steady p99"),
            ):
                axes.axvline(value, color=GREY, lw=1.1, ls=dashes, label=label)
        labels = [f"{group.name} ({group.swaps})" if group.name != ALL else f"{ALL} ({group.swaps})" for group in shown]
        axes.set_yticks(places, labels)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="latency of requests in flight during a swap, ms")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return Drawn(figure, "median and 99th percentile of the latency during each component's swaps, beside steady")


def memory(samples: Sequence[Sample]) -> Drawn:
    """Memory and file handles after each swap."""
    with style():
        figure = Figure(figsize=(9.5, 3.2))
        axes, axes_handles = figure.subplots(1, 2)
        swaps = [sample.swaps for sample in samples]
        axes.plot(swaps, [sample.memory_mb for sample in samples], color=BLUE, label="all processes")
        axes.plot(swaps, [sample.server_mb for sample in samples], color=GREY, label="tritonserver alone")
        axes.set(xlabel="swaps", ylabel="proportional set size, MB", ylim=(0, None))
        axes.legend(loc="lower right")
        axes_handles.plot(swaps, [sample.handles for sample in samples], color=BLUE, label="file handles")
        axes_handles.plot(swaps, [sample.stubs for sample in samples], color=AMBER, label="stub processes")
        axes_handles.plot(
            swaps, [sample.shm_files for sample in samples], color=GREY, label="shared-memory files", ls="--"
        )
        axes_handles.set(xlabel="swaps", ylim=(0, None))
        axes_handles.legend(loc="center right")
        figure.tight_layout()
    return Drawn(figure, "memory, file handles, shared-memory files and processes of the server after each swap")
