"""How a load asks a server: the seam between the moments at which it asks and the protocol in which it does."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from benchmarks.answers import BAD_ANSWER
from trident.contract import RESULT
from trident.errors import SetupError
from trident_client.settings import address
from trident_client.wire import analyze_request

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CONNECTED_WITHIN_S = 10.0


class Failed(Exception):
    """A request that got no answer.

    Args:
        code: gRPC's status by name, or what another protocol has in its place.
        message: What the server, or the connection, said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Transport(Protocol):
    """One server, asked over one protocol. To be made and used on one event loop."""

    async def connect(self) -> None:
        """Reach the server, and keep the connection. Raises SetupError where nobody answers."""

    def encode(self, picture: bytes) -> bytes:
        """What ``ask`` sends for a picture: as much of the request as can be written out once and for all."""

    async def ask(self, request: bytes, timeout_s: float) -> Any:
        """Send one encoded request; the response, unread, since reading it is not the server's time.

        Raises:
            Failed: There is no good answer within ``timeout_s`` seconds.
        """

    def result(self, response: Any) -> bytes:
        """``RESULT`` in a response, JSON. Raises Failed with BAD_ANSWER where it holds none."""

    async def close(self) -> None:
        """Give the connection back."""


class Grpc:
    """KServe's v2 protocol over gRPC, as Triton speaks it, and others too.

    Args:
        url: ``host:port``.
        model: What to ask.
        own_connection: Whether it shares no connection with others of this process that ask there.
    """

    def __init__(self, url: str, model: str, *, own_connection: bool = False) -> None:
        self._model = model
        self._channel = grpc.aio.insecure_channel(
            address(url).target,
            [
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.enable_retries", 0),
                # As the project's client: a server that is started again is found again soon.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 1000),
                ("grpc.max_reconnect_backoff_ms", 5000),
                ("grpc.use_local_subchannel_pool", int(own_connection)),
            ],
        )
        self._infer = self._channel.unary_unary(
            METHOD, request_serializer=None, response_deserializer=service_pb2.ModelInferResponse.FromString
        )

    async def connect(self) -> None:
        """As ``Transport`` says."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), CONNECTED_WITHIN_S)
        except TimeoutError:
            raise nobody_answers() from None

    def encode(self, picture: bytes) -> bytes:
        """The whole request, serialized."""
        return bytes(analyze_request(picture, request_id="", tensors=False, model=self._model).SerializeToString())

    async def ask(self, request: bytes, timeout_s: float) -> Any:
        """As ``Transport`` says; the codes are gRPC's."""
        try:
            return await self._infer(request + _deadline(timeout_s), timeout=timeout_s)
        except grpc.RpcError as error:
            raise Failed(error.code().name, error.details() or "") from error

    def result(self, response: Any) -> bytes:
        """As ``Transport`` says."""
        try:
            index = [output.name for output in response.outputs].index(RESULT.name)
            # BYTES on the wire: the length of the element in 4 bytes, then the element.
            return bytes(response.raw_output_contents[index][4:])
        except (ValueError, IndexError) as error:
            raise Failed(BAD_ANSWER, repr(error)) from error

    async def close(self) -> None:
        """As ``Transport`` says."""
        await self._channel.close()


def _deadline(seconds: float) -> bytes:
    """What tells the models how long the caller has, to be put behind an encoded request: protocol buffers merge."""
    said = service_pb2.ModelInferRequest()
    said.parameters["timeout"].int64_param = max(1, int(1e6 * seconds))
    return bytes(said.SerializeToString())


def nobody_answers() -> SetupError:
    """What to say where a connection cannot be made."""
    return SetupError("load: no server answers there: start one with `trident serve`, or say --url")
