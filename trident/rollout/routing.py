"""Who answers a request while a canary runs, and what becomes of a candidate that fails. Knows nothing of Triton."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.errors import SetupError
from trident.rollout import split
from trident.rollout.error_codes import CANCELLED, INVALID_ARG, OK, UNAVAILABLE

STABLE, CANDIDATE = "stable", "candidate"
"""The two arms."""

LATE = "LATE"
"""Stands in place of a code for a candidate that had not answered after ``patience_s``."""
CALLERS_FAULT = frozenset({INVALID_ARG, CANCELLED})
"""Codes that tell of the request, not of who answers it."""

CONCURRENCY = 24
"""Requests that a router has under way at once. What comes beyond waits in Triton's queue.

Below the 32 threads with which the Python backend runs both a model's calls to others and the answers that it sends:
with as many calls as threads, an answer that is ready would wait for somebody else's.
"""
PATIENCE_S = 10.0
"""How long a caller waits for the candidate before the stable release is asked: the limit of preprocess's queue."""

_MOST_FAILURES_IN_A_ROW = 5
_MOST_LATE = 3
_CANDIDATE_THREADS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """A router's parameters. Where a model's configuration holds them, all are texts."""

    stable: str
    """The ensemble with the old release."""
    candidate: str
    """The ensemble with the new one."""
    run: str
    """Names this router in the watch file."""
    salt: str
    """Of the split: one a rollout."""
    share: float
    """Of the requests, in [0, 1], for the candidate."""
    expires: float
    """Unix time in seconds from which on the stable release answers everything."""
    compare_share: float
    """Of the candidate's answers, in [0, 1], that are compared with the stable release's; one at a time."""
    watch_file: Path
    concurrency: int = CONCURRENCY
    patience_s: float = PATIENCE_S

    def to_parameters(self) -> dict[str, str]:
        """As texts, by name."""
        return {name: str(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Settings:
        """Read them back.

        Raises:
            SetupError: One is missing, or out of its range.
        """

        def text(name: str) -> str:
            if not parameters.get(name):
                raise SetupError(f"canary: parameter {name}: expected a value, got none")
            return parameters[name]

        def number(name: str, least: float, most: float) -> float:
            try:
                value = float(text(name))
            except ValueError:
                value = math.nan
            if not least <= value <= most:
                raise SetupError(
                    f"canary: parameter {name}: expected a number from {least:g} to {most:g}, got {parameters[name]!r}"
                )
            return value

        return cls(
            stable=text("stable"),
            candidate=text("candidate"),
            run=text("run"),
            salt=text("salt"),
            share=number("share", 0.0, 1.0),
            expires=number("expires", 0.0, math.inf),
            compare_share=number("compare_share", 0.0, 1.0),
            watch_file=Path(text("watch_file")),
            concurrency=int(number("concurrency", 1, 1024)),
            patience_s=number("patience_s", 0.001, 3600.0),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of the ensembles said."""

    code: str
    """``OK``, or the error's code by Triton's name."""
    message: str = ""
    content: Any = None
    """What it answered, opaque here."""

    @property
    def good(self) -> bool:
        """Whether there is an answer."""
        return self.code == OK


Ask = Callable[[str, bool], Answer]
"""Asks the named ensemble, with the outputs that a comparison needs if the second argument is true. Never raises."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a caller gets, and what is to be noted of it."""

    answer: Answer
    arm: str
    """Who was to answer."""
    code: str
    """What that arm said, whoever answered in the end."""
    failed: bool
    """Whether the candidate failed where the stable release, asked then, did not fail in the same way."""
    compare: bool
    """Whether the candidate's answer is to be compared now. Ends with ``Routing.compared``."""
    ms: float
    """Time until the caller's answer was there, in milliseconds."""

    def line(self, disagreement: Mapping[str, float] | None = None) -> dict[str, Any]:
        """For the watch file."""
        line: dict[str, Any] = {"request": self.arm, "code": self.code, "ms": round(self.ms, 2)}
        if self.failed:
            line["failed"] = True
        return line | {name: round(value, 5) for name, value in (disagreement or {}).items()}


class Routing:
    """Sends each request to one release, and to the stable one again where the candidate fails it.

    So a caller never pays for a bad candidate, but in time. A candidate that fails some requests in a row, or lets some
    wait in vain, gets no more. Safe to share between threads.

    Args:
        settings: The router's.
        note: Gets the lines for the watch file.
        clock: Unix time in seconds.
    """

    def __init__(
        self, settings: Settings, note: Callable[[Mapping[str, Any]], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._note = note
        self._clock = clock
        self._candidates = ThreadPoolExecutor(_CANDIDATE_THREADS, thread_name_prefix="candidate")
        self._lock = threading.Lock()
        self._failures_in_a_row = 0
        self._late = 0
        self._tripped = False
        self._due = 0.0
        self._comparing = False

    @property
    def tripped(self) -> bool:
        """Whether the candidate has failed so often that it gets no more requests."""
        return self._tripped

    def close(self) -> None:
        """Let the threads go; none is waited for."""
        self._candidates.shutdown(wait=False)

    def answer(self, key: bytes, ask: Ask) -> Served:
        """Have a request answered.

        Args:
            key: Its sticky key.
            ask: Asks an ensemble.
        """
        began = time.perf_counter()
        if not self._is_candidates(key):
            answer = ask(self._settings.stable, False)
            return Served(answer, STABLE, answer.code, False, False, _ms_since(began))
        compare = self._takes_comparison()
        first = self._ask_candidate(ask, compare)
        if first.good or first.code == CANCELLED:
            if first.good:
                self._failures_in_a_row = 0
            elif compare:
                self.compared()
            return Served(first, CANDIDATE, first.code, False, compare and first.good, _ms_since(began))
        if compare:
            self.compared()
        second = ask(self._settings.stable, False)
        # What both refuse, or both fail at, does not tell one from the other. So a picture that only the candidate
        # refuses counts against it, and one that is no picture does not. A server too busy in time for the caller says
        # nothing of a release.
        failed = second.code not in (first.code, CANCELLED) and first.code != UNAVAILABLE
        if failed:
            self._count_failure(first)
        return Served(second, CANDIDATE, first.code, failed, False, _ms_since(began))

    def compared(self) -> None:
        """A comparison has ended: the next may begin."""
        with self._lock:
            self._comparing = False

    def _is_candidates(self, key: bytes) -> bool:
        if self._tripped or self._clock() >= self._settings.expires:
            return False
        return split.chosen(key, self._settings.salt, self._settings.share)

    def _takes_comparison(self) -> bool:
        with self._lock:
            self._due = min(1.0, self._due + self._settings.compare_share)
            if self._comparing or self._due < 1.0:
                return False
            self._due -= 1.0
            self._comparing = True
            return True

    def _ask_candidate(self, ask: Ask, compare: bool) -> Answer:
        # From a thread of its own: one that never answers keeps that thread, but not the caller.
        asked: Future[Answer] = self._candidates.submit(ask, self._settings.candidate, compare)
        try:
            return asked.result(self._settings.patience_s)
        except NotInTime:
            asked.cancel()
            return Answer(LATE, f"the candidate had not answered after {self._settings.patience_s:g} s")

    def _count_failure(self, answer: Answer) -> None:
        with self._lock:
            self._failures_in_a_row += 1
            self._late += answer.code == LATE
            trips = self._failures_in_a_row >= _MOST_FAILURES_IN_A_ROW or self._late >= _MOST_LATE
            first_time, self._tripped = trips and not self._tripped, self._tripped or trips
        if first_time:
            self._note({"tripped": self._settings.run, "reason": answer.code})


def _ms_since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)
