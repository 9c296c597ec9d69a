"""What the server's metrics say of its queues, in Prometheus' text format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from trident.contract import ENSEMBLE, STEPS

FIRST, LAST = STEPS[0], STEPS[-1]
"""The steps at which a request comes in, and at which it is through."""

PENDING = "nv_inference_pending_request_count"
"""Requests that wait for an instance of a model; a gauge."""
SUCCEEDED = "nv_inference_request_success"
"""Requests that a model has answered; a counter."""

_LINE = re.compile(r'\{model="(?P<model>[^"]+)"[^}]*\} (?P<value>\S+)')


@dataclass(frozen=True, slots=True)
class Sample:
    """The queues at one moment."""

    queued: int
    """Requests that wait for the first step, or for the router of a canary in front of it."""
    behind: int
    """Requests that wait for the model behind the first step for which most do."""
    done: int
    """Requests that the last step has answered since the server's start."""

    @property
    def waiting(self) -> bool:
        """Whether any request waits for a model."""
        return self.queued > 0 or self.behind > 0


def parse(lines: Iterable[str], components: Iterable[str]) -> Sample | None:
    """Read the queues of a server.

    Args:
        lines: Of its metrics. Versions of a model are counted together.
        components: The models that a request may wait for, beside the ensemble; others that the server has do not
            matter.

    Returns:
        None if the server does not tell of its queues.

    >>> parse(['nv_inference_pending_request_count{model="preprocess",version="1"} 7',
    ...        'nv_inference_pending_request_count{model="detector",version="1"} 2',
    ...        'nv_inference_pending_request_count{model="detector",version="2"} 1',
    ...        'nv_inference_request_success{model="fusion",version="1"} 40'], ["preprocess", "detector", "fusion"])
    Sample(queued=7, behind=3, done=40)
    """
    # An ensemble itself has no queue. While a canary runs, a router with one stands in its place.
    waiting = dict.fromkeys([*components, ENSEMBLE], 0)
    done, told = 0, False
    for line in lines:
        # The quick look first: there are hundreds of lines, and requests wait meanwhile.
        if line.startswith(PENDING + "{"):
            model, value = _read(line, PENDING)
            if model in waiting:
                told = True
                waiting[model] += value
        elif line.startswith(SUCCEEDED + "{"):
            model, value = _read(line, SUCCEEDED)
            if model == LAST:
                done += value
    if not told:
        return None
    queued = waiting.pop(FIRST, 0) + waiting.pop(ENSEMBLE)
    return Sample(queued, max(waiting.values(), default=0), done)


def _read(line: str, name: str) -> tuple[str, int]:
    match = _LINE.match(line, len(name))
    # A gauge that is read while it changes may be off by one, and so below zero.
    return (match["model"], max(0, int(float(match["value"])))) if match else ("", 0)
