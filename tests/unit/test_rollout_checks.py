"""The checks of a rollout on a server that is only its bookkeeping: what its first pictures may meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.fake_triton import FakeTriton
from tests.tiny_trident import write_repository
from trident.admission.gate import LATER
from trident.contract import CANDIDATE, ENSEMBLE
from trident.rollout import checks, control
from trident.rollout.checks import LiveChecks
from trident.rollout.disk import Repository
from trident.rollout.engine import ROLLBACK, Stopped
from trident.rollout.options import Options
from trident.rollout.plan import Plan, make_plan
from trident.rollout.serving import ServerLost, ServingError

FULL = f"too many requests: 24 wait for detector: {LATER}"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("checks") / "models")


class Asked:
    """A server that fails at some of the pictures that a model is asked for."""

    def __init__(self, path: Path, fails: Callable[[int], ServingError | None], model: str = CANDIDATE) -> None:
        self.count = 0
        self._model = model
        self._fails = fails
        self._repository = Repository(path)
        self._triton = FakeTriton(path, before_call=self._called)

    def _called(self, what: str) -> None:
        if what == f"infer {self._model}":
            self.count += 1
            if (error := self._fails(self.count)) is not None:
                raise error

    def load_candidate(self, kind: str = "rollout") -> None:
        made = make_plan(self._repository, {"classifier": 2})
        plan = Plan(made.id, kind, made.targets, made.before, made.after)
        control.load_beside(self._triton, self._repository, "classifier", 1, 2)
        LiveChecks(self._repository, self._triton, Options()).load_candidate(plan)

    def answering(self) -> Mapping[str, int]:
        return LiveChecks(self._repository, self._triton, Options()).answering()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of waiting."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


@pytest.mark.parametrize(("kind", "pictures"), [("rollout", 3), (ROLLBACK, 1)])
def test_a_server_that_has_no_room_is_asked_again(
    repository: Path, pauses: list[float], kind: str, pictures: int
) -> None:
    server = Asked(repository, lambda asked: ServingError(FULL, "UNAVAILABLE") if asked < 4 else None)
    server.load_candidate(kind)
    assert server.count == 3 + pictures
    assert len(pauses) == 3


def test_one_that_never_has_any_is_not_asked_for_ever(
    repository: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    server = Asked(repository, lambda _: ServingError(FULL, "UNAVAILABLE"))
    monkeypatch.setattr("time.monotonic", clock)
    with pytest.raises(Stopped, match=f"fails on its first pictures: {FULL}"):
        server.load_candidate()
    assert 1 < server.count <= checks._ROOM_WITHIN_S


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(ServingError("it is broken", "INTERNAL"), Stopped, id="one that fails"),
        pytest.param(ServerLost("no server answers", "UNAVAILABLE"), ServerLost, id="one that is gone"),
    ],
)
def test_what_else_is_wrong_is_said_at_once(
    repository: Path, pauses: list[float], error: ServingError, raised: type[Exception]
) -> None:
    server = Asked(repository, lambda _: error)
    with pytest.raises(raised):
        server.load_candidate()
    assert server.count == 1
    assert pauses == []


def test_who_answers_is_asked_again_of_a_server_that_has_no_room(
    repository: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has gone wrong then, and a way back from what has overloaded the server must not end there."""
    monkeypatch.setattr(checks, "unsound", lambda *_, **__: "")  # this server's answers name the versions alone
    server = Asked(repository, lambda asked: ServingError(FULL, "UNAVAILABLE") if asked < 4 else None, ENSEMBLE)
    assert server.answering()["classifier"] == 1
    assert (server.count, len(pauses)) == (4, 3)


@pytest.mark.parametrize(
    "error", [ServingError("it is broken", "INTERNAL"), ServerLost("gone", "UNAVAILABLE")], ids=str
)
def test_who_answers_is_asked_once_of_one_that_fails_or_is_gone(
    repository: Path, pauses: list[float], error: ServingError
) -> None:
    server = Asked(repository, lambda _: error, ENSEMBLE)
    with pytest.raises(type(error)):
        server.answering()
    assert (server.count, pauses) == (1, [])
