"""When a server said that it is ready, and when that it is not: what was read off its health endpoint, over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Change:
    """From then on, until the next change. Times are seconds of the Unix clock."""

    at: float
    ready: bool
    reason: str
    """Why it is not ready, as it says."""


class Readiness:
    """Notes each look, and keeps those that showed something else than the one before.

    To be written from one thread; what has been noted may be read from others.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.looks = 0
        self.longest_gap_s = 0.0
        """Between two looks: nothing shorter can have been told."""
        self._looked_at: float | None = None

    def note(self, at: float, *, ready: bool, reason: str = "") -> None:
        """Note one look. ``at`` is when its answer came."""
        if self._looked_at is not None:
            self.longest_gap_s = max(self.longest_gap_s, at - self._looked_at)
        self._looked_at = at
        self.looks += 1
        if not self.changes or self.changes[-1].ready != ready:
            self.changes.append(Change(at, ready, reason))

    def ready_since(self) -> float | None:
        """Since when it has been ready; None while it is not."""
        changes = self.changes
        return changes[-1].at if changes and changes[-1].ready else None


def noticed_at(changes: Sequence[Change], begin: float, end: float) -> float | None:
    """When it first said that it is not ready, from ``begin`` to ``end``; ``begin`` if it did so then already."""
    before = [change for change in changes if change.at <= begin]
    if before and not before[-1].ready:
        return begin
    return next((change.at for change in changes if begin < change.at <= end and not change.ready), None)


def ready_at(changes: Sequence[Change], begin: float, end: float) -> float | None:
    """From when on it was ready until ``end``, having said in between that it is not.

    None where it never said so after ``begin``, or still does at ``end``.
    """
    if noticed_at(changes, begin, end) is None:
        return None
    last = [change for change in changes if change.at <= end][-1]
    return last.at if last.ready else None


def unready_spans(changes: Sequence[Change], end: float) -> list[Span]:
    """From when to when it was not ready, up to ``end``."""
    spans = []
    for change, following in zip(changes, [*(later.at for later in changes[1:]), end], strict=False):
        if not change.ready and following > change.at:
            spans.append((change.at, following))
    return spans
