"""What the processes that try a version have in common: limits that they keep within, and how they say what they find.

Each takes a JSON object on its standard input and writes one JSON object a line: what it is about to do, what it found,
and at the end that it is done. Whoever reads them knows from the last line where a version took the process down.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from trident.background import give_way_as_session
from trident.rollout.findings import Verdict

_MIB = 2**20
_MOST_CHARACTERS = 300


class Refused(Exception):
    """Something was found that makes the rest pointless; it has been said."""


class Report:
    """Writes what happens, a JSON object a line."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def _write(self, **event: object) -> None:
        self._to.write(json.dumps(event) + "\n")
        self._to.flush()

    def stage(self, about: str) -> None:
        """Say what comes next."""
        self._write(stage=about)

    def finding(self, check: str, verdict: Verdict, sentence: str, **more: object) -> None:
        """Say what a check found."""
        self._write(check=check, verdict=verdict, sentence=sentence, more=more)

    def refuse(self, check: str, sentence: str) -> NoReturn:
        """Say what a check found that makes the rest pointless. Always raises ``Refused``."""
        self.finding(check, Verdict.REFUSED, sentence)
        raise Refused

    def facts(self, **facts: object) -> None:
        """Say what was measured."""
        self._write(facts=facts)

    def done(self) -> None:
        """Say that all was looked at."""
        self._write(done=True)


def keep_within(request: dict[str, Any]) -> None:
    """Give this process the lowest priority, and the limits of the request: ``cpu_s``, ``wall_s``, ``memory_mib``."""
    give_way_as_session()
    cpu = max(1, round(request["cpu_s"]))
    memory = int(request["memory_mib"]) * _MIB
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ends this process even where nobody is left to.
    signal.alarm(max(1, round(request["wall_s"])) + 1)


def serve(run: Callable[[dict[str, Any], Report], None]) -> None:
    """Read the request, keep within its limits, and try the version.

    Args:
        run: Takes the request and the report; raises ``Refused`` where the rest is pointless.
    """
    request = json.load(sys.stdin)
    keep_within(request)
    # Libraries print where they like; the report goes to a copy of standard output that they do not know.
    report = Report(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    with contextlib.suppress(Refused):
        run(request, report)
    report.done()


def words(error: BaseException) -> str:
    """What an error says, on one line and not too long; its kind where it says nothing."""
    return " ".join(str(error).split())[:_MOST_CHARACTERS] or type(error).__name__
