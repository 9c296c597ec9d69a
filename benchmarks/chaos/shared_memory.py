"""The server's /dev/shm: one of its own where that may be mounted, what lies in it, and filling it up."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from trident.errors import SetupError
from trident.supervisor.leftovers import SHARED_MEMORY

PRIVATE_MB = 1024
"""As large as the deployment's files make it."""
MOST_MB = 1024
"""A larger one that others use too is not filled."""
_MEBI = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SPARE = 3
"""So many times what is to be filled must be free of the machine's memory."""
_TRY_S = 10.0
_MOUNT = 'mount -t tmpfs -o "mode=1777,size=$1" tmpfs /dev/shm && shift && exec "$@"'


def in_private(megabytes: int = PRIVATE_MB) -> list[str]:
    """The words in front of a command that give it, and all that it starts, a /dev/shm of their own.

    It goes with the last of its processes, and nobody else sees it. Needs the right to mount.
    """
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", f"{megabytes}m"]


def why_not_private() -> str:
    """Why a command cannot be given a /dev/shm of its own here that may be filled; empty if it can."""
    if reason := _why_too_little(PRIVATE_MB * _MEBI):
        return reason
    try:
        tried = subprocess.run(
            [*in_private(), "true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TRY_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare does not run: {error}"
    return "" if tried.returncode == 0 else " ".join(tried.stderr.split()) or f"exit code {tried.returncode}"


class SharedMemory:
    """The /dev/shm that a process sees. It can be looked at until it is closed, also when the process has ended.

    Args:
        pid: The process; None for this one.

    Raises:
        SetupError: It cannot be looked at.
    """

    def __init__(self, pid: int | None = None) -> None:
        place = SHARED_MEMORY if pid is None else Path(f"/proc/{pid}/root{SHARED_MEMORY}")
        try:
            self._folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise SetupError(f"{place} cannot be looked at: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._folder)

    def files(self, names: Collection[str]) -> list[str]:
        """Files in it that begin with any of the names."""
        there = os.listdir(self._folder)  # noqa: PTH208 - of a file descriptor
        return sorted(f"{SHARED_MEMORY}/{file}" for file in there if file.startswith(tuple(names)))

    def used_mb(self) -> float:
        """Megabytes (10⁶ bytes) of it that are used, by whomever."""
        found = os.fstatvfs(self._folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize / 1e6

    def free_bytes(self) -> int:
        """What may still be written into it."""
        found = os.fstatvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def why_not_filled(self) -> str:
        """Why it had better not be filled; empty if it may be."""
        free = self.free_bytes()
        if free > MOST_MB * _MEBI:
            return f"{SHARED_MEMORY} has {free // _MEBI} MiB free, and at most {MOST_MB} are filled"
        return _why_too_little(free)

    def filled(self) -> Filling:
        """All that is free of it, taken for the length of a ``with`` block.

        Raises:
            SetupError: It had better not be.
        """
        if reason := self.why_not_filled():
            raise SetupError(reason)
        return Filling(self._folder)


class Filling:
    """A file without a name that takes what is free: it goes with this process, however that ends.

    Args:
        folder: File descriptor of where to take it.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._file = -1
        self.bytes = 0
        """How much it has taken."""

    def __enter__(self) -> Self:
        self._file = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600, dir_fd=self._folder)
        try:
            self.more()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def more(self) -> None:
        """Take what has become free meanwhile."""
        found = os.fstatvfs(self._folder)
        step = found.f_bavail * found.f_frsize
        while step >= _PAGE:
            try:
                os.posix_fallocate(self._file, self.bytes, step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step = step // 2 // _PAGE * _PAGE  # somebody else took some of it
            else:
                self.bytes += step
                found = os.fstatvfs(self._folder)
                step = found.f_bavail * found.f_frsize


def _why_too_little(wanted: int) -> str:
    """Why so many bytes of memory had better not be taken; empty if they may be."""
    available = _memory_available()
    if wanted * _SPARE <= available:
        return ""
    return f"of the machine's memory {available // _MEBI} MiB are free, {_SPARE} times {wanted // _MEBI} are wanted"


def _memory_available() -> int:
    """Bytes that the kernel could give without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return 0
