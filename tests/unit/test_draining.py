"""The gentle end of a server, without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from importlib import resources

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.contract import ENSEMBLE
from trident.launcher import draining
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import read_config
from trident.rollout.serving import CLOSED, STOPPING, ServerLost, ServingError
from trident.supervisor.guard import patience


class Triton:
    """Notes what it is asked to do. ``refuses`` are the calls that fail; ``hangs`` those that take their time."""

    def __init__(self, *, refuses: tuple[str, ...] = (), hangs: tuple[str, ...] = ()) -> None:
        self._refuses = refuses
        self._hangs = hangs
        self.released = threading.Event()
        self.calls: list[str] = []
        self.index = ["UNLOADING", "UNLOADING", "UNAVAILABLE"]

    def config(self, model: str) -> ModelConfig:
        return ModelConfig(name=model)

    def load(self, model: str, config: ModelConfig, files: Mapping[str, bytes]) -> None:
        self._called("load")

    def unload(self, model: str) -> None:
        self._called("unload")

    def states(self, model: str) -> Mapping[int, str]:
        self._called("states")
        return {1: self.index.pop(0) if len(self.index) > 1 else self.index[0]}

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if what in self._hangs:
            self.released.wait(30)
        if what in self._refuses:
            raise ServingError("no", "INTERNAL")


def drain(triton: Triton, *, log: list[int] | None, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    unloads = None if log is None else lambda: log.pop(0) if len(log) > 1 else log[0]
    return draining.drain(triton, "m", over=lambda: time.monotonic() > end, unloads=unloads)  # type: ignore[arg-type]


def test_it_waits_until_the_log_tells_that_the_replaced_model_is_gone() -> None:
    triton = Triton()
    assert drain(triton, log=[4, 4, 4, 5])
    assert triton.calls == ["load"]


def test_a_replaced_model_that_is_gone_before_the_call_returns_is_not_waited_for() -> None:
    assert drain(Triton(), log=[0, 1])


@pytest.mark.parametrize(
    ("triton", "log"),
    [
        pytest.param(Triton(), None, id="the log tells nothing"),
        pytest.param(Triton(refuses=("load",)), [0], id="the model cannot be replaced"),
    ],
)
def test_otherwise_the_model_is_unloaded_and_the_index_tells(triton: Triton, log: list[int] | None) -> None:
    assert drain(triton, log=log)
    assert [call for call in triton.calls if call != "load"] == ["unload", "states", "states", "states"]


def test_it_waits_no_longer_than_it_may() -> None:
    triton = Triton()
    began = time.monotonic()
    assert not drain(triton, log=[0], seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 5


def test_nor_for_a_call_that_hangs() -> None:
    triton = Triton(hangs=("load",))
    began = time.monotonic()
    assert not drain(triton, log=[0], seconds=0.3)
    assert time.monotonic() - began < 5
    triton.released.set()


def test_who_cannot_be_asked_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = Triton()

    def lost(*_: object) -> None:
        raise ServerLost("nobody", "UNAVAILABLE")

    for call in ("load", "unload", "states"):
        monkeypatch.setattr(triton, call, lost)
    assert not drain(triton, log=[0])


def test_the_model_that_refuses_has_the_tensors_of_the_one_that_it_replaces() -> None:
    base = read_config(DEFAULT_REPOSITORY / ENSEMBLE)
    closed = draining.closed_config(base)
    assert (closed.name, closed.backend, closed.max_batch_size) == (ENSEMBLE, "python", base.max_batch_size)
    assert list(closed.input) == list(base.input)
    assert list(closed.output) == list(base.output)
    assert not closed.HasField("ensemble_scheduling")
    assert CLOSED in closed.parameters
    assert CLOSED not in base.parameters


def test_what_it_says_is_what_a_rollout_looks_for() -> None:
    assert f'"{STOPPING}' in resources.files("trident.launcher").joinpath("closed.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        pytest.param(b"stop 20.000\n", 20.0, id="so long"),
        pytest.param(b"stop 20.000\nstop 0.000\n", 0.0, id="the last one counts"),
        pytest.param(b"", 7.0, id="the launcher has gone"),
        pytest.param(b"stop\n", 7.0, id="it says no time"),
        pytest.param(b"stop -3\n", 0.0, id="no time left"),
    ],
)
def test_the_guard_reads_how_long_the_server_may_take(told: bytes, seconds: float) -> None:
    assert patience(told, 7.0) == seconds
