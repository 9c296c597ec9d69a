"""What the supervision says: in the log, and in the health that its endpoint tells."""

from __future__ import annotations

import logging

from trident.supervisor import leftovers, processes
from trident.supervisor.health import Health

logger = logging.getLogger("trident.supervisor")

_LITTLE_MEMORY_MIB = 64


class Reporter:
    """Says each event once: a line of the log with its facts in ``extra``, and an entry of the health.

    Args:
        health: Where troubles and events are kept.
    """

    def __init__(self, health: Health) -> None:
        self.health = health
        self._oom_kills = processes.out_of_memory_kills()
        self._little_memory = False

    def say(self, level: int, kind: str, sentence: str, **facts: object) -> None:
        """Say what has happened.

        Args:
            level: One of ``logging``.
            kind: One word, the same for all events of a kind.
            sentence: For people.
            facts: For programs: ``model``, ``version``, ``pid``, ``seconds``, ``reason``.
        """
        self.health.happened(kind, sentence)
        logger.log(level, sentence, extra={"event": kind, **facts})

    def trouble(self, what: str, kind: str, sentence: str, **facts: object) -> None:
        """Note what keeps the server from being ready, and say so if it is new."""
        if self.health.trouble(what, sentence):
            self.say(logging.ERROR, kind, sentence, **facts)

    def hint(self) -> str:
        """What the machine tells about why something has ended, in parentheses; empty if it tells nothing."""
        before, self._oom_kills = self._oom_kills, processes.out_of_memory_kills()
        hints = ["the kernel has killed a process for want of memory"] if self._oom_kills > before else []
        free = processes.shared_memory_free()
        if free is not None and free < _LITTLE_MEMORY_MIB:
            hints.append(f"{leftovers.SHARED_MEMORY} has {free} MiB left")
        return f" ({'; '.join(hints)})" if hints else ""

    def look_at_shared_memory(self) -> None:
        """Say so when little of it is left."""
        free = processes.shared_memory_free()
        little = free is not None and free < _LITTLE_MEMORY_MIB
        if little and not self._little_memory:
            sentence = (
                f"{leftovers.SHARED_MEMORY} has {free} MiB left: models that need more fail, or end; make room "
                "there, or give the container more (--shm-size)"
            )
            self.say(logging.ERROR, "shared_memory_low", sentence)
        self._little_memory = little
