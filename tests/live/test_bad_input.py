"""Bad input of every kind, at a real server: the exact code, a sentence that helps, and nobody else is harmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferenceServerException, service_pb2

from tests.asking import PHOTOS, analyze
from tests.bad_inputs import BAD_REQUESTS, REFUSED, SERVED, BadRequest, Refused, Served, request
from tests.pictures import corners, encode
from tests.tiny_trident import write_repository
from trident.launcher import TritonServer
from trident.model_config import read_config
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


@pytest.fixture
def gathering(tmp_path: Path) -> Iterator[TritonServer]:
    """A server whose first step waits for requests, to answer up to 8 of them together; the shipped one does not."""
    repository = write_repository(tmp_path / "models", versions=1)
    config = read_config(repository / "preprocess")
    config.instance_group[0].count = 1
    del config.dynamic_batching.preferred_batch_size[:]
    config.dynamic_batching.max_queue_delay_microseconds = 2_000_000
    (repository / "preprocess" / "config.pbtxt").write_text(text_format.MessageToString(config))
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path / 'gallery.db'}"}
    with TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, env=gallery) as server:
        yield server


def test_a_bad_picture_among_requests_that_the_server_gathers_fails_its_own_alone(gathering: TritonServer) -> None:
    """Good ones of different sizes and bad ones of different kinds, so that none can pass for another."""
    good = {(40 + 10 * number, 30): encode(corners(40 + 10 * number, 30)) for number in range(5)}
    bad = {"got text": b"no picture", "a GIF picture": b"GIF89a" + bytes(9), "got no bytes": b""}

    with ThreadPoolExecutor(len(good) + len(bad)) as pool, InferenceServerClient(gathering.grpc_url) as client:
        answers = {size: pool.submit(analyze, client, picture) for size, picture in good.items()}
        refusals = {says: pool.submit(analyze, client, picture) for says, picture in bad.items()}
        for (width, height), answer in answers.items():
            assert answer.result()[0]["image"] == {"width": width, "height": height}
        for says, refusal in refusals.items():
            error = refusal.exception()
            assert isinstance(error, InferenceServerException)
            assert error.status() == "StatusCode.INVALID_ARGUMENT"
            assert says in error.message()
        statistics = client.get_inference_statistics("preprocess").model_stats[0]

    gathered = max(batch.batch_size for batch in statistics.batch_stats)
    assert gathered > max(len(good), len(bad)), "good and bad ones were not answered together: this shows nothing"


def test_a_corpus_worth_its_name() -> None:
    assert len(REFUSED) + len(SERVED) + len(BAD_REQUESTS) >= 60
