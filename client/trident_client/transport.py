"""The way to the server, and the seam of this library: a client works over anything that meets these protocols."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2_grpc

from trident.access.keys import GRPC_HEADER, admin_headers
from trident.errors import SetupError
from trident_client.errors import ClientClosed, ClientError, SettingsError, from_grpc
from trident_client.settings import TLS, Address, Retries

RETRIED_METHODS = ("ModelInfer", "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata")
"""Calls that are retried. All of them only ask. The administrative ones are left out, since Triton answers UNAVAILABLE
to those that it does not allow."""

ADMIN_METHODS = frozenset(("RepositoryIndex", "ModelConfig"))
"""Calls that this library makes and a server may answer only to the holders of its admin key."""

Headers = Sequence[tuple[str, str]]
KeyPath = str | os.PathLike[str] | None


class Transport(Protocol):
    """One call after the other to a KServe v2 gRPC service. ``call`` must be safe to use from several threads."""

    def call(self, method: str, request: Message, *, timeout: float, request_id: str | None = None) -> Any:
        """Call the unary ``method`` and give the reply's message. Raises a ClientError."""

    def close(self) -> None:
        """Let go of the connection; calls in flight fail with ClientClosed."""


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def call(self, method: str, request: Message, *, timeout: float, request_id: str | None = None) -> Any:
        """Call the unary ``method`` and give the reply's message. Raises a ClientError."""

    async def close(self) -> None:
        """Let go of the connection; calls in flight fail with ClientClosed."""


class GrpcTransport:
    """gRPC from ordinary threads."""

    def __init__(
        self, address: Address, *, tls: TLS | None, retries: Retries, headers: Headers = (), key_file: KeyPath = None
    ) -> None:
        options, credentials = channel_options(address, tls, retries), channel_credentials(address, tls)
        self._url = address.target
        self._headers = tuple(headers)
        self._encrypted = credentials is not None
        self._key_file = key_file
        self._closed = False
        if credentials is None:
            self._channel = grpc.insecure_channel(address.target, options)
        else:
            self._channel = grpc.secure_channel(address.target, credentials, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def call(self, method: str, request: Message, *, timeout: float, request_id: str | None = None) -> Any:
        """See ``Transport``."""
        if self._closed:
            raise _closed(self._url)
        try:
            return getattr(self._stub, method)(request, timeout=timeout, metadata=self._metadata(method))
        except grpc.RpcError as exc:
            raise self._own(exc, method, timeout, request_id) from exc

    def close(self) -> None:
        """See ``Transport``."""
        self._closed = True
        self._channel.close()

    def _metadata(self, method: str) -> Headers:
        return metadata_for(method, self._url, self._headers, encrypted=self._encrypted, key_file=self._key_file)

    def _own(self, exc: grpc.RpcError, method: str, timeout: float, request_id: str | None) -> ClientError:
        if self._closed and exc.code() is grpc.StatusCode.CANCELLED:
            return _closed(self._url)
        return from_grpc(exc, url=self._url, method=method, timeout=timeout, request_id=request_id)


class AsyncGrpcTransport:
    """gRPC on an event loop. To be made and used on one and the same loop."""

    def __init__(
        self, address: Address, *, tls: TLS | None, retries: Retries, headers: Headers = (), key_file: KeyPath = None
    ) -> None:
        options, credentials = channel_options(address, tls, retries), channel_credentials(address, tls)
        self._url = address.target
        self._headers = tuple(headers)
        self._encrypted = credentials is not None
        self._key_file = key_file
        self._closed = False
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address.target, options)
        else:
            self._channel = grpc.aio.secure_channel(address.target, credentials, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def call(self, method: str, request: Message, *, timeout: float, request_id: str | None = None) -> Any:
        """See ``AsyncTransport``."""
        if self._closed:
            raise _closed(self._url)
        try:
            return await getattr(self._stub, method)(request, timeout=timeout, metadata=self._metadata(method))
        except asyncio.CancelledError:
            # Closing the channel cancels its calls, and looks like a cancellation of the task that waits for one.
            task = asyncio.current_task()
            if self._closed and (task is None or not task.cancelling()):
                raise _closed(self._url) from None
            raise
        except grpc.RpcError as exc:
            raise from_grpc(exc, url=self._url, method=method, timeout=timeout, request_id=request_id) from exc

    async def close(self) -> None:
        """See ``AsyncTransport``."""
        self._closed = True
        await self._channel.close()

    def _metadata(self, method: str) -> Headers:
        return metadata_for(method, self._url, self._headers, encrypted=self._encrypted, key_file=self._key_file)


def metadata_for(method: str, target: str, headers: Headers, *, encrypted: bool, key_file: KeyPath = None) -> Headers:
    """The headers of one call: the given ones and, where a call needs it and it is known here, the admin key.

    Args:
        method: The gRPC method.
        target: What gRPC dials.
        headers: Given by the caller; the key's among them takes the place of what is known here.
        encrypted: Whether the connection is.
        key_file: Where the key is; None for where it usually is.

    Raises:
        SettingsError: The key's file cannot be used.
    """
    if method not in ADMIN_METHODS or any(name == GRPC_HEADER for name, _ in headers):
        return headers
    try:
        return (*headers, *admin_headers(target, encrypted=encrypted, named=key_file).items())
    except SetupError as exc:
        raise SettingsError(str(exc)) from exc


def _closed(url: str) -> ClientClosed:
    return ClientClosed(f"the client of {url} is closed")


def channel_options(address: Address, tls: TLS | None, retries: Retries) -> list[tuple[str, Any]]:
    """What gRPC is told of a connection, besides its credentials."""
    options: list[tuple[str, Any]] = [
        # Photos pass gRPC's default of 4 MiB easily; how large they may be is for the server to say.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", int(retries.attempts > 1)),
        # A request that does not fit into this buffer, 256 KiB by default, is never sent twice.
        ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
        ("grpc.service_config", retries.service_config(RETRIED_METHODS, balance=address.balanced)),
        # The policy is the caller's, not the name server's.
        ("grpc.service_config_disable_resolution", 1),
        # A server that is restarted should be found again within the backoff of a retry, not of a lost connection.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1000),
        ("grpc.max_reconnect_backoff_ms", 5000),
        # Each client its own connection, so that closing one leaves nothing behind.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if tls is not None and tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def channel_credentials(address: Address, tls: TLS | None) -> grpc.ChannelCredentials | None:
    """What encrypts a connection; None for one in plain text. Raises SettingsError for files that cannot be read."""
    if tls is None and not address.secure:
        return None
    ca, key, certificate = (tls or TLS()).read()
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)
