"""Has the kernel kill one process for want of memory, by a control group whose limit it exceeds at once."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from trident.errors import SetupError

_ROOT = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The file that holds the limit, in the second and in the first version of control groups."""
_MEMBERS = "cgroup.procs"
_LIMIT = "0"
"""Bytes. What a process holds already stays with the group that it has left; what it asks for anew counts."""
_REMOVED_WITHIN_S = 5.0
_PREFIX = "trident-chaos-"
"""In front of the process id of the run that a group belongs to."""


class Starving:
    """A control group for one process at a time. As a context manager: for as long as the group is there.

    Raises:
        SetupError: None can be made here; the message says why.
    """

    def __init__(self, root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> None:
        self.group, self._home = _made(_places(root, membership.read_text(encoding="utf-8").splitlines()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self.group)

    def take(self, pid: int) -> None:
        """From now on the process gets as good as no more memory. Raises ProcessLookupError if it has ended."""
        (self.group / _MEMBERS).write_text(str(pid), encoding="ascii")

    def give_back(self, pid: int) -> None:
        """Let it have memory again, if it still lives."""
        with contextlib.suppress(OSError):
            (self._home / _MEMBERS).write_text(str(pid), encoding="ascii")


def _places(root: Path, lines: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """Where a group may be made, and the group that its processes come from, by the lines of ``/proc/self/cgroup``."""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        relative = path.lstrip("/")
        if "memory" in controllers.split(","):
            home = root / "memory" / relative
        elif not controllers:
            home = root / relative
        else:
            continue
        if not home.is_dir():  # a container sees its own group as the root
            home = root / "memory" if controllers else root
        yield home, home
        if not controllers and home != root:
            # In the second version a group that holds processes has no groups with limits; one beside it may be.
            yield home.parent, home


def _made(places: Iterator[tuple[Path, Path]]) -> tuple[Path, Path]:
    reasons = []
    for parent, home in places:
        _sweep(parent)
        group = parent / f"{_PREFIX}{os.getpid()}"
        try:
            group.mkdir()
        except OSError as error:
            reasons.append(f"none can be added ({error.strerror})")
            continue
        try:
            limit = next((group / name for name in _LIMITS if (group / name).exists()), None)
            if limit is not None:
                limit.write_text(_LIMIT, encoding="ascii")
                return group, home
            reasons.append("an added one has no limit of memory")
        except OSError as error:
            reasons.append(f"an added one takes no limit ({error.strerror})")
        _remove(group)
    raise SetupError(f"no control group for memory can be made: {'; '.join(reasons) or 'there are none'}")


def _sweep(parent: Path) -> None:
    """Remove the groups of runs that were killed."""
    for group in parent.glob(f"{_PREFIX}[0-9]*"):
        if not Path("/proc", group.name.removeprefix(_PREFIX)).exists():
            with contextlib.suppress(OSError):  # something is still in it
                group.rmdir()


def _remove(group: Path) -> None:
    """Remove it once its last process has gone."""
    deadline = time.monotonic() + _REMOVED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
