"""What Prometheus is told of a restart and of a revival, by a real ``trident serve``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.asking import eventually
from tests.serving import PATIENCE_S, Served, write_slow
from trident_client.exposed import fetch


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server of one model, which is loaded within a second or two."""
    write_slow(tmp_path / "models")
    served = Served(tmp_path / "models", tmp_path, "--model=slow", "--notice=0")
    try:
        yield served
    finally:
        assert served.stop() == 0, served.said


def told(served: Served) -> dict[str, float]:
    """The metrics of the launcher by name; there is one model, so each is one series."""
    text = fetch(f"http://{served.health_url}/metrics", 10)
    return {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}


def test_revivals_and_restarts_are_counted_and_a_restart_takes_no_count_away(served: Served) -> None:
    before = told(served)
    assert (before["trident_server_ready"], before["trident_launcher_live"]) == (1, 1)
    assert before["trident_model_revivals_total"] == before["trident_server_restarts_total"] == 0
    assert before["trident_shared_memory_free_bytes"] > 0

    os.kill(served.stubs("slow")[0].pid, signal.SIGKILL)
    assert eventually(lambda: told(served)["trident_model_revivals_total"] == 1, PATIENCE_S), served.said
    assert eventually(lambda: told(served)["trident_server_ready"] == 1, PATIENCE_S), served.said

    served.triton.kill()
    assert eventually(lambda: told(served)["trident_server_ready"] == 0, PATIENCE_S), served.said
    assert eventually(lambda: told(served)["trident_server_restarts_total"] == 1, PATIENCE_S), served.said
    assert eventually(lambda: told(served)["trident_server_ready"] == 1, PATIENCE_S), served.said

    after = told(served)
    assert after["trident_model_revivals_total"] == 1
    assert after["trident_server_failed_starts"] == 0
    assert after["process_start_time_seconds"] == before["process_start_time_seconds"], "the launcher is the same"
