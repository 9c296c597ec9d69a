"""Bad input of every kind, at a real server: the exact code, a sentence that helps, and nobody else is harmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
import pytest
from tritonclient.grpc import service_pb2

from tests.asking import PHOTOS
from tests.bad_inputs import BAD_REQUESTS, REFUSED, SERVED, BadRequest, Refused, Served, request
from trident.launcher import TritonServer
from trident.supervisor.leftovers import stub_processes

Infer = Callable[[Any], Any]

DEADLINE_S = 30.0
MEBI = 1 << 20
MOST_GROWTH = 400 * MEBI
"""Of all processes together, over the whole corpus. A single one of its bombs would take gigabytes."""


@pytest.fixture(scope="module")
def infer(server: TritonServer) -> Iterator[Infer]:
    """Sends a raw ``ModelInferRequest``: nothing on the way corrects it."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc_url, unlimited) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )
        yield lambda message: call(message, timeout=DEADLINE_S)


def result(response: Any) -> dict[str, Any]:
    return dict(json.loads(response.raw_output_contents[0][4:]))


@pytest.fixture(scope="module")
def golden() -> bytes:
    return (PHOTOS / "coffee.png").read_bytes()


@pytest.fixture(scope="module")
def expected(infer: Infer, golden: bytes) -> dict[str, Any]:
    return result(infer(request(golden)))


@pytest.fixture(autouse=True)
def unharmed(infer: Infer, golden: bytes, expected: dict[str, Any]) -> Iterator[None]:
    """Right after each, a good picture is answered as before, to the last digit."""
    yield
    assert result(infer(request(golden))) == expected


@pytest.fixture(scope="module", autouse=True)
def bounded(server: TritonServer, infer: Infer) -> Iterator[None]:
    """What all of it together leaves in memory."""
    before = memory(server)
    yield
    assert memory(server) - before < MOST_GROWTH


def memory(server: TritonServer) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in stub_processes(str(server.name)))


def refusal(infer: Infer, message: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        infer(message)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
def test_a_picture_that_cannot_be_served_is_refused_with_a_sentence(infer: Infer, bad: Refused) -> None:
    code, sentence = refusal(infer, request(bad.make()))

    assert code == "INVALID_ARGUMENT"
    assert "IMAGE: expected " in sentence
    assert bad.says in sentence
    assert len(sentence) < 600, "a sentence, not a dump"


@pytest.mark.parametrize("odd", SERVED.values(), ids=SERVED.keys())
def test_an_odd_picture_is_served(infer: Infer, odd: Served) -> None:
    answer = result(infer(request(odd.make())))

    assert answer["image"] == {"width": odd.width, "height": odd.height}


@pytest.mark.parametrize("bad", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_breaks_the_protocol_is_refused(infer: Infer, golden: bytes, bad: BadRequest) -> None:
    code, message = refusal(infer, bad.make(golden))

    assert (code, bad.says in message) == (bad.code, True), message


def test_a_batch_that_32_bits_cannot_count_does_no_harm(infer: Infer, golden: bytes, expected: dict[str, Any]) -> None:
    """Triton 2.51 counts it modulo 2^32, and so answers what is there."""
    assert result(infer(request(golden, shape=[(1 << 32) + 1, 1]))) == expected
    assert refusal(infer, request(golden, shape=[(1 << 32) + 2, 1]))[0] == "INVALID_ARGUMENT"


def test_an_output_named_twice_is_one_output(infer: Infer, golden: bytes, expected: dict[str, Any]) -> None:
    assert result(infer(request(golden, outputs=["RESULT", "RESULT"]))) == expected


def test_a_corpus_worth_its_name() -> None:
    assert len(REFUSED) + len(SERVED) + len(BAD_REQUESTS) >= 60
