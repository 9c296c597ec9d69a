"""The most memory that processes hold over a while: what is taken and given back at once counts as well."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path


class Peaks:
    """The peaks of processes, from the moment at which this is made. Those that have ended are left out.

    Args:
        pids: Of the processes.

    Raises:
        PermissionError: Peaks cannot be forgotten here (proc(5), ``/proc/pid/clear_refs``).
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._before: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
                self._before[pid] = _held(pid, "VmHWM")

    def grown(self) -> dict[int, int]:
        """By how many bytes each has been above what it held at first, at its most."""
        return self._above("VmHWM")

    def kept(self) -> dict[int, int]:
        """By how many bytes each is above that now."""
        return self._above("VmRSS")

    def _above(self, field: str) -> dict[int, int]:
        found = {}
        for pid, before in self._before.items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[pid] = _held(pid, field) - before
        return found


def _held(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:  # it has ended, and its parent has not taken notice
        raise ProcessLookupError(pid)
    return int(found[1]) << 10
