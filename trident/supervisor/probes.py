"""Asking whether the models answer: the served one with a small picture, each component with as good as nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import IMAGE, IMAGE_SIZE, MODELS, RECOGNIZER, DType
from trident.rollout.serving import ServerLost, Serving, ServingError
from trident_client import probe

_OPEN_DIM = 64
_NUMPY: Mapping[DType, Any] = {DType.UINT8: np.uint8, DType.INT32: np.int32, DType.FP32: np.float32}
_ASKED_FIRST = ("face_detector", "plate_detector")
"""What the recognizer calls for every picture, also for one without anything in it."""
_WINDOW_S = 2.0
"""So long a component is given to answer somebody else."""
_BUSY = "UNAVAILABLE"
"""Refused by a full queue, or after too long in one."""
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


def silent_components(serving: Serving, versions: Mapping[str, int]) -> set[str]:
    """The components that do not answer a request of their own, within the connection's deadline or for a full queue.

    A component that answers anybody else meanwhile is not among them, nor is the recognizer where only a network that
    it calls is silent.

    Args:
        serving: Its deadline of an inference is how long is waited.
        versions: Component and version.

    Raises:
        ServingError: The server does not tell its statistics.
    """
    before = {name: serving.statistics(name).succeeded for name in versions}

    began = time.monotonic()

    def answers(name: str, version: int) -> bool:
        try:
            serving.infer(name, smallest_request(name), version=version)
        except ServingError as exc:
            return not (is_silence(exc) or is_busy(exc))
        return True

    with ThreadPoolExecutor(len(versions) or 1) as pool:
        asked = {name: pool.submit(answers, name, version) for name, version in versions.items()}
        silent = {name for name, answer in asked.items() if not answer.result()}
    if silent:
        time.sleep(max(0.0, began + _WINDOW_S - time.monotonic()))
    silent = {name for name in silent if serving.statistics(name).succeeded == before[name]}
    return without_waiting(silent)


def is_silence(error: ServingError) -> bool:
    """Whether a failed call means that nobody has answered; a model that answers with an error is there."""
    return error.code == "DEADLINE_EXCEEDED" or _UNHEALTHY in str(error)


def is_busy(error: ServingError) -> bool:
    """Whether a call was refused by a server that is there, and has more to do than it can."""
    return error.code == _BUSY and not isinstance(error, ServerLost)


def without_waiting(silent: Collection[str]) -> set[str]:
    """Leave out the recognizer where it may only wait for a network that is silent itself.

    >>> sorted(without_waiting({"entity_recognizer", "face_detector", "detector"}))
    ['detector', 'face_detector']
    >>> sorted(without_waiting({"entity_recognizer", "plate_reader"}))
    ['entity_recognizer', 'plate_reader']
    """
    found = set(silent)
    if found & set(_ASKED_FIRST):
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

    def __init__(self, quiet_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_s = quiet_s
        self._clock = clock
        self._good_at = clock()
        self._probed_at = clock() - quiet_s
        self._counts: tuple[int, int] | None = None
        self._failing = False

    @property
    def good_at(self) -> float:
        """When an answer was last known to have come, by the clock."""
        return self._good_at

    def seen(self, succeeded: int, failed: int) -> bool:
        """Note the counts of the statistics; whether a success has come since the last ones.

        A model that was loaded again counts from 0.
        """
        before, self._counts = self._counts or (succeeded, failed), (succeeded, failed)
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
        return now - max(self._good_at, self._probed_at) >= self._quiet_s

    def suspect(self) -> None:
        """Something has been changed: probe at once."""
        self._failing = True
        self._probed_at = -math.inf

    def probed(self, *, good: bool) -> None:
        """Note a probe that has ended now."""
        self._probed_at = self._clock()
        if good:
            self._good_at = self._clock()
            self._failing = False
