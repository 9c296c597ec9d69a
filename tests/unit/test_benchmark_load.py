"""The load generator: when it sends, what it records, and what is made of the records."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.answers import (
    BAD_ANSWER,
    NOT_SENT,
    OK,
    Answer,
    failures,
    latencies,
    read_answers,
    summarise,
)
from benchmarks.intervals import ratio_of_percentiles
from benchmarks.load import Arrivals, Generator, Load, Plan, arrival_times, check_loopback, saturated_rate
from trident.errors import SetupError

DIGEST = "sha256:" + "ab" * 32
RESULT = {"schema": 1, "models": {"classifier": {"version": 2, "digest": DIGEST}}}


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers with what it was told to, in turn; fails where that is a status."""

    def __init__(self, answers: list[Any], seconds: float = 0.0) -> None:
        self.answers, self.seconds, self.asked = answers, seconds, 0

    def ModelInfer(self, request, context):  # noqa: N802 - gRPC calls it so
        answer = self.answers[self.asked % len(self.answers)]
        self.asked += 1
        if self.seconds:
            # Not a sleep: the request's deadline ends it.
            context_ended = futures.Future()
            context.add_callback(lambda: context_ended.set_result(None))
            futures.wait([context_ended], timeout=self.seconds)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as\nit was told")
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="RESULT", datatype="BYTES", shape=[1, 1])
        response.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
        return response


@contextmanager
def serving(*answers: Any, seconds: float = 0.0) -> Iterator[tuple[str, Server]]:
    server, service = grpc.server(futures.ThreadPoolExecutor(32)), Server(list(answers), seconds)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", service
    finally:
        server.stop(None).wait()


def records(url: str, plan: Plan, tmp_path: Path) -> tuple[Answer, ...]:
    async def run(sink) -> None:
        await Generator(url, {"one": b"picture"}, plan, sink).run()

    file = tmp_path / "answers.jsonl"
    with file.open("w", encoding="utf-8") as sink:
        asyncio.run(run(sink))
    return read_answers(file).records


def answer(planned: float = 0.0, seconds: float = 0.1, code: str = OK, **more: Any) -> Answer:
    return Answer(0, "one", planned, planned, planned + seconds, code, **more)


def test_fixed_arrivals_are_equally_far_apart():
    plan = Plan(seconds=10, rate=4, arrivals=Arrivals.FIXED, requests=9)
    np.testing.assert_allclose(list(arrival_times(plan, 100.0)), 100.0 + np.arange(9) / 4)


def test_poisson_arrivals_have_the_rate_and_spread_of_a_poisson_process():
    gaps = np.diff(list(arrival_times(Plan(seconds=2000, rate=10, seed=3), 0.0)))
    assert len(gaps) == pytest.approx(20_000, rel=0.03)
    # Of an exponential distribution mean and standard deviation are the same.
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)
    assert gaps.std() == pytest.approx(0.1, rel=0.03)


def test_the_seed_decides_the_arrivals():
    first, again, other = (list(arrival_times(Plan(seconds=5, rate=20, seed=seed), 0.0)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("seconds", "requests", "expected"), [(1.0, 1000, 11), (100.0, 7, 7)], ids=["time", "number"])
def test_arrivals_end_with_the_time_or_the_number(seconds, requests, expected):
    plan = Plan(seconds=seconds, rate=10, requests=requests, arrivals=Arrivals.FIXED)
    assert len(list(arrival_times(plan, 0.0))) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 1.0, "workers": 1},
        {},
        {"rate": 0.0},
        {"rate": 1.0, "seconds": 1e9},
        {"rate": 1.0, "requests": 0},
        {"workers": 0},
        {"rate": 1.0, "timeout_s": 0.0},
        {"rate": 1.0, "most_in_flight": 0},
    ],
    ids=lambda wrong: ",".join(wrong) or "neither",
)
def test_a_plan_is_bounded(wrong):
    with pytest.raises(SetupError, match="load: "):
        Plan(**{"seconds": 1.0, **wrong})


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "localhost:8001", "127.0.0.9", "[::1]:8001", "grpc://127.0.0.1"])
def test_this_machine_may_be_loaded(url):
    check_loopback(url)


@pytest.mark.parametrize("url", ["10.0.0.1:8001", "example.org", "dns:///127.0.0.1.example.org:8001", "0.0.0.0:8001"])
def test_others_may_not(url):
    with pytest.raises(SetupError, match="--remote"):
        check_loopback(url)


def test_what_is_recorded_of_an_answer(tmp_path):
    with serving(RESULT) as (url, _):
        got = records(url, Plan(seconds=5, rate=100, requests=5, arrivals=Arrivals.FIXED), tmp_path)
    assert [one.number for one in got] == [0, 1, 2, 3, 4]
    assert all(one.ok and one.picture == "one" for one in got)
    assert all(one.planned <= one.sent <= one.done for one in got)
    assert np.diff([one.planned for one in got]) == pytest.approx([0.01] * 4, abs=1e-6)
    assert (got[0].models["classifier"].version, got[0].models["classifier"].digest) == (2, DIGEST)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (grpc.StatusCode.INTERNAL, "INTERNAL"),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (b"no json", BAD_ANSWER),
        ({"schema": 2, "models": {"classifier": {"version": 1, "digest": DIGEST}}}, BAD_ANSWER),
        ({"schema": 1, "models": {}}, BAD_ANSWER),
        ({"schema": 1}, BAD_ANSWER),
    ],
    ids=["internal", "unavailable", "no json", "other schema", "no models", "models missing"],
)
def test_what_fails_is_recorded_and_never_asked_again(given, code, tmp_path):
    with serving(given, RESULT) as (url, service):
        first, second = records(url, Plan(seconds=5, rate=50, requests=2, arrivals=Arrivals.FIXED), tmp_path)
    assert (first.code, second.code, service.asked) == (code, OK, 2)
    assert first.message
    assert "\n" not in first.message


def test_a_deadline_is_kept(tmp_path):
    with serving(RESULT, seconds=5) as (url, _):
        (got,) = records(url, Plan(seconds=5, rate=50, requests=1, timeout_s=0.2), tmp_path)
    assert got.code == "DEADLINE_EXCEEDED"
    assert 200 <= got.latency_ms - got.delay_ms < 2000


def test_an_open_loop_does_not_wait_for_answers(tmp_path):
    with serving(RESULT, seconds=0.5) as (url, _):
        got = records(url, Plan(seconds=5, rate=50, requests=10, arrivals=Arrivals.FIXED), tmp_path)
    assert max(one.sent for one in got) < min(one.done for one in got)
    assert all(one.ok for one in got)


def test_what_is_too_much_to_have_in_flight_counts_as_failed(tmp_path):
    plan = Plan(seconds=5, rate=100, requests=10, arrivals=Arrivals.FIXED, most_in_flight=3)
    with serving(RESULT, seconds=1) as (url, service):
        got = records(url, plan, tmp_path)
    assert [one.code for one in got] == [OK] * 3 + [NOT_SENT] * 7
    assert service.asked == 3


def test_latency_counts_from_the_planned_moment(tmp_path):
    """A generator that is late itself must not make the server look faster."""

    async def run(sink) -> None:
        generator = Generator(url, {"one": b"picture"}, Plan(seconds=5, rate=1000, requests=2), sink)
        await generator._transport.connect()
        request = generator._next()[2]
        now = generator._clock()
        generator._write({"unix_minus_monotonic": 0.0})
        await generator._ask(0, "one", request, now - 3.0)
        await generator._transport.close()

    sink = io.StringIO()
    with serving(RESULT) as (url, _):
        asyncio.run(run(sink))
    file = tmp_path / "answers.jsonl"
    file.write_text(sink.getvalue())
    (got,) = read_answers(file).records
    assert got.latency_ms > 3000
    assert got.delay_ms >= 3000


def test_a_closed_loop_keeps_its_callers_busy(tmp_path):
    with serving(RESULT, seconds=0.05) as (url, _):
        got = records(url, Plan(seconds=1.0, workers=4), tmp_path)
    rate = saturated_rate(read_answers(tmp_path / "answers.jsonl"), leave_out_s=0.2)
    assert rate < 4 / 0.05 * 1.05
    assert rate > 0.3 * 4 / 0.05
    in_flight = [sum(other.sent <= one.sent < other.done for other in got) for one in got]
    assert max(in_flight) == 4


def test_no_server_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.transport.CONNECTED_WITHIN_S", 0.2)
    with pytest.raises(SetupError, match="no server answers"):
        records("127.0.0.1:1", Plan(seconds=1, rate=1), tmp_path)


def test_a_load_in_a_process_of_its_own_can_be_stopped(tmp_path):
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"picture")
    with (
        serving(RESULT) as (url, service),
        Load(url, [picture], Plan(seconds=60, rate=50), tmp_path / "answers.jsonl") as load,
    ):
        while load.count() < 5:
            pass
        answers = load.stop()
    assert len(answers.records) == load.count() == service.asked
    assert not failures(answers.records)


def test_a_load_that_fails_says_why(tmp_path):
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"picture")
    with (
        Load("10.1.2.3:8001", [picture], Plan(seconds=1, rate=50), tmp_path / "answers.jsonl") as load,
        pytest.raises(SetupError, match="this machine"),
    ):
        load.wait()


def test_records_that_are_cut_off_lose_only_the_last_line(tmp_path):
    with serving(RESULT) as (url, _):
        records(url, Plan(seconds=5, rate=100, requests=3), tmp_path)
    file = tmp_path / "answers.jsonl"
    file.write_text(file.read_text()[:-10])
    assert len(read_answers(file).records) == 2


def test_something_else_than_records_is_refused(tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text('{"a": 1}\n')
    with pytest.raises(SetupError, match="records of a load"):
        read_answers(file)


def test_percentiles_are_of_what_was_answered():
    answers = [answer(seconds=number / 1000) for number in range(1, 102)] + [answer(seconds=9.0, code="INTERNAL")]
    found = summarise(latencies(answers))
    assert found is not None
    assert found.count == 101
    assert (found.p50, found.p95, found.p99, found.worst) == pytest.approx((51.0, 96.0, 100.0, 101.0))
    assert summarise(latencies([])) is None


def test_a_ratio_of_percentiles_says_how_sure_it_is():
    chance = np.random.default_rng(1)
    steady, twice = chance.exponential(100.0, 3000), 2 * chance.exponential(100.0, 3000)
    steady, twice = np.split(steady, 100), np.split(twice, 100)
    ratio = ratio_of_percentiles(twice, steady)
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0, rel=0.15)
    assert ratio.low < ratio.value < ratio.high
    few = ratio_of_percentiles(twice[:5], steady, percent=90)
    many = ratio_of_percentiles(twice, steady, percent=90)
    assert few is not None and many is not None
    assert few.high - few.low > many.high - many.low
    assert ratio_of_percentiles([], steady) is None
    assert ratio_of_percentiles([np.array([])], steady) is None


def test_stretches_that_are_slow_as_a_whole_make_a_ratio_less_sure():
    chance = np.random.default_rng(2)
    steady = np.split(chance.exponential(100.0, 3000), 30)
    mixed = np.split(chance.exponential(100.0, 3000), 30)
    bursts = [(3.0 if number < 3 else 1.0) * stretch for number, stretch in enumerate(mixed)]
    calm, wild = ratio_of_percentiles(mixed, steady), ratio_of_percentiles(bursts, steady)
    alone = ratio_of_percentiles([np.array([value]) for value in np.concatenate(bursts)], steady)
    assert calm is not None and wild is not None and alone is not None
    assert wild.high - wild.low > 1.3 * (alone.high - alone.low)
    assert wild.value > calm.value
