"""How a chaos run comes to its end: loads that end before it, impatient hands, and what killed servers leave."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_chaos_report import KILL, RUN

from benchmarks.answers import Answers
from benchmarks.chaos import run as module
from benchmarks.chaos.kinds import Kind
from benchmarks.chaos.record import BY_HAND, Run, Settings
from benchmarks.trident_process import TEMPORARY
from trident.errors import SetupError
from trident.supervisor.leftovers import SHARED_MEMORY


class Load:
    """Runs for so many looks, and has then ended as its plan would have it."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    @property
    def running(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def count(self) -> int:
        return 1_000_000


class Course:
    """Does nothing, or what it is told to."""

    def __init__(self, harm: Callable[[], None] = lambda: None) -> None:
        self._harm = harm

    def go(self, planned: Any, tell: Any) -> Any:
        self._harm()
        return replace(KILL, number=planned.number)


def fresh() -> Run:
    return replace(RUN, settings=Settings(faults=3, rest_s=3.0), faults=[], begin=time.time())


def gone_on(run: Run, course: Course, *loads: Load, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return module._go_on(run, course, [Kind.KILL], loads, lambda line: None)


def test_with_loads_that_run_all_faults_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fresh()
    assert gone_on(run, Course(), Load(100), Load(100), monkeypatch=monkeypatch) == ""
    assert len(run.faults) == 3


@pytest.mark.parametrize(("looks", "faults"), [(0, 0), (1, 1), (2, 1), (5, 3)], ids=str)
def test_a_load_that_has_come_to_its_end_ends_the_run(monkeypatch: pytest.MonkeyPatch, looks: int, faults: int) -> None:
    """Also one that ended during the last fault."""
    run = fresh()
    why = gone_on(run, Course(), Load(100), Load(looks), monkeypatch=monkeypatch)
    assert why == "SetupError: the load ended by itself, after 1000000 requests"
    assert len(run.faults) == faults


def test_a_hand_and_an_error_end_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: BaseException) -> Callable[[], None]:
        def harm() -> None:
            raise error

        return harm

    assert gone_on(fresh(), Course(raising(KeyboardInterrupt())), Load(9), monkeypatch=monkeypatch) == BY_HAND
    said = gone_on(fresh(), Course(raising(SetupError("no\nstatus"))), Load(9), monkeypatch=monkeypatch)
    assert said == "SetupError: no status"


class Impatient:
    """Whatever is stopped is interrupted the first time."""

    asked = 7

    def __init__(self, gives: Any) -> None:
        self.gives = gives
        self.stopped = 0

    def stop(self) -> Any:
        self.stopped += 1
        if self.stopped == 1:
            raise KeyboardInterrupt
        return self.gives


def test_an_impatient_hand_takes_nothing_from_the_account() -> None:
    run = fresh()
    callers, load, bad = Impatient([]), Impatient(Answers({"is": "good"}, ())), Impatient(Answers({"is": "bad"}, ()))
    module._end_load(run, callers, load, bad)
    assert [one.stopped for one in (callers, load, bad)] == [2, 2, 2]
    assert (run.client_asked, run.answers.settings, run.bad.settings) == (7, {"is": "good"}, {"is": "bad"})


def test_from_when_on_nothing_need_be_sent_is_before_the_client_is_waited_for() -> None:
    """Ctrl-C on a terminal ends the loads at once: what they would have sent while the client waits is not missing."""
    run, begun = fresh(), time.time()
    slow = SimpleNamespace(stop=lambda: time.sleep(0.3) or [], asked=0)
    none = SimpleNamespace(stop=lambda: Answers({}, ()))
    module._end_load(run, slow, none, none)
    assert begun <= run.stopped < begun + 0.3


def test_nor_does_it_from_the_servers_end(tmp_path: Path) -> None:
    run = fresh()
    server = Impatient(0)
    server.name, server.temporary, server.key_file = (lambda: None), tmp_path, tmp_path / "key"
    watch, shared = SimpleNamespace(names=[]), SimpleNamespace(files=lambda names: [])
    module._stop(run, server, watch, shared, SimpleNamespace(members=list))
    assert server.stopped == 2
    assert (run.exit_code, run.orphans) == (0, ())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt], ids=["in order", "a third Ctrl-C"])
def test_what_a_killed_server_left_in_shared_memory_is_cleared_away(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    name = f"trident-{uuid.uuid4().hex[:12]}"
    left, others = SHARED_MEMORY / f"{name}_1", SHARED_MEMORY / f"other-{name}"
    folders: list[Path] = []

    def measured(settings: Settings, folder: Path, *_: object) -> str:
        folders.append(folder)
        (folder / TEMPORARY / "trident-0" / name).mkdir(parents=True)
        left.touch()
        others.touch()
        if error is not None:
            raise error
        return "a run"

    monkeypatch.setattr(module, "_measure", measured)
    monkeypatch.setattr(module, "Family", nullcontext)
    try:
        if error is None:
            assert module.measure(Settings(), print) == "a run"
        else:
            with pytest.raises(error):
                module.measure(Settings(), print)
        assert not left.exists()
        assert others.exists()
        assert not folders[0].exists()
    finally:
        left.unlink(missing_ok=True)
        others.unlink(missing_ok=True)
