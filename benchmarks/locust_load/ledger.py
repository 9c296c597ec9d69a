"""What locust's users were answered, counted so that workers can hand it on and nothing of it is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Row = tuple[int, str, str, float, int]
"""Second of the Unix clock, name of the request, its code, its latency in milliseconds, and how many there were."""


def rounded(milliseconds: float) -> float:
    """To three digits: at most half a percent off, and few enough different values for hours of load.

    >>> rounded(147.26), rounded(2.3456), rounded(0.0)
    (147.0, 2.35, 0.0)
    """
    return float(f"{milliseconds:.3g}")


class Counts:
    """How often what was answered after how long, second by second."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, str, str, float]] = Counter()

    def add(self, moment: float, name: str, code: str, milliseconds: float) -> None:
        """Count one answer that came at ``moment`` of the Unix clock."""
        self._counts[int(moment), name, code, rounded(milliseconds)] += 1

    def merge(self, rows: Iterable[Any]) -> int:
        """Add what another one has counted, lists as they come over the wire; gives how many answers that are."""
        total = 0
        for second, name, code, milliseconds, number in rows:
            self._counts[int(second), str(name), str(code), float(milliseconds)] += number
            total += number
        return total

    def rows(self) -> list[Row]:
        """Everything so far, in order."""
        return [(*key, number) for key, number in sorted(self._counts.items())]

    def take(self) -> list[Row]:
        """Everything so far, which is forgotten here."""
        rows = self.rows()
        self._counts.clear()
        return rows

    def clear(self) -> None:
        """Begin anew."""
        self._counts.clear()


@dataclass(slots=True)
class Ledger:
    """All that one process of locust counts, and the master for all of them."""

    answers: Counts = field(default_factory=Counts)
    lateness: Counts = field(default_factory=Counts)
    """How much later than wanted a waiting greenlet went on: what the generator itself adds to a latency."""
    workers: Counter[str] = field(default_factory=Counter)
    """Answers by worker, where there are workers."""
    problem: str = ""
    """Why the load could not be made; empty if it could."""

    def clear(self) -> None:
        """Begin anew."""
        self.answers.clear()
        self.lateness.clear()
        self.workers.clear()
        self.problem = ""

    def report(self) -> dict[str, list[Row]]:
        """What a worker hands on to its master; it is forgotten here."""
        return {"answers": self.answers.take(), "lateness": self.lateness.take()}

    def merge(self, worker: str, report: dict[str, Any]) -> None:
        """What a worker has handed on."""
        self.workers[worker] += self.answers.merge(report["answers"])
        self.lateness.merge(report["lateness"])
