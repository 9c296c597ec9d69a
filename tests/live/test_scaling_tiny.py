"""Growth with cores and servers, tiny: real servers on constant networks, held to their cores. No time is asserted."""

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

from benchmarks.scaling.limits import COMPONENTS_IN_ORDER
from tests.asking import eventually
from tests.tiny_trident import write_repository
from trident.contract import CALLED, COMPONENTS, ENSEMBLE, STEPS

# A minute for what its unit tests hold as well, but for the server.
pytestmark = pytest.mark.stress

SEVERAL = len(os.sched_getaffinity(0)) > 1
ALONE = "1 core, 1 server"
TOGETHER = "2 cores, 2 servers that have a part each" if SEVERAL else "1 core, 2 servers that share them"
SECONDS = 1.5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Figures and page of one run: one server on one core, and two."""
    folder = tmp_path_factory.mktemp("scaling")
    models, out = write_repository(folder / "models", versions=1), folder / "out"
    command = [
        *(sys.executable, "-m", "benchmarks.scaling", "--model-repository", str(models), "--out", str(out)),
        *("--setup", "1", "--setup", "2x2" if SEVERAL else "1x2:shared", "--instances", "", "--threads", ""),
        *("--rounds", "1", "--seconds", str(SECONDS), "--one-seconds", "1", "--settle", "0.3"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    (as_json,), (as_html,) = out.glob("*.json"), out.glob("*.html")
    assert str(as_json) in done.stdout.replace("\n", "")
    return json.loads(as_json.read_text()), as_html.read_text()


@pytest.fixture(scope="module")
def figures(made: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return made[0]


def test_every_setup_was_measured_and_nothing_failed(figures: dict[str, Any]) -> None:
    assert [row["setup"]["name"] for row in figures["setups"]] == [ALONE, TOGETHER]
    assert figures["outcome"] == "finished"
    assert figures["refused"] == {}
    for visit in figures["visits"]:
        assert visit["held"] is True
        assert visit["one"]["failed"] == visit["saturated"]["failed"] == {}


def test_every_server_answered_and_the_answers_add_up(figures: dict[str, Any]) -> None:
    for visit, servers in zip(figures["visits"], (1, 2), strict=True):
        saturated = visit["saturated"]
        assert len(saturated["by_server"]) == servers
        assert min(saturated["by_server"]) > 0
        assert saturated["seconds"] >= SECONDS
        assert saturated["latency"]["count"] == sum(saturated["by_server"])
        assert visit["rate"] == pytest.approx(sum(saturated["by_server"]) / saturated["seconds"])
        assert len(visit["one"]["by_server"]) == 1, "one caller asks one server"


def test_what_triton_counted_fits_what_was_answered(figures: dict[str, Any]) -> None:
    for visit in figures["visits"]:
        saturated = visit["saturated"]
        answered = sum(saturated["by_server"])
        # The looks at both ends take a moment, in which answers go on.
        for name in (ENSEMBLE, *STEPS):
            assert answered / 4 <= saturated["counters"][name]["requests"] <= 4 * answered, name
        for name in CALLED:
            assert saturated["counters"][name]["requests"] > 0, name


def test_processor_time_is_that_of_the_cores_that_there_are(figures: dict[str, Any]) -> None:
    for visit in figures["visits"]:
        saturated = visit["saturated"]
        busy = sum(saturated["processor_s"].values()) / saturated["seconds"]
        # Processor time is counted in hundredths of a second, once for each process.
        assert 0 < busy < 1.3 * visit_cores(figures, visit)
        assert set(COMPONENTS_IN_ORDER) <= set(visit["memory_mb"])
        assert all(size > 0 for size in visit["memory_mb"].values())


def visit_cores(figures: dict[str, Any], visit: dict[str, Any]) -> int:
    (cores,) = {row["setup"]["cores"] for row in figures["setups"] if row["setup"]["name"] == visit["setup"]}
    return int(cores)


def test_the_limits_are_told_for_the_server_alone(figures: dict[str, Any]) -> None:
    limits = figures["limits"]
    assert limits["setup"]["name"] == ALONE
    assert [part["name"] for part in limits["parts"]] == list(COMPONENTS_IN_ORDER)
    whole = sum(part["processor_ms"] for part in limits["parts"]) + limits["server_ms"]
    assert whole == pytest.approx(limits["processor_ms"])
    assert limits["ceiling"] == min(part["ceiling"] for part in limits["parts"] if part["ceiling"] is not None)
    assert figures["bytes_on_the_network"]["request"] > figures["bytes_on_the_network"]["answer"] > 100


@pytest.mark.usefixtures("ended_by_hangup")
def test_one_whose_terminal_is_closed_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "benchmarks.scaling", "--out", str(tmp_path / "out")),
        *("--model-repository", str(write_repository(tmp_path / "models", versions=1))),
        *(
            "--setup",
            "1",
            "--instances",
            "",
            "--threads",
            "",
            "--rounds",
            "1",
            "--seconds",
            "60",
            "--one-seconds",
            "60",
        ),
    ]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            assert eventually(lambda: len(psutil.Process(process.pid).children(recursive=True)) > len(COMPONENTS), 90)
            family = psutil.Process(process.pid).children(recursive=True)
            assert list(temporary.glob("trident-scaling-*"))
            process.send_signal(signal.SIGHUP)
            assert process.wait(120) == 128 + signal.SIGHUP
        finally:
            process.kill()
    assert eventually(lambda: not any(child.is_running() for child in family))
    assert list(temporary.iterdir()) == []


def test_the_page_shows_all_of_it(made: tuple[dict[str, Any], str]) -> None:
    figures, page = made
    assert page.count("data:image/png") == 2
    assert ALONE in page
    assert TOGETHER in page
    assert "no law is fitted" in page or not figures["growth"]
