"""The proxy's configuration, as it is shipped, in a real HAProxy before servers that do what a test tells them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.asking import eventually
from tests.proxy import NAMES, Backend, Proxy, haproxy
from tests.unit.fake_server import Answer, FakeServer, running
from trident.access.authority import Authority
from trident.supervisor.endpoint import HealthEndpoint
from trident_client import TLS, PictureRefused, Retries, ServerUnavailable, TridentClient

PICTURE = b"a picture"
ONCE = Retries(attempts=1)
"""Whoever asks so sees everything that the proxy does not mend."""


class Server:
    """One that says whether it is ready, as the launcher does."""

    def __init__(self, stack: ExitStack, credentials: grpc.ServerCredentials | None = None) -> None:
        self.ready = True
        self.fake = stack.enter_context(running(FakeServer(), credentials))
        self._health = stack.enter_context(
            HealthEndpoint(
                "127.0.0.1",
                0,
                model="trident",
                live=lambda: True,
                ready=lambda: self.ready,
                status=lambda: {"reason": "a test wants it so"},
            )
        )

    @property
    def backend(self) -> Backend:
        return Backend(self.fake.port, self._health.port)

    @property
    def asked(self) -> int:
        return len(self.fake.requests)


@dataclass(frozen=True, slots=True)
class World:
    """Three servers behind a proxy."""

    servers: dict[str, Server]
    proxy: Proxy

    def all_answer(self, answer: Answer) -> None:
        for server in self.servers.values():
            server.fake.otherwise = lambda _: answer

    @property
    def asked(self) -> list[int]:
        return [server.asked for server in self.servers.values()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        servers = {name: Server(stack) for name in NAMES}
        backends = {name: server.backend for name, server in servers.items()}
        yield World(servers, stack.enter_context(haproxy(backends, tmp_path / "log")))


def test_requests_of_one_connection_are_spread_over_all(world: World) -> None:
    with TridentClient(world.proxy.url, retries=ONCE) as client:
        for _ in range(30):
            client.analyze(PICTURE)
    assert sum(world.asked) == 30
    assert min(world.asked) >= 5
    assert world.proxy.answered() == dict(zip(NAMES, world.asked, strict=True))


def test_whoever_has_much_to_do_gets_less(world: World) -> None:
    world.servers["b"].fake.otherwise = lambda _: Answer(delay=1.0)
    with TridentClient(world.proxy.url, retries=ONCE) as client, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client.analyze(PICTURE), range(90)))
    a, b, c = world.asked
    assert a + b + c == 90
    assert b < min(a, c) / 2


def test_large_pictures_pass(world: World) -> None:
    picture = bytes(range(256)) * (24 << 10)  # 6 MiB
    with TridentClient(world.proxy.url, retries=ONCE) as client:
        client.analyze(picture)
    (got,) = [one for server in world.servers.values() for one in server.fake.pictures]
    assert got == picture


def test_refusals_come_through_with_their_words_and_harm_nobody(world: World) -> None:
    world.all_answer(Answer(grpc.StatusCode.INVALID_ARGUMENT, "is not a picture"))
    with TridentClient(world.proxy.url, retries=ONCE) as client:
        for _ in range(6):
            with pytest.raises(PictureRefused, match="is not a picture"):
                client.analyze(PICTURE)
        world.all_answer(Answer(grpc.StatusCode.UNAVAILABLE, "too much to do, ask again later"))
        with pytest.raises(ServerUnavailable, match="ask again later"):
            client.analyze(PICTURE)
    assert set(world.proxy.states().values()) == {"UP"}


def test_control_does_not_pass(world: World) -> None:
    with grpc.insecure_channel(world.proxy.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=10).live
        for call, request in (
            (stub.RepositoryModelLoad, service_pb2.RepositoryModelLoadRequest(model_name="trident")),
            (stub.RepositoryIndex, service_pb2.RepositoryIndexRequest()),
            (stub.ModelConfig, service_pb2.ModelConfigRequest(name="trident")),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(request, timeout=10)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    calls = {call for server in world.servers.values() for call in server.fake.calls}
    assert calls == {"ServerLive"}


def test_a_server_that_is_not_ready_is_not_asked(world: World) -> None:
    world.servers["c"].ready = False
    assert eventually(lambda: world.proxy.states()["c"] == "DOWN")
    with TridentClient(world.proxy.url, retries=ONCE) as client:
        for _ in range(12):
            client.analyze(PICTURE)
        assert world.servers["c"].asked == 0
        world.servers["c"].ready = True
        assert eventually(lambda: world.proxy.states()["c"] == "UP")
        for _ in range(12):
            client.analyze(PICTURE)
    assert world.servers["c"].asked > 0


def test_one_that_is_being_stopped_answers_what_it_has_accepted(world: World) -> None:
    server = world.servers["a"]
    world.all_answer(Answer(delay=3.0))
    with TridentClient(world.proxy.url, retries=ONCE) as client, ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(client.analyze, PICTURE) for _ in range(3)]
        assert eventually(lambda: world.asked == [1, 1, 1])
        server.ready = False
        assert eventually(lambda: world.proxy.states()["a"] == "DOWN", 2.5)
        for one in accepted:
            one.result()


def test_a_connection_that_cannot_be_made_is_made_to_another_server(world: World) -> None:
    with TridentClient(world.proxy.url, retries=ONCE) as client:
        for _ in range(6):
            client.analyze(PICTURE)
        world.servers["b"].fake.stop()  # its health endpoint goes on saying that it is ready
        time.sleep(0.5)
        for _ in range(30):
            client.analyze(PICTURE)
    a, _, c = world.asked
    assert a + c >= 30


def test_encrypted_on_both_sides(tmp_path: Path) -> None:
    authority = Authority("Trident test authority", 1)
    own, front, client = authority.server(("127.0.0.1",)), authority.server(("127.0.0.1",)), authority.client("proxy")
    files = {
        "ca": authority.certificate,
        "front": front.certificate + front.key,
        "proxy": client.certificate + client.key,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    settings = {
        "TRIDENT_CERTIFICATE": str(tmp_path / "front"),
        "TRIDENT_CA": str(tmp_path / "ca"),
        "TRIDENT_CLIENT": str(tmp_path / "proxy"),
    }
    mutual = grpc.ssl_server_credentials([(own.key, own.certificate)], authority.certificate, require_client_auth=True)
    with ExitStack() as stack:
        servers = {name: Server(stack, mutual) for name in NAMES}
        backends = {name: server.backend for name, server in servers.items()}
        proxy = stack.enter_context(haproxy(backends, tmp_path / "log", settings))
        with TridentClient(proxy.url, tls=TLS(ca=tmp_path / "ca"), retries=ONCE) as trusting:
            for _ in range(9):
                trusting.analyze(PICTURE)
        assert min(server.asked for server in servers.values()) > 0
        assert set(proxy.states().values()) == {"UP"}
        with TridentClient(proxy.url, retries=ONCE, timeout=5) as plain, pytest.raises(ServerUnavailable):
            plain.analyze(PICTURE)
