"""The picture of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.answers import Latency
from benchmarks.charts import AMBER, BLUE, GREEN, GREY, RED, Drawn, style
from benchmarks.overload.phases import REFUSED, Phase

_WIDTH = 0.6


def overload(phases: Sequence[Phase], saturated: float) -> Drawn:
    """What became of the requests of each load, and how soon."""
    place_P = np.arange(len(phases))
    with style():
        figure = Figure(figsize=(9.5, 3.8))
        axes_became, axes_soon = figure.subplots(1, 2)
        good_P = np.array([phase.goodput for phase in phases])
        refused_P = np.array([phase.codes.get(REFUSED, 0) / phase.seconds for phase in phases])
        whole_P = np.array([phase.requests / phase.seconds for phase in phases])
        axes_became.bar(place_P, good_P, _WIDTH, color=GREEN, label="answered")
        axes_became.bar(place_P, refused_P, _WIDTH, bottom=good_P, color=AMBER, label="refused: UNAVAILABLE")
        rest_P = np.maximum(whole_P - good_P - refused_P, 0)
        axes_became.bar(place_P, rest_P, _WIDTH, bottom=good_P + refused_P, color=RED, label="any other end")
        axes_became.axhline(saturated, color=GREY, lw=1, ls="--", label="saturated")
        axes_became.set(ylabel="requests a second")
        axes_became.legend(loc="upper left")
        for label, colour, found in (
            ("answers", BLUE, [phase.answered for phase in phases]),
            ("refusals", AMBER, [phase.refused for phase in phases]),
        ):
            axes_soon.plot(place_P, _ms(found, "p50"), "o-", color=colour, label=f"{label}, p50")
            axes_soon.plot(place_P, _ms(found, "p99"), "D:", color=colour, label=f"{label}, p99")
        axes_soon.set(ylabel="ms from the planned moment", ylim=(0, None))
        axes_soon.legend()
        for axes in (axes_became, axes_soon):
            axes.set_xticks(place_P, [phase.name for phase in phases])
            axes.set_xlabel("load, of the saturated rate")
        figure.tight_layout()
    return Drawn(figure, "answered and refused requests a second at each load, and how soon they were")


def _ms(found: Sequence[Latency | None], name: str) -> list[float]:
    return [float("nan") if one is None else float(getattr(one, name)) for one in found]
