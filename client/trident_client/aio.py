"""The client for asyncio; ``trident_client.client`` has the same for ordinary code."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from trident.contract import ENSEMBLE
from trident_client.client import (
    DEFAULT_CONCURRENCY,
    checked_model,
    checked_request_id,
    checked_sticky,
    checked_timeout,
)
from trident_client.errors import ClientError, SettingsError
from trident_client.outcome import Outcome
from trident_client.pictures import Picture, encoded
from trident_client.results import Analysis
from trident_client.settings import DEFAULT_TIMEOUT, TLS, Retries, address, checked_headers
from trident_client.statistics import ServerStatistics, questions
from trident_client.status import ServerStatus, readiness, survey
from trident_client.transport import AsyncGrpcTransport, AsyncTransport
from trident_client.wire import analyze_request, read_analysis


class AsyncTridentClient:
    """``TridentClient`` for asyncio. To be made and used on one event loop; close it, or use ``async with``.

    Example::

        async with AsyncTridentClient() as client:
            async for outcome in client.analyze_many(paths):
                print(outcome.picture, outcome.error or outcome.unwrap().scene[0].label)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        tls: TLS | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        admin_key_file: str | os.PathLike[str] | None = None,
        model: str = ENSEMBLE,
        sticky: str | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        """Prepare the client; arguments and errors are those of ``TridentClient``."""
        where = address(url)
        if tls is None and url is None:
            tls = TLS.from_environment()
        self.url = where.target
        """The address of the server."""
        self._timeout = checked_timeout(timeout)
        self._model = checked_model(model)
        self._sticky = checked_sticky(sticky)
        self._transport: AsyncTransport = transport or AsyncGrpcTransport(
            where, tls=tls, retries=retries or Retries(), headers=checked_headers(headers), key_file=admin_key_file
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection. Calls in flight fail with ClientClosed."""
        await self._transport.close()

    async def analyze(
        self,
        picture: Picture,
        *,
        tensors: bool = False,
        timeout: float | None = None,
        sticky: str | None = None,
        request_id: str | None = None,
    ) -> Analysis:
        """Analyse one picture; arguments and errors are those of ``TridentClient.analyze``."""
        request_id = checked_request_id(request_id)
        # Reading a file or encoding pixels would hold up the loop.
        data = picture if isinstance(picture, bytes) and picture else await asyncio.to_thread(encoded, picture)
        key = self._sticky if sticky is None else checked_sticky(sticky)
        limit = self._timeout if timeout is None else checked_timeout(timeout)
        request = analyze_request(
            data, request_id=request_id, tensors=tensors, model=self._model, sticky=key, timeout_s=limit
        )
        reply = await self._call("ModelInfer", request, limit, request_id)
        return read_analysis(reply, request_id=request_id, tensors=tensors)

    async def analyze_many(
        self,
        pictures: Iterable[Picture] | AsyncIterable[Picture],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        tensors: bool = False,
        timeout: float | None = None,
        sticky: str | None = None,
    ) -> AsyncIterator[Outcome]:
        """Analyse any number of pictures, in their order, with a bounded number under way.

        As ``TridentClient.analyze_many``; ``pictures`` may be asynchronous as well. Leaving the loop early cancels
        what is under way.
        """
        if concurrency < 1:
            raise SettingsError(f"concurrency: expected 1 or more, got {concurrency}")
        checked_sticky(sticky)
        free = asyncio.Semaphore(concurrency)

        async def one(index: int, picture: Picture) -> Outcome:
            async with free:
                try:
                    analysis = await self.analyze(picture, tensors=tensors, timeout=timeout, sticky=sticky)
                    return Outcome(index, picture, analysis, None)
                except ClientError as exc:
                    return Outcome(index, picture, None, exc)

        waiting: deque[asyncio.Task[Outcome]] = deque()
        try:
            index = 0
            async for picture in _asynchronous(pictures):
                waiting.append(asyncio.create_task(one(index, picture)))
                index += 1
                if len(waiting) >= 2 * concurrency:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def is_ready(self, *, timeout: float | None = None) -> bool:
        """Whether the server can analyse pictures now, as ``TridentClient.is_ready``."""
        return bool(await self._run(readiness(self._model), timeout))

    async def status(self, *, probe: bool = True, timeout: float | None = None) -> ServerStatus:
        """What the server is and what it has loaded, as ``TridentClient.status``."""
        status: ServerStatus = await self._run(survey(self.url, probe=probe, ensemble=self._model), timeout)
        return status

    async def statistics(self, *, timeout: float | None = None) -> ServerStatistics:
        """What each loaded version has done, as ``TridentClient.statistics``."""
        statistics: ServerStatistics = await self._run(questions(self._model), timeout)
        return statistics

    async def _run(self, questions: Any, timeout: float | None) -> Any:
        try:
            call = next(questions)
            while True:
                try:
                    reply = await self._call(call.method, call.request, timeout)
                except ClientError as exc:
                    call = questions.throw(exc)
                else:
                    call = questions.send(reply)
        except StopIteration as done:
            return done.value

    async def _call(self, method: str, request: Any, timeout: float | None, request_id: str | None = None) -> Any:
        limit = self._timeout if timeout is None else checked_timeout(timeout)
        return await self._transport.call(method, request, timeout=limit, request_id=request_id)


async def _asynchronous(pictures: Iterable[Picture] | AsyncIterable[Picture]) -> AsyncIterator[Picture]:
    if isinstance(pictures, AsyncIterable):
        async for picture in pictures:
            yield picture
    else:
        for picture in pictures:
            yield picture
