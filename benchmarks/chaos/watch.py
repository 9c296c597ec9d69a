"""Looks at a server all the time, from threads of its own: whether it says that it is ready, and what it holds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

from benchmarks.chaos.readiness import Readiness
from benchmarks.chaos.serving import Served, name_of
from benchmarks.chaos.shared_memory import SharedMemory
from trident.errors import SetupError
from trident.rollout.memory import pss_mb

_LOOK_S = 0.05
_WEIGH_S = 2.0
_JOIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at one moment, all its processes together."""

    at: float
    """Seconds of the Unix clock."""
    processes: int
    memory_mb: float
    """Proportional set size: pages that processes share count once."""
    shared_mb: float
    """Used in its /dev/shm."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the server's supervision has done, or seen."""

    at: float
    """Seconds of the Unix clock."""
    kind: str
    sentence: str


class Watch:
    """Watches one server for as long as it is entered.

    Args:
        served: The server.
        shared: Its /dev/shm.
    """

    def __init__(self, served: Served, shared: SharedMemory) -> None:
        self.readiness = Readiness()
        self.samples: list[Sample] = []
        self.names: list[str] = []
        """The names that its Triton has had, in their order."""
        self.events: list[Event] = []
        """What its supervision has said since it is watched, each once."""
        self._served = served
        self._shared = shared
        self._over = threading.Event()
        self._spent: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._again_and_again, args=(look, seconds), daemon=True)
            for look, seconds in ((self._look, _LOOK_S), (self._weigh, _WEIGH_S))
        ]

    def __enter__(self) -> Self:
        self._begin = self._clock()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def ready_for(self, seconds: float) -> bool:
        """Whether it has been ready for so long. Raises SetupError where nobody looks any more."""
        if not all(thread.is_alive() for thread in self._threads):
            raise SetupError("the watch of the server has ended by itself")
        since = self.readiness.ready_since()
        return since is not None and time.time() - since >= seconds

    def others_cores(self) -> float:
        """Cores that all but this process and what it has started kept busy, on average since the begin.

        What ran for less than two seconds counts among the others.
        """
        then, busy_then, own_then = self._begin
        now, busy, own = self._clock()
        return max(0.0, ((busy - busy_then) - (own - own_then)) / max(now - then, 1e-3))

    def _again_and_again(self, look: Callable[[], None], seconds: float) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            look()
            self._over.wait(max(0.0, seconds - (time.monotonic() - begun)))

    def _look(self) -> None:
        ready, reason = self._served.ready()
        self.readiness.note(time.time(), ready=ready, reason=reason)

    def _weigh(self) -> None:
        with contextlib.suppress(SetupError):
            self._hear(self._served.status()["events"])
        tree = self._served.tree()
        name = name_of(tree)
        if name is not None and name not in self.names:
            self.names.append(name)
        sizes = [size for process in tree if (size := pss_mb(process.pid))]
        self.samples.append(Sample(time.time(), len(sizes), sum(sizes), self._shared.used_mb()))
        self._clock()

    def _hear(self, told: Iterable[Mapping[str, str]]) -> None:
        known = set(self.events)
        for one in told:
            event = Event(datetime.fromisoformat(one["at"]).timestamp(), one["kind"], one["sentence"])
            if event not in known:
                self.events.append(event)

    def _clock(self) -> tuple[float, float, float]:
        """Moment, seconds that all cores have been busy, and those of it that are ours."""
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        busy -= getattr(times, "guest_nice", 0.0)
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                # Without that of its children: whoever has ended keeps what it was last seen with.
                self._spent[process.pid] = sum(process.cpu_times()[:2])
        return time.monotonic(), busy, sum(self._spent.copy().values())
