"""Rates and latencies out of what locust's users have counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.answers import OK, Latency, summarise
from benchmarks.locust_load.ledger import Row
from trident.errors import SetupError

_LEAD_S = 1
"""Whole seconds at the begin of a stage that do not count: users come and go in them."""
_MOST_MOMENTS = 120
_LEAST_REQUESTS = 10
"""In a moment, on average: percentiles of fewer mean nothing."""
Span = tuple[int, int]
"""The first whole second that counts, and the first that does not any more."""


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that are looked at together."""

    name: str
    requests: int
    """The failed ones too."""
    failed: Mapping[str, int]
    """How many by code."""
    latency: Latency | None
    """Of those that were answered; None of nothing."""
    per_second: float | None
    """Answers a second; None where there was no whole second."""


@dataclass(frozen=True, slots=True)
class StageGroup:
    """Requests that were answered in one stage, without its first second."""

    users: int
    begin_s: float
    """From the begin of the load."""
    end_s: float
    group: Group


@dataclass(frozen=True, slots=True)
class Moment:
    """A few seconds of the load, for a picture."""

    at_s: float
    """Their middle, from the begin of the load."""
    per_second: float
    failed_per_second: float
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class Figures:
    """A load, worked out."""

    seconds: float
    """From the first answer to the end of the last stage."""
    whole: Group
    """Every request, those of the ending too."""
    by_request: tuple[Group, ...]
    """The same by model and batch."""
    stages: tuple[StageGroup, ...]
    moments: tuple[Moment, ...]
    lateness: Latency | None
    """How late the generator itself was, in milliseconds."""
    workers: Mapping[str, int]
    """Requests by worker, where there are workers."""

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(self.whole.failed.values())


def work_out(counted: Mapping[str, Any]) -> Figures:
    """Everything that is worked out of the file that ``locustfile`` writes.

    Raises:
        SetupError: Nothing was answered; the message says why, where that is known.
    """
    rows: list[Row] = [
        (int(second), str(name), str(code), float(milliseconds), int(number))
        for second, name, code, milliseconds, number in counted["answers"]
    ]
    if counted["problem"]:
        raise SetupError(f"the load was not made: {counted['problem']}")
    if not rows or not counted["begins"]:
        raise SetupError("the load was not made: no user was answered")
    ends = [*(moment for moment, _ in counted["begins"][1:]), counted["end"]]
    begin, end = float(counted["begins"][0][0]), float(counted["end"])
    span = math.ceil(begin), math.floor(end)
    names = sorted({name for _, name, _, _, _ in rows})
    return Figures(
        seconds=end - begin,
        whole=group("all", rows, span),
        by_request=tuple(group(name, [row for row in rows if row[1] == name], span) for name in names),
        stages=tuple(
            _stage(users, (float(first), float(last)), begin, rows)
            for (first, users), last in zip(counted["begins"], ends, strict=True)
        ),
        moments=tuple(_moments(rows, span, begin)),
        lateness=_latency((milliseconds, number) for _, _, _, milliseconds, number in counted["lateness"]),
        workers=dict(counted["workers"]),
    )


def group(name: str, rows: Sequence[Row], span: Span) -> Group:
    """What is said of some rows; the rate is that of the seconds in ``span``."""
    failed: Counter[str] = Counter()
    for _, _, code, _, number in rows:
        if code != OK:
            failed[code] += number
    answered = [row for row in rows if row[2] == OK]
    inside = sum(number for second, _, _, _, number in answered if span[0] <= second < span[1])
    return Group(
        name,
        sum(number for *_, number in rows),
        dict(failed.most_common()),
        _latency((milliseconds, number) for _, _, _, milliseconds, number in answered),
        inside / (span[1] - span[0]) if span[1] > span[0] else None,
    )


def _stage(users: int, bounds: tuple[float, float], begin: float, rows: Sequence[Row]) -> StageGroup:
    span = math.ceil(bounds[0]) + _LEAD_S, math.floor(bounds[1])
    inside = [row for row in rows if span[0] <= row[0] < span[1]]
    return StageGroup(users, bounds[0] - begin, bounds[1] - begin, group(f"{users} users", inside, span))


def _moments(rows: Sequence[Row], span: Span, begin: float) -> Iterable[Moment]:
    seconds = span[1] - span[0]
    requests = sum(number for *_, number in rows)
    width = max(1, math.ceil(seconds / _MOST_MOMENTS), math.ceil(_LEAST_REQUESTS * seconds / requests))
    for first in range(span[0], span[1] - width + 1, width):
        inside = [row for row in rows if first <= row[0] < first + width]
        one = group("", inside, (first, first + width))
        yield Moment(
            at_s=first + width / 2 - begin,
            per_second=one.per_second or 0.0,
            failed_per_second=sum(one.failed.values()) / width,
            latency=one.latency,
        )


def _latency(counted: Iterable[tuple[float, int]]) -> Latency | None:
    pairs = list(counted)
    if not pairs:
        return None
    milliseconds_N, numbers_N = np.array(pairs, dtype=np.float64).T
    return summarise(np.repeat(milliseconds_N, numbers_N.astype(np.int64)))
