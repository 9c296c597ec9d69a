"""Where the server of a model's own process tells its metrics, and asking there."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trident.errors import TridentError

_HOST, _PORT = "127.0.0.1", 8002
"""Triton's port for metrics, unless it is told another."""
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
_ANSWER_S = 0.5
_OFF = ("false", "0")


class MetricsUnreadable(TridentError):
    """The server's metrics are switched off, or could not be read."""


@dataclass(slots=True)
class Endpoint:
    """The metrics of one server. Keeps its connection; not to be shared between threads."""

    host: str = _HOST
    port: int = _PORT
    answer_s: float = _ANSWER_S
    """How long an answer may take, in seconds."""
    _connection: http.client.HTTPConnection | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_parent(cls) -> Endpoint | None:
        """That of the server which has started this process; None if it was told to have none, or is no server."""
        with contextlib.suppress(OSError):  # no such file outside of Linux
            words = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name == "tritonserver":
                return cls.of_flags(words[1:])
        return None

    @classmethod
    def of_flags(cls, flags: Sequence[str]) -> Endpoint | None:
        """That of a server with these arguments; None if they switch it off.

        >>> Endpoint.of_flags(["--metrics-port=9002", "--http-address", "127.0.0.2"])
        Endpoint(host='127.0.0.2', port=9002, answer_s=0.5)
        >>> Endpoint.of_flags(["--allow-metrics=false"])
        """
        told: dict[str, str] = {}
        for flag, following in zip(flags, [*flags[1:], ""], strict=False):
            name, separator, value = flag.partition("=")
            told[name] = value if separator else following
        if told.get("--allow-metrics", "").lower() in _OFF:
            return None
        # As Triton: the metrics' own address, else that of HTTP.
        host = told.get("--metrics-address", told.get("--http-address", _HOST))
        port = told.get("--metrics-port", "")
        return cls(_HOST if host in _EVERYWHERE else host, int(port) if port.isdigit() else _PORT)

    def lines(self) -> list[str]:
        """The metrics as they are now, in Prometheus' text format.

        Raises:
            MetricsUnreadable: Nobody answers, or not in time.
        """
        try:
            return self._ask()
        except (OSError, http.client.HTTPException):
            self.close()
        # A connection that rested may have been closed at the other end: once more, on a new one.
        try:
            return self._ask()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise MetricsUnreadable(
                f"metrics: expected Triton's metrics at {self.host}:{self.port}, got {error!r}: "
                "serve them to this machine (--allow-metrics=true), or no request is refused before the queue is full"
            ) from error

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self) -> list[str]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.host, self.port, timeout=self.answer_s)
        self._connection.request("GET", "/metrics")
        response = self._connection.getresponse()
        text = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        return text.decode(errors="replace").splitlines()
