"""The client for ordinary code; ``trident_client.aio`` has the same for asyncio."""

from __future__ import annotations

import os
import re
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from trident.contract import ENSEMBLE
from trident_client.errors import ClientError, SettingsError
from trident_client.outcome import Outcome
from trident_client.pictures import Picture, encoded
from trident_client.results import Analysis
from trident_client.settings import DEFAULT_TIMEOUT, TLS, Retries, address, checked_headers
from trident_client.statistics import ServerStatistics, questions
from trident_client.status import ServerStatus, readiness, survey
from trident_client.transport import GrpcTransport, Transport
from trident_client.wire import analyze_request, read_analysis

DEFAULT_CONCURRENCY = 8
"""Pictures that ``analyze_many`` has under way at a time."""
MOST_STICKY = 256
"""Characters that a sticky key may have."""
_REQUEST_ID = re.compile(r"[0-9A-Za-z._:-]{1,64}")


class TridentClient:
    """Asks a Trident server what it sees in pictures. Safe to share between threads; close it, or use ``with``.

    Example::

        with TridentClient("127.0.0.1:8001") as client:
            analysis = client.analyze("street.jpg")
            for thing in analysis.above(0.3).objects:
                print(thing.category, thing.score, thing.box)
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
        transport: Transport | None = None,
    ) -> None:
        """Prepare the client. The connection is made by the first call.

        Args:
            url: ``host:port`` of the gRPC port, or see ``trident_client.settings.address``. By default the environment
                variable ``TRIDENT_URL``, else 127.0.0.1:8001.
            tls: Encryption and, with a certificate, mutual TLS. Unencrypted without it, unless the URL is ``grpcs://``,
                or no URL is given and the environment says so: ``TRIDENT_TLS``, ``TRIDENT_TLS_CA`` and so on.
            timeout: Deadline of each call in seconds, over all of its attempts.
            retries: How often to ask again when the server is unavailable.
            headers: Sent with every call, for example to what stands before the server. Values are printable ASCII.
            admin_key_file: The file with the server's admin key, which ``status`` needs to tell everything. By default
                the one that ``TRIDENT_ADMIN_KEY_FILE`` names, else that of this user's own server on this machine.
                No other call sends it.
            model: Name of the ensemble that is asked.
            sticky: A name or number of the user that asks. While a new version is tried on a share of the requests,
                those with the same one are answered by the same versions; without it, it is the picture that decides.
            transport: Something else than gRPC, for tests; ``tls``, ``retries`` and ``headers`` are then unused.

        Raises:
            SettingsError: The URL, the timeout, a certificate, a header, the model or the key cannot be used.
        """
        where = address(url)
        if tls is None and url is None:
            tls = TLS.from_environment()
        self.url = where.target
        """The address of the server."""
        self._timeout = checked_timeout(timeout)
        self._model = checked_model(model)
        self._sticky = checked_sticky(sticky)
        self._transport: Transport = transport or GrpcTransport(
            where, tls=tls, retries=retries or Retries(), headers=checked_headers(headers), key_file=admin_key_file
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection. Calls in flight fail with ClientClosed."""
        self._transport.close()

    def analyze(
        self,
        picture: Picture,
        *,
        tensors: bool = False,
        timeout: float | None = None,
        sticky: str | None = None,
        request_id: str | None = None,
    ) -> Analysis:
        """Analyse one picture.

        Args:
            picture: Encoded bytes, a path, a Pillow image, or RGB pixels as UINT8 [H, W, 3].
            tensors: Whether to bring the typed outputs as well.
            timeout: Deadline in seconds, if not that of the client.
            sticky: Whom the picture is of or for, if not that of the client.
            request_id: What errors and the server's log call this request, 1 to 64 letters, digits and ``._:-``. By
                default a new UUID.

        Raises:
            PictureError: The picture cannot be read here, or the server refused it.
            ServerError: The server cannot be reached, is too busy, denies the call or fails.
            DeadlineExceeded: No answer came in time.
            AnswerError: The answer is not what the contract says.
        """
        request_id = checked_request_id(request_id)
        key = self._sticky if sticky is None else checked_sticky(sticky)
        limit = self._timeout if timeout is None else checked_timeout(timeout)
        request = analyze_request(
            encoded(picture), request_id=request_id, tensors=tensors, model=self._model, sticky=key, timeout_s=limit
        )
        reply = self._call("ModelInfer", request, limit, request_id)
        return read_analysis(reply, request_id=request_id, tensors=tensors)

    def analyze_many(
        self,
        pictures: Iterable[Picture],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        tensors: bool = False,
        timeout: float | None = None,
        sticky: str | None = None,
    ) -> Iterator[Outcome]:
        """Analyse any number of pictures and give what became of each, in their order.

        ``pictures`` is read as it is needed, never as a whole, and files are opened only when their turn comes. A
        picture that fails gives its error, and the rest go on.

        Args:
            pictures: What ``analyze`` takes.
            concurrency: How many pictures are under way at a time, 1 or more.
            tensors: Whether to bring the typed outputs as well.
            timeout: Deadline of each picture in seconds, if not that of the client.
            sticky: As of ``analyze``.
        """
        if concurrency < 1:
            raise SettingsError(f"concurrency: expected 1 or more, got {concurrency}")
        return self._stream(pictures, concurrency, tensors, timeout, checked_sticky(sticky))

    def _stream(
        self, pictures: Iterable[Picture], concurrency: int, tensors: bool, timeout: float | None, sticky: str | None
    ) -> Iterator[Outcome]:
        def one(index: int, picture: Picture) -> Outcome:
            try:
                analysis = self.analyze(picture, tensors=tensors, timeout=timeout, sticky=sticky)
                return Outcome(index, picture, analysis, None)
            except ClientError as exc:
                return Outcome(index, picture, None, exc)

        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="trident-analyze")
        waiting: deque[Future[Outcome]] = deque()
        try:
            for index, picture in enumerate(pictures):
                waiting.append(pool.submit(one, index, picture))
                # Twice as many are waited for as are worked on, so that one slow picture idles nobody at once.
                if len(waiting) >= 2 * concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever stops early does not wait for what is under way; closing the client ends that as well.
            pool.shutdown(wait=False, cancel_futures=True)

    def is_ready(self, *, timeout: float | None = None) -> bool:
        """Whether the server can analyse pictures now: it is there, and its ensemble is loaded.

        False also when it cannot be reached. Raises AccessDenied and the like.
        """
        return bool(self._run(readiness(self._model), timeout))

    def status(self, *, probe: bool = True, timeout: float | None = None) -> ServerStatus:
        """What the server is and what it has loaded.

        Args:
            probe: Whether to have the ensemble answer a small picture, and each network version that had no part in the
                answer another: that is how it is known which versions answer, and what their digests are. While a
                rollout compares two releases, both are asked.
            timeout: Deadline of each of the calls in seconds, if not that of the client.

        Raises:
            ServerError: The server cannot be reached. What it only refuses to tell becomes a note in the answer.
        """
        status: ServerStatus = self._run(survey(self.url, probe=probe, ensemble=self._model), timeout)
        return status

    def statistics(self, *, timeout: float | None = None) -> ServerStatistics:
        """What each loaded version of each model has done since it was loaded.

        Args:
            timeout: Deadline of each of the calls in seconds, if not that of the client.

        Raises:
            ServerError: The server cannot be reached, or does not tell.
        """
        statistics: ServerStatistics = self._run(questions(self._model), timeout)
        return statistics

    def _run(self, questions: Any, timeout: float | None) -> Any:
        """Put a generator's calls to the server, one after the other, and give what it returns."""
        try:
            call = next(questions)
            while True:
                try:
                    reply = self._call(call.method, call.request, timeout)
                except ClientError as exc:
                    call = questions.throw(exc)
                else:
                    call = questions.send(reply)
        except StopIteration as done:
            return done.value

    def _call(self, method: str, request: Any, timeout: float | None, request_id: str | None = None) -> Any:
        limit = self._timeout if timeout is None else checked_timeout(timeout)
        return self._transport.call(method, request, timeout=limit, request_id=request_id)


def checked_timeout(timeout: float) -> float:
    """The timeout. Raises SettingsError unless it is a positive number of seconds."""
    if not 0 < timeout < float("inf"):
        raise SettingsError(f"timeout: expected a positive number of seconds, got {timeout}")
    return timeout


def checked_model(model: str) -> str:
    """The model's name. Raises SettingsError unless it is one."""
    if not isinstance(model, str) or not model:
        raise SettingsError(f"model: expected the name of a served ensemble, got {model!r}")
    return model


def checked_sticky(sticky: str | None) -> str | None:
    """The key, or None for none. Raises SettingsError for anything else."""
    if sticky is not None and (not isinstance(sticky, str) or not 0 < len(sticky) <= MOST_STICKY):
        # It may be somebody's name: it is not repeated.
        got = f"{len(sticky)} characters" if isinstance(sticky, str) else type(sticky).__name__
        raise SettingsError(f"sticky: expected a text of 1 to {MOST_STICKY} characters, got {got}")
    return sticky


def checked_request_id(request_id: str | None) -> str:
    """The id, or a new one for None. Raises SettingsError unless it is fit for a log."""
    if request_id is None:
        return uuid.uuid4().hex
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        got = repr(request_id[:80]) if isinstance(request_id, str) else type(request_id).__name__
        raise SettingsError(f"request_id: expected 1 to 64 letters, digits and '._:-', got {got}")
    return request_id
