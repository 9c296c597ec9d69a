"""Admission at the first step: what the server tells of its queues, and what the gate makes of it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from trident.admission import Endpoint, Gate, MetricsUnreadable, Overloaded, Sample, Settings, gate_of_server, parse
from trident.contract import COMPONENTS
from trident.errors import SetupError

METRICS = """
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="preprocess",version="1"} 12
nv_inference_pending_request_count{model="detector",version="2"} 2
nv_inference_pending_request_count{model="detector",version="1"} 1
nv_inference_pending_request_count{model="plate_reader",version="1"} -1
nv_inference_pending_request_count{model="somebody_else_s",version="1"} 99
nv_inference_request_success{model="fusion",version="1"} 40
nv_inference_request_success{model="fusion",version="2"} 2
nv_inference_request_success{model="preprocess",version="1"} 70
nv_inference_request_success_total{model="fusion",version="1"} 1000
"""


class TestGauges:
    def test_versions_of_a_model_are_counted_together_and_the_fullest_queue_counts(self) -> None:
        assert parse(METRICS.splitlines(), COMPONENTS) == Sample(queued=12, behind=3, done=42)

    def test_who_waits_for_a_canary_s_router_waits_in_front_of_the_first_step(self) -> None:
        router = 'nv_inference_pending_request_count{model="trident",version="1"} 30'
        assert parse([*METRICS.splitlines(), router], COMPONENTS) == Sample(queued=42, behind=3, done=42)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="nothing"),
            pytest.param('nv_inference_request_success{model="fusion",version="1"} 40', id="no queues"),
            pytest.param('nv_inference_pending_request_count{model="another",version="1"} 4', id="of other models"),
            pytest.param("nv_inference_pending_request_count{version=1} what", id="another format"),
        ],
    )
    def test_a_server_that_does_not_tell_its_queues_is_none(self, text: str) -> None:
        assert parse(text.splitlines(), COMPONENTS) is None


class TestEndpoint:
    @pytest.mark.parametrize(
        ("flags", "host", "port"),
        [
            pytest.param([], "127.0.0.1", 8002, id="Triton's own"),
            pytest.param(["--metrics-address=0.0.0.0", "--metrics-port=9"], "127.0.0.1", 9, id="every address"),
            pytest.param(["--metrics-port", "9002", "--model-repository=m"], "127.0.0.1", 9002, id="two words"),
            pytest.param(["--http-address=10.0.0.1"], "10.0.0.1", 8002, id="that of HTTP"),
        ],
    )
    def test_is_what_the_server_was_told(self, flags: list[str], host: str, port: int) -> None:
        assert Endpoint.of_flags(flags) == Endpoint(host, port)

    def test_is_none_where_it_is_switched_off(self) -> None:
        assert Endpoint.of_flags(["--allow-metrics", "False"]) is None

    def test_is_none_in_a_process_that_no_server_has_started(self) -> None:
        code = "from trident.admission import Endpoint; print(Endpoint.of_parent())"
        asked = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        assert asked.stdout == "None\n"

    def test_that_nobody_listens_at_says_what_to_do(self) -> None:
        with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
            port = taken.server_address[1]
        with pytest.raises(
            MetricsUnreadable, match=rf"expected Triton's metrics at 127.0.0.1:{port}, got .*allow-metr"
        ):
            Endpoint(port=port).lines()

    def test_keeps_its_connection_and_makes_a_new_one_where_it_was_closed(self, metrics: type[Metrics]) -> None:
        endpoint = Endpoint(port=metrics.port)
        for keeps in (True, True, False, True):
            metrics.keeps = keeps
            assert parse(endpoint.lines(), COMPONENTS) == Sample(12, 3, 42)
        endpoint.close()
        assert metrics.connections == 2


class Metrics(BaseHTTPRequestHandler):
    """A server's metrics port."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    keeps: ClassVar[bool] = True
    connections: ClassVar[int] = 0

    def setup(self) -> None:
        super().setup()
        type(self).connections += 1

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(METRICS)))
        self.end_headers()
        self.wfile.write(METRICS.encode())
        self.close_connection = not self.keeps  # without having said so, as a server that ends

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def metrics() -> Iterator[type[Metrics]]:
    class Mine(Metrics):
        pass

    with HTTPServer(("127.0.0.1", 0), Mine) as server:
        Mine.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Mine
        server.shutdown()
        thread.join()


class World:
    """A server whose slowest model takes ``work_s`` a request, one at a time, with callers who do not wait."""

    def __init__(self, settings: Settings | None = None, *, work_s: float = 0.1) -> None:
        self.now = 100.0
        self.work_s = work_s
        self.queued = 0
        self.behind = 0
        self.done = 0
        self.looks = 0
        self.readable = True
        self._free_at = self.now
        self.gate = Gate(settings or Settings(), self.look, clock=lambda: self.now)

    def look(self) -> Sample:
        self.looks += 1
        if not self.readable:
            raise MetricsUnreadable("nobody answers")
        return Sample(self.queued, self.behind, self.done)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        while self.behind and self._free_at + self.work_s <= self.now:
            self.behind -= 1
            self.done += 1
            self._free_at += self.work_s

    def request(self, timeout_us: int = 0) -> bool:
        """Have one come; gives whether it went on."""
        try:
            self.gate.admit(timeout_us)
        except Overloaded as error:
            assert str(error).startswith("too many requests: ")
            assert str(error).endswith("ask again later")
            return False
        if not self.behind:
            self._free_at = self.now
        self.behind += 1
        return True

    def offer(self, share: float, seconds: float) -> tuple[int, int, int]:
        """Offer that share of what it can do; gives how many came, were let in, and waited at most."""
        came, let_in, most, end = 0, 0, 0, self.now + seconds
        while self.now < end:
            came += 1
            let_in += self.request()
            most = max(most, self.behind)
            self.pass_time(self.work_s / share)
        return came, let_in, most


class TestGate:
    def test_an_idle_server_is_asked_next_to_nothing(self) -> None:
        world = World()
        for _ in range(40):
            assert world.request()
            world.pass_time(5.0)
        assert world.looks <= 11

    @pytest.mark.parametrize("work_s", [0.01, 0.1, 0.5], ids=["a fast machine", "a usual one", "a slow one"])
    def test_three_times_too_many_keep_it_busy_and_wait_as_long_on_any_machine(self, work_s: float) -> None:
        world = World(work_s=work_s)
        came, _, most = world.offer(3.0, 60.0)
        assert most <= 1.2 * max(24, 2.0 / work_s) + 1
        assert world.done >= 0.97 * 60.0 / work_s
        assert came >= 2.9 * world.done
        assert world.gate.pace == pytest.approx(1 / work_s, rel=0.1)

    def test_what_it_can_answer_is_all_let_in(self) -> None:
        world = World()
        came, let_in, _ = world.offer(0.9, 60.0)
        assert came == let_in > 500

    def test_afterwards_all_is_let_in_again(self) -> None:
        world = World()
        world.offer(3.0, 20.0)
        world.pass_time(5.0)
        came, let_in, most = world.offer(0.5, 20.0)
        assert came == let_in
        assert most <= 2

    def test_a_burst_may_wait_before_the_pace_is_known(self) -> None:
        world = World(Settings(burst=30), work_s=10.0)
        assert [world.request() for _ in range(32)] == [True] * 30 + [False] * 2

    def test_no_more_than_memory_has_room_for_may_wait(self) -> None:
        world = World(Settings(most=50), work_s=0.001)
        assert world.offer(3.0, 5.0)[2] <= 51

    def test_whoever_says_that_there_is_little_time_is_refused_sooner(self) -> None:
        world = World()
        world.offer(3.0, 10.0)
        while world.behind > 10:
            world.pass_time(0.1)
        assert not world.request(timeout_us=1_800_000)
        assert world.request(timeout_us=2_200_000)

    def test_where_the_first_step_is_the_slow_one_it_sheds_as_well(self) -> None:
        """Then nothing waits behind it."""
        world = World(work_s=0.0001)
        for _ in range(60):
            world.queued = 60
            # Decoding: 10 a second. A refusal takes next to nothing.
            world.pass_time(0.1 if world.request() else 0.001)
        assert world.gate.pace == pytest.approx(10.0, rel=0.2)
        # At each look 36 of the 60 are too many.
        assert sum(not world.request() for _ in range(60)) == pytest.approx(36, abs=4)

    def test_nobody_is_refused_for_what_was_seen_long_ago(self) -> None:
        world = World()
        world.offer(3.0, 20.0)
        assert not world.request()
        world.behind = 0
        world.pass_time(0.05)
        assert world.request()

    def test_models_that_take_nothing_any_more_get_no_more(self) -> None:
        world = World(work_s=1e9)
        assert sum(world.request() for _ in range(500)) == 24

    def test_is_open_while_the_queues_cannot_be_seen_and_says_so_once(self, caplog: pytest.LogCaptureFixture) -> None:
        world = World(work_s=1e9)
        world.readable = False
        with caplog.at_level(logging.WARNING, "trident.admission"):
            for _ in range(40):
                assert world.request()
                world.pass_time(0.5)
        assert [record.message for record in caplog.records] == ["admission: nobody answers"]
        assert world.looks == 20  # once a second
        world.readable = True
        world.pass_time(1.0)
        assert not world.request()

    def test_zero_opens_it_for_good(self) -> None:
        world = World(Settings(max_wait_s=0.0), work_s=1e9)
        assert all(world.request() for _ in range(100))
        assert world.looks == 0

    def test_a_last_step_that_was_loaded_anew_counts_from_zero_and_does_no_harm(self) -> None:
        world = World()
        world.offer(3.0, 20.0)
        world.done = 0
        world.offer(3.0, 20.0)
        assert world.gate.pace == pytest.approx(10.0, rel=0.2)


class TestSettings:
    def test_come_from_the_model_s_parameters(self) -> None:
        given = {"max_wait_seconds": "3", "burst": "7", "max_megapixels": "50"}
        assert Settings.from_parameters(given, 40) == Settings(3.0, 7, 40)
        assert Settings.from_parameters({}) == Settings()

    @pytest.mark.parametrize("text", ["-1", "much", "inf", "nan", ""])
    def test_a_value_that_is_no_number_is_refused(self, text: str) -> None:
        with pytest.raises(SetupError, match="parameter burst: expected a number of 0 or more"):
            Settings.from_parameters({"burst": text})

    def test_a_configuration_with_one_that_is_not_is_refused(self) -> None:
        with pytest.raises(SetupError, match="max_wait_seconds"):
            gate_of_server({"parameters": {"max_wait_seconds": {"string_value": "long"}}})
