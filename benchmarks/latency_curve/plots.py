"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.charts import AMBER, BLUE, GREEN, GREY, RED, Drawn, style
from benchmarks.latency_curve.steps import Step

_PERCENTILES = (("p50", BLUE, "o"), ("p90", GREEN, "s"), ("p95", AMBER, "^"), ("p99", RED, "D"))


def curve(steps: Sequence[Step], saturated: float) -> Drawn:
    """Percentiles of the latency against the offered rate, hollow where the queue had no time to settle."""
    shown = [step for step in steps if step.latency is not None]
    rate_S = np.array([step.rate for step in shown])
    settled_S = np.array([step.settled for step in shown], dtype=bool)
    with style():
        figure = Figure(figsize=(9.5, 4.6))
        axes = figure.add_subplot()
        for name, colour, marker in _PERCENTILES:
            values_S = np.array([getattr(step.latency, name) for step in shown])
            axes.plot(rate_S, values_S, "-", color=colour, lw=1.2, zorder=2)
            for mask_S, face, label in ((settled_S, colour, name), (~settled_S, "white", None)):
                axes.plot(rate_S[mask_S], values_S[mask_S], marker, ms=6, mfc=face, mec=colour, label=label, zorder=3)
        _ranges(axes, shown)
        _mark_saturation(axes, saturated)
        axes.plot([], [], "o", mfc="white", mec=GREY, label="not settled")
        axes.set(xlabel="offered load, requests a second", ylabel="latency from the planned moment, ms")
        _log_scale(axes, shown)
        axes.set_xlim(0, 1.05 * max([saturated, *rate_S.tolist()]))
        above = axes.secondary_xaxis("top", functions=(_scaled(100 / saturated), _scaled(saturated / 100)))
        above.set_xlabel("% of the saturated rate")
        axes.grid(visible=True, which="minor", axis="y", alpha=0.12)
        axes.legend(loc="upper left", framealpha=0.9)
    return Drawn(figure, "percentiles of the latency against the offered load; bars hold the p95 of the single passes")


def _log_scale(axes: Axes, steps: Sequence[Step]) -> None:
    """For milliseconds; where nothing was answered there is nothing to scale."""
    if any(step.latency is not None for step in steps):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _scaled(factor: float) -> Callable[[npt.ArrayLike], npt.ArrayLike]:
    return lambda values: np.asarray(values) * factor


def _ranges(axes: Axes, steps: Sequence[Step]) -> None:
    """How far the p95 of the passes lie apart."""
    for step in steps:
        if (span := step.range_of("p95")) is not None:
            axes.plot([step.rate] * 2, span, "-", color=AMBER, lw=3, alpha=0.35, zorder=1)


def _mark_saturation(axes: Axes, saturated: float) -> None:
    axes.axvline(saturated, color=GREY, lw=1, ls="--")
    axes.annotate(
        "saturated",
        (saturated, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        color=GREY,
    )


def checks(steps: Sequence[Step], saturated: float) -> Drawn:
    """Whether the server kept up, and whether the generator did."""
    rate_S = np.array([step.rate for step in steps])
    with style():
        figure = Figure(figsize=(9.5, 3.4))
        axes_kept, axes_late = figure.subplots(1, 2)
        limit = 1.05 * max([saturated, *rate_S.tolist()])
        axes_kept.plot([0, limit], [0, limit], ":", color=GREY, label="all that is offered")
        axes_kept.axhline(saturated, color=GREY, lw=1, ls="--", label="saturated")
        axes_kept.plot(rate_S, [step.achieved for step in steps], "o-", color=BLUE, label="answered")
        failed_S = np.array([step.failed / step.seconds for step in steps])
        if failed_S.any():
            axes_kept.plot(rate_S, failed_S, "x-", color=RED, label="failed")
        axes_kept.set(xlabel="offered, requests a second", ylabel="requests a second", xlim=(0, limit), ylim=(0, limit))
        axes_kept.legend(loc="upper left")
        for name, colour, marker in (("p50", BLUE, "o"), ("p99", RED, "D")):
            axes_late.plot(rate_S, _figures(steps, "latency", name), "-", color=GREY, marker=marker, ms=4)
            axes_late.plot(rate_S, _figures(steps, "delay", name), "-", color=colour, marker=marker, label=name)
        axes_late.plot([], [], "-", color=GREY, label="latency, to compare")
        axes_late.set(xlabel="offered, requests a second", ylabel="lateness of the generator, ms")
        _log_scale(axes_late, steps)
        axes_late.set_xlim(0, limit)
        axes_late.legend(loc="center right")
        figure.tight_layout()
    return Drawn(figure, "answered against offered load, and how late the generator itself was beside the latency")


def _figures(steps: Sequence[Step], kind: str, name: str) -> npt.NDArray[np.float64]:
    """One percentile of each step, in milliseconds; not a number where there is none."""
    found = (getattr(step, kind) for step in steps)
    return np.array([np.nan if one is None else getattr(one, name) for one in found], dtype=np.float64)
