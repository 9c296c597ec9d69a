"""A Python environment for each peer, made once and kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from benchmarks.peers.peer import Peer
from trident.errors import SetupError

_INSTALLED = "installed"
_LONGEST_INSTALL_S = 1800.0
_REASON_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Environment:
    """A peer's Python with its packages."""

    folder: Path

    @property
    def programs(self) -> Path:
        """Where its programs lie."""
        return self.folder / "bin"

    def version(self, package: str) -> str:
        """The installed version of a package. Raises SetupError if it is not installed."""
        code = "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"
        asked = subprocess.run(
            [self.programs / "python", "-c", code, package], capture_output=True, text=True, check=False
        )
        if asked.returncode != 0:
            raise SetupError(f"{self.folder} has no {package}: remove the folder, it will be made anew")
        return asked.stdout.strip()


def cache_folder() -> Path:
    """Where the environments are kept."""
    return platformdirs.user_cache_path("trident") / "peers"


def installed(peer: Peer, cache: Path | None = None) -> Environment | None:
    """The environment of a peer, None where it has not been made."""
    folder = _folder(peer, cache)
    return Environment(folder) if (folder / _INSTALLED).exists() else None


def environment_of(peer: Peer, tell: Callable[[str], None], cache: Path | None = None) -> Environment:
    """The environment of a peer; made where there is none yet for its requirements and this Python.

    Args:
        peer: Whose.
        tell: Is told when something is made, which takes minutes.
        cache: Where to keep it; the user's cache by default.

    Raises:
        SetupError: It cannot be installed; with pip's own reason.
    """
    folder = _folder(peer, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(folder.with_suffix(".lock")):
        if not (folder / _INSTALLED).exists():
            tell(f"{peer.title}: making its environment, {folder}")
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)], peer)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            _run([*pip, "--requirement", str(peer.requirements)], peer)
            (folder / _INSTALLED).touch()
    return Environment(folder)


def _folder(peer: Peer, cache: Path | None) -> Path:
    """Where its environment lies, or would: another place for other requirements and another Python."""
    needed = peer.requirements.read_bytes() + platform.python_version().encode()
    return (cache or cache_folder()) / f"{peer.name}-{hashlib.sha256(needed).hexdigest()[:12]}"


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Let two runs at once not make the same environment."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], peer: Peer) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"{peer.title} cannot be installed: pip did not finish within {_LONGEST_INSTALL_S / 60:.0f} minutes"
        ) from None
    if done.returncode != 0:
        raise SetupError(f"{peer.title} cannot be installed: {reason_of(done.stderr or done.stdout)}")


def reason_of(said: str) -> str:
    r"""Why pip stopped, out of all that it said: its errors in one line.

    >>> reason_of("Collecting x\nERROR: No matching distribution found for x==9\n[notice] a new pip\n")
    'No matching distribution found for x==9'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[:_REASON_LENGTH] or "it did not say why"
