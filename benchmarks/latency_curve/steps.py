"""One offered rate after the other: what is asked for, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import NOT_SENT, Answer, Answers, Latency, failures, latencies, summarise

SETTLED_AFTER = 3.0
"""Relaxation times after which a queue counts as settled: it is then within exp(−3), 5 %, of where it will end."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one offered rate came to. Only requests that were planned in its windows, one a pass, count."""

    share: float
    """Of the saturated rate."""
    rate: float
    """Requests a second that the plan was drawn for."""
    settle_s: float
    """What was left out before each window."""
    seconds: float
    """Length of the windows of all passes together."""
    passes: int
    requests: int
    """Planned in the windows, whatever became of them."""
    codes: Mapping[str, int]
    """How many of them failed, by code."""
    offered: float
    """Requests a second that were really planned: a Poisson process has more of them now, fewer then."""
    achieved: float
    """Answers a second that came within the windows, to whatever request of the pass."""
    unanswered: int
    """Requests of a window that had neither been answered nor failed at its end, over all passes: the queue, and what
    is worked on."""
    latency: Latency | None
    """Of the requests of all passes together."""
    by_pass: tuple[Latency | None, ...]
    """Of each by itself: how far they lie apart, so little is a percentile of the whole to be trusted."""
    delay: Latency | None
    """How late the generator itself was, in milliseconds, over all that it sent in the windows."""
    settling_s: float | None
    """Relaxation time at this rate, see ``relaxation_s``; None from the saturated rate on."""
    others_cores: float | None = None
    """Cores that everything but the server and the benchmark kept busy, in the worst pass; None where that was not
    measured."""

    @property
    def failed(self) -> int:
        """How many of the windows' requests failed."""
        return sum(self.codes.values())

    @property
    def settled(self) -> bool:
        """Whether the queue was what it would be for ever when a window began, and a window sees enough of it."""
        shortest_s = min(self.settle_s, self.seconds / self.passes)
        return self.settling_s is not None and shortest_s >= SETTLED_AFTER * self.settling_s

    def range_of(self, percentile: str) -> tuple[float, float] | None:
        """The least and the greatest of the passes' own values of a percentile, as ``p95``; None of fewer than two."""
        values = [getattr(one, percentile) for one in self.by_pass if one is not None]
        return (min(values), max(values)) if len(values) > 1 else None


def relaxation_s(rate: float, saturated: float) -> float | None:
    """Seconds after which the mean of a queue has come closer by 1/e to what it will be: ``1 / (√μ − √λ)²``.

    That of a queue with one server and exponential times (Morse 1955, "Stochastic Properties of Waiting Lines"), with
    the saturated rate as ``μ``. A server of several models on several cores is not such a queue: it is a yardstick.

    Args:
        rate: Requests a second.
        saturated: Answers a second at most.

    Returns:
        None where the rate is not below the saturated one: such a queue grows without end.

    >>> relaxation_s(1.0, 4.0)
    1.0
    >>> relaxation_s(4.0, 4.0)
    """
    if rate >= saturated:
        return None
    return float(1 / (np.sqrt(saturated) - np.sqrt(rate)) ** 2)


@dataclass(frozen=True, slots=True)
class Window:
    """What counts of one pass at one rate."""

    counted: tuple[Answer, ...]
    """Planned in it, whatever became of them."""
    answered: int
    """Answers that came in it, also to requests from before."""
    end: float
    """Seconds of the Unix clock."""
    seconds: float
    others_cores: float | None = None
    """As in ``Step``."""


def window_of(answers: Answers, *, settle_s: float, seconds: float, others_cores: float | None = None) -> Window:
    """Cut the window out of one pass.

    Args:
        answers: Of an open loop that sent for ``settle_s`` and then for ``seconds``.
        settle_s: At the beginning the queue is not yet what it will be; what was planned so early does not count.
        seconds: The window.
        others_cores: As in ``Step``.
    """
    begin = float(answers.settings["begin"]) + settle_s
    end = begin + seconds
    counted = tuple(answer for answer in answers.records if begin <= answer.planned < end)
    answered = sum(answer.ok and begin <= answer.done < end for answer in answers.records)
    return Window(counted, answered, end, seconds, others_cores)


def step_of(windows: Sequence[Window], *, saturated: float, rate: float, settle_s: float) -> Step:
    """Work out one step.

    Args:
        windows: One a pass, at least one.
        saturated: Answers a second at most.
        rate: Requests a second that the loops were to send.
        settle_s: What was left out before each window.
    """
    counted = [answer for window in windows for answer in window.counted]
    seconds = sum(window.seconds for window in windows)
    delays_M = np.array([answer.delay_ms for answer in counted if answer.code != NOT_SENT], dtype=np.float64)
    busy = [window.others_cores for window in windows if window.others_cores is not None]
    return Step(
        share=rate / saturated,
        rate=rate,
        settle_s=settle_s,
        seconds=seconds,
        passes=len(windows),
        requests=len(counted),
        codes=dict(sorted(Counter(answer.code for answer in failures(counted)).items())),
        offered=len(counted) / seconds,
        achieved=sum(window.answered for window in windows) / seconds,
        unanswered=sum(answer.done >= window.end for window in windows for answer in window.counted),
        latency=summarise(latencies(counted)),
        by_pass=tuple(summarise(latencies(window.counted)) for window in windows),
        delay=summarise(delays_M),
        settling_s=relaxation_s(rate, saturated),
        others_cores=max(busy) if busy else None,
    )
