"""Chaos, small: real faults of a real server on constant networks, and an account that adds up. No time is asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.chaos.serving import has_ended
from benchmarks.trident_process import TEMPORARY
from tests.asking import eventually
from tests.tiny_trident import write_repository
from trident.contract import COMPONENTS
from trident.supervisor.leftovers import shared_memory_files

# A minute and a half for what its unit tests hold as well, but for the server.
pytestmark = pytest.mark.stress

WITHIN_S = 240
"""For what takes a few seconds on a machine that has nothing else to do."""
FEW = ("kill", "halt", "kill-server")
REST = ("hang", "oom", "shm", "halt-server", "vanish", "rollout", "storm")


def run(folder: Path, kinds: tuple[str, ...], faults: int, timeout_s: float) -> dict[str, Any]:
    """The figures of a run of so many faults."""
    command = [
        *(sys.executable, "-m", "benchmarks.chaos", "--kinds", ",".join(kinds), "--faults", str(faults)),
        *("--seconds", "3600", "--seed", "1", "--rate", "8", "--bad-rate", "2", "--client-rate", "2"),
        *("--rest", "3", "--within", str(WITHIN_S)),
        *("--model-repository", str(write_repository(folder / "models", versions=1)), "--out", str(folder / "reports")),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
    files = list((folder / "reports").glob("chaos-*.json"))
    assert len(files) == 1, done.stdout + done.stderr
    (file,) = files
    figures = dict(json.loads(file.read_text()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert file.with_suffix(".html").read_text().count("data:image/png") == 2
    return figures


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    # A round has three processes killed, one halted, and Triton killed: some three of these five.
    return run(tmp_path_factory.mktemp("chaos"), FEW, 3, 280)


def check_account(figures: dict[str, Any]) -> None:
    """Every request has its place, and every one that failed its fault."""
    streams = figures["requests"]
    seconds = figures["end"] - figures["begin"]
    # Arrivals by chance: a fifth less than expected is far outside of what chance does to so many.
    assert streams["load"]["planned"] > 0.8 * figures["rate_per_second"] * (seconds - 10.0)
    for ends in streams.values():
        assert ends["planned"] == sum(count for end, count in ends.items() if end != "planned") > 0
    costs = [fault["cost"] for fault in figures["faults"]]
    failed = [one for one in figures["failed"] if one["stream"] in ("load", "bad pictures")]
    assert len(failed) == sum(sum(cost["ends"].values()) for cost in costs) + sum(
        one["fault"] is None for one in failed
    )
    for name in ("lost", "refused", "not sent"):
        counted = sum(streams[stream].get(name, 0) for stream in ("load", "bad pictures"))
        assert counted == sum(one["end"] == name for one in failed)
    assert not any(one["end"] in ("answered wrong", "lost") and one["fault"] is None for one in failed)
    assert all(one["why"] for one in failed)
    assert all(verdict["good"] for verdict in figures["verdicts"] if verdict["required"])


def test_every_request_is_accounted_for(figures):
    check_account(figures)
    assert set(figures["requests"]) == {"load", "bad pictures", "client with retries"}


def test_the_server_got_over_each_fault_and_said_that_it_was_not_ready(figures):
    assert len(figures["faults"]) == 3
    for fault in figures["faults"]:
        assert fault["begin"] <= fault["moments"][0] <= fault["recovered"] <= fault["end"]
        assert 0 <= fault["noticed_s"] < fault["ready_s"] < WITHIN_S
        assert (fault["wrong"], fault["left"], fault["failed"]) == ([], [], "")
        assert fault["events"], "the supervision said what it did"
    for one, other in zip(figures["faults"], figures["faults"][1:], strict=False):
        assert one["end"] <= other["begin"]


def test_nothing_was_left_and_the_server_was_watched(figures):
    assert (figures["orphans"], figures["exit_code"], figures["broken_off"]) == ([], 0, "")
    assert figures["readiness"]["changes"][0]["ready"]
    assert all(sample["processes"] > 0 for sample in figures["samples"][:2])
    assert figures["server"]["release"].keys() >= {"preprocess", "classifier", "face_embedder"}


@pytest.mark.usefixtures("ended_by_hangup")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_one_that_is_ended_from_outside_leaves_no_server(tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "benchmarks.chaos", "--kinds", "kill", "--rate", "2", "--rest", "60"),
        *("--model-repository", str(write_repository(tmp_path / "models", versions=1)), "--out", str(tmp_path / "out")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)})
    try:
        assert process.stdout
        while "requests a second" not in (line := process.stdout.readline()):
            assert line
        family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        names = [folder.name for folder in temporary.glob(f"trident-chaos-*/{TEMPORARY}/trident-*/trident-*")]
        assert len(family) > len(COMPONENTS)
        assert len(names) == 1
        process.send_signal(number)
        # Asked to, it waits for the server's end.
        assert process.wait(60) == (-number if number is signal.SIGKILL else 128 + number)
    finally:
        process.kill()
        process.communicate()
    assert eventually(lambda: all(map(has_ended, family)), 60)
    assert shared_memory_files(names[0]) == []
    if number is not signal.SIGKILL:
        assert list(temporary.iterdir()) == []


@pytest.mark.timeout(1500)
def test_the_other_kinds(tmp_path: Path):
    figures = run(tmp_path, REST, 7, 1400)
    check_account(figures)
    left_out = set(figures["left_out"])
    assert left_out <= {"oom", "shm"}, "all else can be done anywhere"
    done = {fault["kind"] for fault in figures["faults"] if fault["moments"]}
    # A rollout may be over before it is met, and a process may ask for no memory.
    assert done >= set(REST) - left_out - {"rollout", "oom"}
    leaving = sum(fault["kind"] == "vanish" for fault in figures["faults"])
    assert figures["requests"]["callers who left"]["left by its caller"] == 8 * leaving > 0
