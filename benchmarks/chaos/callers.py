"""Callers with the project's client, as it is by default: what its retries leave of a fault is what users see."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import grpc  # type: ignore[import-untyped]

from benchmarks.answers import BAD_ANSWER, OK, Answer
from benchmarks.peers.same import differences
from trident.provenance import Provenance
from trident_client import ClientError, TridentClient
from trident_client.errors import AnswerError
from trident_client.results import parse

CALLERS = 8
"""Who ask in turn: as many may wait at a time, and what comes on top is late."""
_JOIN_S = 60.0

Result = Mapping[str, Any]
"""An answer as ``RESULT`` has it."""


class Callers:
    """Asks at a steady rate, from threads, and holds each answer against what it was before any fault.

    Args:
        url: ``host:port`` of the server.
        pictures: Encoded pictures by name.
        expected: Their answers; ``models`` is judged elsewhere.
        rate: Requests a second.
        seed: Of the choice of pictures.
    """

    def __init__(
        self, url: str, pictures: Mapping[str, bytes], expected: Mapping[str, Result], *, rate: float, seed: int
    ) -> None:
        self.records: list[Answer] = []
        self._url = url
        self._pictures = dict(pictures)
        # As the client gives it again, which may leave out what a newer server adds.
        given = {name: parse(json.dumps(result)).to_json() for name, result in expected.items()}
        self._expected = {name: without_models(result) for name, result in given.items()}
        self._rate = rate
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self._number = 0
        self._begin = 0.0
        self._over = threading.Event()
        self._client: TridentClient | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin = time.time()
        # One for all callers, as in one program: they share its budget of retries.
        client = self._client = TridentClient(self._url)
        self._threads = [threading.Thread(target=self._call, args=(client,), daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._client is not None:
            self._client.close()  # what is under way ends with it
        self.stop()

    def stop(self) -> list[Answer]:
        """Ask nothing more, and wait for what is under way; gives all records in their order."""
        self._over.set()
        for thread in self._threads:
            thread.join(_JOIN_S)
        client, self._client = self._client, None
        if client is not None:
            client.close()
        return sorted(self.records, key=lambda answer: answer.number)

    @property
    def asked(self) -> int:
        """How many requests have been begun."""
        return self._number

    def _call(self, client: TridentClient) -> None:
        while not self._over.is_set():
            with self._lock:
                number, name = self._number, self._chance.choice(sorted(self._pictures))
                planned = self._begin + (number + 1) / self._rate
                if self._over.wait(max(0.0, planned - time.time())):
                    return
                self._number += 1
            self.records.append(self._asked(client, number, name, planned))

    def _asked(self, client: TridentClient, number: int, name: str, planned: float) -> Answer:
        sent = time.time()
        code, message = OK, ""
        models: dict[str, Provenance] = {}
        try:
            result = client.analyze(self._pictures[name]).to_json()
        except AnswerError as error:
            code, message = BAD_ANSWER, str(error)
        except ClientError as error:
            code, message = told(error)
        else:
            said = result["models"].items()
            models = {made: Provenance(int(one["version"]), str(one["digest"])) for made, one in said}
            message = next(differences(self._expected[name], without_models(result)), "")
        return Answer(number, name, planned, sent, time.time(), code, " ".join(message.split()), models)


def told(error: ClientError) -> tuple[str, str]:
    """The code and words of gRPC in an error, where it has any; else the error's own name and sentence."""
    cause = error.__cause__
    if isinstance(cause, grpc.RpcError) and callable(getattr(cause, "code", None)):
        return cause.code().name, cause.details() or ""
    return type(error).__name__, str(error)


def without_models(result: Result) -> dict[str, Any]:
    """An answer without the versions that gave it."""
    return {name: value for name, value in result.items() if name != "models"}
