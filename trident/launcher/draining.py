"""The gentle end of a server: new requests are refused, those that it has accepted are answered.

Triton that has been asked to end refuses the calls of a model to another at once, in the middle of a request. So the
served model is replaced before: a small model takes its name and answers ``UNAVAILABLE``, and the one that it replaces
stays until its last request is through, with all that it calls. When that is, only the server's log tells.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import resources

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.rollout.serving import CLOSED, READY, Serving, ServingError

_LOOK_S = 0.05


def closed_config(base: ModelConfig) -> ModelConfig:
    """The configuration of the model that refuses in the place of ``base``: its name, tensors and batch size.

    Its parameter ``TRIDENT_CLOSED`` tells a rollout that nothing is to be loaded in its place.
    """
    config = ModelConfig(name=base.name, backend="python", max_batch_size=base.max_batch_size)
    config.input.extend(base.input)
    config.output.extend(base.output)
    config.version_policy.specific.versions[:] = [1]
    config.instance_group.add(kind="KIND_CPU", count=1)
    config.parameters[CLOSED].string_value = "1"
    return config


def drain(serving: Serving, model: str, *, over: Callable[[], bool], unloads: Callable[[], int] | None = None) -> bool:
    """Refuse what is new, and wait until what has been accepted is answered.

    Args:
        serving: The server.
        model: The model that callers ask.
        over: Whether to wait no longer.
        unloads: How often the server's log has told that a version of the model left its memory; None if the log
            does not tell. Then, or if the model cannot be replaced, it is unloaded: what is new gets ``NOT_FOUND``.

    Returns:
        Whether all that was accepted is answered.
    """
    if unloads is not None:
        before = unloads()
        closed = _beside(lambda: _close(serving, model), over)
        if closed is None:
            return False
        if closed:
            return _wait(lambda: unloads() > before, over)
    unloaded = _beside(lambda: _unload(serving, model), over)
    return bool(unloaded) and _wait(lambda: not _is_loaded(serving, model), over)


def _close(serving: Serving, model: str) -> bool:
    code = resources.files("trident.launcher").joinpath("closed.py").read_bytes()
    try:
        serving.load(model, closed_config(serving.config(model)), {"1/model.py": code})
    except ServingError:
        return False
    return True


def _unload(serving: Serving, model: str) -> bool:
    try:
        serving.unload(model)
    except ServingError:  # nobody answers, or nobody may: there is nothing to wait for
        return False
    return True


def _is_loaded(serving: Serving, model: str) -> bool:
    try:
        return any(state in (READY, "UNLOADING") for state in serving.states(model).values())
    except ServingError:
        return False


def _beside(call: Callable[[], bool], over: Callable[[], bool]) -> bool | None:
    """What a call gives that may take long; None if it is over first. A thread goes on with it then."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(call()), name="drain", daemon=True)
    thread.start()
    while thread.is_alive() and not over():
        thread.join(_LOOK_S)
    return results[0] if results else None


def _wait(condition: Callable[[], bool], over: Callable[[], bool]) -> bool:
    while not over():
        if condition():
            return True
        time.sleep(_LOOK_S)
    return condition()
