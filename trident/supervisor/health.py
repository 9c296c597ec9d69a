"""Whether a server can be sent requests: what is known of it, in one place, safe to share between threads."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_KEPT_EVENTS = 20
_SILENT_S = 30.0
"""The supervision is taken for dead when it has not been heard of for so long."""


class Phase(StrEnum):
    """What becomes of the server as a whole."""

    STARTING = "starting"
    SERVING = "serving"
    RESTARTING = "restarting"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened to the server."""

    at: str
    """When, ISO 8601, UTC."""
    kind: str
    """One word, as ``process_died``."""
    sentence: str


class Health:
    """Ready is a server that is ``SERVING`` and has no trouble.

    Args:
        most_failed_starts: So many restarts that fail in a row make the launcher itself count as dead, so that whoever
            runs it may try elsewhere. It goes on trying all the same.
        clock: Gives seconds.
    """

    def __init__(self, *, most_failed_starts: int = 5, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._most_failed_starts = most_failed_starts
        self._phase = Phase.STARTING
        self._troubles: dict[str, str] = {}
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._revivals: Counter[str] = Counter()
        self._restarts = 0
        self._failed_starts = 0
        self._since = clock()
        self._silent_at: float | None = None

    @property
    def phase(self) -> Phase:
        """What becomes of the server as a whole."""
        return self._phase

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        with self._lock:
            return self._phase is Phase.SERVING and not self._troubles

    @property
    def live(self) -> bool:
        """Whether the launcher looks after the server, or the server still starts."""
        with self._lock:
            heard_of = self._silent_at is None or self._clock() < self._silent_at
            return heard_of and self._failed_starts < self._most_failed_starts and self._phase is not Phase.ENDED

    @property
    def reason(self) -> str:
        """Why it is not ready, one sentence; empty if it is."""
        with self._lock:
            if self._phase is not Phase.SERVING:
                return "; ".join([f"the server is {self._phase}", *self._troubles.values()])
            return "; ".join(self._troubles.values())

    def enter(self, phase: Phase) -> None:
        """Note a new phase. After ``DRAINING`` comes nothing but ``ENDED``."""
        with self._lock:
            if self._phase is Phase.ENDED or (self._phase is Phase.DRAINING and phase is not Phase.ENDED):
                return
            self._phase = phase
            self._since = self._clock()

    def trouble(self, what: str, sentence: str) -> bool:
        """Note something that keeps the server from being ready; whether it is new."""
        with self._lock:
            new = what not in self._troubles
            self._troubles[what] = sentence
            return new

    def cured(self, what: str) -> bool:
        """Note that a trouble is over; whether there was one."""
        with self._lock:
            return self._troubles.pop(what, None) is not None

    def troubled(self, what: str) -> bool:
        """Whether this trouble is noted."""
        with self._lock:
            return what in self._troubles

    def beat(self, *, allowance_s: float = 0.0) -> None:
        """The supervision lives, and will be heard of again within ``allowance_s`` seconds and half a minute."""
        with self._lock:
            self._silent_at = self._clock() + allowance_s + _SILENT_S

    def happened(self, kind: str, sentence: str) -> None:
        """Keep an event for the status."""
        with self._lock:
            self._events.append(Event(datetime.now(UTC).isoformat(timespec="milliseconds"), kind, sentence))

    def revived(self, model: str) -> None:
        """Count a model that was brought back."""
        with self._lock:
            self._revivals[model] += 1

    def restarted(self, *, answers: bool) -> None:
        """Count a restart of the whole server, and whether it answers after it."""
        with self._lock:
            if answers:
                self._restarts += 1
                self._failed_starts = 0
                self._troubles.clear()
            else:
                self._failed_starts += 1

    def status(self) -> dict[str, Any]:
        """All of it, for JSON."""
        ready, live, reason = self.ready, self.live, self.reason
        with self._lock:
            return {
                "ready": ready,
                "live": live,
                "phase": str(self._phase),
                "phase_seconds": round(self._clock() - self._since, 1),
                "reason": reason,
                "troubles": dict(self._troubles),
                "revivals": dict(self._revivals),
                "restarts": self._restarts,
                "failed_starts": self._failed_starts,
                "events": [{"at": e.at, "kind": e.kind, "sentence": e.sentence} for e in self._events],
            }
