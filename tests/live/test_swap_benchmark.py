"""The swap benchmark, small: a real server on constant networks, real rollouts, and figures that add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import results, results_page
from tests.tiny_trident import write_repository

COMPONENTS = ("classifier", "plate_reader")
SWAPS, REQUESTS, RATE = 4, 60, 6.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("swaps")
    command = [
        *(sys.executable, "-m", "benchmarks.swaps", "--components", ",".join(COMPONENTS)),
        *("--requests", str(REQUESTS), "--swaps", str(SWAPS), "--rate", str(RATE), "--rest", "1"),
        *("--model-repository", str(write_repository(folder / "models")), "--out", str(folder / "reports")),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280, env=dict(os.environ))
    return done, folder


@pytest.fixture(scope="module")
def figures(finished: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Any]:
    done, folder = finished
    (file,) = (folder / "reports").glob("swaps-*.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(file.read_text()))


def test_nothing_failed_and_nothing_was_mixed(figures):
    assert (figures["failed"], figures["wrong"], figures["orphans"]) == ([], [], [])
    assert all(verdict["good"] for verdict in figures["verdicts"] if verdict["required"])


def test_both_numbers_were_reached(figures):
    assert figures["requests"] >= REQUESTS
    assert [(swap["component"], swap["after"] == swap["before"]) for swap in figures["swaps"]] == [
        (name, False) for name in (*COMPONENTS, *reversed(COMPONENTS))
    ]


def test_the_swaps_went_there_and_back(figures):
    swaps = figures["swaps"]
    for first, second in zip(swaps[:2], reversed(swaps[2:]), strict=True):
        assert (first["component"], first["before"], first["after"]) == (
            second["component"],
            second["after"],
            second["before"],
        )


def test_the_groups_hold_the_requests(figures):
    """Every request is steady, or under way in a swap, or in the moments before one, which count for neither."""
    by_name = {group["name"]: group for group in (figures["steady"], *figures["components"])}
    counts = {name: group["latency"]["count"] if group["latency"] else 0 for name, group in by_name.items()}
    assert counts["steady"] + counts["all swaps"] <= figures["requests"]
    assert max(counts[name] for name in COMPONENTS) <= counts["all swaps"] <= sum(counts[name] for name in COMPONENTS)
    assert [by_name[name]["swaps"] for name in ("all swaps", *COMPONENTS)] == [SWAPS, 2, 2]
    assert counts["steady"] > 0


def test_swaps_do_not_overlap_and_their_phases_are_in_order(figures):
    end = 0.0
    for swap in figures["swaps"]:
        for phase in swap["phases"]:
            assert end <= phase["begin"] <= phase["end"]
            end = phase["end"]
        assert {"load", "flip", "retire"} <= {phase["name"] for phase in swap["phases"]}


def test_the_rate_was_kept(figures):
    """Poisson arrivals: four standard deviations to either side."""
    expected = RATE * figures["seconds"]
    assert figures["requests"] == pytest.approx(expected, abs=4 * expected**0.5 + RATE)


def test_the_server_was_weighed_after_each_swap(figures):
    assert [sample["swaps"] for sample in figures["samples"]] == list(range(1, SWAPS + 1))
    # One process for each network and Python model, two for each of the models with two instances.
    assert all(sample["stubs"] == figures["samples"][0]["stubs"] >= 9 for sample in figures["samples"])
    assert all(sample["memory_mb"] > sample["server_mb"] > 0 for sample in figures["samples"])
    assert all(sample["shm_files"] > 0 for sample in figures["samples"])


def test_the_repository_that_was_copied_is_as_it_was(finished):
    _, folder = finished
    assert not (folder / "models" / "rollouts.jsonl").exists()
    assert "model_version: 2" not in (folder / "models" / "trident" / "config.pbtxt").read_text()
    assert sorted(path.name for path in (folder / "models" / "entity_recognizer").glob("[0-9]*")) == ["1", "2"]


def test_the_report_makes_a_section_of_the_results(finished, figures):
    """With ``--allow-dirty``: tests also run where something is not committed yet."""
    _, folder = finished
    options = ("--reports", str(folder / "reports"), "--out", str(folder / "RESULTS.md"), "--allow-dirty")
    made = CliRunner().invoke(results.main, options)
    assert made.exit_code == 0, made.output
    (section,) = results_page.parse((folder / "RESULTS.md").read_text(encoding="utf-8"))
    assert section.kind == figures["what"]
    assert f"| all swaps | {SWAPS} |" in section.body
    assert f"{figures['requests']} requests at " in section.body
