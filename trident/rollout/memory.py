"""What one version of a model holds of this machine's memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trident.supervisor.leftovers import STUB

_MB = 1e6


def memory_of(repository: Path, component: str, version: int) -> float | None:
    """Megabytes (10⁶ bytes) of memory that the processes of one version hold: their proportional set size.

    Returns:
        None where there is no such process: the server runs elsewhere, as somebody else, or with a native backend.
    """
    return sum(pss_mb(pid) for pid in processes_of(repository, component, version)) or None


def processes_of(repository: Path, component: str, version: int) -> list[int]:
    """Process ids of one version, on this machine.

    Triton's Python backend runs every instance in a process of its own, with the model's file on its command line.
    """
    folder = repository.resolve() / component / str(version)
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError):  # it has ended, or has fewer words, or other than text
            stub, code, *_ = (process / "cmdline").read_bytes().split(b"\0")
            if stub.endswith(STUB.encode()) and Path(code.decode()).resolve().parent == folder:
                found.append(int(process.name))
    return sorted(found)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process in megabytes (10⁶ bytes); 0 if it has ended, or is somebody else's."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / _MB
    return 0.0
