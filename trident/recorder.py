"""Keeps a sample of the pictures that are served, to compare versions on later. Off unless switched on.

Pictures of live traffic are personal data. They are kept as they came, in a folder that only the server's user can
read, in a number that is never exceeded: once the folder is full, each new one takes the place of one chosen by
chance, so that it holds mostly recent ones. Nothing is deleted when the server stops; whoever switched it on deletes
the folder.

Several processes may record into one folder. Nothing that goes wrong with recording reaches a request: pictures are
handed to a thread, which drops them when it is busy, and says once what is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import random
import secrets
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.errors import SetupError

FOLDER_VARIABLE = "TRIDENT_RECORD"
SHARE_VARIABLE = "TRIDENT_RECORD_SHARE"
MOST_VARIABLE = "TRIDENT_RECORD_MOST"

DEFAULT_SHARE = 0.01
DEFAULT_MOST = 200
_LARGEST_MOST = 100_000
LARGEST_PICTURE = 8 << 20
"""Bytes. A larger picture is not recorded, so that the folder's size has a bound too."""

_PREFIX = "picture-"
_UNFINISHED_PREFIX = ".unfinished-"
_UNFINISHED_AFTER_S = 60.0
_WAITING = 4
"""Pictures that may wait for the disk; what comes while it is slow is not recorded."""

_logger = logging.getLogger("trident.recorder")


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be recorded, and where."""

    folder: Path
    share: float = DEFAULT_SHARE
    """Part of the pictures that is recorded, above 0 and at most 1."""
    most: int = DEFAULT_MOST
    """Most pictures that the folder ever holds."""

    def __post_init__(self) -> None:
        """Raises SetupError if a value is out of its range."""
        if not 0 < self.share <= 1:
            raise SetupError(f"share of recorded pictures: expected above 0 and at most 1, got {self.share}")
        if not 1 <= self.most <= _LARGEST_MOST:
            raise SetupError(f"most recorded pictures: expected 1 to {_LARGEST_MOST}, got {self.most}")

    def to_environment(self) -> dict[str, str]:
        """The environment variables that switch it on in a server."""
        return {
            FOLDER_VARIABLE: str(self.folder.absolute()),
            SHARE_VARIABLE: repr(self.share),
            MOST_VARIABLE: str(self.most),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Recording | None:
        """What the environment variables say; None where recording is not switched on.

        Raises:
            SetupError: One of them cannot be understood.
        """
        folder = environment.get(FOLDER_VARIABLE)
        if not folder:
            return None
        try:
            share = float(environment.get(SHARE_VARIABLE) or DEFAULT_SHARE)
            most = int(environment.get(MOST_VARIABLE) or DEFAULT_MOST)
        except ValueError as error:
            raise SetupError(f"{SHARE_VARIABLE}, {MOST_VARIABLE}: expected numbers, got {error}") from error
        return cls(Path(folder), share, most)


def prepare_folder(folder: Path, repository: Path | None = None) -> None:
    """Make the folder of a recording, or check the one that is there.

    Args:
        folder: It is made with mode 0700.
        repository: The model repository, in which it must not lie: that may be copied and published.

    Raises:
        SetupError: It cannot be made, others can read it, it is somebody else's, holds other things, or lies in the
            repository.
    """
    if repository is not None and folder.resolve().is_relative_to(repository.resolve()):
        raise SetupError(f"recorded pictures: {folder} must not lie inside the model repository {repository}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        strange = next((path.name for path in folder.iterdir() if not _is_ours(path.name)), None)
    except OSError as error:
        raise SetupError(f"recorded pictures: {folder} cannot be used: {error.strerror or error}") from error
    if found.st_uid != os.geteuid():
        raise SetupError(f"recorded pictures: {folder} belongs to another user; choose a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SetupError(f"recorded pictures: others can look into {folder}; run chmod 700 on it, or choose a new one")
    if strange is not None:
        raise SetupError(f"recorded pictures: {folder} holds other things ({strange!r}); choose a folder of its own")


def _name(place: int) -> str:
    return f"{_PREFIX}{place:05d}"


def _is_ours(name: str) -> bool:
    return name.startswith((_PREFIX, _UNFINISHED_PREFIX))


class Recorder:
    """Records a share of the pictures that it is offered. Safe to share between threads."""

    def __init__(self, recording: Recording | None) -> None:
        """Begin, or with None do nothing ever. A folder that cannot be used is said once, and nothing is recorded."""
        self._recording = recording
        self._random = random.Random(secrets.randbits(64))  # noqa: S311 - a sample, not a secret
        self._told = False
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        if recording is None:
            return
        try:
            prepare_folder(recording.folder)
            self._clear(recording)
        except (SetupError, OSError) as error:
            self._complain(error)
            self._recording = None
            return
        self._thread = threading.Thread(target=self._work, args=(recording,), name="trident-recorder", daemon=True)
        self._thread.start()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Recorder:
        """The recorder that the variables ask for; what cannot be understood is said, and nothing is recorded."""
        try:
            return cls(Recording.from_environment(environment))
        except SetupError as error:
            recorder = cls(None)
            recorder._complain(error)
            return recorder

    def offer(self, pictures: Sequence[bytes]) -> None:
        """Record each of the encoded pictures with the chosen probability. Never waits, and never raises."""
        recording = self._recording
        if recording is None:
            return
        for encoded in pictures:
            if len(encoded) <= LARGEST_PICTURE and self._random.random() < recording.share:
                with contextlib.suppress(queue.Full):
                    self._waiting.put_nowait(bytes(encoded))

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is waiting, and end the thread; waits at most that long."""
        thread, self._thread = self._thread, None
        self._recording = None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_s)
        thread.join(timeout_s)

    def _work(self, recording: Recording) -> None:
        while (encoded := self._waiting.get()) is not None:
            try:
                self._write(recording, encoded)
            except OSError as error:
                self._complain(error)

    def _write(self, recording: Recording, encoded: bytes) -> None:
        """One picture, whole or not at all, into a free place or, where there is none, one chosen by chance."""
        folder = recording.folder
        unfinished = folder / f"{_UNFINISHED_PREFIX}{secrets.token_hex(8)}"
        place = self._place(recording)
        try:
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(encoded)
            unfinished.rename(folder / _name(place))
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise

    def _place(self, recording: Recording) -> int:
        """Places are numbered, so that processes which know nothing of each other never fill more than there are."""
        taken = {path.name for path in recording.folder.iterdir()}
        free = [place for place in range(recording.most) if _name(place) not in taken]
        return self._random.choice(free) if free else self._random.randrange(recording.most)

    def _clear(self, recording: Recording) -> None:
        """Remove what a killed server left half written, and what a recording of more pictures left over."""
        for path in recording.folder.glob(f"{_UNFINISHED_PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _UNFINISHED_AFTER_S:
                    path.unlink()
        for path in recording.folder.glob(f"{_PREFIX}*"):
            if path.name >= _name(recording.most):
                path.unlink(missing_ok=True)

    def _complain(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            _logger.warning("pictures are not recorded: %s", reason)
