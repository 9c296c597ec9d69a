"""The rollout that a chaos run meets in its middle: when it is met, and how all is put back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.chaos import rollouts as module
from benchmarks.chaos.rollouts import COMPONENT, Rollouts
from trident.rollout import journal
from trident.rollout.journal import Journal


class Disk:
    """As much of a repository as is asked of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pinned = 1

    def release(self) -> dict[str, int]:
        return {COMPONENT: self.pinned}


class Calls(Rollouts):
    """Notes what would be run, and lets each command do what a test says."""

    def __init__(self, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "second_versions", lambda *_: {COMPONENT: (1, 2)})
        monkeypatch.setattr(module, "_PAUSE_S", 0.0)
        super().__init__(disk, disk.path, disk.path)
        self.disk = disk
        self.ran: list[str] = []
        self.refusals = 0

    def _run(self, served: Any, *words: str) -> tuple[int, str]:
        self.ran.append(" ".join(words))
        if self.refusals:
            self.refusals -= 1
            return 1, "the server does not answer"
        if words[0] == "rollback":
            self.disk.pinned = 1
        if words[-1] == "--abort":
            Journal(self.disk.path).append("a", journal.ENDED, outcome=journal.ABORTED, sentence="")
        return 0, ""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def rollouts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(disk, monkeypatch)


def begin(disk: Disk, *steps: str) -> Journal:
    diary = Journal(disk.path)
    diary.append("a", journal.STARTED, kind="rollout", targets={COMPONENT: 2})
    for step in steps:
        diary.append("a", journal.STEP, name=step, status="begin")
    return diary


def test_where_the_first_version_answers_nothing_is_put_back(rollouts: Calls):
    assert rollouts.put_back(None) == ""
    assert rollouts.ran == []


def test_the_second_version_is_rolled_back(rollouts: Calls, disk: Disk):
    disk.pinned = 2
    assert rollouts.put_back(None) == ""
    assert rollouts.ran == [f"rollback {COMPONENT}"]


def test_one_that_was_interrupted_is_taken_back_first(rollouts: Calls, disk: Disk):
    begin(disk, "load")
    assert rollouts.put_back(None) == ""
    assert rollouts.ran == ["rollout --abort"]


def test_what_the_server_refuses_is_tried_again(rollouts: Calls, disk: Disk):
    disk.pinned, rollouts.refusals = 2, 3
    assert rollouts.put_back(None) == ""
    assert rollouts.ran == [f"rollback {COMPONENT}"] * 4


def test_what_cannot_be_put_back_is_told(rollouts: Calls, disk: Disk):
    disk.pinned, rollouts.refusals = 2, 1000
    assert rollouts.put_back(None) == "trident rollback: the server does not answer"
    assert disk.pinned == 2


def test_a_version_that_does_not_go_is_told(rollouts: Calls):
    assert rollouts.retire(None) == ""
    rollouts.refusals = 1
    assert rollouts.retire(None) == "trident retire: the server does not answer"


def sleeping() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("steps", "wanted", "met"),
    [
        pytest.param(("preflight", "load"), "load", "load", id="the one that is wanted"),
        pytest.param(("preflight", "load", "shadow", "flip"), "shadow", "flip", id="a later one"),
        pytest.param(("preflight", "load"), "shadow", "", id="not yet"),
        pytest.param(("preflight",), "load", "", id="before it touches the server"),
    ],
)
def test_a_step_is_met(
    rollouts: Calls, disk: Disk, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...], wanted: str, met: str
):
    monkeypatch.setattr(module, "_STEP_WITHIN_S", 0.2)
    begin(disk, *steps)
    process = sleeping()
    try:
        assert rollouts.wait_for(wanted, process) == met
    finally:
        process.kill()
        process.communicate()


def test_one_that_has_ended_is_not_met(rollouts: Calls, disk: Disk):
    begin(disk, "preflight", "load")
    process = sleeping()
    process.kill()
    process.wait()
    assert rollouts.wait_for("load", process) == ""
    process.communicate()


def test_its_last_words_and_its_exit_code_are_told(rollouts: Calls):
    code = "print('Done in 2 s.\\n'); raise SystemExit(3)"
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
    assert rollouts.end(process) == (3, "Done in 2 s.")


def test_one_that_does_not_end_is_ended(rollouts: Calls, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_END_WITHIN_S", 0.1)
    process = sleeping()
    assert rollouts.end(process) == (-15, "")


def test_the_commands_name_the_server_its_key_and_the_copy(disk: Disk, monkeypatch: pytest.MonkeyPatch):
    served: Any = SimpleNamespace(url="127.0.0.1:7", key_file=Path("the-key"))
    command = Calls(disk, monkeypatch)._command(served, "retire", COMPONENT)
    assert command[1:5] == ["-m", "trident", "retire", COMPONENT]
    assert command[5:] == ["--url", "127.0.0.1:7", "--admin-key-file", "the-key", "--model-repository", str(disk.path)]
