"""Requests sorted by what was going on while they were under way: nothing, a swap, one phase of a swap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.answers import Answer, Latency, Ratio, ratio_of_percentiles, summarise
from benchmarks.swaps.rollouts import RETIRE, Swap
from trident.rollout.engine import FLIP, LOAD, PREFLIGHT, SHADOW

PHASES = (PREFLIGHT, LOAD, SHADOW, FLIP, RETIRE)
STEADY = "steady"
ALL = "all swaps"

Span = tuple[float, float]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Group:
    """The requests of one kind of moment, beside the steady ones."""

    name: str
    swaps: int
    """How many swaps, or phases of swaps, they were under way in."""
    seconds: float
    """Mean length of one."""
    latency: Latency | None
    p50_ratio: float | None
    p99_ratio: Ratio | None


class Requests:
    """The answered requests of a run, ready to be sorted."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        answered = [answer for answer in answers if answer.ok]
        self.planned_N = np.array([answer.planned for answer in answered])
        self.done_N = np.array([answer.done for answer in answered])
        self.latency_N = np.array([answer.latency_ms for answer in answered])

    def under_way(self, spans: Iterable[Span]) -> Mask:
        """Which of them were in flight at some moment of any of the spans. ``[N]``."""
        mask = np.zeros(len(self.planned_N), dtype=bool)
        for begin, end in spans:
            mask |= (self.planned_N <= end) & (self.done_N >= begin)
        return mask

    def steady(self, swaps: Iterable[Swap]) -> Mask:
        """Which were in flight during no swap, nor its preflight. ``[N]``."""
        return ~self.under_way(swap.whole for swap in swaps)


def groups(
    requests: Requests, swaps: Sequence[Swap], components: Sequence[str]
) -> tuple[Group, list[Group], list[Group]]:
    """Steady requests; those during the swaps, of all and of each component; and those during each phase of a swap."""
    steady_M = requests.latency_N[requests.steady(swaps)]
    whole = Group(STEADY, 0, 0.0, summarise(steady_M), None, None)

    def group(name: str, spans: Sequence[Span]) -> Group:
        during_N = requests.latency_N[requests.under_way(spans)]
        ratio_p50 = float(np.median(during_N) / np.median(steady_M)) if len(during_N) and len(steady_M) else None
        mean_s = float(np.mean([end - begin for begin, end in spans])) if spans else 0.0
        ratio = ratio_of_percentiles(during_N, steady_M)
        return Group(name, len(spans), mean_s, summarise(during_N), ratio_p50, ratio)

    by_component = [group(ALL, [(swap.begin, swap.end) for swap in swaps])]
    for component in components:
        by_component.append(group(component, [(swap.begin, swap.end) for swap in swaps if swap.component == component]))
    by_phase = [
        group(name, [(phase.begin, phase.end) for swap in swaps for phase in swap.phases if phase.name == name])
        for name in PHASES
    ]
    return whole, by_component, [one for one in by_phase if one.swaps]
