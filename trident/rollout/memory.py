"""What one version of a model holds of this machine's memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from trident.supervisor.leftovers import STUB


def memory_of(repository: Path, component: str, version: int) -> float | None:
    """Megabytes (10⁶ bytes) of memory that the processes of one version hold: their proportional set size.

    Triton's Python backend runs every instance in a process of its own, with the model's file on its command line.

    Returns:
        None where there is no such process: the server runs elsewhere, as somebody else, or with a native backend.
    """
    folder = repository.resolve() / component / str(version)
    total = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if arguments[0].endswith(STUB.encode()) and Path(arguments[1].decode()).parent == folder:
                total += _pss_kib((process / "smaps_rollup").read_text())
    return total * 1024 / 1e6 if total else None


def _pss_kib(rollup: str) -> int:
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
