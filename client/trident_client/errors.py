"""What can go wrong between a picture and its answer, by what the caller can do about it.

    trident.errors.TridentError
    └── ClientError               base of everything that this library raises on purpose
        ├── SettingsError         a URL, a certificate or an option that cannot be used
        ├── ClientClosed          the client was used after close()
        ├── PictureError          this picture cannot be analysed; the next one may
        │   ├── PictureUnreadable    nothing could be read from where it should be
        │   └── PictureRefused       the server looked and refused it (INVALID_ARGUMENT)
        ├── ServerError           the server, or the way to it
        │   ├── ServerUnavailable    not ready or too busy, after all retries (UNAVAILABLE)
        │   │   └── ServerUnreachable   no connection could be made, or it was lost
        │   ├── DeadlineExceeded     no answer within the deadline, retries included
        │   ├── AccessDenied         credentials are missing or do not suffice
        │   ├── NotServed            the server has no such model or version, or does not speak the protocol
        │   └── ServerFailed         every other status, INTERNAL among them
        └── AnswerError           an answer came and is not what the contract says
            └── UnknownSchema        it is of a schema that this library does not know; upgrade the library

Foreign exceptions are mapped in one place, ``from_grpc``.
"""

from __future__ import annotations

import re

import grpc  # type: ignore[import-untyped]

from trident.access.keys import KEY_ADVICE
from trident.errors import TridentError


class ClientError(TridentError):
    """Base of every error of this library.

    ``request_id`` is the id that the request was sent with, where there was one. The server's log has it beside what it
    says of a request.
    """

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class SettingsError(ClientError, ValueError):
    """A URL, a certificate or an option cannot be used."""


class ClientClosed(ClientError):
    """The client was used after it was closed."""


class PictureError(ClientError):
    """This picture cannot be analysed; the next one may."""


class PictureUnreadable(PictureError):
    """Nothing could be read from where the picture should be."""


class PictureRefused(PictureError):
    """The server looked at the picture and refused it; the message is the server's own sentence."""


class ServerError(ClientError):
    """The server, or the way to it, failed."""


class ServerUnavailable(ServerError):
    """The server is not reachable, not ready or too busy, also after all retries."""


class ServerUnreachable(ServerUnavailable):
    """No connection to a server could be made, or it was lost and could not be made again."""


class DeadlineExceeded(ServerError, TimeoutError):
    """No answer came within the deadline, which covers all attempts of a call."""


class AccessDenied(ServerError):
    """Credentials are missing or do not suffice."""


class NotServed(ServerError):
    """The server has no such model or version, or does not offer this call."""


class ServerFailed(ServerError):
    """The server failed in a way that no other class names."""


class AnswerError(ClientError):
    """An answer came and is not what the contract says."""


class UnknownSchema(AnswerError):
    """The answer is of a schema that this library does not know."""


_BY_STATUS: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: PictureRefused,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.NOT_FOUND: NotServed,
    grpc.StatusCode.UNIMPLEMENTED: NotServed,
}

# gRPC's own words for a connection that could not be made or was lost; they stand with the status UNAVAILABLE.
_NO_CONNECTION = re.compile(
    r"failed to connect|all backends failing|empty address list|DNS resolution failed|errors resolving "
    r"|(socket|transport|endpoint|connection) (is )?clos(ed|ing)|connection (reset|refused|aborted|dropped|timed out)"
    r"|broken pipe|recvmsg:|sendmsg:|GOAWAY|keepalive|ping timeout|no route to host|network is unreachable",
    re.IGNORECASE,
)
# Its words for a call whose connection went while it was under way.
_CUT_OFF = re.compile(r"stream removed", re.IGNORECASE)
_CUT_OFF_STATUSES = ("UNAVAILABLE", "UNKNOWN", "CANCELLED")
# Triton answers UNAVAILABLE to a call that is restricted to the holders of a header.
_RESTRICTED = "This protocol is restricted"
_LONGEST_REASON = 300


def lost_connection(status: str, details: str) -> str | None:
    """Why there is no connection to a server, if that is what a failed call says.

    Args:
        status: gRPC's status code by name, such as ``UNAVAILABLE``.
        details: The text that came with it.

    Returns:
        The reason in gRPC's words; None if the call failed for something else.

    >>> lost_connection("UNAVAILABLE", "Broken pipe")
    'Broken pipe'
    >>> lost_connection("UNAVAILABLE", "Exceeds maximum queue size") is None
    True
    """
    lost = status == "UNAVAILABLE" and _NO_CONNECTION.search(details) is not None
    if not lost and (status not in _CUT_OFF_STATUSES or _CUT_OFF.search(details) is None):
        return None
    return _last_reason(" ".join(details.split()))


def from_grpc(
    error: grpc.RpcError, *, url: str, method: str, timeout: float, request_id: str | None = None
) -> ClientError:
    """The most specific own error for a gRPC status. Raise it ``from`` the original.

    Args:
        error: What the gRPC call raised; sync or asyncio.
        url: Where the server was looked for, for the message.
        method: The gRPC method; only the refusal of a ``ModelInfer`` is a refusal of its picture.
        timeout: The deadline in seconds, for the message.
        request_id: The id that was sent with the request.
    """
    code = error.code()
    details = " ".join((error.details() or "").split())
    kind = _BY_STATUS.get(code, ServerFailed)
    lost = lost_connection(code.name, details)
    if kind is PictureRefused and method != "ModelInfer":
        kind = ServerFailed
    if kind is ServerUnavailable and is_restricted(details):
        kind = AccessDenied
    elif lost is not None:
        kind = ServerUnreachable
    if kind is PictureRefused:
        message = _without_prefix(details) or "the server refused the picture and gave no reason"
    elif kind is DeadlineExceeded:
        message = f"no answer from {url} within {timeout:g} s"
    elif kind is ServerUnreachable:
        message = f"cannot reach a server at {url} ({lost})"
    elif kind is ServerUnavailable:
        message = f"the server at {url} is not available: {details}"
    elif kind is AccessDenied:
        message = f"the server at {url} denied {method}: {details}"
        if is_restricted(details):
            message += f"; {KEY_ADVICE}"
    elif kind is NotServed:
        message = f"the server at {url} does not serve this: {details or method}"
    else:
        message = f"the server at {url} failed with {code.name}: {details}"
    return kind(message, request_id=request_id)


def is_restricted(details: str) -> bool:
    """Whether Triton's answer ``UNAVAILABLE`` says that the call is for the holders of a header."""
    return details.startswith(_RESTRICTED)


def _without_prefix(details: str) -> str:
    """The model's own sentence: Triton puts ``in ensemble 'trident', `` and the like before it."""
    while details.startswith("in ensemble '"):
        _, found, rest = details.partition("', ")
        if not found:
            break
        details = rest
    return details


def _last_reason(details: str) -> str:
    """The readable tail of gRPC's chain of reasons."""
    reason = details.partition("last error: ")[2] or details
    if reason.startswith("errors resolving "):
        # ``errors resolving HOST: [field:hostname lookup error:REASON]``
        reason = reason.partition(" error:")[2].removesuffix("]") or reason
    return reason.removeprefix("UNKNOWN: ").removeprefix("UNAVAILABLE: ")[:_LONGEST_REASON]
