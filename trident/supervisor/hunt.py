"""Finding out, beside the supervision's own work, whether the served model answers, and if not, whose fault it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeGuard

from trident.rollout.serving import Serving, ServingError, analyze, is_busy
from trident.supervisor.probes import RollCall, is_silence
from trident.supervisor.processes import Stub
from trident.supervisor.stillness import Stillness
from trident_client import probe

_PATIENCE_S = 1.0
"""A probe that has no answer by then is looked into while it is waited for."""
_LOOK_S = 0.2
_SILENT = "it is silent, and so is a component that does nothing"


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


def ask(serving: Serving, versions: Mapping[str, int], stubs: Collection[Stub], server: int | None = None) -> Finding:
    """Probe the ensemble, and if nothing comes back soon, each component.

    Args:
        serving: Its deadline of an inference is how long is waited at most, each time.
        versions: The version of each component that answers.
        stubs: The processes that live.
        server: Triton's own process.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="probe")
    answer = pool.submit(_error_of_probe, serving)
    pool.shutdown(wait=False)
    wait([answer], timeout=_PATIENCE_S)
    if answer.done() and not _is_no_answer(answer.result()):
        return Finding(_sentence(answer.result()))
    hung, busy = _culprits(serving, versions, stubs, server, answer)
    if hung and not answer.done():
        return Finding(_SILENT, True, hung)
    error = answer.result()
    if not _is_no_answer(error) or (is_busy(error) and not (hung or busy)):
        return Finding() if error is None or is_busy(error) else Finding(_sentence(error))
    return Finding(_sentence(error), True, hung, busy)


def _culprits(
    serving: Serving,
    versions: Mapping[str, int],
    stubs: Collection[Stub],
    server: int | None,
    answer: Future[ServingError | None],
) -> tuple[tuple[Stub, ...], tuple[Stub, ...]]:
    """Ask each component, until all is known or the probe has its answer: who does nothing, and who works on and on."""
    still = Stillness([*(stub.pid for stub in stubs), *([] if server is None else [server])])
    try:
        roll_call = RollCall(serving, versions)
        while not (answer.done() and roll_call.over):
            time.sleep(_LOOK_S)
            still.look()
            if answer.done() and not _is_no_answer(answer.result()):
                return (), ()
            if not roll_call.rest_s and still.long_enough:
                hung = _idle(_asked(roll_call, versions, stubs), still, server)
                if hung:  # it will not answer: there is no need to wait for the deadline
                    return hung, ()
        asked = _asked(roll_call, versions, stubs)
        if asked and (rest_s := roll_call.rest_s):
            time.sleep(rest_s)
            asked = _asked(roll_call, versions, stubs)
    except ServingError:  # the server itself does not answer, which is seen elsewhere
        return (), ()
    if not still.long_enough:
        return (), ()
    idle = _idle(asked, still, server)
    return idle, tuple(stub for stub in asked if stub not in idle)


def _idle(stubs: Collection[Stub], still: Stillness, server: int | None) -> tuple[Stub, ...]:
    """Those that do nothing though they could: a Triton that gets no processor hands on nothing, and all are idle."""
    starved = server is not None and still.wants(server)
    return () if starved else tuple(stub for stub in stubs if still.idle(stub.pid))


def _asked(roll_call: RollCall, versions: Mapping[str, int], stubs: Collection[Stub]) -> list[Stub]:
    """The processes of the components that are silent."""
    silent = roll_call.silent()
    return [stub for stub in stubs if stub.model in silent and versions[stub.model] == stub.version]


def _error_of_probe(serving: Serving) -> ServingError | None:
    try:
        analyze(serving, probe.picture(), outputs=["RESULT"])
    except ServingError as exc:
        return exc
    return None


def _is_no_answer(error: ServingError | None) -> TypeGuard[ServingError]:
    """Whether nothing came back, or a refusal for too much to do."""
    return error is not None and (is_busy(error) or is_silence(error))


def _sentence(error: ServingError | None) -> str:
    """Without the trace that the Python backend appends; empty without an error."""
    return str(error or "").partition("\n\nAt:\n")[0]


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

    def begin(
        self, serving: Serving, versions: Mapping[str, int], stubs: Collection[Stub], server: int | None = None
    ) -> None:
        """Ask; see ``ask``."""
        self._asked = self._pool.submit(ask, serving, dict(versions), tuple(stubs), server)
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
