"""The soak, tiny: `trident serve` on constant networks for some seconds, and a report whose numbers add up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.soak.__main__ import TOO_SHORT
from tests.asking import eventually
from tests.tiny_trident import write_repository
from trident.contract import COMPONENTS

# A minute for what its unit tests hold as well, but for the server.
pytestmark = pytest.mark.stress

SECONDS, RATE = 10.0, 5.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("soak") / "models", versions=1)


def started(models: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.soak", "--model-repository", str(models), "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def figures_in(folder: Path) -> dict[str, Any]:
    (as_json,), (as_html,) = folder.glob("soak-*.json"), folder.glob("soak-*.html")
    assert as_html.read_text().count("data:image/png") == 4
    return dict(json.loads(as_json.read_text()))


@pytest.fixture(scope="module")
def finished(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("finished")
    process = started(
        *(models, out, "--seconds", str(SECONDS), "--rate", str(RATE), "--warm", "2", "--every", "0.5"),
        *("--gallery-every", "2", "--bad", "0.2", "--leaving", "0.2"),
    )
    said, errors = process.communicate(timeout=200)
    assert process.returncode in (1, TOO_SHORT), said + errors
    return process.returncode, said, figures_in(out)


def test_nothing_went_wrong_and_it_was_too_short_to_tell(finished):
    code, said, figures = finished
    failed = [verdict["sentence"] for verdict in figures["verdicts"] if verdict["required"] and not verdict["good"]]
    assert failed == []
    assert (code, figures["outcome"], figures["too_short_to_tell"]) == (TOO_SHORT, "failed", True)
    assert said.count("too short to tell") >= 5


def test_every_request_is_accounted_for(finished):
    figures = finished[2]
    # Poisson arrivals: five standard deviations to either side.
    expected = RATE * SECONDS
    assert figures["told"] == figures["planned"] == pytest.approx(expected, abs=5 * expected**0.5)
    assert sum(row["requests"] for row in figures["codes"]) == figures["told"]
    assert sum(window["requests"] for window in figures["windows"]) == figures["told"]
    assert {row["kind"] for row in figures["codes"]} == {"good", "bad", "leaving"}
    assert all(row["expected"] for row in figures["codes"])
    answered = sum(window["latency"]["count"] for window in figures["windows"] if window["latency"])
    assert answered == sum(row["requests"] for row in figures["codes"] if row["kind"] == "good") > 0


def test_the_gallery_changed_meanwhile(finished):
    gallery = finished[2]["gallery"]
    assert gallery["failed"] == 0
    assert gallery["enrolled"] >= gallery["forgotten"] >= 1


def test_every_process_was_weighed(finished):
    looks = finished[2]["looks"]
    count = len(looks["at"])
    assert count >= 2  # a look may cost a hundredth of a core: the next one comes seconds later
    roles = looks["roles"]
    assert {"launcher", "guard", "tritonserver", *COMPONENTS} <= set(roles)
    for role in ("launcher", "guard", "tritonserver", *COMPONENTS):
        assert min(roles[role]["memory_mb"]) > 1
        assert min(roles[role]["handles"]) > 2
        assert len(roles[role]["memory_mb"]) == count
    assert min(looks["shm_files"]) > 0
    assert min(looks["shm_mb"]) > 0
    assert set(looks["disk_mb"]) == {"log", "state", "gallery", "temporary"}
    assert max(looks["disk_mb"]["gallery"]) > 0
    assert {one["name"] for one in finished[2]["memory"]} >= {"memory of all processes", "classifier"}


def test_one_that_is_stopped_by_hand_leaves_a_report_and_nothing_else(models: Path, tmp_path: Path) -> None:
    process = started(models, tmp_path, "--seconds", "600", "--rate", "4", "--leaving", "0", "--every", "0.5")
    try:
        assert process.stdout
        while "Ctrl-C ends it" not in (line := process.stdout.readline()):
            assert line, process.stderr.read() if process.stderr else ""
        time.sleep(3)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > len(COMPONENTS)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == TOO_SHORT, said + errors
    figures = figures_in(tmp_path)
    assert (figures["outcome"], figures["stopped"]) == ("unfinished", "stopped by hand")
    assert figures["told"] == figures["planned"] > 0
    assert figures["seconds"] < 120
    assert eventually(lambda: not any(child.is_running() for child in family))
