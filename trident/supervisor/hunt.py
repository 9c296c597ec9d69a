"""Finding out, beside the supervision's own work, whether the served model answers, and if not, whose fault it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from trident.rollout.serving import Serving, ServingError, analyze
from trident.supervisor import processes
from trident.supervisor.probes import is_busy, is_silence, silent_components
from trident.supervisor.processes import Stub
from trident_client import probe

_IDLE_SHARE = 0.01
"""A process that uses less than this share of a core, while a request waits for it, does nothing for it."""
_SHORTEST_S = 0.9
"""Over less time that cannot be told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe has shown."""

    problem: str = ""
    """Why no answer came, a sentence; empty if one did, or if the server is only busy."""
    silence: bool = False
    """Whether nothing came at all, rather than an error."""
    hung: tuple[Stub, ...] = ()
    """Processes that are asked and do nothing."""
    busy: tuple[Stub, ...] = ()
    """Processes that are asked, work, and do not answer."""


def ask(serving: Serving, versions: Mapping[str, int], stubs: Collection[Stub]) -> Finding:
    """Probe the ensemble, and if nothing comes back, each component.

    Args:
        serving: Its deadline of an inference is how long is waited, each time.
        versions: The version of each component that answers.
        stubs: The processes that live.
    """
    try:
        analyze(serving, probe.picture(), outputs=["RESULT"])
    except ServingError as exc:
        busy = is_busy(exc)
        if not busy and not is_silence(exc):
            return Finding(_sentence(exc))
        problem = _sentence(exc)
    else:
        return Finding()
    began = time.monotonic()
    used = {stub.pid: processes.cpu_seconds(stub.pid) for stub in stubs}
    try:
        silent = silent_components(serving, versions)
    except ServingError:  # the server itself does not answer, which is seen elsewhere
        silent = set()
    seconds = time.monotonic() - began
    if busy and not silent:
        return Finding()
    asked = [stub for stub in stubs if stub.model in silent and versions[stub.model] == stub.version]
    if seconds < _SHORTEST_S:
        return Finding(problem, silence=True)
    hung = [s for s in asked if processes.cpu_seconds(s.pid) - used[s.pid] < _IDLE_SHARE * seconds]
    return Finding(problem, True, tuple(hung), tuple(stub for stub in asked if stub not in hung))


def _sentence(error: ServingError) -> str:
    """Without the trace that the Python backend appends."""
    return str(error).partition("\n\nAt:\n")[0]


class Hunt:
    """One question at a time, in a thread of its own, so that nobody waits for its answer.

    Args:
        wake: Called, in that thread, when an answer is there.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        # One more than is asked at a time: a question that was forgotten may still wait for its answer.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="probe")
        self._asked: Future[Finding] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a question waits for its answer, or for being taken by ``finding``."""
        return self._asked is not None

    def begin(self, serving: Serving, versions: Mapping[str, int], stubs: Collection[Stub]) -> None:
        """Ask; see ``ask``."""
        self._asked = self._pool.submit(ask, serving, dict(versions), tuple(stubs))
        self._asked.add_done_callback(lambda _: self._wake())

    def finding(self) -> Finding | None:
        """What the question has shown; None while it is under way, or if there is none. Given once."""
        asked = self._asked
        if asked is None or not asked.done():
            return None
        self._asked = None
        return asked.result()

    def forget(self) -> None:
        """Nobody wants to know the answer any more."""
        self._asked = None

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
