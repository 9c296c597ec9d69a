"""All processes of one server, whoever their parents are: what they cost, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]

from trident.rollout.memory import pss_mb

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_END_S = 10.0
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans(*, adopt: bool = True) -> None:
    """Become the parent of every process whose parent, started from here, has ended: none gets out of sight."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def end_with_parent() -> None:
    """As a new process's ``preexec_fn``: be asked to stop (SIGTERM) when the one that starts it has ended, however."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def stop(process: subprocess.Popen[Any], within_s: float) -> int:
    """Ask a process to end, and kill it if it does not in so many seconds; its exit code, negative for a signal."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class Family:
    """The processes that came into being under this one since the family was made. As a context manager: till its end.

    Only one server may be started from here at a time, and no load may run from here while it is weighed.
    """

    def __init__(self) -> None:
        adopt_orphans()
        self._before = set(_descendants())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def members(self) -> list[psutil.Process]:
        """Those that there are now, and those that have ended and that nobody has collected."""
        return [process for process in _descendants() if process not in self._before]

    def cpu_s(self) -> dict[int, float]:
        """Seconds of processor time, user and system, by process, with those of its children that have ended."""
        seconds = {}
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                # user, system, and both of the children that it has collected
                seconds[process.pid] = sum(process.cpu_times()[:4])
        return seconds

    def memory_mb(self) -> float:
        """Proportional set size of all of them in megabytes (10⁶ bytes): pages that they share count once."""
        return float(sum(pss_mb(process.pid) for process in self.members()))

    def end(self) -> list[str]:
        """Kill what is still there, and collect what has ended. Gives the names of what had to be killed."""
        killed: dict[int, str] = {}
        deadline = time.monotonic() + _END_S
        while (left := self.members()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    if process.status() != psutil.STATUS_ZOMBIE:
                        killed.setdefault(process.pid, process.name())
                        process.kill()
                with contextlib.suppress(ChildProcessError):  # not ours yet: its parent has not ended
                    os.waitpid(process.pid, os.WNOHANG)
            time.sleep(0.05)
        return list(killed.values())


def _descendants() -> list[psutil.Process]:
    return list(psutil.Process().children(recursive=True))
