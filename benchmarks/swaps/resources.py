"""What a server holds of the machine: memory, shared memory, file handles, processes; and whether that grows."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from trident.errors import SetupError
from trident.rollout.memory import pss_mb
from trident.supervisor.leftovers import shared_memory_files, stub_processes

MB = 1e6
FLAT_MB = 50.0
"""Growth over a run that still counts as none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server."""

    at: float
    """Seconds of the Unix clock."""
    swaps: int
    """How many swaps there had been."""
    memory_mb: float
    """Proportional set size of all its processes: shared pages count once."""
    server_mb: float
    """That of ``tritonserver`` itself."""
    stubs: int
    """Processes of the Python backend."""
    handles: int
    """Open file descriptors of all its processes."""
    shm_files: int
    shm_mb: float
    load_average: float
    """Of the machine, over one minute."""
    others_cores: float
    """Cores that all but the benchmark and its server kept busy since the sample before."""


class Scale:
    """Weighs one server.

    Args:
        name: The server's name, in front of its shared-memory files.

    Raises:
        SetupError: There is no such server among this process's descendants.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        mark = f"shm-region-prefix-name={name}"
        servers = [
            child
            for child in psutil.Process().children(recursive=True)
            if child.name() == "tritonserver" and any(mark in word for word in child.cmdline())
        ]
        if not servers:
            raise SetupError(f"there is no tritonserver {name} among the processes started here")
        self.server = servers[0]
        self._before = self._clock()

    def __call__(self, swaps: int) -> Sample:
        """Look now."""
        processes = [self.server.pid, *stub_processes(self._name)]
        sizes = [pss_mb(pid) for pid in processes]
        files = shared_memory_files(self._name)
        now, busy_s, own_s = self._clock()
        then, busy_before_s, own_before_s = self._before
        self._before = now, busy_s, own_s
        others = (busy_s - busy_before_s) - (own_s - own_before_s)
        return Sample(
            at=time.time(),
            swaps=swaps,
            memory_mb=sum(sizes),
            server_mb=sizes[0],
            stubs=len(processes) - 1,
            handles=sum(map(handles_of, processes)),
            shm_files=len(files),
            shm_mb=sum(map(held_bytes, files)) / MB,
            load_average=os.getloadavg()[0],
            others_cores=max(0.0, others / max(now - then, 1e-3)),
        )

    def _clock(self) -> tuple[float, float, float]:
        """Moment, seconds that all cores have been busy, and those of it that are ours."""
        busy, ours = busy_s(), 0.0
        # This process, the server and the load that it started; the times of those that have ended are their parent's.
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                ours += sum(process.cpu_times()[:4])
        return time.monotonic(), busy, ours


def busy_s() -> float:
    """Seconds that all cores of this machine together have been busy since it started."""
    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    # Those of guests are part of others already.
    return float(busy - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def handles_of(pid: int) -> int:
    """How many file descriptors a process has open; 0 if it has ended, or is somebody else's."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only how many
    return 0


def held_bytes(file: Path) -> int:
    """What a file holds of its file system, not how far it could grow; 0 if it is gone."""
    with contextlib.suppress(OSError):
        return file.lstat().st_blocks * 512
    return 0


@dataclass(frozen=True, slots=True)
class Growth:
    """Whether one quantity grew over the swaps."""

    name: str
    unit: str
    first: float
    """Mean over the first cycle that counts."""
    last: float
    """Mean over the last whole cycle."""
    per_swap: float
    """Slope by least squares."""
    cycles: int

    @property
    def difference(self) -> float:
        """Last minus first."""
        return self.last - self.first


def growth(name: str, unit: str, values: Sequence[float], cycle: int, *, left_out: int = 1) -> Growth | None:
    """How a quantity that was looked at after each swap changed.

    Versions differ in size, so only looks at the same point of a cycle, a round there and a round back, are compared:
    each value counts as its distance from the mean of its point. The first ``left_out`` cycles are not counted: in them
    things are seen for the first time.

    Args:
        name: Of the quantity.
        unit: Of its values.
        values: One after each swap.
        cycle: Swaps in a cycle.
        left_out: Cycles at the beginning.

    Returns:
        None if fewer than two whole cycles are left.
    """
    counted = np.asarray(values[left_out * cycle :], dtype=np.float64)
    cycles = len(counted) // cycle
    if cycles < 2:
        return None
    table_CP = counted[: cycles * cycle].reshape(cycles, cycle)
    centred = (table_CP - table_CP.mean(axis=0)).reshape(-1)
    # Least squares with a level of its own for each point of a cycle: both sides as distances from their point's mean.
    swaps_CP = np.arange(cycles * cycle, dtype=np.float64).reshape(cycles, cycle)
    positions = (swaps_CP - swaps_CP.mean(axis=0)).reshape(-1)
    slope = float(positions @ centred / (positions @ positions))
    return Growth(name, unit, float(table_CP[0].mean()), float(table_CP[-1].mean()), slope, cycles)
