"""What a load was answered: the records that ``benchmarks.load`` writes, and figures made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.errors import SetupError
from trident.provenance import Provenance

OK = "OK"
BAD_ANSWER = "BAD_ANSWER"
"""Code of an answer that came with status OK and is none."""
NOT_SENT = "NOT_SENT"
"""Code of a request that was planned and not sent, since too many were in flight already."""

Models = Mapping[str, Provenance]


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it. Times are seconds of the Unix clock."""

    number: int
    picture: str
    planned: float
    """When it was to be sent. Latency counts from here: a slow server cannot hide by slowing the sender down."""
    sent: float
    done: float
    code: str
    """gRPC's status by name, or one of the codes above."""
    message: str = ""
    models: Models = field(default_factory=dict)
    """Which version of each component answered, and its digest, as ``RESULT`` says."""

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.code == OK

    @property
    def latency_ms(self) -> float:
        """From the planned moment to the answer."""
        return 1000 * (self.done - self.planned)

    @property
    def delay_ms(self) -> float:
        """How late the generator itself was."""
        return 1000 * (self.sent - self.planned)


@dataclass(frozen=True, slots=True)
class Answers:
    """All records of one load."""

    settings: Mapping[str, Any]
    """What the load was told to do."""
    records: tuple[Answer, ...]
    """In the order in which they were planned."""


def read_answers(file: Path) -> Answers:
    """Read what a load has written. A last line that is not whole, of a load that still runs, is left out.

    Raises:
        SetupError: The file is not one of a load.
    """
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        settings = json.loads(lines[0])
        offset = float(settings["unix_minus_monotonic"])
    except (IndexError, KeyError, TypeError, json.JSONDecodeError):
        raise SetupError(f"{file}: expected the records of a load, got something else in its first line") from None
    # Thousands of answers name the same few releases.
    known: dict[str, Models] = {}

    def models_of(found: Mapping[str, Mapping[str, Any]]) -> Models:
        key = json.dumps(found)
        if key not in known:
            known[key] = {name: Provenance(int(one["version"]), str(one["digest"])) for name, one in found.items()}
        return known[key]

    records = [
        Answer(
            line["number"],
            line["picture"],
            line["planned"] + offset,
            line["sent"] + offset,
            line["done"] + offset,
            line["code"],
            line.get("message", ""),
            models_of(line.get("models", {})),
        )
        for line in map(json.loads, lines[1:])
    ]
    return Answers(settings, tuple(sorted(records, key=lambda record: record.planned)))


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of latencies in milliseconds, interpolated linearly between ranks."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    worst: float


def latencies(answers: Iterable[Answer]) -> npt.NDArray[np.float64]:
    """The latencies of those that were answered, in milliseconds ``[N]``."""
    return np.array([answer.latency_ms for answer in answers if answer.ok], dtype=np.float64)


def summarise(latencies_N: npt.NDArray[np.float64]) -> Latency | None:
    """Their percentiles; None of nothing."""
    if not len(latencies_N):
        return None
    p50, p90, p95, p99 = map(float, np.percentile(latencies_N, [50, 90, 95, 99]))
    return Latency(len(latencies_N), p50, p90, p95, p99, float(latencies_N.max()))


def failures(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """Those that were not answered."""
    return tuple(answer for answer in answers if not answer.ok)
