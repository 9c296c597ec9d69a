"""One offered rate after the other: what is asked for, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import NOT_SENT, Answers, Interval, Latency, failures, interval_of_percentile, summarise

ENOUGH_FOR_P99 = 100
"""Answers from which on p99 is not simply the slowest one."""
SETTLED_AFTER = 3.0
"""Relaxation times after which a queue counts as settled: it is then within exp(−3), 5 %, of where it will end."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one offered rate came to. Only requests that were planned in its window count; see ``step_of``."""

    share: float
    """Of the saturated rate."""
    rate: float
    """Requests a second that the plan was drawn for."""
    seconds: float
    """Length of the window."""
    requests: int
    """Planned in the window, whatever became of them."""
    codes: Mapping[str, int]
    """How many of them failed, by code."""
    offered: float
    """Requests a second that were really planned: a Poisson process has more of them now, fewer then."""
    achieved: float
    """Answers a second that came within the window, to whatever request of the step."""
    unanswered: int
    """Requests of the window that had neither been answered nor failed at its end: the queue, and what is worked on."""
    latency: Latency | None
    p99_interval: Interval | None
    delay: Latency | None
    """How late the generator itself was, in milliseconds, over all that it sent in the window."""
    settling_s: float | None
    """Relaxation time at this rate, see ``relaxation_s``; None from the saturated rate on."""
    others_cores: float | None = None
    """Cores that everything but the server and the benchmark kept busy; None where that was not measured."""

    @property
    def failed(self) -> int:
        """How many of the window's requests failed."""
        return sum(self.codes.values())

    @property
    def settled(self) -> bool:
        """Whether the step lasted long enough for the queue to be what it would be for ever."""
        return self.settling_s is not None and self.seconds >= SETTLED_AFTER * self.settling_s

    @property
    def rests_on_few(self) -> bool:
        """Whether there are too few answers for a p99 other than the slowest of them."""
        return self.latency is None or self.latency.count < ENOUGH_FOR_P99


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


def step_of(
    answers: Answers,
    *,
    saturated: float,
    rate: float,
    settle_s: float,
    seconds: float,
    others_cores: float | None = None,
) -> Step:
    """Work out one step.

    Args:
        answers: Of an open loop that sent for ``settle_s`` and then for ``seconds``.
        saturated: Answers a second at most.
        rate: Requests a second that the loop was to send.
        settle_s: At the beginning nothing is in the queue yet; what was planned so early does not count.
        seconds: The window.
        others_cores: As in ``Step``.
    """
    begin = float(answers.settings["begin"]) + settle_s
    end = begin + seconds
    counted = [answer for answer in answers.records if begin <= answer.planned < end]
    latencies_N = np.array([answer.latency_ms for answer in counted if answer.ok], dtype=np.float64)
    delays_M = np.array([answer.delay_ms for answer in counted if answer.code != NOT_SENT], dtype=np.float64)
    return Step(
        share=rate / saturated,
        rate=rate,
        seconds=seconds,
        requests=len(counted),
        codes=dict(sorted(Counter(answer.code for answer in failures(counted)).items())),
        offered=len(counted) / seconds,
        achieved=sum(answer.ok and begin <= answer.done < end for answer in answers.records) / seconds,
        unanswered=sum(answer.done >= end for answer in counted),
        latency=summarise(latencies_N),
        p99_interval=interval_of_percentile(latencies_N),
        delay=summarise(delays_M),
        settling_s=relaxation_s(rate, saturated),
        others_cores=others_cores,
    )
