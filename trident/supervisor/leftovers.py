"""What a Triton server leaves behind when it is killed, and how to clear it away.

Every server has a name of its own. The Python backend puts that name in front of each shared-memory file, and each of
its stub processes carries the file's name in its command line: that is how both are found.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import uuid
from pathlib import Path

from trident.errors import SetupError

STUB = "triton_python_backend_stub"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
_LOCK = "lock"
_PREFIX = "trident-"


def stub_commands(name: str) -> dict[int, list[str]]:
    """The command lines of the Python backend's stubs that belong to the server ``name``, by process id.

    One that has ended is left out, also while its parent has not taken notice.
    """
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            command = [word.decode(errors="replace") for word in (folder / "cmdline").read_bytes().split(b"\0")]
            if command[0].endswith(STUB) and any(word.startswith(name) for word in command[1:]):
                found[int(folder.name)] = command
    return found


def stub_processes(name: str) -> list[int]:
    """Process ids of the Python backend's stubs that belong to the server ``name``."""
    return list(stub_commands(name))


def shared_memory_files(name: str) -> list[Path]:
    """Shared-memory files of the server ``name``."""
    return sorted(SHARED_MEMORY.glob(f"{name}*"))


def clear(name: str) -> None:
    """Kill the stubs of the server ``name``, which has ended, and remove its shared-memory files."""
    for pid in stub_processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for file in shared_memory_files(name):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


class RunFolder:
    """A server's folder in the temporary directory, locked for as long as the server is looked after.

    The lock is what tells a living server's folder from one whose keepers were all killed. Its file descriptor is
    handed on to the guard process, so that it holds until the last of them has ended.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    @property
    def name(self) -> str:
        """The server's name: unique, and in front of its shared-memory files."""
        return self.path.name

    @classmethod
    def create(cls) -> RunFolder:
        """Make a folder for a new server, and clear away what killed ones have left.

        Raises:
            SetupError: The place for it belongs to someone else.
        """
        root = run_folders()
        while True:
            root.mkdir(mode=0o700, exist_ok=True)
            _check_owner(root)
            _sweep(root)
            name = uuid.uuid4().hex[:12]
            unlocked = root / f".{name}"
            try:
                unlocked.mkdir(mode=0o700)
            except FileNotFoundError:  # another server's end removed the empty root in between
                continue
            lock = os.open(unlocked / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only now does it have a name that a sweep looks at.
            return cls(unlocked.rename(root / f"{_PREFIX}{name}"), lock)

    def release(self) -> None:
        """Close this process's hold on the lock; the guard's holds on."""
        with contextlib.suppress(OSError):
            os.close(self.lock)

    def remove(self) -> None:
        """Remove the folder, and clear what its server has left."""
        remove(self.path)


def remove(path: Path) -> None:
    """Remove a run folder, and clear what its server has left."""
    clear(path.name)
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):  # other servers run
        path.parent.rmdir()


def run_folders() -> Path:
    """The folder of all run folders of this user."""
    return Path(tempfile.gettempdir()) / f"trident-{os.getuid()}"


def _check_owner(root: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise SetupError(f"{root} is not a folder of yours alone: remove it, or set TMPDIR to another place")


def _sweep(root: Path) -> None:
    """Remove the folders whose lock nobody holds."""
    for path in root.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR)
        except OSError:  # its server has just ended
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            remove(path)
        finally:
            os.close(lock)
