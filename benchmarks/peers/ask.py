"""Asking over HTTP: the ``benchmarks.transport.Transport`` of servers that do not speak gRPC."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from benchmarks import transport
from benchmarks.transport import Failed

FILE_NAME = "picture"
"""What a form says that the picture's file is called. Without a suffix: servers must not go by it."""
_ANY_BYTES = "application/octet-stream"
_KEPT_S = 2.0


class Http:
    """POST of one picture; the body of the answer is ``RESULT``.

    Connections are kept, as many as are needed. Answers are asked for as they are, never compressed: gRPC's are not.

    Args:
        url: ``http://host:port/path``.
        form: Field of a multipart form that carries the picture; None sends the picture as the body.
    """

    def __init__(self, url: str, form: str | None = None) -> None:
        self._url = url
        self._form = form
        self._session: aiohttp.ClientSession | None = None

    async def connect(self) -> None:
        """As ``Transport`` says."""
        at = urlsplit(self._url)
        try:
            async with asyncio.timeout(transport.CONNECTED_WITHIN_S):
                _, writer = await asyncio.open_connection(at.hostname, at.port or 80)
        except (TimeoutError, OSError):
            raise transport.nobody_answers() from None
        writer.close()
        # Without a limit: its own of 100 would hold back what the plan sends. Kept for less than servers keep theirs
        # (uvicorn: 5 s), so that no request meets a connection that is just being closed.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S)
        self._session = aiohttp.ClientSession(connector=connector, headers={"Accept-Encoding": "identity"})

    def encode(self, picture: bytes) -> bytes:
        """The picture as it is: aiohttp writes the rest of the request."""
        return picture

    async def ask(self, request: bytes, timeout_s: float) -> bytes:
        """The body of the answer.

        Raises:
            Failed: With ``HTTP_<status>`` and what the server said; with ``DEADLINE_EXCEEDED`` or ``UNAVAILABLE``,
                gRPC's words, where there was no answer.
        """
        if self._session is None:
            raise RuntimeError("not connected: call connect first")
        headers = None if self._form else {"Content-Type": _ANY_BYTES}
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(
                self._url, data=self._body(request), headers=headers, timeout=timeout
            ) as response:
                body = await response.read()
        except TimeoutError as error:
            raise Failed("DEADLINE_EXCEEDED", f"no answer within {timeout_s:g} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Failed("UNAVAILABLE", repr(error)) from error
        if response.status != HTTPStatus.OK:
            raise Failed(f"HTTP_{response.status}", body.decode(errors="replace") or "nothing was said")
        return body

    def result(self, response: Any) -> bytes:
        """The body."""
        return bytes(response)

    async def close(self) -> None:
        """As ``Transport`` says."""
        if self._session is not None:
            await self._session.close()

    def _body(self, picture: bytes) -> bytes | aiohttp.FormData:
        if self._form is None:
            return picture
        form = aiohttp.FormData()
        form.add_field(self._form, picture, filename=FILE_NAME, content_type=_ANY_BYTES)
        return form
