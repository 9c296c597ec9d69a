"""One load after the other: what was asked for, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import NOT_SENT, OK, Answer, Answers, Latency, summarise

REFUSED, TOO_LATE = "UNAVAILABLE", "DEADLINE_EXCEEDED"
EXPECTED = frozenset({OK, REFUSED, TOO_LATE})
"""Codes that a request may end with, whatever the load."""
HUNG_AFTER_S = 2.0
"""A request that ended so long after its deadline hung; generator and gRPC need some time themselves."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What one offered load came to. Only requests that were planned in its window count; see ``phase_of``."""

    name: str
    share: float
    """Of the saturated rate."""
    rate: float
    """Requests a second that the plan was drawn for."""
    seconds: float
    """Length of the window."""
    requests: int
    """Planned in the window."""
    codes: Mapping[str, int]
    """How many ended with which code."""
    goodput: float
    """Answers a second, within their deadlines, to requests of the window."""
    answered: Latency | None
    """From the planned moment to the answer."""
    refused: Latency | None
    """From the planned moment to ``UNAVAILABLE``."""
    hung: int
    """Requests that ended long after their deadlines."""
    late_ms: float
    """How late the generator was, at its p99."""

    @property
    def unexpected(self) -> dict[str, int]:
        """How many ended with a code that is none of overload."""
        return {code: count for code, count in self.codes.items() if code not in EXPECTED}

    @property
    def failed(self) -> int:
        """How many were not answered."""
        return self.requests - self.codes.get(OK, 0)


def phase_of(
    answers: Answers, *, name: str, share: float, rate: float, settle_s: float, seconds: float, deadline_s: float
) -> Phase:
    """Work out one phase.

    Args:
        answers: Of an open loop that sent for ``settle_s`` and then for ``seconds``.
        name: Of the phase.
        share: The rate's, of the saturated one.
        rate: Requests a second that the loop was to send.
        settle_s: What was planned so early does not count: the queue was not full yet.
        seconds: The window.
        deadline_s: That of every request.
    """
    begin = float(answers.settings["begin"]) + settle_s
    counted = [answer for answer in answers.records if begin <= answer.planned < begin + seconds]
    sent = [answer for answer in answers.records if answer.code != NOT_SENT]
    late = [answer.delay_ms for answer in sent]
    return Phase(
        name=name,
        share=share,
        rate=rate,
        seconds=seconds,
        requests=len(counted),
        codes=dict(sorted(Counter(answer.code for answer in counted).items())),
        goodput=sum(answer.ok for answer in counted) / seconds,
        answered=_latency([answer for answer in counted if answer.ok]),
        refused=_latency([answer for answer in counted if answer.code == REFUSED]),
        # Of all, also those that were sent before the window.
        hung=sum(answer.done - answer.sent > deadline_s + HUNG_AFTER_S for answer in sent),
        late_ms=float(np.percentile(late, 99)) if late else 0.0,
    )


def _latency(answers: Sequence[Answer]) -> Latency | None:
    return summarise(np.array([answer.latency_ms for answer in answers], dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Clients that vanished while their requests waited or were being worked on."""

    open: int
    """Requests that had not ended when their clients went."""
    free_after_s: float
    """Seconds until the server had nothing left to do."""
    answered: int
    """How many of them it answered all the same: work that nobody got."""
