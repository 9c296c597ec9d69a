"""Asking whether the models answer: the served one with a small picture, each component with as good as nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.admission.gate import LATER
from trident.contract import CALLED, IMAGE, IMAGE_SIZE, MODELS, RECOGNIZER, DType
from trident.rollout.serving import Serving, ServingError, is_busy
from trident_client import probe

_OPEN_DIM = 64
_NUMPY: Mapping[DType, Any] = {DType.UINT8: np.uint8, DType.INT32: np.int32, DType.FP32: np.float32}
_WINDOW_S = 2.0
"""So long a component is given to answer somebody else."""
_UNHEALTHY = "is not healthy"
"""Triton's words for a process that did not take a request within a second."""


def smallest_request(model: str) -> dict[str, npt.NDArray[Any]]:
    """A request that a component of the contract has little to do for: zeros, an empty list, the probe picture.

    >>> {name: array.shape for name, array in smallest_request("entity_recognizer").items()}
    {'CANVAS_PIXELS': (1, 640, 640, 3), 'DETAIL_PIXELS': (1, 64, 64, 3), 'IMAGE_SIZE': (1, 2)}
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    for spec in MODELS[model].inputs:
        dims = (1, *(_OPEN_DIM if dim < 0 else dim for dim in spec.dims))
        if spec.dtype is DType.STRING:
            text = probe.picture() if spec == IMAGE else b"[]"
            tensors[spec.name] = np.full(dims, text, dtype=np.object_)
        elif spec == IMAGE_SIZE:
            tensors[spec.name] = np.full(dims, _OPEN_DIM, dtype=np.int32)
        else:
            tensors[spec.name] = np.zeros(dims, dtype=_NUMPY[spec.dtype])
    return tensors


class RollCall:
    """Asks each component a request of its own, all at once, and does not wait for the answers.

    Args:
        serving: Its deadline of an inference is how long an answer may take.
        versions: Component and version.

    Raises:
        ServingError: The server does not tell its statistics.
    """

    def __init__(self, serving: Serving, versions: Mapping[str, int]) -> None:
        self._serving = serving
        self._before = {name: serving.statistics(name).succeeded for name in versions}
        self._began = time.monotonic()
        pool = ThreadPoolExecutor(len(versions) or 1, thread_name_prefix="roll-call")
        self._asked = {name: pool.submit(self._answers, name, version) for name, version in versions.items()}
        pool.shutdown(wait=False)

    def _answers(self, name: str, version: int) -> bool:
        try:
            self._serving.infer(name, smallest_request(name), version=version)
        except ServingError as exc:
            # The first step's own refusal is an answer; Triton's, for a full queue, comes without its process.
            return LATER in str(exc) or not (is_silence(exc) or is_busy(exc))
        return True

    @property
    def over(self) -> bool:
        """Whether each question has ended: with an answer, an error, or its deadline."""
        return all(answer.done() for answer in self._asked.values())

    @property
    def rest_s(self) -> float:
        """How much more time a component has to answer somebody else."""
        return max(0.0, self._began + _WINDOW_S - time.monotonic())

    def silent(self) -> set[str]:
        """The components that have not answered so far, or refused for a full queue.

        One that has answered anybody else meanwhile is not among them, nor is the recognizer while it may wait for a
        network that it calls. None is where all are: then it is not theirs.

        Raises:
            ServingError: The server does not tell its statistics.
        """
        own = {name for name, answer in self._asked.items() if answer.done() and answer.result()}
        others = {
            name: self._serving.statistics(name).succeeded - before - (name in own)
            for name, before in self._before.items()
        }
        silent = {name for name in self._asked if name not in own and others[name] == 0}
        return set() if len(silent) == len(self._asked) > 1 else without_waiting(silent, others)


def is_silence(error: ServingError) -> bool:
    """Whether a failed call means that nobody has answered; a model that answers with an error is there."""
    return error.code == "DEADLINE_EXCEEDED" or _UNHEALTHY in str(error)


def without_waiting(silent: Collection[str], answers: Mapping[str, int]) -> set[str]:
    """Leave out the recognizer where it may only wait: for a network that is silent itself, or that is answering it.

    Args:
        silent: Components that are silent.
        answers: How many answers each component has given to others meanwhile.

    >>> sorted(without_waiting({"entity_recognizer", "plate_reader", "detector"}, {}))
    ['detector', 'plate_reader']
    >>> sorted(without_waiting({"entity_recognizer"}, {"face_detector": 3}))
    []
    >>> sorted(without_waiting({"entity_recognizer"}, {"detector": 3}))
    ['entity_recognizer']
    """
    found = set(silent)
    if any(name in found or answers.get(name, 0) > 0 for name in CALLED):
        found.discard(RECOGNIZER)
    return found


class Pulse:
    """Says when the served model is to be probed: only while no caller's answers show that it is well.

    Args:
        quiet_s: Without a success for so many seconds it is probed.
        clock: Gives seconds.
    """

    _BETWEEN_S = 2.0
    """So long between two probes while requests fail."""
    _STALLED_S = 1.0
    """Requests are under way, and for so long none has ended: that is looked into before all is quiet."""

    def __init__(self, quiet_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_s = quiet_s
        self._clock = clock
        self._good_at = clock()
        self._probed_at = clock() - quiet_s
        self._counts: tuple[int, int] | None = None
        self._begun_before: int | None = None
        self._moved_at = clock()
        self._stalled = self._failing = False

    def seen(self, succeeded: int, failed: int, begun: int = 0) -> bool:
        """Note the counts of the statistics; whether a success has come since the last ones.

        A model that was loaded again counts from 0.

        Args:
            succeeded: Requests that were answered.
            failed: Those that ended otherwise.
            begun: Those that have got past the first step.
        """
        before, self._counts = self._counts or (succeeded, failed), (succeeded, failed)
        if self._counts != before or self._begun_before is None or begun <= self._begun_before:
            self._begun_before, self._moved_at = begun, self._clock()
        self._stalled = self._clock() - self._moved_at >= self._STALLED_S
        new = succeeded - before[0] if succeeded >= before[0] else succeeded
        if new:
            self._good_at = self._clock()
            self._failing = False
        elif failed > before[1]:
            self._failing = True
        return bool(new)

    @property
    def due(self) -> bool:
        """Whether to probe now."""
        now = self._clock()
        if self._failing:
            return now - self._probed_at >= self._BETWEEN_S
        if self._stalled and now - self._probed_at >= self._quiet_s:
            return True
        return now - max(self._good_at, self._probed_at) >= self._quiet_s

    def suspect(self) -> None:
        """Something has been changed: probe at once. What was counted before it says nothing."""
        self._counts = self._begun_before = None
        self._failing = True
        self._probed_at = -math.inf

    def asked(self) -> None:
        """Note that a probe begins now."""
        self._probed_at = self._clock()

    def probed(self, *, good: bool) -> None:
        """Note a probe that has ended now."""
        self._probed_at = self._clock()
        if good:
            self._good_at = self._clock()
            self._failing = False
