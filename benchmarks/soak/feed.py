"""The load's process as seen from the one that measures: its lines while they come, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.circumstances import ROOT
from benchmarks.load import Plan
from benchmarks.soak.callers import Mix
from trident.errors import SetupError

Line = dict[str, Any]

_CHUNK = 1 << 16
_END_S, _EXIT_S = 2.0, 30.0
_SAID = 600


class Feed:
    """``benchmarks.soak.callers`` between ``__enter__`` and ``__exit__``.

    Nothing of what it tells is kept here: whoever reads the lines decides what of them is worth keeping for hours.

    Args:
        url: ``host:port`` of the server.
        good: Pictures.
        bad: And what is none.
        plan: When to send.
        mix: And what.
        log: Where the process writes what goes wrong with it.
    """

    def __init__(self, url: str, good: Sequence[Path], bad: Sequence[Path], plan: Plan, mix: Mix, *, log: Path) -> None:
        if plan.rate is None:
            raise SetupError("soak: expected a rate for its load, got none")
        self._log = log
        self._command = [
            *(sys.executable, "-m", "benchmarks.soak.callers", "--url", url, "--rate", str(plan.rate)),
            *("--seconds", str(plan.seconds), "--seed", str(plan.seed), "--timeout", str(plan.timeout_s)),
            *("--bad", str(mix.bad), "--leaving", str(mix.leaving)),
            *(word for path in bad for word in ("--bad-pictures", str(path))),
            *map(str, good),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self.ended = False
        """Whether its last line has been read."""

    def __enter__(self) -> Self:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        self.stop()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def pid(self) -> int:
        """The process."""
        return self._running().pid

    def read(self, within_s: float) -> list[Line]:
        """What it has told, as soon as there is something; nothing after ``within_s`` seconds, or when it has ended."""
        output = self._running().stdout
        if self.ended or output is None or not select.select([output], [], [], within_s)[0]:
            return []
        data = os.read(output.fileno(), _CHUNK)
        if not data:
            self.ended = True
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        """Have it send nothing more; what is in flight is still told."""
        stdin = self._running().stdin
        if stdin is not None:
            with contextlib.suppress(OSError):  # it has ended
                stdin.close()

    def remaining(self, within_s: float) -> Iterator[Line]:
        """What it still tells until its end, or for ``within_s`` seconds."""
        deadline = time.monotonic() + within_s
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            yield from self.read(left)

    def check(self) -> None:
        """Raise SetupError, with what it said, if it has ended with an error."""
        code = self._running().wait(_EXIT_S) if self.ended else None
        if code:
            said = " ".join(self._log.read_text(encoding="utf-8", errors="replace").split())[-_SAID:]
            raise SetupError(f"the load ended by itself with exit code {code}: {said}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the load has not been started: use `with`")
        return self._process
