"""What became of every request, counted while the load runs: a few bytes a request are kept, however long that is."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.answers import OK, Latency, summarise
from benchmarks.soak.callers import LEFT, Kind

REFUSED = "INVALID_ARGUMENT"
EXPECTED: Mapping[Kind, frozenset[str]] = {
    Kind.GOOD: frozenset({OK}),
    Kind.BAD: frozenset({REFUSED}),
    Kind.LEAVING: frozenset({LEFT, OK}),
}
"""How a request may end."""
_MOST_EXAMPLES = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that ended as it should not have."""

    at: float
    """Planned moment, seconds of the Unix clock."""
    picture: str
    """With the kind of its caller in front."""
    code: str
    message: str


@dataclass(slots=True)
class Window:
    """The requests that were planned in one stretch of time."""

    requests: int = 0
    failed: int = 0
    latencies_ms: array[float] = field(default_factory=lambda: array("f"))
    """Of good pictures that were answered, from the planned moment."""

    @property
    def latency(self) -> Latency | None:
        """Their percentiles."""
        return summarise(to_numpy(self.latencies_ms))


def to_numpy(values: array[float]) -> npt.NDArray[np.float64]:
    """``[N]``."""
    return np.array(values, dtype=np.float64)


class Account:
    """Counts what the load's processes tell.

    Args:
        window_s: Length of a window.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.begin: float | None = None
        """When the load began, seconds of the Unix clock."""
        self.planned = 0
        """How many requests the load says that it has planned."""
        self.told = 0
        """Of how many it has said what became of them."""
        self.complete = True
        """Whether every process of the load has said how many it has planned."""
        self.codes: Counter[tuple[Kind, str]] = Counter()
        self.windows: dict[int, Window] = {}
        self.delays_ms: array[float] = array("f")
        """How late each request was sent."""
        self.examples: list[Failure] = []
        """The first requests that failed."""
        self._offset = 0.0

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one line of the load."""
        if "unix_minus_monotonic" in line:
            self._offset = float(line["unix_minus_monotonic"])
            self.begin = float(line["begin"]) if self.begin is None else self.begin
            self.complete = False
        elif "planned" in line and "number" not in line:
            self.planned += int(line["planned"])
            self.complete = True
        else:
            self._count(line)

    def _count(self, line: Mapping[str, Any]) -> None:
        kind, code = Kind(str(line["picture"]).partition("/")[0]), str(line["code"])
        planned, sent, done = (float(line[name]) for name in ("planned", "sent", "done"))
        at = planned + self._offset
        self.told += 1
        self.codes[kind, code] += 1
        self.delays_ms.append(1000 * (sent - planned))
        window = self.windows.setdefault(int((at - (self.begin or at)) // self.window_s), Window())
        window.requests += 1
        if code not in EXPECTED[kind]:
            window.failed += 1
            if len(self.examples) < _MOST_EXAMPLES:
                self.examples.append(Failure(at, str(line["picture"]), code, str(line.get("message", ""))))
        elif kind is Kind.GOOD:
            window.latencies_ms.append(1000 * (done - planned))

    @property
    def failed(self) -> int:
        """How many ended as they should not have."""
        return sum(count for (kind, code), count in self.codes.items() if code not in EXPECTED[kind])

    @property
    def answered(self) -> int:
        """How many good pictures were answered."""
        return self.codes[Kind.GOOD, OK]

    @property
    def balanced(self) -> bool:
        """Whether it is known of every planned request what became of it."""
        return self.complete and self.planned == self.told

    def rows(self) -> Iterator[tuple[Kind, str, int, bool]]:
        """Kind, code, how many, and whether a request may end so."""
        for (kind, code), count in sorted(self.codes.items()):
            yield kind, code, count, code in EXPECTED[kind]

    def stretches(self, begin_s: float, end_s: float) -> list[npt.NDArray[np.float64]]:
        """Latencies in milliseconds by window, of those windows that lie wholly within two moments of the load."""
        return [
            to_numpy(self.windows[number].latencies_ms)
            for number in sorted(self.windows)
            if begin_s <= number * self.window_s and (number + 1) * self.window_s <= end_s
        ]
