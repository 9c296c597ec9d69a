"""What a canary notes of each request, and how it is read: JSON lines in a file, numbers alone.

The router writes; whoever watches the rollout reads, in another process. There are four kinds of line, told apart by
their first key, ``t`` being unix time in seconds:

- ``{"request": arm, "t": …, "code": "OK", "ms": …}``, with ``"failed": true`` where the candidate failed and the stable
  release was asked instead, and with the numbers of the comparison where there was one;
- ``{"begin": run, "t": …}`` and ``{"end": run, "t": …}`` of a router;
- ``{"beat": run, "t": …, "in_flight": …, "dropped": …}`` once a second: it lives;
- ``{"tripped": run, "t": …, "reason": "INTERNAL"}``: it gives the candidate no more requests.

No picture, name, text or key of a caller is ever written.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]

MOST_BYTES = 8 * 2**20
"""A file that has grown to this size is renamed to ``….1``, and a new one is begun."""

SILENT_S = 5.0
"""A router whose last beat is this old does not write any more."""

_FLUSH_S = 0.2
_BEAT_S = 1.0
_MOST_WAITING = 20_000


class WatchWriter:
    """Appends lines to a file from a thread of its own: to note something never waits, and never fails.

    Args:
        path: The file. Its folder exists. The file is readable for all: server and reader may be different users.
        run: Names the router in its own lines.
        in_flight: How many requests the router has under way, for the beat.
        complain: Gets one sentence when the file cannot be written, and again only after it could.
        most_bytes: Size at which the file is renamed.
    """

    def __init__(
        self,
        path: Path,
        run: str,
        *,
        in_flight: Callable[[], int] = lambda: 0,
        complain: Callable[[str], None] = lambda sentence: None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._path = path
        self._run = run
        self._in_flight = in_flight
        self._complain = complain
        self._most_bytes = most_bytes
        self._waiting: queue.Queue[Line] = queue.Queue(_MOST_WAITING)
        self._dropped = 0
        self._failing = False
        self._ending = threading.Event()
        self.note({"begin": run})
        self._thread = threading.Thread(target=self._work, name="watch-file", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost, to a disk that is full or slow."""
        return self._dropped

    def note(self, line: Mapping[str, Any]) -> None:
        """Have a line written soon. ``t`` is added."""
        try:
            self._waiting.put_nowait({**line, "t": round(time.time(), 3)})
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what waits and the last line, and stop."""
        self.note({"end": self._run})
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        next_beat = 0.0
        while True:
            ending = self._ending.wait(_FLUSH_S)
            if not ending and time.monotonic() >= next_beat:
                next_beat = time.monotonic() + _BEAT_S
                self.note({"beat": self._run, "in_flight": self._in_flight(), "dropped": self._dropped})
            self._flush()
            if ending:
                return

    def _flush(self) -> None:
        lines: list[Line] = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._waiting.get_nowait())
        if not lines:
            return
        try:
            self._append("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
        except OSError as exc:
            self._dropped += len(lines)
            if not self._failing:
                self._complain(f"canary: cannot write {self._path}: {exc.strerror}; requests are answered all the same")
            self._failing = True
        else:
            self._failing = False

    def _append(self, text: bytes) -> None:
        # Opened anew each time: another router may have renamed the file, and somebody may have removed it.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            size = os.fstat(file).st_size
            if os.write(file, text) != len(text):
                os.ftruncate(file, size)  # the disk is full: no half lines
                raise OSError(28, "No space left on device")
        finally:
            os.close(file)
        if size + len(text) >= self._most_bytes:
            self._path.rename(older(self._path))


def older(path: Path) -> Path:
    """Where a file that has grown too large goes."""
    return path.with_name(f"{path.name}.1")


class WatchReader:
    """Reads on where it stopped, also over a rename. A file that is not there yet has no lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0

    def read(self) -> list[Line]:
        """The complete lines that were added since the last call; what is no line of this kind is left out.

        Raises:
            OSError: The file cannot be read.
        """
        lines: list[Line] = []
        if self._inode is not None and self._inode == _inode(older(self._path)):
            lines += self._read_from(older(self._path))
            self._inode, self._offset = None, 0
        inode = _inode(self._path)
        if inode is None:
            return lines
        if inode != self._inode:
            self._inode, self._offset = inode, 0
        return lines + self._read_from(self._path)

    def _read_from(self, path: Path) -> list[Line]:
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0  # it was emptied
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return []
        whole, _, _ = text.rpartition(b"\n")
        if not whole:
            return []
        self._offset += len(whole) + 1
        found = []
        for raw in whole.split(b"\n"):
            with contextlib.suppress(ValueError):
                line = json.loads(raw)
                if isinstance(line, dict):
                    found.append(line)
        return found


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
