"""More than a server can answer: every request ends, in an answer or a refusal, and afterwards all is as before.

On a server of its own, which the other tests need not care about.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.grpc import service_pb2

from benchmarks.served import own_server
from benchmarks.transport import METHOD
from tests.asking import analyze, eventually
from trident.admission import Endpoint, Sample, parse
from trident.contract import COMPONENTS, MODELS
from trident.launcher import TritonServer
from trident_client.wire import analyze_request

DEADLINE_S = 40.0
SLACK_S = 10.0
SOON_S = 5.0
"""Within which half of the refusals come. Theirs is a wait in one short queue; on a busy machine it was 2 s."""
LATEST_S = 20.0
"""Within which all of them come: half of the time that a request has, and 4 times what was seen on a busy machine."""
AT_ONCE = (60, 120, 240, 480)
"""How many fit depends on the machine's pace: the number grows until some are refused."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with own_server(tmp_path_factory.mktemp("overload")) as running:
        yield running
        assert running.running, running.failure()


@pytest.fixture
def queues(server: TritonServer) -> Callable[[], Sample]:
    """``queues()``: where requests wait now."""
    return queues_of(server)


def queues_of(server: TritonServer) -> Callable[[], Sample]:
    endpoint = Endpoint(port=server.ports["metrics"], answer_s=SLACK_S)

    def look() -> Sample:
        found = parse(endpoint.lines(), COMPONENTS)
        assert found is not None
        return found

    return look


Ended = tuple[str, str, float]
"""Code, message and seconds of a request."""


async def ask_at_once(url: str, request: bytes, count: int) -> list[Ended]:
    """What becomes of requests that are all sent at once."""
    async with grpc.aio.insecure_channel(url) as channel:
        call = channel.unary_unary(METHOD, None, service_pb2.ModelInferResponse.FromString)

        async def one() -> tuple[str, str, float]:
            begun = time.monotonic()
            try:
                await call(request, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                return error.code().name, error.details() or "", time.monotonic() - begun
            return "OK", "", time.monotonic() - begun

        return await asyncio.gather(*(one() for _ in range(count)))


def golden(server: TritonServer, picture: bytes) -> dict[str, Any]:
    with grpcclient.InferenceServerClient(server.grpc_url) as client:
        return analyze(client, picture)[0]


async def leave(server: TritonServer, queues: Callable[[], Sample], picture: bytes, count: int) -> int:
    """Ask at once, and go as soon as the first is answered; how many had been answered then, since the start."""
    done = queues().done
    asked = asyncio.create_task(ask_at_once(server.grpc_url, request_of(picture), count))
    while (answered := queues().done) == done:  # the others wait, or are worked on
        await asyncio.sleep(0.02)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    return answered


def request_of(picture: bytes) -> bytes:
    return bytes(analyze_request(picture, request_id="", tensors=False).SerializeToString())


def test_a_burst_is_answered_or_refused_at_once(
    server: TritonServer, queues: Callable[[], Sample], photo: Callable[[str], bytes]
) -> None:
    picture = photo("chelsea.png")
    before = golden(server, picture)
    most = 0

    async def burst(count: int) -> list[Ended]:
        nonlocal most
        asked = asyncio.create_task(ask_at_once(server.grpc_url, request_of(picture), count))
        while not asked.done():
            most = max(most, (await asyncio.to_thread(queues)).behind)
            await asyncio.sleep(0.1)
        return await asked

    for count in AT_ONCE:
        ended = asyncio.run(burst(count))
        codes = Counter(code for code, _, _ in ended)
        assert set(codes) <= {"OK", "UNAVAILABLE"}, [message for _, message, _ in ended]
        assert max(seconds for _, _, seconds in ended) < DEADLINE_S + SLACK_S
        refused_s = [seconds for code, _, seconds in ended if code == "UNAVAILABLE"]
        assert max(refused_s, default=0.0) < LATEST_S
        assert not refused_s or statistics.median(refused_s) < SOON_S
        if codes["UNAVAILABLE"]:
            break

    assert codes["OK"] > 0
    assert codes["UNAVAILABLE"] > 0
    refusals = {message for code, message, _ in ended if code == "UNAVAILABLE"}
    assert all(message.endswith(("ask again later", "Exceeds maximum queue size")) for message in refusals), refusals
    assert any("too many requests: " in message for message in refusals), refusals
    # Each of the two instances of preprocess may let in as many as may wait.
    assert most < count, "nothing was held off"
    assert golden(server, picture) == before


def test_requests_whose_callers_have_gone_are_not_worked_on(
    server: TritonServer, queues: Callable[[], Sample], photo: Callable[[str], bytes]
) -> None:
    picture = photo("chelsea.png")
    before = golden(server, picture)
    count = 40

    answered = asyncio.run(leave(server, queues, picture, count))

    assert eventually(lambda: (found := queues()).queued == found.behind == 0, SLACK_S * 4)
    # Those that were being worked on, one or two for each step.
    assert queues().done - answered < count / 4
    assert server.running, server.failure()
    assert golden(server, picture) == before


def test_whoever_has_little_time_is_refused_and_others_wait(
    server: TritonServer, photo: Callable[[str], bytes]
) -> None:
    """Triton's parameter ``timeout``, in microseconds: less than one picture takes in the first step."""
    picture = photo("chelsea.png")
    hurried = analyze_request(picture, request_id="", tensors=False)
    hurried.parameters["timeout"].int64_param = 1000
    count = 24

    async def both() -> tuple[list[Ended], list[Ended]]:
        patient = asyncio.create_task(ask_at_once(server.grpc_url, request_of(picture), 10))
        await asyncio.sleep(0.3)
        return await ask_at_once(server.grpc_url, hurried.SerializeToString(), count), await patient

    in_a_hurry, patient = asyncio.run(both())

    assert {code for code, _, _ in patient} == {"OK"}
    assert {code for code, _, _ in in_a_hurry} <= {"OK", "UNAVAILABLE"}, in_a_hurry
    messages = [message for code, message, _ in in_a_hurry if code == "UNAVAILABLE"]
    # Each instance of the first step takes what finds it idle, and refuses it only where it knows the pace by now.
    assert len(messages) > count / 2, in_a_hurry
    assert all("Request timeout expired" in message or "half of the 0.001 s" in message for message in messages)


def test_nothing_of_callers_who_have_gone_is_kept(tmp_path: Path, photo: Callable[[str], bytes]) -> None:
    """Triton unloads no model that has an answer to give back, and waits until its grace is over."""
    with own_server(tmp_path) as server:
        queues = queues_of(server)
        asyncio.run(leave(server, queues, photo("chelsea.png"), 40))
        assert eventually(lambda: not queues().waiting, SLACK_S * 4)
        assert server.running, server.failure()

    said = [entry.text for entry in server.log_entries]
    assert "All models are stopped, unloading models" in said
    assert not [text for text in said if "Exit timeout" in text]
    unloaded = {model for text in said for model in MODELS if text.startswith(f"successfully unloaded '{model}'")}
    assert unloaded == set(MODELS)
