"""What no input may take, whatever it is for: too much time, too much memory."""

from __future__ import annotations

import contextlib
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

MOST_CPU_S = 5.0
MOST_MEMORY = 256 << 20
"""By how much one input may raise the process's peak. Honest ones of this size need a tenth."""

Check = Callable[[bytes], bool]

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Broken(AssertionError):
    """A rule does not hold for an input; the message says which."""


def demand(holds: bool, what: str) -> None:
    """Raise ``Broken``, which then says what is wrong, if the rule does not hold."""
    if not holds:
        raise Broken(what)


def bounded(check: Check, data: bytes) -> bool:
    """The check, and that it took neither more time nor more memory than any input may.

    The peak of memory counts, which no allocation escapes however short it lives.
    """
    _forget_peak()
    peak, start = _peak_memory(), time.process_time()
    accepted = check(data)
    took, grown = time.process_time() - start, _peak_memory() - peak
    demand(took <= MOST_CPU_S, f"{len(data)} bytes took {took:.1f} s of CPU time")
    demand(grown <= MOST_MEMORY, f"{len(data)} bytes took {grown / (1 << 20):.0f} MiB of memory")
    return accepted


def _forget_peak() -> None:
    """From here on the peak is that of what follows (proc(5), ``/proc/pid/clear_refs``)."""
    with contextlib.suppress(OSError):  # where it may not be written, the peak of before counts, and less is found
        _CLEAR_REFS.write_text("5", encoding="ascii")


def _peak_memory() -> int:
    """The most that this process has held, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if found is None else int(found[1])
    return kibibytes << 10
