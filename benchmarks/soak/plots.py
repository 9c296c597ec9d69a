"""The pictures of the report."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.charts import AMBER, BLUE, GREEN, GREY, PURPLE, RED, Drawn, style
from benchmarks.soak.account import Account
from benchmarks.soak.weights import ROLES, Look

_LABELLED = 1.5
"""Roles have a colour of their own up to that share of all memory, in percent; smaller ones are drawn in grey."""


def memory(looks: Sequence[Look], begin: float, left_out_s: float) -> Drawn:
    """Memory of all processes, and of each role's."""
    minutes = _minutes(looks, begin)
    with style():
        figure = Figure(figsize=(9.5, 3.6))
        axes_all, axes_roles = figure.subplots(1, 2)
        axes_all.plot(minutes, [look.all.memory_mb for look in looks], color=BLUE, label="with mapped files")
        axes_all.plot(minutes, [look.all.anonymous_mb for look in looks], color=AMBER, label="allocated")
        axes_all.plot(minutes, [look.all.shared_mb for look in looks], color=GREEN, label="shared memory")
        axes_all.plot(minutes, [look.own_mb for look in looks], color=GREY, ls=":", label="the measurement itself")
        axes_all.set(ylabel="memory, MB", ylim=(0, None))
        axes_all.legend(loc="center right", framealpha=0.9)
        whole = max((look.all.kept_mb for look in looks), default=0.0)
        for number, role in enumerate(ROLES):
            values = [look.roles[role].kept_mb if role in look.roles else np.nan for look in looks]
            if np.isnan(values).all():
                continue
            small = np.nanmax(values) < _LABELLED / 100 * whole
            colour = GREY if small else mpl.colormaps["tab20"](number)
            axes_roles.plot(minutes, values, lw=1, color=colour, label=None if small else role)
        axes_roles.set(ylabel="allocated and shared, MB", ylim=(0, None))
        if axes_roles.lines:
            axes_roles.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7)
        _finish(figure, (axes_all, axes_roles), left_out_s)
    return Drawn(figure, "memory of all processes of the server, and by what they are there for, over time")


def counts(looks: Sequence[Look], begin: float, left_out_s: float) -> Drawn:
    """File handles and threads; processes and shared-memory files."""
    minutes = _minutes(looks, begin)
    with style():
        figure = Figure(figsize=(9.5, 3.2))
        axes_many, axes_few = figure.subplots(1, 2)
        axes_many.plot(minutes, [look.all.handles for look in looks], color=BLUE, label="open file handles")
        axes_many.plot(minutes, [look.all.threads for look in looks], color=GREY, label="threads")
        axes_few.plot(minutes, [look.all.processes for look in looks], color=AMBER, label="processes")
        axes_few.plot(minutes, [look.shm_files for look in looks], color=GREEN, label="shared-memory files")
        for axes in (axes_many, axes_few):
            axes.set(ylim=(0, None))
            axes.legend(loc="lower right")
        _finish(figure, (axes_many, axes_few), left_out_s)
    return Drawn(figure, "open file handles, threads, processes and shared-memory files over time")


def shared_and_disk(looks: Sequence[Look], begin: float, left_out_s: float) -> Drawn:
    """What the shared-memory files hold, and what lies on the disk."""
    minutes = _minutes(looks, begin)
    with style():
        figure = Figure(figsize=(9.5, 3.2))
        axes_shared, axes_disk = figure.subplots(1, 2)
        axes_shared.plot(minutes, [look.shm_mb for look in looks], color=GREEN)
        axes_shared.set(ylabel="held by shared-memory files, MB", ylim=(0, None))
        places = list(looks[0].disk_mb) if looks else []
        for place, colour in zip(places, (BLUE, AMBER, PURPLE, GREY), strict=False):
            axes_disk.plot(minutes, [look.disk_mb.get(place, np.nan) for look in looks], color=colour, label=place)
        axes_disk.set(ylabel="on disk, MB", ylim=(0, None))
        if places:
            axes_disk.legend(loc="center right")
        _finish(figure, (axes_shared, axes_disk), left_out_s)
    return Drawn(figure, "what the server's shared-memory files and its folders on disk hold over time")


def latency(account: Account, left_out_s: float) -> Drawn:
    """p50 and p99 of each window, and what failed in it."""
    numbers = sorted(account.windows)
    found = [account.windows[number].latency for number in numbers]
    minutes = [(number + 0.5) * account.window_s / 60 for number in numbers]
    with style():
        figure = Figure(figsize=(9.5, 3.2))
        axes = figure.add_subplot()
        for name, colour in (("p50", BLUE), ("p99", AMBER)):
            values = [np.nan if one is None else getattr(one, name) for one in found]
            axes.plot(minutes, values, "-", color=colour, marker=".", ms=4, label=f"{name} of the answers")
        axes.set(ylabel="latency from the planned moment, ms", ylim=(0, None))
        failed = [account.windows[number].failed for number in numbers]
        if any(failed):
            axes_failed = axes.twinx()
            axes_failed.bar(minutes, failed, width=0.8 * account.window_s / 60, color=RED, alpha=0.5)
            axes_failed.set(ylabel="failed", ylim=(0, None))
            axes_failed.grid(visible=False)
        axes.legend(loc="upper right", framealpha=0.9)
        _finish(figure, (axes,), left_out_s)
    return Drawn(figure, "latency of good pictures by the window in which they were planned, and failures")


def _minutes(looks: Sequence[Look], begin: float) -> list[float]:
    return [(look.at - begin) / 60 for look in looks]


def _finish(figure: Figure, all_axes: Sequence[Axes], left_out_s: float) -> None:
    """Shade what does not count, and name the axis of time."""
    for axes in all_axes:
        axes.axvspan(0, left_out_s / 60, color=GREY, alpha=0.10, lw=0)
        axes.set(xlabel="minutes; shaded: does not count")
        axes.set_xlim(0, None)
    figure.tight_layout()
