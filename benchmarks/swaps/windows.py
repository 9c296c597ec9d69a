"""Requests sorted by what was going on while they were under way: nothing, a swap, one phase of a swap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.answers import Answer, Latency, summarise
from benchmarks.intervals import Ratio, ratio_of_percentiles
from benchmarks.swaps.rollouts import RETIRE, Swap
from trident.rollout.engine import FLIP, LOAD, PREFLIGHT, SHADOW

PHASES = (PREFLIGHT, LOAD, SHADOW, FLIP, RETIRE)
STEADY = "steady"
ALL = "all swaps"

AFTER_S = 3.0
"""What a swap has left in the queue counts as the swap's: at half load a queue of this kind relaxes within 1.6 s."""

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
    """The answered requests of a run, ready to be sorted.

    Args:
        answers: All of them; those that failed do not count.
        after_s: How long behind a swap its queue may still be there.
    """

    def __init__(self, answers: Sequence[Answer], after_s: float = AFTER_S) -> None:
        self.after_s = after_s
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
        """Which were in flight during no swap, nor its preflight, nor right behind it. ``[N]``."""
        return ~self.under_way(map(self.span_of, swaps))

    def span_of(self, swap: Swap) -> Span:
        """From the begin of the preflight, which takes time on this machine, to when the queue is as before."""
        begin, end = swap.whole
        return begin, end + self.after_s

    def stretches(self, mask: Mask, cuts: Iterable[float]) -> list[npt.NDArray[np.float64]]:
        """Latencies of some of the requests, those together that were planned between two cuts of the time.

        Args:
            mask: Which, ``[N]``.
            cuts: Moments, in their order.
        """
        order = np.argsort(self.planned_N[mask])
        planned_M, latency_M = self.planned_N[mask][order], self.latency_N[mask][order]
        return np.split(latency_M, np.searchsorted(planned_M, list(cuts)))


def groups(
    requests: Requests, swaps: Sequence[Swap], components: Sequence[str]
) -> tuple[Group, list[Group], list[Group]]:
    """Steady requests; those during the swaps, of all and of each component; and those during each phase of a swap."""
    steady_N = requests.steady(swaps)
    steady_M = requests.latency_N[steady_N]
    # Chance deals out whole swaps, and whole pauses between them: requests of one have much in common.
    cuts = sorted(requests.span_of(swap)[1] for swap in swaps)
    pauses = requests.stretches(steady_N, cuts)
    whole = Group(STEADY, 0, 0.0, summarise(steady_M), None, None)

    def group(name: str, spans: Sequence[Span]) -> Group:
        mask_N = requests.under_way(spans)
        during_K = requests.latency_N[mask_N]
        ratio_p50 = float(np.median(during_K) / np.median(steady_M)) if len(during_K) and len(steady_M) else None
        mean_s = float(np.mean([end - begin for begin, end in spans])) if spans else 0.0
        ratio = ratio_of_percentiles(requests.stretches(mask_N, cuts), pauses)
        return Group(name, len(spans), mean_s, summarise(during_K), ratio_p50, ratio)

    by_component = [group(ALL, [requests.span_of(swap) for swap in swaps])]
    for component in components:
        by_component.append(group(component, [requests.span_of(swap) for swap in swaps if swap.component == component]))
    by_phase = [
        group(name, [(phase.begin, phase.end) for swap in swaps for phase in swap.phases if phase.name == name])
        for name in PHASES
    ]
    return whole, by_component, [one for one in by_phase if one.swaps]
