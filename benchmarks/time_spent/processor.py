"""Processor time and memory of a server, by model: each instance of a Python model runs in a process of its own."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.swaps.resources import Scale
from trident.access.restrictions import without_key
from trident.rollout.memory import pss_mb
from trident.supervisor.leftovers import STUB

SERVER = "tritonserver"
"""Triton's own process: gRPC, scheduling, and copying tensors to and from the models."""


class Processor:
    """Adds up the processor time and the memory of one server's processes.

    Args:
        name: The server's name.
        repository: What it serves.

    Raises:
        SetupError: There is no such server among this process's descendants.
    """

    def __init__(self, name: str, repository: Path) -> None:
        self._server = Scale(name).server
        self._repository = repository.resolve()

    @property
    def command(self) -> str:
        """The server's command line."""
        return " ".join(without_key(self._server.cmdline()))

    def seconds(self) -> dict[str, float]:
        """Seconds that each model's processes, and Triton's own, have had so far, in user and kernel mode."""
        spent: dict[str, float] = defaultdict(float)
        for process in [self._server, *self._server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                times = process.cpu_times()
                spent[self._model(process)] += times.user + times.system
        return dict(spent)

    def memory_mb(self) -> dict[str, float]:
        """Proportional set size that each model's processes, and Triton's own, have now, in megabytes (10⁶ bytes)."""
        sizes: dict[str, float] = defaultdict(float)
        for process in [self._server, *self._server.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                sizes[self._model(process)] += pss_mb(process.pid)
        return dict(sizes)

    def _model(self, process: psutil.Process) -> str:
        words = process.cmdline()
        if len(words) > 1 and words[0].endswith(STUB):
            # The model's file is the first word behind the program.
            with contextlib.suppress(ValueError):
                return Path(words[1]).resolve().relative_to(self._repository).parts[0]
        return SERVER


def spent_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each model between two looks."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
