"""The peers' comparison, small: a real Triton and a real peer on constant networks, and figures that add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.peer import read_peers
from tests.tiny_trident import write_repository

pytestmark = pytest.mark.stress  # a peer has an environment of its own, which has to be installed first
(FASTAPI,) = read_peers(["fastapi_onnx"])
CALLERS = 2


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("peers")
    command = [
        *(sys.executable, "-m", "benchmarks.peers", FASTAPI.name, "--seconds", "1", "--rounds", "1"),
        *("--callers", str(CALLERS), "--model-repository", str(write_repository(folder / "models"))),
        *("--out", str(folder / "reports")),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    written = list((folder / "reports").glob("peers-*.json"))
    assert len(written) == 1, done.stdout + done.stderr
    found = dict(json.loads(written[0].read_text()))
    # Others may be at work where tests run; then the figures do not count, and the command says so.
    assert done.returncode == (0 if found["outcome"] == "finished" else 1), done.stdout + done.stderr
    return found


def test_both_answered_everything_and_alike(figures):
    assert figures["left_out"] == {}
    assert [row["title"] for row in figures["servers"]] == ["Trident", "FastAPI"]
    assert all(row["failed"] == 0 for row in figures["servers"])
    # Every picture shows a face and a plate to the constant networks.
    assert figures["answers"]["faces"] == figures["answers"]["plates"] == len(figures["answers"]["pictures"]) > 1


def test_the_figures_add_up(figures):
    visits = {visit["server"]: visit for visit in figures["visits"]}
    for row in figures["servers"]:
        visit = visits[row["name"]]
        assert row["by_round"]["throughput, answers a second"] == [visit["rate"]]
        assert row["one"]["count"] == visit["one"]["answered"] == visit["one"]["requests"] > 0
        assert row["half"]["count"] == visit["half"]["answered"] == visit["half"]["requests"] > 0
        assert row["cpu_s"] == pytest.approx(visit["saturated"]["cpu_s"] / visit["saturated"]["answered"])
        assert 0 < row["one"]["p50"] <= row["one"]["p99"] <= row["one"]["worst"]
        assert visit["rate"] > 0
        assert visit["memory_mb"] > 50


def test_the_summary_holds_a_line_for_each(figures):
    (table,) = figures["summary"]["tables"]
    assert [row[0] for row in table["rows"]] == [row["title"] for row in figures["servers"]]
