"""How the parts of a request add up to what its caller has waited.

The path of a request is: the first step, the branch that the last step had to wait for, and the last step. Of each,
what counts lies between the moment at which it was asked and the moment at which the next one was. So nothing counts
twice, and what no step waited for or worked on is a row of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.answers import Answer
from benchmarks.time_spent.traces import Traced
from trident.contract import STEPS

FIRST, *_OTHERS, LAST = STEPS
BRANCHES: tuple[str, ...] = tuple(_OTHERS)
"""Steps that run side by side."""
PARTS = ("queue", "input", "infer", "output")
_MS, _NS_PER_MS = 1e3, 1e6


@dataclass(frozen=True, slots=True)
class Path:
    """Where the time of one request in the ensemble went, in nanoseconds. All of it adds up to ``whole``."""

    whole: int
    branch: str
    """The one that was through last."""
    stages: Mapping[str, Mapping[str, int]]
    """Of the first step, that branch and the last step: waiting and work, by part."""
    before: int
    """Until the first step was asked."""
    between: int
    """Neither waited for nor worked on by a step of the path: Triton hands on, and ends the request."""


def path_of(traced: Traced) -> Path:
    """The path of one request.

    Raises:
        KeyError: A step is missing.
    """
    steps = traced.steps
    # The moment at which a model has its answer ready. Its statistics end later: the next step may have begun by then.
    branch = max(BRANCHES, key=lambda name: steps[name].output)
    names = (FIRST, branch, LAST)
    ends = (*(steps[name].begin for name in names[1:]), traced.end)
    stages, between = {}, 0
    for name, end in zip(names, ends, strict=True):
        begin = steps[name].begin
        stages[name] = {part: _overlap(span, (begin, end)) for part, span in steps[name].parts.items()}
        between += end - begin - sum(stages[name].values())
    return Path(traced.whole, branch, stages, steps[FIRST].begin - traced.begin, between)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the time that callers have waited."""

    name: str
    ms: float
    """Mean over all requests, also those that it had no part in."""
    queue_ms: float = 0.0
    """How much of it was waiting for an instance of the model."""
    share_of_requests: float = 1.0
    """How many requests it had a part in."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the callers of one run have waited for, on average."""

    requests: int
    rows: tuple[Row, ...]
    latency_ms: float
    """Mean from the planned moment to the answer, as the callers measured it: the sum of all rows."""
    ensemble_ms: float
    """Mean time in the ensemble, as Triton measured it: the sum of the rows but the first two."""

    @property
    def sum_ms(self) -> float:
        """Of all rows."""
        return sum(row.ms for row in self.rows)


SENDER, OUTSIDE, BEFORE, BETWEEN = (
    "the generator, late",
    "client, gRPC and network",
    "before the first step",
    "handing on between steps, and ending",
)


def account_of(answers: Sequence[Answer], traced: Sequence[Traced]) -> Account:
    """Add up one run.

    Args:
        answers: Of all its requests; none has failed.
        traced: The same requests.

    Raises:
        ValueError: There are none, or not as many of the one as of the other.
    """
    if not answers or len(answers) != len(traced):
        raise ValueError(f"traced: expected one for each of the {len(answers)} answers, got {len(traced)}")
    paths = [path_of(one) for one in traced]
    sent = float(np.mean([answer.done - answer.sent for answer in answers])) * _MS
    late = float(np.mean([answer.delay_ms for answer in answers]))
    ensemble = _mean_ms([path.whole for path in paths])
    rows = [Row(SENDER, late), Row(OUTSIDE, sent - ensemble), Row(BEFORE, _mean_ms([path.before for path in paths]))]
    last = Counter(path.branch for path in paths)
    for name in STEPS:
        shares = [path.stages.get(name, {}) for path in paths]
        rows.append(
            Row(
                name,
                _mean_ms([sum(share.values()) for share in shares]),
                _mean_ms([share.get("queue", 0) for share in shares]),
                last[name] / len(paths) if name in BRANCHES else 1.0,
            )
        )
    rows.append(Row(BETWEEN, _mean_ms([path.between for path in paths])))
    return Account(len(paths), tuple(rows), sent + late, ensemble)


def _mean_ms(values: Sequence[int]) -> float:
    return float(np.mean(values)) / _NS_PER_MS


@dataclass(frozen=True, slots=True)
class Moment:
    """When, on average, one step waited and worked: milliseconds since the ensemble was asked."""

    model: str
    parts: Mapping[str, tuple[float, float]]
    """Mean begin and mean end of each part."""
    last: float | None
    """For how many of the requests the last step had to wait for this branch; None of the other steps."""


def timeline(traced: Sequence[Traced]) -> list[Moment]:
    """The mean course of a request, step by step."""
    last = Counter(path_of(one).branch for one in traced)
    found = []
    for name in STEPS:
        parts = {
            part: (
                _mean_ms([one.steps[name].parts[part][0] - one.begin for one in traced]),
                _mean_ms([one.steps[name].parts[part][1] - one.begin for one in traced]),
            )
            for part in PARTS
        }
        found.append(Moment(name, parts, last[name] / len(traced) if name in BRANCHES else None))
    return found
