"""Work that gives way: loading and unloading a version takes processor time that no request is waiting for.

On Linux priority belongs to a thread, not to the process. Lowering it needs no rights, raising it again does, so what
loads a model runs in a thread that is lowered and then ends; the thread that answers requests keeps its priority until
the model is unloaded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LOWEST = 19
"""Niceness of the work, the lowest priority of Linux's usual scheduler: next to a busy thread it gets about 1.5 % of a
core, and all of a core that is idle."""

_BESIDE_A_SERVER = 10
_AUTOGROUP = Path("/proc/self/autogroup")

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that say how many threads numerical libraries start; the launcher sets them to 1."""

SERVER_VARIABLES = {**dict.fromkeys(THREAD_LIMITS, "1"), "MALLOC_ARENA_MAX": "2"}
"""What the processes of a server are started with, unless their environment says otherwise. Models run side by side:
threads inside each would fight for the same cores. And glibc's malloc would spread hundreds of threads over 8 arenas a
core, which keep what loading has freed."""


def give_way() -> None:
    """Lower the calling thread for the rest of its life, as a model does when it is unloaded.

    Where the priority cannot be lowered, as some sandboxes have it, nothing happens.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)


def give_way_as_session() -> None:
    """Lower this whole process, which leads a session of its own, beneath the processes of all other sessions.

    Where Linux groups processes by session (``sched_autogroup_enabled``, usual outside of containers), each group gets
    its share of the cores however low its processes' priorities are, unless the group itself is lowered. What cannot be
    lowered stays as it is.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    # The file is that of the group: others of the session would be lowered with this process.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(LOWEST), encoding="ascii")


def step_back() -> None:
    """Lower this whole process, children to come with it: it works beside a server that answers callers.

    Where the priority cannot be lowered, nothing happens.
    """
    with contextlib.suppress(OSError):
        os.nice(_BESIDE_A_SERVER)


def at_low_priority(work: Callable[[], T]) -> T:
    """Do something in a thread of the lowest priority, and wait for it.

    A thread that ``work`` starts inherits the low priority and keeps it: start none in it that is needed later.

    Args:
        work: Takes nothing.

    Returns:
        What ``work`` returns.

    Raises:
        BaseException: What ``work`` raises.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        give_way()
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the thread that waits
            failures.append(exc)

    thread = threading.Thread(target=run, name="low-priority")
    thread.start()
    thread.join()
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()  # or the exception and this frame would hold each other
    return results[0]


def import_at_low_priority(*modules: str) -> None:
    """Import heavy modules, so that the ``import`` statements that follow find them there.

    A library that may start threads of its own while it is imported is left to those statements: its threads would keep
    the low priority.

    Raises:
        ImportError: As the statement would.
    """
    if _libraries_start_threads():
        return

    def work() -> None:
        for module in modules:
            importlib.import_module(module)

    at_low_priority(work)


def _libraries_start_threads() -> bool:
    return any(os.environ.get(variable) != "1" for variable in THREAD_LIMITS)


class WarmUp:
    """Runs the first calls of a model at low priority: those of its ``model_warmup``, before it is ready.

    Args:
        config: The model's configuration, as Triton hands it to Python.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        # Triton leaves out a sample without a batch, and runs one without a count once.
        samples = [sample for sample in config.get("model_warmup", []) if int(sample.get("batch_size", 0))]
        self._left = sum(max(1, int(sample.get("count", 0))) for sample in samples)

    @property
    def over(self) -> bool:
        """Whether all of them have come, so that the next call is somebody's request."""
        return self._left == 0

    def run(self, work: Callable[[], T]) -> T:
        """Do the work of one call. Returns what it returns, raises what it raises."""
        if self._left == 0:
            return work()
        self._left -= 1
        return at_low_priority(work)
