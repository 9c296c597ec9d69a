"""What the launcher tells Prometheus of its supervision, at its health endpoint."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.readme import ROOT
from trident.metrics import METRICS, SUPERVISION
from trident.supervisor.endpoint import HealthEndpoint
from trident.supervisor.exposition import Exposition
from trident.supervisor.health import Health, Phase

REVIVALS = "trident_model_revivals_total"


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Each value by its metric's name and the values of its labels."""
    families = text_string_to_metric_families(text.decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def ours(text: bytes) -> dict[tuple[str, ...], float]:
    """Without those of the launcher's process."""
    return {series: value for series, value in samples(text).items() if not series[0].startswith("process_")}


@pytest.fixture
def health() -> Health:
    return Health(most_failed_starts=2)


def supervised(health: Health, *models: str, free: int | None = 100) -> dict[str, Any]:
    """What the supervisor says of a server whose models have a process each."""
    processes = [{"model": model, "version": 1, "pid": 1} for model in models]
    return health.status() | {"processes": processes, "shared_memory_free_mib": free}


class TestExposition:
    def test_a_server_that_starts(self, health: Health) -> None:
        assert ours(Exposition(health.status).text()) == {
            ("trident_server_ready",): 0,
            ("trident_server_restarts_total",): 0,
            ("trident_server_failed_starts",): 0,
            ("trident_launcher_live",): 1,
        }

    def test_each_metric_is_told_as_it_is_defined(self, health: Health) -> None:
        text = Exposition(lambda: supervised(health, "fusion")).text().decode()
        for spec in SUPERVISION.values():
            assert f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.kind.lower()}\n{spec.name}" in text
        assert {name for name, *_ in ours(text.encode())} == SUPERVISION.keys()
        assert not SUPERVISION.keys() & METRICS.keys()

    def test_it_follows_what_happens(self, health: Health) -> None:
        exposition = Exposition(lambda: supervised(health, "fusion"))
        health.enter(Phase.SERVING)
        assert ours(exposition.text())["trident_server_ready",] == 1

        health.trouble("fusion 1", "a process of fusion 1 has ended")
        assert ours(exposition.text())["trident_server_ready",] == 0
        health.revived("fusion")
        health.revived("fusion")
        health.cured("fusion 1")
        assert ours(exposition.text())[REVIVALS, "fusion"] == 2
        assert ours(exposition.text())["trident_server_ready",] == 1

        health.enter(Phase.RESTARTING)
        health.restarted(answers=False)
        health.restarted(answers=False)
        found = ours(exposition.text())
        assert (found["trident_server_failed_starts",], found["trident_launcher_live",]) == (2, 0)
        assert found["trident_server_restarts_total",] == 0

        health.restarted(answers=True)
        health.enter(Phase.SERVING)
        found = ours(exposition.text())
        assert (found["trident_server_failed_starts",], found["trident_launcher_live",]) == (0, 1)
        assert (found["trident_server_restarts_total",], found["trident_server_ready",]) == (1, 1)
        assert found[REVIVALS, "fusion"] == 2, "a restart of the server takes no count away"

    def test_a_model_is_there_with_0_before_anything_happens_to_it(self, health: Health) -> None:
        """Or its first revival, a series that begins with 1, would be none to Prometheus."""
        models = ["fusion", "fusion", "preprocess"]
        exposition = Exposition(lambda: supervised(health, *models))
        assert ours(exposition.text())[REVIVALS, "fusion"] == 0
        models.remove("preprocess")
        assert ours(exposition.text())[REVIVALS, "preprocess"] == 0, "it stays while the model has no process"
        health.revived("classifier")
        assert ours(exposition.text())[REVIVALS, "classifier"] == 1

    @pytest.mark.parametrize(("free", "told"), [(64, 64 * 1024 * 1024), (0, 0), (None, None)])
    def test_shared_memory_is_in_bytes_and_left_out_where_there_is_none(
        self, health: Health, free: int | None, told: float | None
    ) -> None:
        found = ours(Exposition(lambda: supervised(health, free=free)).text())
        assert found.get(("trident_shared_memory_free_bytes",)) == told

    def test_the_launchers_own_start_is_told(self, health: Health) -> None:
        """By its change Prometheus sees that the counters began anew."""
        found = samples(Exposition(health.status).text())["process_start_time_seconds",]
        assert found == pytest.approx(psutil.Process().create_time(), abs=5)


class TestEndpoint:
    @pytest.fixture
    def endpoint(self, health: Health) -> Iterator[HealthEndpoint]:
        with HealthEndpoint(
            *("127.0.0.1", 0),
            model="trident",
            live=lambda: health.live,
            ready=lambda: health.ready,
            status=lambda: supervised(health, "fusion"),
        ) as endpoint:
            yield endpoint

    @staticmethod
    def ask(endpoint: HealthEndpoint, method: str, path: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            connection.close()

    @pytest.mark.parametrize("path", ["/metrics", "/metrics?name[]=trident_server_ready"])
    def test_prometheus_gets_text(self, endpoint: HealthEndpoint, health: Health, path: str) -> None:
        health.revived("fusion")
        code, kind, body = self.ask(endpoint, "GET", path)
        assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert ours(body)[REVIVALS, "fusion"] == 1

    def test_a_head_has_no_body(self, endpoint: HealthEndpoint) -> None:
        assert self.ask(endpoint, "HEAD", "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", b"")

    def test_the_other_paths_answer_in_json(self, endpoint: HealthEndpoint) -> None:
        assert self.ask(endpoint, "GET", "/v2/health/live") == (200, "application/json", b"{}")
        code, kind, body = self.ask(endpoint, "GET", "/metric")
        assert (code, kind) == (404, "application/json")
        assert b"/metrics" in body


def test_the_page_on_metrics_explains_each() -> None:
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert [name for name in METRICS | SUPERVISION if f"`{name}`" not in page] == []
