"""One user's connection: asks, takes the time, and looks at the answer afterwards."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import grpc  # type: ignore[import-untyped]

from benchmarks.answers import BAD_ANSWER, OK
from benchmarks.locust_load.payloads import Payload, problem
from benchmarks.transport import METHOD

_LIVE = "/inference.GRPCInferenceService/ServerLive"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    milliseconds: float
    """From the call to the last byte of its answer. The answer is read afterwards: that is not the server's time."""
    length: int
    """Bytes of the answer."""
    code: str
    """gRPC's status by name, or ``BAD_ANSWER`` for an answer with status OK that is none."""
    message: str = ""


class Caller:
    """Asks over a connection of its own.

    Callers out there do not share connections, either. On one that all users shared, the pixels of one request would
    queue behind those of another before the server sees them, and that would be counted as the server's time.

    Args:
        target: ``host:port``.
        deadline_s: Of one request.
    """

    def __init__(self, target: str, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._channel = grpc.insecure_channel(
            target,
            [
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                # Each request once: what fails is to be seen.
                ("grpc.enable_retries", 0),
                # Without it, all channels of a process to one address share one connection.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        # Bytes in, bytes out: what is sent was written out beforehand, and what comes is read after the clock stops.
        self._infer = self._channel.unary_unary(METHOD)
        self._live = self._channel.unary_unary(_LIVE)

    def connect(self) -> None:
        """Connect, so that the first request's time is no handshake's."""
        with contextlib.suppress(grpc.RpcError):  # the first request will tell
            self._live(b"", timeout=self._deadline_s)

    def ask(self, payload: Payload) -> Outcome:
        """Send one request and wait for its answer."""
        begin = time.perf_counter()
        try:
            answer = self._infer(payload.body, timeout=self._deadline_s)
        except grpc.RpcError as error:
            return Outcome(1000 * (time.perf_counter() - begin), 0, error.code().name, error.details() or "")
        milliseconds = 1000 * (time.perf_counter() - begin)
        wrong = problem(payload, answer)
        return Outcome(milliseconds, len(answer), BAD_ANSWER if wrong else OK, wrong)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()
