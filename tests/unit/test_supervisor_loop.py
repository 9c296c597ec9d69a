"""The supervision's loop, with a server that is only its bookkeeping: what it does when processes come and go."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import SetupError
from trident.rollout.serving import ServerLost, ServingError, Statistics
from trident.supervisor import processes
from trident.supervisor.backoff import Backoff
from trident.supervisor.health import Phase
from trident.supervisor.processes import Stub
from trident.supervisor.settings import Settings
from trident.supervisor.stub_watch import StubWatch
from trident.supervisor.supervise import Supervisor

GUARD, TRITON = 900_001, 900_002
"""Process ids that no process has."""


class Server:
    """A Triton with the model ``linear``, whose processes are numbers."""

    repository = Path("/nowhere")
    model = "linear"
    start_timeout_s = 5.0
    hold_file: Path | None = None

    def __init__(self) -> None:
        self.running = True
        self.restarts = 0
        self.refuses: list[str] = []
        self.stubs = {1: Stub(1, "linear", 1, "linear_0_0")}
        self.state = {1: "READY"}
        self.loads: list[ModelConfig | None] = []
        self.kept: dict[int, Stub] = {}
        """What a load leaves of the one before."""
        self.instances = 1
        self.dies_again = False
        self.answers = True
        self.halted = False
        self.stopped: set[int] = set()
        self._pids = iter(range(2, 1000))

    @property
    def name(self) -> str:
        return f"trident-{self.restarts}"

    @property
    def guard_pid(self) -> int | None:
        return GUARD if self.running else None

    def connect(self, **_: float) -> Server:
        return self

    def close(self) -> None:
        pass

    def wait(self, timeout_s: float | None = None) -> int | None:
        return None if self.running else 137

    def failure(self) -> str:
        return "it says nothing about why"

    def restart(self) -> None:
        if self.refuses:
            raise SetupError(self.refuses.pop())
        self.restarts += 1
        self.running = self.answers = True
        self.halted = False
        self._new()

    def kill(self) -> None:
        self.running = False
        self.stubs = {}

    def _new(self) -> None:
        pid = next(self._pids)
        self.stubs = {} if self.dies_again else {pid: Stub(pid, "linear", 1, "linear_0_0")} | self.kept
        if self.dies_again:  # seen once, and gone
            self.seen_once = {pid: Stub(pid, "linear", 1, "linear_0_0")}

    # What a connection gives.

    def ready(self, model: str, version: int | None = None) -> bool:
        if not self.running or not self.answers:
            raise ServerLost("nobody", "UNAVAILABLE")
        return True

    def states(self, model: str) -> Mapping[int, str]:
        if not self.answers:
            raise ServerLost("nobody", "UNAVAILABLE")
        return self.state

    def config(self, model: str) -> ModelConfig:
        return ModelConfig(name=model, instance_group=[{"count": self.instances}])

    def load(self, model: str, config: ModelConfig | None = None, files: object = None) -> None:
        self.loads.append(config)
        if "load" in self.refuses:
            self.refuses.remove("load")
            raise ServingError("it does not load", "INTERNAL")
        self._new()

    def statistics(self, model: str, version: int | None = None) -> Statistics:
        return Statistics()


SETTINGS = Settings(look_s=0.01, probe_s=0.0, halted_s=0.05, silent_s=0.3, settle_s=0.3, let_go_s=1.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    made.seen_once = {}  # type: ignore[attr-defined]

    def stubs_of(name: str, repository: Path) -> dict[int, Stub]:
        once, made.seen_once = made.seen_once, {}  # type: ignore[attr-defined]
        return dict(made.stubs) | once

    monkeypatch.setattr(processes, "stubs_of", stubs_of)
    monkeypatch.setattr(processes, "server_of", lambda guard: TRITON if made.running else None)

    def state_of(pid: int) -> str:
        if pid in made.stopped or (pid == TRITON and made.halted):
            return processes.STOPPED
        return "S" if pid != TRITON or made.running else ""

    monkeypatch.setattr(processes, "state_of", state_of)
    monkeypatch.setattr(processes, "cpu_seconds", lambda pid: 0.0)
    return made


@pytest.fixture
def supervisor(server: Server) -> Iterator[Supervisor]:
    supervisor = Supervisor(server, SETTINGS, backoff=Backoff(budget=3, first_s=0.2, most_s=0.4))  # type: ignore[arg-type]
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def comes_true(condition: Any, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def said(supervisor: Supervisor) -> list[str]:
    return [event["kind"] for event in supervisor.status()["events"]]


def test_a_server_that_is_well_is_left_alone(server: Server, supervisor: Supervisor) -> None:
    time.sleep(0.2)
    assert supervisor.health.ready
    assert (server.loads, server.restarts, said(supervisor)) == ([], 0, [])


def test_a_process_that_ends_is_brought_back(
    server: Server, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "trident.supervisor"):
        server.stubs = {}
        assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 1})
        assert comes_true(lambda: supervisor.health.ready)
    assert said(supervisor) == ["process_died", "model_revived"]
    (died, back) = caplog.records
    assert (died.event, died.model, died.version) == ("process_died", "linear", 1)  # type: ignore[attr-defined]
    assert back.seconds >= 0  # type: ignore[attr-defined]


def test_what_is_left_of_a_load_counts_for_nothing_and_is_ended(
    server: Server, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(processes, "kill", lambda pid, number: killed.append(pid))
    server.kept = {50: Stub(50, "linear", 1, "linear_0_1")}
    server.instances, server.stubs = 2, {1: Stub(1, "linear", 1, "linear_0_0")} | server.kept
    assert comes_true(lambda: len(supervisor.status()["processes"]) == 2)
    server.stubs = dict(server.kept)
    assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 1})

    assert comes_true(lambda: [process["pid"] for process in supervisor.status()["processes"]] == [2])
    server.instances, server.stubs = 1, dict(server.kept)
    assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 2})

    assert comes_true(lambda: 50 in killed)
    assert set(killed) == {50}
    assert supervisor.health.ready


def test_a_probe_after_a_revival_is_told_of_the_new_processes(server: Server, supervisor: Supervisor) -> None:
    class Answers:
        doubted = False
        told: tuple[frozenset[int], ...] = ()

        def doubt(self, why: str) -> None:
            self.doubted = True

        def look(self, serving: Server, stubs: StubWatch, pid: int) -> str:
            if self.doubted:
                self.told += (frozenset(stubs.stubs),)
            return ""

        def close(self) -> None:
            pass

    answers = Answers()
    run = supervisor._run_of_server
    assert run
    run.answers = answers  # type: ignore[assignment]
    server.stubs = {}
    assert comes_true(lambda: answers.told)
    assert answers.told[0] == {2}


@pytest.mark.parametrize("state", ["UNAVAILABLE", "UNLOADING"])
def test_one_that_was_let_go_is_not(server: Server, supervisor: Supervisor, state: str) -> None:
    server.state = {1: state}
    server.stubs = {}
    time.sleep(0.15)
    assert supervisor.health.ready
    assert not server.loads


def test_one_that_is_killed_for_being_halted_is_not_ready_until_it_is_back(
    server: Server, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[bool] = []

    def states(model: str) -> Mapping[int, str]:
        ready.append(supervisor.health.ready)
        return server.state

    def kill(pid: int, number: int) -> None:
        del server.stubs[pid]

    monkeypatch.setattr(server, "states", states)
    monkeypatch.setattr(processes, "kill", kill)
    server.stopped = {1}
    assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 1})
    assert ready
    assert not any(ready), "also while nobody knows yet what the end of the process means"
    assert comes_true(lambda: supervisor.health.ready)


def test_a_slow_answer_to_a_question_costs_none(
    server: Server, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def config(model: str) -> ModelConfig:
        asked.append(model)
        if len(asked) in (2, 3):  # the first one is asked to find out what is missing, the others to bring it back
            raise ServingError("Deadline Exceeded", "DEADLINE_EXCEEDED")
        return ModelConfig(name=model)

    monkeypatch.setattr(server, "config", config)
    server.stubs = {}
    assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 1})
    assert len(asked) == 4
    assert server.restarts == 0


def test_a_model_that_cannot_be_brought_back_costs_a_restart(server: Server, supervisor: Supervisor) -> None:
    server.refuses = ["load"]
    server.stubs = {}
    assert comes_true(lambda: server.restarts == 1)
    assert comes_true(lambda: supervisor.health.ready)
    assert said(supervisor) == ["process_died", "server_restarts", "server_restarted"]


def test_a_server_that_ends_is_started_again(server: Server, supervisor: Supervisor) -> None:
    server.kill()
    assert comes_true(lambda: supervisor.health.status()["restarts"] == 1)
    assert comes_true(lambda: supervisor.health.ready)
    assert "exit code 137" in supervisor.status()["events"][0]["sentence"]


def test_one_that_does_not_start_is_tried_again_and_each_time_it_is_said(
    server: Server, supervisor: Supervisor
) -> None:
    server.refuses = ["no such file", "no such file"]
    server.kill()
    assert comes_true(lambda: supervisor.health.ready and server.restarts == 1)
    assert said(supervisor).count("server_failed") == 2
    assert supervisor.status()["failed_starts"] == 0


def test_one_that_answers_no_question_is_started_again(server: Server, supervisor: Supervisor) -> None:
    server.answers = False
    assert comes_true(lambda: not supervisor.health.ready)
    assert comes_true(lambda: server.restarts == 1)
    assert comes_true(lambda: supervisor.health.ready)
    assert said(supervisor)[0] == "server_silent"


def test_one_that_answers_no_question_is_started_again_also_if_a_process_has_ended(
    server: Server, supervisor: Supervisor
) -> None:
    server.answers, server.stubs = False, {}
    assert comes_true(lambda: server.restarts == 1)
    assert comes_true(lambda: supervisor.health.ready)


def test_one_that_is_halted_is_started_again_before_it_is_asked(
    server: Server, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def ready(model: str) -> bool:
        asked.append(server.restarts)
        return True

    monkeypatch.setattr(server, "ready", ready)
    server.halted = True
    assert comes_true(lambda: not supervisor.health.ready)
    asked.clear()
    assert comes_true(lambda: server.restarts == 1)
    assert 0 not in asked, "what is asked afterwards is the new one"
    assert comes_true(lambda: supervisor.health.ready)
    assert "process_halted" in said(supervisor)


def test_a_storm_is_slowed_down_and_said(server: Server, supervisor: Supervisor) -> None:
    server.dies_again = True
    server.stubs = {}
    assert comes_true(lambda: "revival_delayed" in said(supervisor))
    loads = len(server.loads)
    assert loads >= 3
    time.sleep(0.5)
    assert len(server.loads) - loads <= 5, "without waiting there would be dozens"
    server.dies_again = False
    assert comes_true(lambda: supervisor.health.ready)


def test_a_server_that_is_being_stopped_is_left_alone(server: Server, supervisor: Supervisor) -> None:
    supervisor.drain()
    server.kill()
    time.sleep(0.15)
    assert supervisor.health.phase is Phase.DRAINING
    assert server.restarts == 0


def test_what_goes_wrong_inside_is_said_and_does_not_end_it(
    server: Server, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trident.supervisor.supervise.Supervisor._failed", lambda self, what: wrong.append(what))
    wrong: list[str] = []
    healthy = server.states
    monkeypatch.setattr(server, "states", lambda model: 1 / 0)
    server.stubs = {}
    assert comes_true(lambda: wrong)
    monkeypatch.setattr(server, "states", healthy)
    assert comes_true(lambda: supervisor.status()["revivals"] == {"linear": 1})
    assert "ZeroDivisionError" in wrong[0]


def test_waiting_ends_when_it_is_to_be_stopped(supervisor: Supervisor) -> None:
    waiting = threading.Thread(target=supervisor.wait)
    waiting.start()
    supervisor.drain()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
