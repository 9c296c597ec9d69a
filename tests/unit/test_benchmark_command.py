"""What the benchmarks' commands have in common: how a signal ends them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.circumstances import ROOT

CODE = """
import sys, tempfile, time
from benchmarks import command
command.end_in_order()
with tempfile.TemporaryDirectory(dir=sys.argv[1]):
    try:
        print("there", flush=True)
        time.sleep(600)
    finally:
        print("ending", flush=True)
        time.sleep(0.5)
"""


def started(folder: Path, *before: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", CODE, str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    assert len(list(folder.iterdir())) == 1
    return process


@pytest.mark.usefixtures("ended_by_hangup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_order_and_more_of_them_break_nothing_off(tmp_path: Path, number: signal.Signals):
    with started(tmp_path) as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        for again in (signal.SIGHUP, signal.SIGTERM):
            process.send_signal(again)
        assert process.wait(20) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_to_outlive_its_terminal_does(tmp_path: Path):
    with started(tmp_path, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
