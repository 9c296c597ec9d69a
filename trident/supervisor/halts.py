"""Processes that a signal has halted: they are there, and do nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from trident.supervisor import processes
from trident.supervisor.reporter import Reporter


class Halts:
    """Notes since when each process is halted.

    Args:
        reporter: Told of those that are.
        most_s: For so many seconds it may be.
        clock: Gives seconds.
    """

    def __init__(self, reporter: Reporter, most_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._most_s = most_s
        self._clock = clock
        self._since: dict[int, float] = {}

    def look(self, pid: int, who: str) -> bool:
        """Look at one process; whether it has been halted for too long."""
        if processes.state_of(pid) != processes.STOPPED:
            self._over(pid)
            return False
        self._reporter.trouble(f"process {pid}", "process_halted", f"{who} is halted", pid=pid)
        return self._clock() - self._since.setdefault(pid, self._clock()) >= self._most_s

    def keep(self, pids: Collection[int]) -> None:
        """Forget all other processes."""
        for pid in set(self._since) - set(pids):
            self._over(pid)

    def _over(self, pid: int) -> None:
        if self._since.pop(pid, None) is not None:
            self._reporter.health.cured(f"process {pid}")
