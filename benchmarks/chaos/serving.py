"""A server that faults are done to: which processes belong to it, and what it leaves behind."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.trident_process import TEMPORARY, TridentProcess
from trident.supervisor import leftovers, processes

_TRITON = "tritonserver"
_NAME = re.compile(r"shm-region-prefix-name=([^\s,]+)")

Instances = Counter[tuple[str, int]]
"""How many processes each version of each model has."""


class Served(TridentProcess):
    """A server whose processes are told apart.

    Args:
        repository: What it serves.
        folder: As ``TridentProcess`` takes it.
        before: Words in front of its command.
    """

    def __init__(self, repository: Path, folder: Path, before: Sequence[str] = ()) -> None:
        # Unverified: somebody's own networks, which have no record of an export, are served too.
        super().__init__(repository, folder, options=["--unverified"], before=before)

    def instances(self) -> Instances:
        """Its processes of the Python backend, by version. Raises SetupError if it says nothing."""
        return Counter((str(one["model"]), int(one["version"])) for one in self.status()["processes"])

    def stubs(self, model: str) -> list[int]:
        """The processes of a model's lowest version. Raises SetupError if it says nothing."""
        found = [(int(one["version"]), int(one["pid"])) for one in self.status()["processes"] if one["model"] == model]
        return sorted(pid for version, pid in found if version == min(found)[0])

    def triton(self) -> int | None:
        """Process id of Triton; None where there is none at the moment."""
        return triton_of(self.tree())

    def name(self) -> str | None:
        """The name of its Triton, in front of its files in /dev/shm: another one after each restart."""
        return name_of(self.tree())

    def tree(self) -> list[psutil.Process]:
        """The launcher and all that it has started."""
        try:
            launcher = psutil.Process(self.pid)
            return [launcher, *launcher.children(recursive=True)]
        except psutil.Error:
            return []


def run_folders(temporary: Path) -> list[Path]:
    """The folders of servers, each of its server's name, that lie in what they were given for temporary files."""
    return list(temporary.glob("trident-*/trident-*"))


@contextlib.contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Clear away, in the end, what servers whose guards were killed have left in the machine's shared memory.

    Later servers do that for those whose run folders they find, which these are not: theirs go with ``folder``.

    Args:
        folder: Theirs, as ``Served`` takes it; to be there until then, and their processes to have ended.
    """
    try:
        yield
    finally:
        for path in run_folders(folder / TEMPORARY):
            leftovers.clear(path.name)


def triton_of(tree: Iterable[psutil.Process]) -> int | None:
    """Process id of the Triton among some processes; None where there is none."""
    for process in tree:
        with contextlib.suppress(psutil.Error):
            if process.name() == _TRITON and process.status() != psutil.STATUS_ZOMBIE:
                return int(process.pid)
    return None


def name_of(tree: Iterable[psutil.Process]) -> str | None:
    """The name of the Triton among some processes; None where there is none, or it has just ended."""
    pid = triton_of(tree)
    if pid is None:
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    found = _NAME.search(command.replace("\0", " "))
    return found[1] if found else None


def has_ended(pid: int) -> bool:
    """Whether a process has, also where nobody has taken notice."""
    return processes.state_of(pid) in processes.ENDED
