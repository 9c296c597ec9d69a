"""What rollouts have done: one JSON object a line, beside the models that they moved. Standard library only.

A line is on disk before what it announces is done, so that a rollout that was killed can be told from one that ended.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident.errors import SetupError

JOURNAL_FILE = "rollouts.jsonl"
"""In the root of the model repository, where Triton looks at folders only."""
LOCK_FILE = ".rollouts.lock"

STARTED, STEP, LOADING, FLIP, COMMITTED, FLIPPED, INTERRUPTED, RESUMED, ENDED, RETIRED = (
    "started",
    "step",
    "loading",
    "flip",
    "committed",
    "flipped",
    "interrupted",
    "resumed",
    "ended",
    "retired",
)
"""Events. ``loading`` is written before the server is changed in any way, ``flip`` before the pins on disk move,
``committed`` when they have, ``flipped`` when the server's answers have been seen to follow. ``retired`` stands
alone."""


_LOCK_TRIES, _LOCK_PAUSE_S = 3, 0.1

DONE, STOPPED, ROLLED_BACK, ABORTED = "done", "stopped", "rolled back", "aborted"
"""Outcomes. After all but the first, the release of before answers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    at: str
    """When, ISO 8601, UTC."""
    rollout: str
    """Which rollout."""
    event: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """All that the journal says of one rollout or rollback."""

    id: str
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def started(self) -> Mapping[str, Any]:
        """The facts of its first line."""
        return self.entries[0].facts

    @property
    def at(self) -> str:
        """When it began."""
        return self.entries[0].at

    @property
    def kind(self) -> str:
        """``rollout`` or ``rollback``."""
        return str(self.started.get("kind", "rollout"))

    @property
    def targets(self) -> dict[str, int]:
        """What was asked for."""
        return dict(self.started.get("targets", {}))

    @property
    def before(self) -> dict[str, int]:
        """The release that answered when it began."""
        return dict(self.started.get("before", {}))

    @property
    def after(self) -> dict[str, int]:
        """The release that was to answer when it ended."""
        return dict(self.started.get("after", {}))

    @property
    def outcome(self) -> str | None:
        """How it ended; None if it has not."""
        return next((str(e.facts.get("outcome")) for e in reversed(self.entries) if e.event == ENDED), None)

    @property
    def sentence(self) -> str:
        """What was said at the end."""
        return next((str(e.facts.get("sentence", "")) for e in reversed(self.entries) if e.event == ENDED), "")

    @property
    def step(self) -> str:
        """The last step that it began."""
        return next((str(e.facts.get("name")) for e in reversed(self.entries) if e.event == STEP), "start")

    @property
    def who(self) -> str:
        """Who ran it, as ``user@host``."""
        return str(self.started.get("who", "somebody"))

    def how_to_end(self) -> str:
        """For one that has not ended: where it stands, and the two ways out."""
        return (
            f"{self} was interrupted at step {self.step} (begun {self.at}, by {self.who}): "
            "`trident rollout --resume` goes on with it, `trident rollout --abort` takes it back"
        )

    def __str__(self) -> str:
        return f"{self.kind} of {' '.join(f'{name}={version}' for name, version in self.targets.items())}"


class Journal:
    """The journal of one model repository."""

    def __init__(self, repository: Path) -> None:
        self.file = repository / JOURNAL_FILE
        self._lock_file = repository / LOCK_FILE

    def append(self, rollout: str, event: str, **facts: Any) -> None:
        """Write one line, and return when it is on disk.

        Raises:
            SetupError: It cannot be written.
        """
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "rollout": rollout, "event": event, **facts}
        data = (json.dumps(line, ensure_ascii=False, default=str) + "\n").encode()
        try:
            file = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                # A line that a killed process, or a full disk, left unfinished must not swallow this one.
                torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
                data = b"\n" + data if torn else data
                written = os.write(file, data)
                if written != len(data):
                    raise OSError(None, "the disk is full")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as exc:
            raise SetupError(f"{self.file} cannot be written ({exc.strerror}): make room, or set its rights") from exc

    def entries(self) -> Iterator[Entry]:
        """Every line, oldest first; what is not a whole line is left out."""
        try:
            lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as exc:
            raise SetupError(f"{self.file} cannot be read: {exc.strerror}") from exc
        for line in lines:
            try:
                facts = json.loads(line)
                yield Entry(facts.pop("at"), facts.pop("rollout"), facts.pop("event"), facts)
            except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
                continue

    def records(self) -> list[Record]:
        """Every rollout, oldest first."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries():
            if entry.rollout in found or entry.event == STARTED:
                found.setdefault(entry.rollout, []).append(entry)
        return [Record(name, tuple(entries)) for name, entries in found.items()]

    def unfinished(self) -> Record | None:
        """The rollout that has begun and not ended: one that runs, or was interrupted."""
        records = self.records()
        return records[-1] if records and records[-1].outcome is None else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other rollouts of this repository out.

        Raises:
            SetupError: Another one runs.
        """
        try:
            lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise SetupError(f"{self._lock_file} cannot be made: {exc.strerror}") from exc
        try:
            if not _taken(lock, fcntl.LOCK_EX, _LOCK_TRIES):
                other = self.unfinished()
                what = f" ({other}, by {other.who}, at step {other.step})" if other else ""
                raise SetupError(f"another rollout of this repository is under way{what}: wait for its end")
            yield
        finally:
            os.close(lock)

    def running(self) -> bool:
        """Whether somebody holds the lock."""
        try:
            lock = os.open(self._lock_file, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not _taken(lock, fcntl.LOCK_SH, 1)
        finally:
            os.close(lock)


def _taken(lock: int, kind: int, tries: int) -> bool:
    """Whether a lock could be had. Somebody who only looks has it for a moment, so one try may not be enough."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def interruption(repository: Path) -> str:
    """One sentence about a rollout that runs or was interrupted; empty if there is none."""
    journal = Journal(repository)
    record = journal.unfinished()
    if record is None:
        return ""
    if journal.running():
        return f"{record} is under way, at step {record.step} (since {record.at}, by {record.who})"
    return record.how_to_end()


def who() -> str:
    """The user and the machine, for the journal."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
