"""The launcher's own health endpoint: what Kubernetes, a load balancer or a person asks.

    /v2/health/live           whether the launcher looks after its server; ask for another process when it does not
    /v2/health/ready          whether requests are answered
    /v2/models/MODEL/ready    the same, under the name of the served model
    /status                   why, and what has happened, as JSON
    /metrics                  what Prometheus is told of it, as text

Paths and answers of the first three are those of the KServe v2 protocol: 200, or 503 with the reason.
Only what is known is told, nothing is asked of the server, so the answer comes at once also when that hangs.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from trident.errors import SetupError
from trident.supervisor.exposition import CONTENT_TYPE, Exposition

_SLOW_S = 5.0
"""Who has not asked within so many seconds is hung up on."""


class HealthEndpoint:
    """Answers over HTTP, from daemon threads, between ``start`` and ``stop``.

    Args:
        host: IPv4 address, or a name, to bind to.
        port: 0 is any free one.
        model: Name of the served model.
        live: Whether the launcher looks after its server.
        ready: Whether requests are answered.
        status: What ``/status`` shows and ``/metrics`` counts; its ``reason`` goes with each 503.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        model: str,
        live: Callable[[], bool],
        ready: Callable[[], bool],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._host = host
        self._wanted = port
        self._checks = {
            "/v2/health/live": live,
            "/v2/health/ready": ready,
            f"/v2/models/{model}/ready": ready,
        }
        self._status = status
        self._exposition = Exposition(status)
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._wanted if self._server is None else int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """``http://host:port`` for callers on this machine."""
        every = self._host in ("", "0.0.0.0")  # noqa: S104 - compared with, not bound to
        return f"http://{'127.0.0.1' if every else self._host}:{self.port}"

    def start(self) -> None:
        """Listen.

        Raises:
            SetupError: The port is taken, or may not be used.
        """
        try:
            self._server = _Server((self._host, self._wanted), self._handler())
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
            raise SetupError(
                f"health port {self._wanted} of {self._host}: cannot listen there ({reason}): choose another with "
                "--health-port, or none with --no-health"
            ) from exc
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True).start()

    def stop(self) -> None:
        """Listen no more. Harmless when it does not."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def reply(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, type of the content and body for a path."""
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, self._exposition.text()
        code, told = self.answer(path)
        return code, "application/json", json.dumps(told).encode()

    def answer(self, path: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Status and body for a path that is answered in JSON."""
        if path == "/status":
            return HTTPStatus.OK, self._status()
        check = self._checks.get(path)
        if check is None:
            expected = ", ".join([*self._checks, "/status", "/metrics"])
            return HTTPStatus.NOT_FOUND, {"error": f"expected one of {expected}"}
        if check():
            return HTTPStatus.OK, {}
        return HTTPStatus.SERVICE_UNAVAILABLE, {"error": self._status()["reason"] or "nobody looks after the server"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        reply = self.reply

        class Handler(BaseHTTPRequestHandler):
            timeout = _SLOW_S

            def do_GET(self) -> None:
                self._reply(body=True)

            def do_HEAD(self) -> None:
                self._reply(body=False)

            def _reply(self, *, body: bool) -> None:
                code, kind, data = reply(self.path.partition("?")[0])
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Leave probes out of the log: there is one every few seconds."""

            def version_string(self) -> str:
                return "trident"

        return Handler


class _Server(ThreadingHTTPServer):
    # Not HTTPServer's: it would ask a name server what this machine is called.
    server_bind = socketserver.TCPServer.server_bind
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up in the middle is no trouble of the server's."""
