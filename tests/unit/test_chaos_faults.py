"""How the faults of a chaos run are done: to processes of these tests, with stand-ins for the server."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.chaos import faults, run
from benchmarks.chaos.faults import Scene, strike, until
from benchmarks.chaos.kinds import STORM_KILLS, STORM_MOST, Kind, Planned
from benchmarks.chaos.readiness import Readiness
from benchmarks.chaos.watch import Event
from trident.errors import SetupError
from trident.supervisor import processes

PATIENCE_S = 20.0


class Server:
    """A server whose models' processes sleep."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.running: dict[str, list[int]] = {}
        self.triton_pid: int | None = None

    def start(self, model: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "600"])
        self.started.append(process)
        self.running.setdefault(model, []).append(process.pid)
        return process

    def stubs(self, model: str) -> list[int]:
        return list(self.running.get(model, []))

    def triton(self) -> int | None:
        return self.triton_pid


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for process in server.started:
        process.kill()
        process.wait()


@pytest.fixture
def scene(server: Server, tmp_path: Path) -> Any:
    watch = SimpleNamespace(readiness=Readiness(), ready_for=lambda seconds: True, events=[])
    return Scene(
        served=server,
        watch=watch,
        shared=None,
        starving=None,
        rollouts=None,
        hang_files={"fusion": tmp_path / "hang"},
        pictures=(),
        folder=tmp_path,
        within_s=0.5,
        chance=random.Random(0),
    )


def done(scene: Scene, kind: Kind, victim: str = "fusion") -> faults.Strike:
    before = time.time()
    struck = strike(Planned(1, kind, victim), scene)
    assert all(before <= moment <= time.time() for moment in struck.moments)
    return struck


def beside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_process_is_killed(scene: Scene, server: Server):
    process = server.start("fusion")
    assert len(done(scene, Kind.KILL).moments) == 1
    assert process.wait(PATIENCE_S) == -9


@pytest.mark.parametrize("kind", [Kind.HALT, Kind.HALT_SERVER])
def test_a_process_is_halted(scene: Scene, server: Server, kind: Kind):
    process = server.start("fusion")
    server.triton_pid = process.pid
    done(scene, kind)
    assert until(lambda: processes.state_of(process.pid) == processes.STOPPED, PATIENCE_S)


def test_triton_is_killed(scene: Scene, server: Server):
    process = server.start("triton")
    server.triton_pid = process.pid
    done(scene, Kind.KILL_SERVER)
    assert process.wait(PATIENCE_S) == -9


def test_a_process_that_has_just_ended_is_not_taken_for_the_victim(scene: Scene, server: Server):
    gone = server.start("fusion")
    gone.kill()
    gone.wait()
    living: list[subprocess.Popen[bytes]] = []

    def stubs(model: str) -> Sequence[int]:
        known = [gone.pid, *(process.pid for process in living)]
        if not living:
            living.append(server.start("else"))
        return known

    server.stubs = stubs
    done(scene, Kind.KILL)
    assert living[0].wait(PATIENCE_S) == -9


@pytest.mark.parametrize("kind", [Kind.KILL, Kind.KILL_SERVER])
def test_where_there_is_no_process_that_is_said(scene: Scene, kind: Kind):
    with pytest.raises(SetupError, match=r"expected (a process of fusion|Triton's process), got none"):
        done(scene, kind)


def test_all_processes_of_a_model_hang_until_they_are_killed(scene: Scene, server: Server):
    hanging = [server.start("fusion"), server.start("fusion")]
    file, named = scene.hang_files["fusion"], []
    scene.within_s = PATIENCE_S

    def supervise() -> None:
        if until(file.exists, PATIENCE_S):
            named.append(file.read_text())
            for process in hanging:
                process.kill()
                process.wait()

    thread = beside(supervise)
    struck = done(scene, Kind.HANG)
    thread.join()
    assert named == [" ".join(str(process.pid) for process in hanging)]
    assert struck.note.startswith("killed after ")
    assert (struck.failed, struck.over) == ("", None)
    assert not file.exists()


def test_processes_that_hang_and_are_not_found_are_let_go(scene: Scene, server: Server):
    process = server.start("fusion")
    struck = done(scene, Kind.HANG)
    assert struck.failed.startswith("it was not found within")
    assert struck.over is not None
    assert not scene.hang_files["fusion"].exists()
    assert process.poll() is None


class Group:
    """Stands for the control group."""

    def __init__(self, kills: Callable[[int], bool]) -> None:
        self.kills = kills
        self.given_back: list[int] = []

    def take(self, pid: int) -> None:
        if self.kills(pid):
            processes.kill(pid, 9)

    def give_back(self, pid: int) -> None:
        self.given_back.append(pid)


def test_a_starved_process_is_struck_when_it_dies(scene: Scene, server: Server):
    process = server.start("fusion")
    scene.starving = Group(lambda pid: True)
    assert len(done(scene, Kind.OUT_OF_MEMORY).moments) == 1
    assert process.wait(PATIENCE_S) == -9
    assert scene.starving.given_back == []


def test_one_that_asks_for_no_memory_is_let_go_and_a_hungry_one_taken(
    scene: Scene, server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(faults, "_STARVED_WITHIN_S", 0.1)
    calm, hungry = server.start("fusion"), server.start("preprocess")
    scene.starving = Group(lambda pid: pid == hungry.pid)
    struck = done(scene, Kind.OUT_OF_MEMORY)
    assert len(struck.moments) == 1
    assert struck.note.startswith("fusion asked for no memory within 0 s; preprocess was killed")
    assert scene.starving.given_back == [calm.pid]
    assert hungry.wait(PATIENCE_S) == -9
    assert calm.poll() is None


def test_where_nobody_asks_for_memory_no_harm_is_done(scene: Scene, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faults, "_STARVED_WITHIN_S", 0.1)
    process = server.start("preprocess")
    scene.starving = Group(lambda pid: False)
    struck = done(scene, Kind.OUT_OF_MEMORY, "preprocess")
    assert struck.moments == ()
    assert "asked for no memory" in struck.note
    assert scene.starving.given_back == [process.pid]
    assert process.poll() is None


def test_a_process_that_cannot_be_starved_is_a_fault_that_cannot_be_done(scene: Scene, server: Server):
    server.start("fusion")

    def refuse(pid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    scene.starving = SimpleNamespace(take=refuse)
    with pytest.raises(SetupError, match="cannot be starved: Operation not permitted"):
        done(scene, Kind.OUT_OF_MEMORY)


@pytest.mark.parametrize("slowed", [True, False])
def test_a_storm_kills_each_process_that_comes_back_until_it_is_slowed_down(
    scene: Scene, server: Server, monkeypatch: pytest.MonkeyPatch, slowed: bool
):
    monkeypatch.setattr(faults, "_NOTICED_WITHIN_S", 0.02)
    ended: list[int] = []

    def stubs(model: str) -> list[int]:
        """The one that was killed is still told of, and a new one beside it."""
        if not server.started or server.started[-1].poll() is not None:
            ended.extend(process.pid for process in server.started[-1:])
            server.start(model)
        return [*ended[-1:], server.started[-1].pid]

    server.stubs = stubs
    if slowed:
        scene.watch.events.append(Event(time.time() + 1, "revival_delayed", "fusion has been brought back too often"))
    struck = done(scene, Kind.STORM)
    kills = STORM_KILLS if slowed else STORM_MOST
    assert len(struck.moments) == kills
    assert list(struck.moments) == sorted(struck.moments)
    assert sum(process.wait(PATIENCE_S) == -9 for process in server.started[:kills]) == kills


def test_a_storm_ends_where_the_server_is_not_back(scene: Scene, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(faults, "_NOTICED_WITHIN_S", 0.02)
    server.start("fusion")
    scene.watch.ready_for = lambda seconds: False
    struck = done(scene, Kind.STORM)
    assert len(struck.moments) == 1
    assert struck.failed.startswith("it was not back within")


def test_a_rollout_is_told_of_as_under_way_also_where_it_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise SetupError("no process")

    monkeypatch.setattr(faults, "_met", fail)
    scene.rollouts = object()
    with pytest.raises(SetupError):
        done(scene, Kind.ROLLOUT)
    ((begin, end),) = scene.moving
    assert begin <= end


class TestWhatCannotBeDoneHere:
    def test_a_dev_shm_of_its_own_where_that_may_be_mounted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "why_not_private", lambda: "")
        left_out: dict[Kind, str] = {}
        assert run._private_memory([Kind.SHARED_MEMORY], left_out)
        assert not run._private_memory([Kind.KILL], left_out)
        assert left_out == {}

    def test_a_large_one_that_is_everybodys_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "why_not_private", lambda: "unshare: no")
        monkeypatch.setattr(run.SharedMemory, "why_not_filled", lambda self: "it is too large")
        left_out: dict[Kind, str] = {}
        assert not run._private_memory([Kind.SHARED_MEMORY], left_out)
        assert left_out == {
            Kind.SHARED_MEMORY: "it is too large; one of the server's own cannot be mounted (unshare: no)"
        }
        monkeypatch.setattr(run.SharedMemory, "why_not_filled", lambda self: "")
        left_out.clear()
        assert not run._private_memory([Kind.SHARED_MEMORY], left_out)
        assert left_out == {}, "a small one is filled as it is"

    def test_starving_without_a_control_group_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            raise SetupError("no control group for memory can be made: there are none")

        monkeypatch.setattr(run, "Starving", refuse)
        left_out: dict[Kind, str] = {}
        assert run._starving([Kind.OUT_OF_MEMORY], left_out, ExitStack()) is None
        assert left_out == {Kind.OUT_OF_MEMORY: "no control group for memory can be made: there are none"}
