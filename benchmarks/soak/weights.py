"""What a server holds of its machine: memory by process, file handles, threads, shared memory, disk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.swaps.resources import busy_s, handles_of, held_bytes
from trident.contract import COMPONENTS
from trident.supervisor.leftovers import STUB, shared_memory_files
from trident.supervisor.processes import cpu_seconds, parse_stub

MB = 1e6
LAUNCHER, GUARD, TRITON, OTHER = "launcher", "guard", "tritonserver", "other"
ROLES = (LAUNCHER, GUARD, TRITON, *COMPONENTS, OTHER)
"""What a process of the server is there for; a component's run its Python model or, with the bundled server, its
network."""

_KIB = 1024
_GUARD_MODULE = "trident.supervisor.guard"
_NAME = re.compile(r"shm-region-prefix-name=(\S+)")


@dataclass(frozen=True, slots=True)
class Weight:
    """What some processes hold. Megabytes are 10⁶ bytes."""

    memory_mb: float = 0.0
    """Proportional set size, with what is swapped out: pages that are shared count once among those who share them."""
    anonymous_mb: float = 0.0
    """Of it, what the processes have allocated, with what is swapped out."""
    shared_mb: float = 0.0
    """Of it, their part of shared memory."""
    handles: int = 0
    """Open file descriptors."""
    threads: int = 0
    processes: int = 0

    @property
    def kept_mb(self) -> float:
        """What they have allocated and shared: theirs alone.

        The rest are mapped files, whose part of the proportional set size falls whenever somebody else maps the same.
        """
        return self.anonymous_mb + self.shared_mb

    def __add__(self, other: Weight) -> Weight:
        return Weight(
            self.memory_mb + other.memory_mb,
            self.anonymous_mb + other.anonymous_mb,
            self.shared_mb + other.shared_mb,
            self.handles + other.handles,
            self.threads + other.threads,
            self.processes + other.processes,
        )


@dataclass(frozen=True, slots=True)
class Look:
    """A server at one moment."""

    at: float
    """Seconds of the Unix clock."""
    roles: Mapping[str, Weight]
    """What its processes hold, by what they are there for."""
    shm_files: int
    """Its files in ``/dev/shm``."""
    shm_mb: float
    """What they hold."""
    disk_mb: Mapping[str, float]
    """What lies in its folders."""
    free_mb: float
    """What is free on the disk that they are on."""
    own_mb: float
    """Resident memory of the measurement itself, and of its load."""
    others_cores: float
    """Cores that all but the server and the measurement kept busy since the look before."""
    cost_s: float
    """Processor time of the look itself."""

    @property
    def all(self) -> Weight:
        """What all of its processes hold."""
        return sum(self.roles.values(), Weight())


def weigh(pid: int) -> Weight | None:
    """What one process holds; None if it has ended. Where the kernel gives no proportional set size: resident size."""
    with contextlib.suppress(OSError):
        status = _fields(Path(f"/proc/{pid}/status"))
        if "VmRSS" not in status:  # it has ended, and nobody has collected it
            return None
        swapped = status.get("VmSwap", 0)
        memory, shared = status["VmRSS"] + swapped, status.get("RssShmem", 0)
        anonymous = status.get("RssAnon", 0) + swapped
        with contextlib.suppress(OSError):
            exact = _fields(Path(f"/proc/{pid}/smaps_rollup"))
            if "Pss" in exact:
                swapped = exact.get("SwapPss", 0)
                memory, shared = exact["Pss"] + swapped, exact.get("Pss_Shmem", shared)
                anonymous = exact["Pss_Anon"] + swapped if "Pss_Anon" in exact else anonymous
        return Weight(
            memory * _KIB / MB,
            anonymous * _KIB / MB,
            shared * _KIB / MB,
            handles_of(pid),
            status.get("Threads", 0),
            1,
        )
    return None


def _fields(file: Path) -> dict[str, int]:
    """The numbers of a file of lines such as ``Pss:   12 kB``."""
    found = {}
    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()
        if value and value[0].isdecimal():
            found[name] = int(value[0])
    return found


def held_mb(path: Path) -> float:
    """What a file, or all in a folder, holds on its disk in megabytes; 0 if it is gone."""
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    with contextlib.suppress(OSError):  # a folder that goes while it is looked into
        total = sum(map(held_bytes, files))
    return total / MB


class Weigher:
    """Looks at one server, however often it is started again.

    Args:
        launcher: Process id of ``trident serve``.
        repository: What it serves.
        folders: Where it writes, by what it is.
    """

    def __init__(self, launcher: int, repository: Path, folders: Mapping[str, Path]) -> None:
        self._launcher = launcher
        self._repository = repository.resolve()
        self._folders = dict(folders)
        self._known: dict[psutil.Process, str] = {}
        self.names: set[str] = set()
        """The names of all servers that there were; a restart gives it another one."""
        self._name = ""
        self._before = time.monotonic(), busy_s(), {os.getpid(): time.process_time()}

    def look(self, own: Sequence[int] = ()) -> Look:
        """Look now.

        Args:
            own: Processes of the measurement, beside this one.
        """
        begun = time.process_time()
        processes = self._processes()
        roles: dict[str, Weight] = {}
        for process, role in processes.items():
            weight = weigh(process.pid)
            if weight is not None:
                roles[role] = roles.get(role, Weight()) + weight
        files = shared_memory_files(self._name) if self._name else []
        place = next(path for path in self._folders.values() if path.exists())
        return Look(
            at=time.time(),
            roles={role: roles[role] for role in ROLES if role in roles},
            shm_files=len(files),
            shm_mb=sum(map(held_bytes, files)) / MB,
            disk_mb={name: held_mb(path) for name, path in self._folders.items()},
            free_mb=shutil.disk_usage(place).free / MB,
            own_mb=sum(_resident_mb(pid) for pid in (os.getpid(), *own)),
            others_cores=self._others([process.pid for process in processes], own),
            cost_s=time.process_time() - begun,
        )

    def _processes(self) -> dict[psutil.Process, str]:
        """All processes of the server with their roles. Stubs, which are many, are asked for theirs only once."""
        found: dict[psutil.Process, str] = {}
        with contextlib.suppress(psutil.Error):  # it has ended: nothing is left to look at
            launcher = psutil.Process(self._launcher)
            for process in [launcher, *launcher.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    found[process] = self._known.get(process) or self._role(process)
        self._known = {process: role for process, role in found.items() if role in COMPONENTS}
        return found

    def _role(self, process: psutil.Process) -> str:
        if process.pid == self._launcher:
            return LAUNCHER
        words = process.cmdline()
        if not words:
            return OTHER
        if words[0].endswith(STUB):
            stub = parse_stub(process.pid, words, self._repository)
            return stub.model if stub is not None and stub.model in ROLES else OTHER
        if _GUARD_MODULE in words:
            return GUARD
        # Before it becomes the server, it is its guard's image.
        name = _NAME.search(" ".join(words)) if process.name() == TRITON else None
        if name is None:
            return OTHER
        self._name = name[1]
        self.names.add(name[1])
        return TRITON

    def _others(self, server: Sequence[int], own: Sequence[int]) -> float:
        now, busy = time.monotonic(), busy_s()
        ours = {pid: cpu_seconds(pid) for pid in (*server, *own)} | {os.getpid(): time.process_time()}
        then, busy_before, ours_before = self._before
        self._before = now, busy, ours
        # Of a process that was not there before, all is new; what one has done since and has ended counts as others'.
        spent = sum(max(0.0, seconds - ours_before.get(pid, 0.0)) for pid, seconds in ours.items())
        return max(0.0, busy - busy_before - spent) / max(now - then, 1e-3)


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MB
    return 0.0
