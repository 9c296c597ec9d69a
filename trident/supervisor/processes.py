"""The processes of a running server: Triton itself, and the stubs in which its Python models run."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.supervisor import leftovers

STOPPED = "T"
"""Linux's letter for a process that was halted by SIGSTOP."""
_WANTING = ("R", "D")
"""Its letters for a thread that runs or waits for a processor, and for one that waits for a disk."""
ENDED = ("", "Z", "X")
"""Nothing, and its letters, for one that has ended."""

_SERVER = "tritonserver"
_MEBI = 2**20
_TICKS_S = 1.0 / os.sysconf("SC_CLK_TCK")
# STUB MODEL_FILE MEMORY DEFAULT_BYTES GROWTH_BYTES SERVER_PID INSTALLATION CONTROL_HANDLE INSTANCE RUNTIME_FOLDER
_MODEL_FILE, _INSTANCE = 1, 8
_NUMBERS = re.compile(r"(_\d+){1,2}$")
_MEMORY_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


@dataclass(frozen=True, slots=True)
class Stub:
    """A process in which one instance of one version of a model runs."""

    pid: int
    model: str
    version: int
    instance: str
    """Triton's name for the instance, as ``classifier_0_0``."""

    @property
    def key(self) -> tuple[str, int]:
        """The version of the model that it belongs to."""
        return self.model, self.version


def parse_stub(pid: int, command: Sequence[str], repository: Path) -> Stub | None:
    """What a stub's command line tells; None where it tells no version.

    A model that was handed over in a load lies in a folder of the server's own; its name is that of its instance.

    >>> command = ["stub", "/models/fusion/2/model.py", "mem", "1", "1", "7", "/t", "160", "fusion_0_0", "DEFAULT"]
    >>> parse_stub(9, command, Path("/models"))
    Stub(pid=9, model='fusion', version=2, instance='fusion_0_0')
    >>> parse_stub(9, ["stub", "/tmp/f/1/model.py", *command[2:8], "trident_0_0", "DEFAULT"], Path("/models")).model
    'trident'
    """
    if len(command) <= _INSTANCE:
        return None
    folder, instance = Path(command[_MODEL_FILE]).parent, command[_INSTANCE]
    if not folder.name.isdecimal():
        return None
    lies_in = folder.parent.parent
    known = lies_in == repository or lies_in.resolve() == repository
    return Stub(pid, folder.parent.name if known else _NUMBERS.sub("", instance), int(folder.name), instance)


def stubs_of(name: str, repository: Path) -> dict[int, Stub]:
    """The living stubs of a server by process id.

    Args:
        name: The server's unique name.
        repository: Its model repository, resolved.
    """
    parsed = (parse_stub(pid, command, repository) for pid, command in leftovers.stub_commands(name).items())
    return {stub.pid: stub for stub in parsed if stub is not None}


def server_of(guard: int) -> int | None:
    """Process id of the Triton that a guard has started; None if it has ended."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
                name, fields = _stat(int(folder.name))
                if int(fields[1]) == guard and name == _SERVER:
                    return int(folder.name)
    return None


def state_of(pid: int) -> str:
    """Linux's letter for what a process does: R, S, D, ``STOPPED``, Z …; empty if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        return _stat(pid)[1][0]
    return ""


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, all threads together; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        fields = _stat(pid)[1]
        return (int(fields[11]) + int(fields[12])) * _TICKS_S
    return 0.0


def wants_processor(pid: int) -> bool:
    """Whether a thread of a process runs, waits for a processor or for a disk; not, if it has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # this thread has ended
                if _read_stat(thread / "stat")[1][0] in _WANTING:
                    return True
    return False


def _stat(pid: int) -> tuple[str, list[str]]:
    """Its name, and what stands behind it: state, parent and so on."""
    return _read_stat(Path(f"/proc/{pid}/stat"))


def _read_stat(file: Path) -> tuple[str, list[str]]:
    head, _, rest = file.read_text(encoding="utf-8", errors="replace").rpartition(")")
    return head.partition("(")[2], rest.split()


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, which may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory, in this container or on this machine."""
    for file in _MEMORY_EVENTS:
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def shared_memory_free() -> int | None:
    """Mebibytes that are free in /dev/shm; None where there is none."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(leftovers.SHARED_MEMORY).free // _MEBI
    return None


class Alarm:
    """Wakes who waits when one of the watched processes ends.

    It watches by file descriptor, which no other process can take the place of. Where the kernel gives none, waiting
    lasts its whole time, and who looks at the list of processes finds out then.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._selector.register(self._wake_out, selectors.EVENT_READ)

    def watch(self, pids: Collection[int]) -> None:
        """Watch these processes, and no others."""
        for pid in set(self._watched) - set(pids):
            self._forget(pid)
        for pid in set(pids) - set(self._watched):
            with contextlib.suppress(OSError):  # it has ended, or this kernel cannot
                descriptor = os.pidfd_open(pid)
                self._watched[pid] = descriptor
                self._selector.register(descriptor, selectors.EVENT_READ, pid)

    def wait(self, seconds: float) -> None:
        """Return when a watched process has ended or somebody has called ``wake``, at the latest after ``seconds``."""
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                self._forget(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_out, 4096)

    def wake(self) -> None:
        """End a wait, from any thread."""
        with contextlib.suppress(OSError):  # the pipe is full: it is awake; or closed: nobody waits
            os.write(self._wake_in, b"x")

    def close(self) -> None:
        """Let go of all descriptors. Nobody may wait any more."""
        for pid in list(self._watched):
            self._forget(pid)
        self._selector.close()
        wake_in, self._wake_in = self._wake_in, -1
        os.close(wake_in)
        os.close(self._wake_out)

    def _forget(self, pid: int) -> None:
        descriptor = self._watched.pop(pid)
        self._selector.unregister(descriptor)
        os.close(descriptor)
