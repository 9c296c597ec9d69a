"""One fault of a chaos run from its begin until the server is over it, with stand-ins for server and harm."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.chaos import course as module
from benchmarks.chaos.course import Course, Fault
from benchmarks.chaos.faults import Strike
from benchmarks.chaos.kinds import Kind, Planned
from benchmarks.chaos.readiness import Readiness
from benchmarks.chaos.watch import Event
from trident.errors import SetupError

BEFORE = Counter({("fusion", 1): 1, ("preprocess", 1): 2})
ANSWERS = {"one.jpg": {"scene": [1, 2]}}


class Server:
    """A server, and all that is seen of it."""

    def __init__(self, tmp_path: Path) -> None:
        self.there = Counter(BEFORE)
        self.temporary = tmp_path
        self.readiness = Readiness()
        self.readiness.note(time.time() - 100, ready=True)
        self.names = ["trident-new"]
        self.events: list[Event] = []
        self.files_left: list[str] = []
        self.asked: list[str] = []
        self.url = "127.0.0.1:1"

    def instances(self) -> Counter[tuple[str, int]]:
        return Counter(self.there)

    def name(self) -> str:
        return self.names[-1]

    def ready_for(self, seconds: float) -> bool:
        return self.readiness.ready_since() is not None

    def files(self, names: list[str]) -> list[str]:
        self.asked += names
        return self.files_left


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def gone_through(
    server: Server, monkeypatch: pytest.MonkeyPatch, harm: Any, answers: Any = None, kind: Kind = Kind.KILL
) -> Fault:
    """What becomes of one fault."""
    scene: Any = SimpleNamespace(served=server, watch=server, shared=server, within_s=0.5)
    monkeypatch.setattr(module, "strike", harm)
    monkeypatch.setattr(module, "ask_all", answers or (lambda *_: ANSWERS))
    monkeypatch.setattr(module, "_NOTICED_WITHIN_S", 0.1)
    told: list[str] = []
    course = Course(scene, [Path("one.jpg")], ANSWERS, 0.0)
    monkeypatch.setattr(course, "_whole", Counter(BEFORE))
    fault = course.go(Planned(3, kind, "fusion"), told.append)
    assert len(told) == 1
    assert fault.begin <= fault.end
    return fault


def kill(server: Server) -> Any:
    """Harm after which the server was not ready from 0.1 s until 2.1 s later."""

    def harm(*_: Any) -> Strike:
        moment = time.time() - 5.0
        server.readiness.note(moment + 0.1, ready=False, reason="a process has ended")
        server.readiness.note(moment + 2.1, ready=True)
        server.events.append(Event(time.time(), "model_revived", "fusion is back"))
        return Strike((moment,))

    return harm


def test_times_count_from_the_harm(server: Server, monkeypatch: pytest.MonkeyPatch):
    fault = gone_through(server, monkeypatch, kill(server))
    assert (fault.number, fault.kind, fault.victim, fault.failed) == (3, Kind.KILL, "fusion", "")
    assert fault.noticed_s == pytest.approx(0.1, abs=0.01)
    assert fault.ready_s == pytest.approx(2.1, abs=0.01)
    assert fault.recovered is not None
    assert [event.kind for event in fault.events] == ["model_revived"]
    assert fault.wrong == fault.left == fault.lingering == ()


def test_where_the_run_takes_the_cause_away_it_counts_from_then(server: Server, monkeypatch: pytest.MonkeyPatch):
    def harm(*_: Any) -> Strike:
        moment = time.time() - 9.0
        server.readiness.note(moment + 3.0, ready=False)
        server.readiness.note(moment + 8.5, ready=True)
        return Strike((moment,), over=moment + 8.0)

    fault = gone_through(server, monkeypatch, harm, kind=Kind.SHARED_MEMORY)
    assert fault.noticed_s == pytest.approx(3.0, abs=0.01)
    assert fault.ready_s == pytest.approx(0.5, abs=0.01)


def test_after_several_strikes_it_is_ready_after_the_last_and_noticed_after_the_first(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    def harm(*_: Any) -> Strike:
        begin = time.time() - 9.0
        for at in (0.1, 4.2):
            server.readiness.note(begin + at, ready=False)
            server.readiness.note(begin + at + 2.0, ready=True)
        return Strike((begin, begin + 4.0))

    fault = gone_through(server, monkeypatch, harm, kind=Kind.STORM)
    assert fault.noticed_s == pytest.approx(0.1, abs=0.01)
    assert fault.ready_s == pytest.approx(2.2, abs=0.01)


def test_one_that_is_never_ready_again_was_not_got_over(server: Server, monkeypatch: pytest.MonkeyPatch):
    def harm(*_: Any) -> Strike:
        server.readiness.note(time.time(), ready=False)
        return Strike((time.time() - 0.1,))

    fault = gone_through(server, monkeypatch, harm)
    assert fault.recovered is None
    assert fault.ready_s is None
    assert fault.failed == "it was not as before within 0 s"


def test_a_process_that_does_not_come_back_was_not_got_over(server: Server, monkeypatch: pytest.MonkeyPatch):
    def harm(*_: Any) -> Strike:
        server.there[("preprocess", 1)] -= 1
        return kill(server)()

    assert gone_through(server, monkeypatch, harm).recovered is None


def test_it_is_over_once_the_golden_pictures_are_answered(server: Server, monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    def answers(*_: Any) -> Any:
        asked.append(time.time())
        if len(asked) < 3:
            raise SetupError("UNAVAILABLE")
        return ANSWERS

    fault = gone_through(server, monkeypatch, kill(server), answers)
    assert len(asked) == 3
    assert fault.recovered is not None
    assert fault.recovered >= asked[-1]


def test_answers_that_are_others_afterwards_are_told(server: Server, monkeypatch: pytest.MonkeyPatch):
    fault = gone_through(server, monkeypatch, kill(server), lambda *_: {"one.jpg": {"scene": [1, 3]}})
    assert fault.wrong == ("one.jpg: RESULT.scene[1]: expected 2, got 3",)


def test_what_a_dead_server_left_is_told(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.names = ["trident-old", "trident-new"]
    server.files_left = ["/dev/shm/trident-old_3"]
    for name in server.names:
        (server.temporary / "trident-0" / name).mkdir(parents=True)
    fault = gone_through(server, monkeypatch, kill(server))
    assert fault.left == ("/dev/shm/trident-old_3", "the run folder of trident-old")
    assert server.asked == ["trident-old"]


def test_a_process_too_many_lingers(server: Server, monkeypatch: pytest.MonkeyPatch):
    def harm(*_: Any) -> Strike:
        server.there[("preprocess", 1)] += 2
        return kill(server)()

    assert gone_through(server, monkeypatch, harm).lingering == ("2 of preprocess 1",)


def test_harm_that_cannot_be_done_is_no_harm(server: Server, monkeypatch: pytest.MonkeyPatch):
    def harm(*_: Any) -> Strike:
        raise SetupError("expected a process of fusion, got none")

    fault = gone_through(server, monkeypatch, harm)
    assert not fault.come_about
    assert (fault.noticed_s, fault.ready_s, fault.failed) == (None, None, "expected a process of fusion, got none")


def test_what_lingered_before_need_not_come_back(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.there[("preprocess", 1)] += 1

    def harm(*_: Any) -> Strike:
        server.there = Counter(BEFORE)
        return kill(server)()

    fault = gone_through(server, monkeypatch, harm)
    assert fault.recovered is not None
    assert fault.lingering == ()
