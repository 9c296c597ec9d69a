"""The speed benchmarks, tiny: real servers on constant networks, and figures that add up. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_trident import write_repository
from trident.contract import CALLED, ENSEMBLE, STEPS

LEVELS, STEP_S = (30, 110), 2.0
REQUESTS, TWIN_REQUESTS = 12, 16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("tiny") / "models", versions=1)


def run(module: str, models: Path, out: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The figures of a benchmark, and its page."""
    command = [sys.executable, "-m", module, "--model-repository", str(models), "--out", str(out), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    (as_json,), (as_html,) = out.glob("*.json"), out.glob("*.html")
    assert (as_json.stem, str(as_json) in done.stdout.replace("\n", "")) == (as_html.stem, True)
    return json.loads(as_json.read_text()), as_html.read_text()


@pytest.fixture(scope="module")
def curve(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    levels = ",".join(map(str, LEVELS))
    step = ("--requests", "10000", "--longest", str(STEP_S), "--passes", "2", "--settle", "0.5", "--rest", "0.1")
    out = tmp_path_factory.mktemp("curve")
    figures, page = run("benchmarks.latency_curve", models, out, "--levels", levels, *step, "--saturation", "1")
    assert page.count("data:image/png") == 2
    return figures


def test_each_load_is_the_share_of_the_saturated_rate(curve):
    assert [100 * step["share"] for step in curve["steps"]] == pytest.approx(LEVELS)
    for step in curve["steps"]:
        assert step["rate"] == pytest.approx(step["share"] * curve["saturated_per_second"])
        assert step["seconds"] == STEP_S
        # Poisson arrivals: five standard deviations to either side.
        expected = step["rate"] * STEP_S
        assert step["requests"] == pytest.approx(expected, abs=5 * expected**0.5)


def test_every_request_of_a_step_is_accounted_for(curve):
    for step in curve["steps"]:
        answered = step["latency"]["count"]
        assert answered + sum(step["codes"].values()) == step["requests"] > 0
        assert step["failed"] == sum(step["codes"].values())
        assert step["offered"] * step["seconds"] == pytest.approx(step["requests"])
        assert 0 <= step["unanswered"] <= step["requests"]
        assert step["delay"]["count"] == step["requests"] - step["codes"].get("NOT_SENT", 0)


def test_percentiles_are_in_order(curve):
    for step in curve["steps"]:
        latency = step["latency"]
        ordered = [latency[name] for name in ("p50", "p90", "p95", "p99", "worst")]
        assert ordered == sorted(ordered)
        assert len(step["by_pass"]) == 2
        assert sum(one["count"] for one in step["by_pass"]) == latency["count"]
        assert max(one["worst"] for one in step["by_pass"]) == latency["worst"]


def test_below_saturation_nothing_failed_and_answers_came(curve):
    low = curve["steps"][0]
    assert low["failed"] == 0
    assert low["achieved"] > 0
    assert curve["saturated_per_second_after"] > 0


@pytest.fixture(scope="module")
def spent(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    counts = ("--requests", str(REQUESTS), "--twin-requests", str(TWIN_REQUESTS))
    out = tmp_path_factory.mktemp("spent")
    figures, page = run("benchmarks.time_spent", models, out, *counts, "--saturation", "0.5")
    assert page.count("data:image/png") == 4
    return figures


def loads_of(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [load for server in figures["servers"] for load in server["loads"]]


def test_every_request_is_counted_once_by_each_step(spent):
    assert [server["name"] for server in spent["servers"]] == ["trident", "twin", "twin without inner calls"]
    for server, requests in zip(spent["servers"], (REQUESTS, TWIN_REQUESTS, TWIN_REQUESTS), strict=True):
        assert server["loads"][0]["account"]["requests"] == requests
    for load in loads_of(spent):
        requests = load["account"]["requests"]
        assert requests == load["latency"]["count"] > 0
        assert {load["counters"][name]["requests"] for name in (ENSEMBLE, *STEPS)} == {requests}
        assert all(counters["failed"] == 0 for counters in load["counters"].values())


def test_the_parts_add_up_to_the_latency(spent):
    for load in loads_of(spent):
        rows = load["account"]["rows"]
        assert sum(row["ms"] for row in rows) == pytest.approx(load["account"]["latency_ms"])
        assert sum(row["ms"] for row in rows[2:]) == pytest.approx(load["account"]["ensemble_ms"])
        assert all(row["ms"] >= row["queue_ms"] >= 0 for row in rows if row["name"] in STEPS)
        ensemble = load["counters"][ENSEMBLE]
        assert load["account"]["ensemble_ms"] == pytest.approx(
            ensemble["whole_ns"] / ensemble["requests"] / 1e6, rel=0.01
        )
        branches = [row["share_of_requests"] for row in rows if row["name"] in STEPS[1:-1]]
        assert sum(branches) == pytest.approx(1)


def test_the_parts_of_a_component_add_up(spent):
    for load in loads_of(spent):
        for one in load["components"]:
            parts = sum(one[part] for part in ("queue", "input", "infer", "output", "rest"))
            assert parts == pytest.approx(one["whole"])


def test_the_recognizers_networks_are_called_where_they_are_to_be(spent):
    trident, twin, bare = spent["servers"]
    calls = {
        server["name"]: {one["name"]: one["calls"] for one in server["loads"][0]["components"] if one["inner"]}
        for server in (trident, twin, bare)
    }
    assert set(calls["trident"]) == set(CALLED)
    assert all(count >= 1 for count in calls["trident"].values())
    assert calls["twin"] == {**dict.fromkeys(CALLED, 1.0), "plate_detector": 2.0}
    assert calls[bare["name"]] == dict.fromkeys(CALLED, 0.0)


def test_processor_time_is_told_apart_by_model(spent):
    for load in loads_of(spent):
        seconds = load["processor_seconds"]
        assert set(seconds) == {"tritonserver", *STEPS, *CALLED}
        assert load["processor"] == pytest.approx(1000 * sum(seconds.values()) / load["account"]["requests"])


def test_tracing_was_compared_on_the_twin(spent):
    assert [server["tracing"] is not None for server in spent["servers"]] == [False, True, False]
    assert spent["servers"][1]["tracing"]["traced_ms"] > 0
