"""The clients over real gRPC against a server in this process: retries, deadlines, many pictures, errors."""

from __future__ import annotations

import asyncio
import io
import itertools
import threading
import time

import grpc
import numpy as np
import pytest
from fake_server import Answer, FakeServer, result, running
from PIL import Image

from trident_client import (
    AccessDenied,
    AnswerError,
    AsyncTridentClient,
    ClientClosed,
    ClientError,
    DeadlineExceeded,
    NotServed,
    PictureRefused,
    PictureUnreadable,
    Retries,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    SettingsError,
    TridentClient,
)
from trident_client.errors import from_grpc, lost_connection

UNAVAILABLE = Answer(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
QUICK = Retries(first_backoff=0.01, longest_backoff=0.02)


@pytest.fixture
def fake():
    with running(FakeServer()) as server:
        yield server


@pytest.fixture
def client(fake):
    with TridentClient(fake.url, retries=QUICK, timeout=10) as client:
        yield client


def test_an_answer_comes_back_typed_and_the_picture_went_out_unchanged(fake, client):
    analysis = client.analyze(b"picture")
    assert fake.pictures == [b"picture"]
    assert analysis.objects[0].fine_label == "minivan"
    assert analysis.tensors is None
    assert [output.name for output in fake.requests[0].outputs] == ["RESULT"]
    assert analysis.request_id == fake.requests[0].id != ""


def test_a_request_is_called_what_the_caller_says(fake, client):
    assert client.analyze(b"a", request_id="order-4711.1").request_id == "order-4711.1"
    fake.script = [Answer(grpc.StatusCode.INTERNAL, "why")]
    with pytest.raises(ServerFailed) as caught:
        client.analyze(b"a", request_id="order:4712_2")
    assert caught.value.request_id == "order:4712_2"
    assert [request.id for request in fake.requests] == ["order-4711.1", "order:4712_2"]


async def test_with_asyncio_a_request_is_called_so_too(fake):
    async with AsyncTridentClient(fake.url, retries=QUICK) as client:
        assert (await client.analyze(b"a", request_id="order-4711.1")).request_id == "order-4711.1"
        with pytest.raises(SettingsError):
            await client.analyze(b"a", request_id="")
    assert [request.id for request in fake.requests] == ["order-4711.1"]


@pytest.mark.parametrize("request_id", ["", "a b", "a\nb", "x" * 65, "皖A06725", 7])
def test_an_id_that_is_unfit_for_a_log_is_not_sent(fake, client, request_id):
    with pytest.raises(SettingsError, match="request_id: expected 1 to 64"):
        client.analyze(b"a", request_id=request_id)
    assert fake.requests == []


def test_every_request_has_an_id_of_its_own(fake, client):
    client.analyze(b"a")
    client.analyze(b"b")
    assert len({request.id for request in fake.requests}) == 2


def test_tensors_come_on_request(fake, client):
    tensors = client.analyze(b"picture", tensors=True).tensors
    assert tensors.class_probabilities.shape == (1000,)
    assert tensors.box_classes.dtype == np.int32
    assert tensors.category_evidence.shape == (80, 3)


def test_unavailable_twice_and_then_answered(fake, client):
    fake.script = [UNAVAILABLE, UNAVAILABLE]
    assert client.analyze(b"picture").width == 640
    assert len(fake.requests) == 3


def test_a_large_photo_is_retried_as_well(fake, client):
    photo = bytes(6 << 20)  # beyond gRPC's 256 KiB retry buffer and its 4 MiB message limit
    fake.script = [UNAVAILABLE]
    client.analyze(photo)
    assert fake.pictures == [photo, photo]


def test_attempts_are_limited(fake, client):
    fake.otherwise = lambda picture: UNAVAILABLE
    with pytest.raises(ServerUnavailable, match="Exceeds maximum queue size"):
        client.analyze(b"picture")
    assert len(fake.requests) == QUICK.attempts


def test_one_attempt_never_retries(fake):
    fake.otherwise = lambda picture: UNAVAILABLE
    with TridentClient(fake.url, retries=Retries(attempts=1)) as client, pytest.raises(ServerUnavailable):
        client.analyze(b"picture")
    assert len(fake.requests) == 1


def test_a_spent_budget_stops_retries(fake):
    fake.otherwise = lambda picture: UNAVAILABLE
    retries = Retries(attempts=4, budget=5, first_backoff=0.01, longest_backoff=0.01)
    with TridentClient(fake.url, retries=retries, timeout=10) as client:
        for _ in range(10):
            with pytest.raises(ServerUnavailable):
                client.analyze(b"picture")
    retried = len(fake.requests) - 10
    assert 0 < retried <= retries.budget
    # The last calls were not retried at all.
    ids = [request.id for request in fake.requests]
    assert ids.count(ids[-1]) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(grpc.StatusCode.INVALID_ARGUMENT, PictureRefused, id="refused picture"),
        pytest.param(grpc.StatusCode.INTERNAL, ServerFailed, id="server failure"),
        pytest.param(grpc.StatusCode.NOT_FOUND, NotServed, id="unknown model"),
        pytest.param(grpc.StatusCode.PERMISSION_DENIED, AccessDenied, id="no access"),
        pytest.param(grpc.StatusCode.RESOURCE_EXHAUSTED, ServerFailed, id="exhausted"),
    ],
)
def test_other_statuses_are_never_retried(fake, client, code, expected):
    fake.script = [Answer(code, "why it is so")]
    with pytest.raises(expected, match="why it is so") as caught:
        client.analyze(b"picture")
    assert len(fake.requests) == 1
    assert caught.value.request_id == fake.requests[0].id
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_a_refusal_is_the_models_own_sentence(fake, client):
    details = "in ensemble 'trident', the picture is truncated: expected 900 bytes"
    fake.script = [Answer(grpc.StatusCode.INVALID_ARGUMENT, details)]
    with pytest.raises(PictureRefused) as caught:
        client.analyze(b"picture")
    assert str(caught.value) == "the picture is truncated: expected 900 bytes"


def test_the_deadline_is_kept(fake, client):
    fake.script = [Answer(delay=1.5)]
    start = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s") as caught:
        client.analyze(b"picture", timeout=0.2)
    assert time.monotonic() - start < 1
    assert isinstance(caught.value, TimeoutError)


def test_the_deadline_covers_all_attempts(fake):
    fake.otherwise = lambda picture: UNAVAILABLE
    retries = Retries(attempts=5, first_backoff=5, longest_backoff=5)
    with TridentClient(fake.url, retries=retries, timeout=0.3) as client:
        start = time.monotonic()
        with pytest.raises((DeadlineExceeded, ServerUnavailable)):
            client.analyze(b"picture")
        assert time.monotonic() - start < 2


def test_no_server_is_said_in_one_sentence():
    with TridentClient("127.0.0.1:1", retries=QUICK, timeout=5) as client:
        with pytest.raises(ServerUnreachable, match=r"^cannot reach a server at 127\.0\.0\.1:1 \(.*refused.*\)$"):
            client.analyze(b"picture")
        assert client.is_ready() is False


def test_a_server_that_appears_during_the_retries_is_found():
    with running(FakeServer()) as first:
        url = first.url
    late = FakeServer()

    def appear():
        time.sleep(0.4)
        server = grpc.server(__import__("concurrent.futures").futures.ThreadPoolExecutor(2))
        from tritonclient.grpc import service_pb2_grpc

        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(late, server)
        assert server.add_insecure_port(url)
        server.start()
        servers.append(server)

    servers: list[grpc.Server] = []
    thread = threading.Thread(target=appear)
    thread.start()
    try:
        with TridentClient(url, retries=Retries(attempts=5, first_backoff=1, longest_backoff=2), timeout=20) as client:
            assert client.analyze(b"picture").width == 640
    finally:
        thread.join()
        for server in servers:
            server.stop(None).wait()


def test_a_closed_client_says_so(fake):
    client = TridentClient(fake.url)
    client.close()
    with pytest.raises(ClientClosed):
        client.analyze(b"picture")


def test_closing_ends_calls_in_flight(fake):
    fake.otherwise = lambda picture: Answer(delay=2)
    client = TridentClient(fake.url)
    caught = []

    def call():
        try:
            client.analyze(b"picture")
        except ClientError as exc:
            caught.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    while not fake.requests:
        time.sleep(0.01)
    client.close()
    thread.join(timeout=1)
    assert [type(exc) for exc in caught] == [ClientClosed]


def test_headers_go_with_every_call(fake):
    with TridentClient(fake.url, headers={"triton-grpc-protocol-admin": "key"}) as client:
        client.analyze(b"picture")
    assert fake.metadata[0]["triton-grpc-protocol-admin"] == "key"


class ResolvingFailed(grpc.RpcError):
    """What gRPC raises for a host that no name server knows."""

    def __init__(self, details):
        self._details = details

    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return self._details


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        pytest.param(
            "errors resolving nosuchhost.invalid:1: [field:hostname lookup error:address lookup failed for "
            "nosuchhost.invalid:1: Domain name not found]",
            "address lookup failed for nosuchhost.invalid:1: Domain name not found",
            id="with its reason",
        ),
        pytest.param("errors resolving x: why", "errors resolving x: why", id="in other words"),
        pytest.param("DNS resolution failed for x: why", "DNS resolution failed for x: why", id="older gRPC"),
    ],
)
def test_a_host_that_nobody_knows_is_unreachable(details, reason):
    error = from_grpc(ResolvingFailed(details), url="nosuchhost.invalid:1", method="ModelInfer", timeout=1)
    assert type(error) is ServerUnreachable
    assert str(error) == f"cannot reach a server at nosuchhost.invalid:1 ({reason})"


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        pytest.param("UNAVAILABLE", "Broken pipe", "Broken pipe", id="pipe"),
        pytest.param("UNAVAILABLE", "GOAWAY received", "GOAWAY received", id="goaway"),
        pytest.param("UNAVAILABLE", "keepalive watchdog timeout", "keepalive watchdog timeout", id="keepalive"),
        pytest.param("UNKNOWN", "Stream removed", "Stream removed", id="stream"),
        pytest.param("CANCELLED", "Stream removed", "Stream removed", id="stream cancelled"),
        pytest.param("UNAVAILABLE", "Exceeds maximum queue size", None, id="a full queue"),
        pytest.param("UNAVAILABLE", "Server not ready", None, id="not ready"),
        pytest.param("INTERNAL", "Socket closed", None, id="a model's own connection"),
        pytest.param("DEADLINE_EXCEEDED", "Deadline Exceeded", None, id="late"),
    ],
)
def test_a_connection_that_is_lost(status, details, reason):
    assert lost_connection(status, details) == reason


@pytest.mark.parametrize("status", ["UNKNOWN", "CANCELLED", "UNAVAILABLE"])
def test_a_connection_that_is_lost_in_a_call_is_unreachable(fake, status):
    fake.otherwise = lambda picture: Answer(grpc.StatusCode[status], "Stream removed")
    with (
        TridentClient(fake.url, retries=Retries(attempts=1)) as client,
        pytest.raises(ServerUnreachable, match="Stream removed"),
    ):
        client.analyze(b"picture")


def test_the_installed_grpc_words_an_unknown_host_as_expected():
    """Whatever the resolver of this machine says, without a network too; only its silence says nothing."""
    with TridentClient("nosuchhost.invalid:1", retries=Retries(attempts=1), timeout=5) as client:
        try:
            client.analyze(b"picture")
        except DeadlineExceeded:
            pytest.skip("the resolver of this machine does not answer")
        except ServerUnavailable as exc:
            assert type(exc) is ServerUnreachable, exc


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        pytest.param({"Bad Key": "x"}, "a name of letters, .* got 'Bad Key'", id="space in a name"),
        pytest.param({"": "x"}, "a name of letters, .* got ''", id="no name"),
        pytest.param({":path": "x"}, "a name of letters, .* got ':path'", id="name of HTTP/2 itself"),
        pytest.param({"schlüssel": "x"}, "a name of letters, .* got 'schlüssel'", id="name beyond ASCII"),
        pytest.param({"key-bin": "x"}, "text, got 'key-bin'", id="name for bytes"),
        pytest.param({"key": "secret ä"}, "as the value of 'key', got other characters", id="beyond ASCII"),
        pytest.param({"key": "a\nb"}, "as the value of 'key', got other characters", id="two lines"),
        pytest.param({"key": 5}, "as the value of 'key', got int", id="number"),
    ],
)
@pytest.mark.parametrize("kind", [TridentClient, AsyncTridentClient])
def test_headers_that_cannot_be_sent_are_refused(kind, headers, words):
    with pytest.raises(SettingsError, match=f"^headers: expected .*{words}") as caught:
        kind(headers=headers)
    assert "secret" not in str(caught.value)


def test_names_of_headers_are_sent_in_lower_case(fake):
    with TridentClient(fake.url, headers={"X-Key": "a b"}) as client:
        client.analyze(b"picture")
    assert fake.metadata[0]["x-key"] == "a b"


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_must_be_positive(timeout):
    with pytest.raises(SettingsError, match="timeout: expected a positive number"):
        TridentClient(timeout=timeout)


def test_an_answer_of_the_wrong_shape_is_not_believed(fake, client):
    fake.script = [Answer(result=b"\xff")]
    with pytest.raises(AnswerError, match="RESULT: expected UTF-8 JSON"):
        client.analyze(b"picture")


# Pictures


def test_pictures_come_from_files_images_and_arrays(fake, client, tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for picture in (path, str(path), Image.fromarray(pixels), pixels, bytearray(path.read_bytes())):
        client.analyze(picture)
    for sent in fake.pictures:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent))), pixels)
    assert fake.pictures[0] == path.read_bytes()


def test_a_cmyk_image_is_sent_in_a_form_that_png_has(fake, client):
    client.analyze(Image.new("CMYK", (3, 2)))
    assert Image.open(io.BytesIO(fake.pictures[0])).size == (3, 2)


def test_what_cannot_be_read_is_named(client, tmp_path):
    with pytest.raises(PictureUnreadable, match=r"gone\.jpg: No such file"):
        client.analyze(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PictureUnreadable, match=r"empty\.jpg: the file is empty"):
        client.analyze(tmp_path / "empty.jpg")
    with pytest.raises(PictureUnreadable, match="0 bytes"):
        client.analyze(b"")
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\] or \[H, W\], got float64 \[2, 2, 3\]"):
        client.analyze(np.zeros((2, 2, 3)))
    with pytest.raises(TypeError, match="got int"):
        client.analyze(7)


@pytest.fixture(params=["truncated image", "empty image", "closed image", "impossible name"])
def unreadable(request):
    """What is a picture by its type, and cannot be read."""
    if request.param == "impossible name":
        return "a\0.png"
    if request.param == "empty image":
        return Image.new("RGB", (0, 0))
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    encoded = buffer.getvalue()
    image = Image.open(io.BytesIO(encoded[: len(encoded) // 2] if request.param == "truncated image" else encoded))
    if request.param == "closed image":
        image.close()
    return image


def check_the_first_is_unreadable(outcomes):
    first, second = outcomes
    assert isinstance(first.error, PictureUnreadable)
    assert isinstance(first.error.__cause__, OSError | ValueError)
    assert second.unwrap().width == 640


def test_an_unreadable_picture_among_many_spoils_no_other(fake, client, unreadable):
    check_the_first_is_unreadable(list(client.analyze_many([unreadable, b"picture"])))
    assert fake.pictures == [b"picture"]


async def test_async_an_unreadable_picture_among_many_spoils_no_other(fake, unreadable):
    async with AsyncTridentClient(fake.url) as client:
        outcomes = client.analyze_many([unreadable, b"picture"])
        check_the_first_is_unreadable([outcome async for outcome in outcomes])
    assert fake.pictures == [b"picture"]


# Many pictures


def by_number(picture: bytes) -> Answer:
    """Pictures named by numbers: odd ones are slow, every fifth is refused."""
    number = int(picture)
    if number % 5 == 3:
        return Answer(grpc.StatusCode.INVALID_ARGUMENT, f"picture {number} is broken")
    return Answer(delay=0.03 * (number % 2), result=result(image={"width": number + 1, "height": 1}))


def check_outcomes(outcomes):
    assert [outcome.index for outcome in outcomes] == list(range(20))
    for number, outcome in enumerate(outcomes):
        assert outcome.picture == str(number).encode()
        if number % 5 == 3:
            assert outcome.analysis is None
            assert str(outcome.error) == f"picture {number} is broken"
            with pytest.raises(PictureRefused):
                outcome.unwrap()
        else:
            assert outcome.error is None
            assert outcome.unwrap().width == number + 1


def test_many_keep_their_order_and_a_bad_one_spoils_no_other(fake, client):
    fake.otherwise = by_number
    check_outcomes(list(client.analyze_many((str(i).encode() for i in range(20)), concurrency=4)))
    assert 1 < fake.most_running <= 4


def test_many_are_read_only_as_they_are_needed(fake, client):
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield b"picture"

    outcomes = client.analyze_many(endless(), concurrency=2)
    assert taken == []
    next(outcomes)
    assert len(taken) == 4
    next(outcomes)
    assert len(taken) == 5
    outcomes.close()


def test_stopping_early_does_not_wait(fake, client):
    fake.otherwise = lambda picture: Answer(delay=0 if picture == b"first" else 2)
    outcomes = client.analyze_many([b"first", b"second", b"third"], concurrency=1)
    next(outcomes)
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 0.5
    client.close()


def test_concurrency_must_be_positive(client):
    with pytest.raises(SettingsError, match="concurrency: expected 1 or more, got 0"):
        client.analyze_many([], concurrency=0)


def test_a_programming_error_among_many_is_not_swallowed(client):
    with pytest.raises(TypeError, match="got int"):
        list(client.analyze_many([7]))


# asyncio


async def test_async_answers_and_errors(fake):
    async with AsyncTridentClient(fake.url, retries=QUICK, timeout=10) as client:
        fake.script = [UNAVAILABLE, UNAVAILABLE]
        analysis = await client.analyze(b"picture", tensors=True)
        assert analysis.tensors is not None
        assert len(fake.requests) == 3
        fake.script = [Answer(grpc.StatusCode.INVALID_ARGUMENT, "broken")]
        with pytest.raises(PictureRefused, match="broken"):
            await client.analyze(b"picture")
        with pytest.raises(DeadlineExceeded):
            fake.script = [Answer(delay=1)]
            await client.analyze(b"picture", timeout=0.1)
        assert await client.is_ready()
    with pytest.raises(ClientClosed):
        await client.analyze(b"picture")


async def test_async_many(fake):
    fake.otherwise = by_number
    async with AsyncTridentClient(fake.url) as client:
        outcomes = client.analyze_many((str(i).encode() for i in range(20)), concurrency=4)
        check_outcomes([outcome async for outcome in outcomes])
    assert 1 < fake.most_running <= 4


async def test_async_many_from_an_asynchronous_source(fake):
    async def pictures():
        for number in range(20):
            await asyncio.sleep(0)
            yield str(number).encode()

    fake.otherwise = by_number
    async with AsyncTridentClient(fake.url) as client:
        check_outcomes([outcome async for outcome in client.analyze_many(pictures(), concurrency=3)])


async def test_async_stopping_early_cancels_the_rest(fake):
    fake.otherwise = lambda picture: Answer(delay=0 if picture == b"first" else 1)
    async with AsyncTridentClient(fake.url) as client:
        start = time.monotonic()
        outcomes = client.analyze_many([b"first", *[b"next"] * 9], concurrency=2)
        await anext(outcomes)
        await outcomes.aclose()
        assert time.monotonic() - start < 0.9
        assert len(fake.requests) <= 4


async def test_async_cancelling_is_not_an_error_of_ours(fake):
    fake.otherwise = lambda picture: Answer(delay=1)
    async with AsyncTridentClient(fake.url) as client:
        task = asyncio.create_task(client.analyze(b"picture"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_async_closing_ends_calls_in_flight(fake):
    fake.otherwise = lambda picture: Answer(delay=1)
    client = AsyncTridentClient(fake.url)
    task = asyncio.create_task(client.analyze(b"picture"))
    while not fake.requests:
        await asyncio.sleep(0.01)
    await client.close()
    with pytest.raises(ClientClosed, match="is closed"):
        await task
    assert not task.cancelled()


async def test_async_closing_makes_an_error_of_what_is_under_way_among_many(fake):
    fake.otherwise = lambda picture: Answer(delay=0 if picture == b"first" else 1)
    client = AsyncTridentClient(fake.url)
    outcomes = client.analyze_many([b"first", b"second"], concurrency=1)
    assert (await anext(outcomes)).error is None
    while len(fake.requests) < 2:
        await asyncio.sleep(0.01)
    await client.close()
    assert [type(outcome.error) async for outcome in outcomes] == [ClientClosed]


async def test_async_a_cancelled_task_stays_cancelled_though_the_client_is_closed(fake):
    fake.otherwise = lambda picture: Answer(delay=1)
    client = AsyncTridentClient(fake.url)
    task = asyncio.create_task(client.analyze(b"picture"))
    while not fake.requests:
        await asyncio.sleep(0.01)
    task.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestWhoIsAsked:
    def test_the_ensemble_by_default_and_nothing_more_than_the_deadline_is_sent(self, fake, client):
        client.analyze(b"picture")
        client.analyze(b"picture", timeout=2.5)
        assert fake.requests[0].model_name == "trident"
        said = [dict(request.parameters) for request in fake.requests]
        assert [list(parameters) for parameters in said] == [["timeout"], ["timeout"]]
        assert [parameters["timeout"].int64_param for parameters in said] == [10_000_000, 2_500_000]

    def test_another_ensemble_by_its_name(self, fake):
        fake.results["trident_candidate"] = result()
        with TridentClient(fake.url, model="trident_candidate") as other:
            assert other.analyze(b"picture").width == 640
        assert fake.requests[0].model_name == "trident_candidate"

    def test_one_user_carries_one_key(self, fake):
        with TridentClient(fake.url, sticky="user 7") as client:
            client.analyze(b"a")
            client.analyze(b"b", sticky="user 8")
            list(client.analyze_many([b"c", b"d"], sticky="用户"))
            list(client.analyze_many([b"e"]))
        sent = {picture: request.parameters for picture, request in zip(fake.pictures, fake.requests, strict=True)}
        assert {picture: parameters["sticky"].string_param for picture, parameters in sent.items()} == {
            b"a": "user 7",
            b"b": "user 8",
            b"c": "用户",
            b"d": "用户",
            b"e": "user 7",
        }

    async def test_the_same_for_asyncio(self, fake):
        fake.results["trident_candidate"] = result()
        async with AsyncTridentClient(fake.url, model="trident_candidate", sticky="user 7") as client:
            await client.analyze(b"a")
            await client.analyze(b"b", sticky="user 8")
            assert [outcome.unwrap().width async for outcome in client.analyze_many([b"c"], sticky="user 9")] == [640]
        assert {request.model_name for request in fake.requests} == {"trident_candidate"}
        assert [request.parameters["sticky"].string_param for request in fake.requests] == [
            "user 7",
            "user 8",
            "user 9",
        ]

    @pytest.mark.parametrize(("key", "got"), [("", "0 characters"), ("x" * 257, "257 characters"), (7, "int")])
    def test_a_key_that_is_none_is_refused_and_not_repeated(self, client, key, got):
        message = rf"^sticky: expected a text of 1 to 256 characters, got {got}$"
        with pytest.raises(SettingsError, match=message):
            client.analyze(b"picture", sticky=key)
        with pytest.raises(SettingsError, match=message):
            client.analyze_many([], sticky=key)
        with pytest.raises(SettingsError, match=message):
            TridentClient(sticky=key)
        with pytest.raises(SettingsError, match=message):
            AsyncTridentClient(sticky=key)

    @pytest.mark.parametrize("model", ["", None, 3])
    def test_a_model_without_a_name_is_refused(self, model):
        with pytest.raises(SettingsError, match=r"^model: expected the name of a served ensemble, got"):
            TridentClient(model=model)
