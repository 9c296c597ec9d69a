"""Load by locust against a real server on constant networks: every model, several processes, the web page."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.locust_load.process import MODELS
from tests.serving import server_ended_at_once
from tests.tiny_trident import write_repository
from trident.contract import ENSEMBLE
from trident.launcher import TritonServer, ports
from trident.rollout.serving import TritonServing

LIMIT_S = 120


def words(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "benchmarks.locust_load", *map(str, arguments)]


def load(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(*arguments), check=False, capture_output=True, text=True, timeout=LIMIT_S)


def answered(server: TritonServer) -> int:
    """How many requests the ensemble has answered, as Triton counts them."""
    with TritonServing(server.grpc_url) as serving:
        return serving.statistics(ENSEMBLE).succeeded


def figures_in(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("load-*.json")
    return dict(json.loads(file.read_text()))


def free_port() -> int:
    return ports.resolve("127.0.0.1", {"test": 0})["test"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Iterator[TritonServer]:
    """All of Trident but the time that real networks take."""
    folder = tmp_path_factory.mktemp("tiny")
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{folder / 'gallery.db'}"}
    repository = write_repository(folder / "models", versions=1)
    with server_ended_at_once(repository, env=gallery) as running:
        yield running


@pytest.fixture(scope="module")
def all_models(tiny, tmp_path_factory) -> tuple[dict[str, Any], Path, int]:
    """Figures and folder of a load of every model, and how many requests of it the ensemble answered."""
    folder = tmp_path_factory.mktemp("all")
    before = answered(tiny)
    # Long enough that each of both batch sizes has its turn with every model.
    done = load("--url", tiny.grpc_url, "--models", "all", "--batch", "1,2", "--shape", "constant", "--users", 10,
                "--seconds", 5, "--out", folder)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # One of them is the question for the release that the report names.
    return figures_in(folder), folder, answered(tiny) - before


def test_every_model_is_asked_and_answers(all_models):
    figures, _, _ = all_models
    assert {one["name"].partition(" ")[0] for one in figures["by_request"]} == set(MODELS)
    assert figures["failed"] == {}


def test_the_counts_agree(all_models):
    figures, folder, answered_by_triton = all_models
    by_request = {one["name"]: one["requests"] for one in figures["by_request"]}
    assert sum(by_request.values()) == figures["requests"] == figures["locust"]["requests"]
    asked_of_ensemble = sum(number for name, number in by_request.items() if name.startswith(f"{ENSEMBLE} "))
    assert 0 <= answered_by_triton - asked_of_ensemble <= 1
    (file,) = folder.glob("*_stats.csv")
    with file.open() as opened:
        rows = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(opened)}
    assert rows.pop("Aggregated") == figures["requests"]
    assert rows == by_request


def test_all_files_are_there(all_models):
    figures, folder, _ = all_models
    assert all((folder / name).stat().st_size for name in figures["files"] if "failures" not in name)
    assert {Path(name).suffix for name in figures["files"]} == {".csv", ".html"}
    assert figures["summary"]["tables"]


def test_two_processes_share_the_load(tiny, tmp_path):
    before = answered(tiny)
    done = load("--url", tiny.grpc_url, "--processes", 2, "--shape", "constant", "--users", 4, "--seconds", 3,
                "--out", tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = figures_in(tmp_path)
    assert len(figures["workers"]) == 2
    assert all(number > 0 for number in figures["workers"])
    assert sum(figures["workers"]) == figures["requests"] == figures["locust"]["requests"]
    assert 0 <= answered(tiny) - before - figures["requests"] <= 1


def test_a_master_and_two_workers_of_their_own_share_the_load(tiny, tmp_path):
    place = f"127.0.0.1:{free_port()}"
    workers = [subprocess.Popen(words("--worker-of", place), stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        done = load("--url", tiny.grpc_url, "--expect-workers", 2, "--bind", place, "--shape", "constant", "--users", 4,
                    "--seconds", 3, "--out", tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert [one.wait(timeout=20) for one in workers] == [0, 0]
    finally:
        for one in workers:
            one.terminate()
            one.wait(timeout=60)
    figures = figures_in(tmp_path)
    assert len(figures["workers"]) == 2
    assert all(number > 0 for number in figures["workers"])
    assert sum(figures["workers"]) == figures["requests"]


@pytest.mark.parametrize("processes", [1, 2], ids=["alone", "with workers"])
def test_a_load_that_cannot_be_made_ends_and_says_why(tiny, tmp_path, processes):
    """A picture that is none, of which the server makes no pixels."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.jpg").write_bytes(b"no picture")
    done = load("--url", tiny.grpc_url, "--models", "trident,classifier", "--pictures", tmp_path / "pictures",
                "--processes", processes, "--shape", "constant", "--users", 2, "--seconds", 60,
                "--out", tmp_path / "reports")  # fmt: skip
    assert done.returncode == 1
    assert "classifier: its inputs cannot be made" in " ".join(done.stderr.split())
    assert not (tmp_path / "reports").exists()


def test_without_a_server_it_says_so(tmp_path):
    done = load("--url", f"127.0.0.1:{free_port()}", "--out", tmp_path)
    assert done.returncode == 1
    assert "no server answers" in done.stderr


def get(url: str, data: dict[str, object] | None = None) -> str:
    body = None if data is None else urllib.parse.urlencode(data).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, body, timeout=10) as answer:
        return str(answer.read().decode())


def wait_for(url: str) -> str:
    for _ in range(200):
        try:
            return get(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(f"{url} does not answer")


def test_the_web_page_runs_a_load_and_leaves_nothing_behind(tiny):
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    # As a terminal starts it: where these tests run in the background, SIGINT is ignored, and would be by it.
    as_in_terminal = ["env", "--default-signal=INT"]
    running = subprocess.Popen([*as_in_terminal, *words("--url", tiny.grpc_url, "--ui", "--ui-port", port)],
                               start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        shown = wait_for(page)
        assert all(f'"{option}"' in shown for option in ("pictures", "batch", "shape", "think", "deadline", "seed"))
        assert '"figures"' not in shown
        listening = {one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port}
        assert listening == {"127.0.0.1"}
        started = get(f"{page}/swarm", {"user_count": 2, "spawn_rate": 2, "host": tiny.grpc_url, "batch": "2",
                                        "user_classes": "Trident", "shape_class": "Constant",
                                        "run_time": "2s"})  # fmt: skip
        assert json.loads(started)["success"] is True
        deadline = time.monotonic() + 30
        while (stats := json.loads(get(f"{page}/stats/requests")))["state"] != "stopped":
            assert time.monotonic() < deadline, stats
            time.sleep(0.3)
        total = next(one for one in stats["stats"] if one["name"] == "trident x2")
        assert total["num_requests"] > 0
        assert total["num_failures"] == 0
        started_by_it = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(timeout=40) == 0
        assert not [one for one in started_by_it if one.is_running()]
    finally:
        running.terminate()
        running.wait(timeout=60)
