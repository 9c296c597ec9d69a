"""Bad input of every kind, at a real server: the exact code, a sentence that helps, and nobody else is harmed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, InferenceServerException, service_pb2

from benchmarks.transport import METHOD
from tests.asking import PHOTOS, analyze, eventually
from tests.bad_inputs import REFUSED, SERVED, Refused, Served
from tests.bad_requests import (
    BAD_REQUESTS,
    CLASSES_OF_A_TEXT,
    GIGANTIC,
    WITHOUT_EFFECT,
    Around,
    BadRequest,
    request,
)
from tests.peaks import Peaks
from tests.pictures import corners, encode, webp_of_one_colour
from tests.serving import server_ended_at_once
from tests.tiny_trident import write_repository
from trident.contract import ENSEMBLE, MODELS
from trident.launcher import TritonServer
from trident.model_config import read_config
from trident.supervisor.leftovers import SHARED_MEMORY

DEADLINE_S = 60.0
MEBI = 1 << 20
MOST_AT_ONCE = 1200 * MEBI
"""By how much one input may raise the peak of any process of the server. The costliest that are served, 50 megapixels
with alpha, take 0.8 GB; what the corpus has of bombs would take 1.5 GB and more."""
MOST_COPIES = 4
"""How often a process may hold a message at once, besides."""
MOST_KEPT = 400 * MEBI
"""By how much all processes together may be larger after the whole corpus, shared memory left out."""
KEPT_COPIES = 3
"""How many of the longest message may be kept besides: Triton uses the objects of requests again, however large."""


@dataclass(slots=True)
class Caller:
    """Sends raw ``ModelInferRequest``s: nothing on the way corrects them."""

    call: Any
    longest: int = 0
    """Bytes of the longest one so far."""
    latest: int = 0
    """Bytes of the longest one since this was set to 0."""

    def __call__(self, message: Any) -> Any:
        data = message.SerializeToString()
        self.longest, self.latest = max(self.longest, len(data)), max(self.latest, len(data))
        return self.call(data, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def infer(server: TritonServer) -> Iterator[Caller]:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc_url, unlimited) as channel:
        yield Caller(channel.unary_unary(METHOD, None, service_pb2.ModelInferResponse.FromString))


def result(response: Any) -> dict[str, Any]:
    index = [output.name for output in response.outputs].index("RESULT")
    return dict(json.loads(response.raw_output_contents[index][4:]))


@pytest.fixture(scope="module")
def golden() -> bytes:
    return (PHOTOS / "coffee.png").read_bytes()


@pytest.fixture(scope="module")
def expected(infer: Caller, golden: bytes) -> dict[str, Any]:
    return result(infer(request(golden)))


@pytest.fixture(autouse=True)
def unharmed(infer: Caller, golden: bytes, expected: dict[str, Any]) -> Iterator[None]:
    """Right after each, a good picture is answered as before, to the last digit."""
    yield
    assert result(infer(request(golden))) == expected


def processes(server: TritonServer) -> dict[int, str]:
    """Names of Triton's own process and of those that it has started, by their ids."""
    assert server.guard_pid is not None
    return {process.pid: process.name() for process in psutil.Process(server.guard_pid).children(recursive=True)}


@pytest.fixture(autouse=True)
def peaks(server: TritonServer, infer: Caller, expected: dict[str, Any]) -> Iterator[Peaks | None]:
    """What each takes of memory while it is looked at; None where peaks of other processes cannot be measured."""
    names, infer.latest = processes(server), 0
    try:
        measured = Peaks(names)
    except PermissionError:
        yield None
        return
    yield measured
    for pid, grown in measured.grown().items():
        assert grown < MOST_AT_ONCE + MOST_COPIES * infer.latest, f"{names[pid]}: {grown / MEBI:.0f} MiB at its most"


@pytest.fixture(scope="module", autouse=True)
def bounded(server: TritonServer, infer: Caller, expected: dict[str, Any]) -> Iterator[None]:
    """What all of it together leaves in memory."""
    before = private_memory(server)
    yield
    assert private_memory(server) - before < MOST_KEPT + KEPT_COPIES * infer.longest


def private_memory(server: TritonServer) -> int:
    found = (psutil.Process(pid).memory_info() for pid in processes(server))
    return sum(memory.rss - memory.shared for memory in found)


def refusal(infer: Caller, message: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        infer(message)
    return caught.value.code().name, caught.value.details()


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED.keys())
def test_a_picture_that_cannot_be_served_is_refused_with_a_sentence(infer: Caller, bad: Refused) -> None:
    code, sentence = refusal(infer, request(bad.make()))

    assert code == "INVALID_ARGUMENT"
    assert "IMAGE: expected " in sentence
    assert bad.says in sentence
    assert len(sentence) < 600, "a sentence, not a dump"


@pytest.mark.parametrize("odd", SERVED.values(), ids=SERVED.keys())
def test_an_odd_picture_is_served(infer: Caller, odd: Served) -> None:
    """With the size that a viewer shows; that its pixels are right is shown without a server (test_bad_inputs.py)."""
    answer = result(infer(request(odd.make())))

    height, width, _ = odd.shows().shape
    assert answer["image"] == {"width": width, "height": height}


@pytest.mark.parametrize("bad", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_breaks_the_protocol_is_refused(infer: Caller, golden: bytes, bad: BadRequest) -> None:
    code, message = refusal(infer, bad.make(golden))

    assert (code, bad.says in message) == (bad.code, True), message


@pytest.mark.parametrize("bad", GIGANTIC.values(), ids=GIGANTIC.keys())
def test_a_gigantic_message_is_refused(infer: Caller, golden: bytes, bad: BadRequest) -> None:
    asked = bad.make(golden)
    if asked.ByteSize() * 2 > shutil.disk_usage(SHARED_MEMORY).free:
        pytest.skip(f"{SHARED_MEMORY}, through which Triton hands requests to Python, has no room for the message")
    code, message = refusal(infer, asked)

    assert (code, bad.says in message) == (bad.code, True), message[:1000]


@pytest.mark.parametrize("around", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT.keys())
def test_what_looks_odd_and_means_nothing_changes_no_answer(
    infer: Caller, golden: bytes, expected: dict[str, Any], around: Around
) -> None:
    asked = around(golden)
    answer = infer(asked)

    names = {output.name for output in asked.outputs} or {output.name for output in MODELS[ENSEMBLE].outputs}
    assert sorted(output.name for output in answer.outputs) == sorted(names)
    assert result(answer) == expected


def test_a_batch_that_32_bits_cannot_count_does_no_harm(infer: Caller, golden: bytes, expected: dict[str, Any]) -> None:
    """Triton 2.51 counts it modulo 2^32, and so answers what is there."""
    assert result(infer(request(golden, shape=[(1 << 32) + 1, 1]))) == expected
    assert refusal(infer, request(golden, shape=[(1 << 32) + 2, 1]))[0] == "INVALID_ARGUMENT"


def test_the_peak_of_what_is_taken_and_given_back_is_seen(
    server: TritonServer, infer: Caller, peaks: Peaks | None
) -> None:
    """With the largest picture that is served; without this, nothing above would show that memory is bounded."""
    if peaks is None:
        pytest.skip("the peaks of other processes cannot be measured here: /proc/PID/clear_refs may not be written")
    answer = result(infer(request(webp_of_one_colour(7000, 7000))))

    assert answer["image"] == {"width": 7000, "height": 7000}
    grown, kept = peaks.grown(), peaks.kept()
    pid = max(grown, key=lambda pid: grown[pid])
    assert grown[pid] > 140 * MEBI, "three bytes a pixel at least"
    assert kept[pid] < grown[pid] / 2


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
    with server_ended_at_once(repository, env=gallery) as server:
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


def test_a_server_that_is_asked_for_the_classes_of_a_text(tmp_path: Path, golden: bytes) -> None:
    """On a server of its own, since 2.51 has no answer to this but its end."""
    repository = write_repository(tmp_path / "models", versions=1)
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path / 'gallery.db'}"}
    with (
        TritonServer(repository, grpc_port=0, http_port=0, metrics_port=0, env=gallery) as server,
        grpc.insecure_channel(server.grpc_url) as channel,
    ):
        asked = Caller(channel.unary_unary(METHOD, None, service_pb2.ModelInferResponse.FromString))
        code, message = refusal(asked, CLASSES_OF_A_TEXT.make(golden))
        if eventually(lambda: not server.running, 2.0):
            pytest.xfail("this release of Triton ends when it is asked for the classes of an output that holds texts")

        assert (code, CLASSES_OF_A_TEXT.says in message) == (CLASSES_OF_A_TEXT.code, True), message
        assert result(asked(request(golden)))["image"] == {"width": 600, "height": 400}


def test_a_corpus_worth_its_name() -> None:
    assert len(REFUSED) + len(BAD_REQUESTS) + len(GIGANTIC) >= 60
