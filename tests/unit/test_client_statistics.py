"""What flowed between two moments, and how ``trident status --watch`` shows it."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner
from fake_server import FakeServer, running
from rich.console import Console
from tritonclient.grpc import service_pb2

from trident.cli import main
from trident_client import AsyncTridentClient, Retries, ServerUnreachable, TridentClient
from trident_client.errors import ServerFailed, SettingsError
from trident_client.exposed import fetch, read, usual_url
from trident_client.statistics import Exposed, ServerStatistics, VersionCounts, flow
from trident_client.watch import Look, looks, view

METRICS = """\
# HELP nv_cpu_memory_used_bytes CPU used memory (RAM), in bytes
# TYPE nv_cpu_memory_used_bytes gauge
nv_cpu_memory_used_bytes 1048576
nv_cpu_memory_total_bytes 4194304
nv_cpu_utilization 0.25
nv_inference_pending_request_count{model="detector",version="1"} 3
nv_inference_pending_request_count{model="detector",version="2"} 1
# TYPE nv_inference_request_summary_us summary
nv_inference_request_summary_us_count{model="trident",version="1"} 4
nv_inference_request_summary_us{model="trident",version="1",quantile="0.5"} 90500
nv_inference_request_summary_us{model="trident",version="1",quantile="0.99"} 120000
nv_inference_request_summary_us{model="fusion",version="1",quantile="0.5"} 1
nv_inference_request_summary_us{model="trident",version="1",quantile="0.9"} nan
# TYPE trident_pictures_refused_total counter
trident_pictures_refused_total{reason="damaged"} 2
trident_pictures_refused_total{reason="too_large"} 0
"""


class Server(FakeServer):
    """Has answered two requests more, and failed one more, each time it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def ModelStatistics(self, request, context):  # noqa: N802
        self._allow("ModelStatistics", context)
        self.asked += 1
        reply = service_pb2.ModelStatisticsResponse()
        for name, version in (("trident", "1"), ("detector", "1"), ("detector", "2"), ("another", "1")):
            one = reply.model_stats.add(name=name, version=version)
            if (name, version) != ("detector", "2"):
                one.inference_stats.success.count = 2 * self.asked
                one.inference_stats.success.ns = 2 * self.asked * 80_000_000
                one.inference_stats.queue.ns = 2 * self.asked * 5_000_000
                one.inference_stats.compute_infer.ns = 2 * self.asked * 60_000_000
                one.inference_stats.compute_input.ns = 2 * self.asked * 1_000_000
                one.inference_stats.fail.count = self.asked
        return reply


@pytest.fixture
def fake():
    with running(Server()) as server:
        yield server


@contextmanager
def serving(body: str, status: int = 200):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def shown(part) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(part)
    return console.file.getvalue()


class TestFlow:
    def test_rates_and_means_are_of_what_came_between(self):
        before = ServerStatistics(True, {("detector", 1): VersionCounts(10, 1, 10 * 10**9, 10**9, 5 * 10**9)})
        after = ServerStatistics(
            True, {("detector", 1): VersionCounts(14, 3, 10_400_000_000, 1_040_000_000, 5_200_000_000)}
        )
        (one,) = flow(before, after, 2.0, None).models
        assert (one.per_second, one.failed_per_second) == (2.0, 1.0)
        assert (one.mean_ms, one.queue_ms, one.compute_ms) == pytest.approx((100.0, 10.0, 50.0))
        assert (one.versions, one.answering, one.pending) == ((1,), (1,), None)

    def test_of_an_ensemble_only_the_whole_is_shown(self):
        after = ServerStatistics(True, {("trident", 1): VersionCounts(2, 0, 2_000_000, 500, 5_000_000)})
        (one,) = flow(ServerStatistics(True, {}), after, 1.0, None).models
        assert (one.mean_ms, one.queue_ms, one.compute_ms) == (1.0, None, None)

    def test_a_version_loaded_anew_counts_from_nothing(self):
        before = ServerStatistics(True, {("trident", 1): VersionCounts(100, 0, 1)})
        after = ServerStatistics(True, {("trident", 1): VersionCounts(3, 0, 30_000_000)})
        (one,) = flow(before, after, 1.0, None).models
        assert (one.per_second, one.mean_ms) == (3.0, 10.0)

    def test_versions_are_of_one_model_and_those_that_answer_are_told(self):
        after = ServerStatistics(
            True, {("detector", 1): VersionCounts(), ("detector", 2): VersionCounts(4, 0, 4_000_000)}
        )
        (one,) = flow(ServerStatistics(True, {}), after, 2.0, Exposed(pending={"detector": 7})).models
        assert (one.versions, one.answering, one.per_second, one.pending) == ((1, 2), (2,), 2.0, 7)

    def test_models_stand_as_a_picture_meets_them(self):
        after = ServerStatistics(
            False, {(name, 1): VersionCounts() for name in ("zebra", "fusion", "trident", "preprocess")}
        )
        found = flow(ServerStatistics(False, {}), after, 1.0, None)
        assert [one.name for one in found.models] == ["trident", "preprocess", "fusion", "zebra"]
        assert found.model("fusion").mean_ms is None
        assert found.model("detector") is None
        assert json.loads(json.dumps(found.to_json()))["models"]["fusion"]["mean_ms"] is None


class TestExposed:
    def test_what_metrics_tell(self):
        assert read(METRICS) == Exposed(
            memory_used=1048576,
            memory_total=4194304,
            cpu=0.25,
            pending={"detector": 4},
            refused={"damaged": 2, "too_large": 0},
            quantiles_ms={"0.5": 90.5, "0.99": 120.0},
        )

    def test_what_is_none_is_said(self):
        with pytest.raises(ServerFailed, match="Prometheus's text format"):
            read("<html>{not metrics</html>")
        with serving("gone", 404) as url, pytest.raises(ServerFailed, match="404"):
            fetch(url, 5)
        with pytest.raises(ServerUnreachable, match="no metrics at"):
            fetch("http://127.0.0.1:1/metrics", 5)
        with pytest.raises(SettingsError, match="expected http://host:port/metrics"):
            fetch("file:///etc/passwd", 5)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("vision.example", "http://vision.example:8002/metrics"),
            ("grpcs://vision.example:8001", "http://vision.example:8002/metrics"),
            ("dns:///vision:8001", "http://vision:8002/metrics"),
            ("[::1]:8001", "http://[::1]:8002/metrics"),
            ("127.0.0.1:9001", None),
            ("unix:/run/triton", None),
        ],
    )
    def test_where_metrics_usually_are(self, url, expected):
        assert usual_url(url) == expected


class TestStatistics:
    def test_counts_of_every_version(self, fake):
        with TridentClient(fake.url) as client:
            found = client.statistics()
        assert found.ready
        assert found.counts["trident", 1] == VersionCounts(2, 1, 160_000_000, 10_000_000, 122_000_000)
        assert found.counts["detector", 2] == VersionCounts()

    async def test_asyncio_has_the_same(self, fake):
        async with AsyncTridentClient(fake.url) as client:
            assert (await client.statistics()).counts["another", 1].succeeded == 2


class TestWatch:
    def test_looks_follow_each_other(self, fake):
        waited: list[float] = []
        ticks = itertools.count(100.0, 2.0)
        with TridentClient(fake.url) as client, serving(METRICS) as url:
            seen = looks(client, 2.0, url, sleep=waited.append, clock=lambda: next(ticks))
            first, second = next(seen), next(seen)
        assert waited == [2.0, 2.0]
        for look in (first, second):
            assert look.problem == ""
            assert look.flow.model("trident").per_second == 1.0
            assert look.flow.model("trident").failed_per_second == 0.5
        text = shown(view("here:8001", first))
        assert "here:8001: ready  1.0 requests/s, 0.5 failed/s, mean 80 ms, p50 90 ms, p99 120 ms" in text
        assert "memory 1 of 4 MiB, processors 25 %" in text
        assert "pictures refused since the start: 2 damaged\n" in text
        row = next(line for line in text.splitlines() if line.strip().startswith("detector"))
        assert row.split() == ["detector", "1,", "2", "1.0", "0.5", "80.0", "5.0", "61.0", "4"]

    def test_a_server_that_goes_and_comes_back_is_looked_at_again(self, fake):
        with TridentClient(fake.url, retries=Retries(attempts=1)) as client:
            seen = looks(client, 1.0, None, sleep=lambda _: None)
            assert "--metrics-url" in next(seen).problem
            fake.restricted.add("ModelStatistics")
            assert next(seen).flow is None
            fake.restricted.clear()
            assert next(seen).flow.model("trident").per_second > 0

    def test_metrics_that_cannot_be_had_are_a_note(self, fake):
        with TridentClient(fake.url) as client:
            look = next(looks(client, 1.0, "http://127.0.0.1:1/metrics", sleep=lambda _: None))
        assert "note: no metrics at http://127.0.0.1:1/metrics" in shown(view("x", look))
        assert look.flow.model("trident").pending is None

    def test_no_answer_is_said(self):
        assert shown(view("x:8001", Look(problem="gone"))) == "x:8001: no answer (gone)\n"

    @pytest.mark.parametrize("as_json", [True, False])
    def test_without_a_terminal_one_view_follows_the_other_until_ctrl_c(self, fake, monkeypatch, as_json):
        left = [None, None, KeyboardInterrupt()]

        def sleep(seconds):
            assert seconds == 0.5
            if (stop := left.pop(0)) is not None:
                raise stop

        monkeypatch.setattr("time.sleep", sleep)
        monkeypatch.setattr("trident_client.watch.looks.__kwdefaults__", {**looks.__kwdefaults__, "sleep": sleep})
        arguments = ["status", "--watch", "0.5", "--url", fake.url, *(["--json"] if as_json else [])]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        if as_json:
            lines = [json.loads(line) for line in result.stdout.splitlines()]
            assert len(lines) == 2
            assert {line["ready"] for line in lines} == {True}
        else:
            assert result.stdout.count("requests/s,") == 2
            assert "\x1b" not in result.stdout

    def test_no_server_is_one_sentence(self):
        result = CliRunner().invoke(main, ["status", "--watch", "--url", "127.0.0.1:1", "--timeout", "3"])
        assert result.exit_code == 1
        assert result.output.startswith("Error: cannot reach a server at 127.0.0.1:1")
