"""What a running canary has shown, and whether it may go on: the watch file added up and held against limits."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from trident.contract import CANDIDATE, STABLE
from trident.rollout import error_codes, routing
from trident.rollout.agreement import mean
from trident.rollout.canary import WATCH_FILE
from trident.rollout.canary_record import SILENT_S, Line, WatchReader
from trident.rollout.routing import Settings
from trident.rollout.serving import ServerLost, Serving, ServingError, analyze, is_busy


@dataclass(frozen=True, slots=True)
class CanaryLimits:
    """What a candidate may do to be let through."""

    error_share: float = field(
        default=0.01, metadata={"help": "Requests that the candidate may fail, where the stable release does not."}
    )
    latency_ratio: float = field(default=2.0, metadata={"help": "Its median latency, as a multiple of the stable one."})
    tail_ratio: float = field(default=3.0, metadata={"help": "Its 95th percentile, as a multiple of the stable one."})
    category_distance: float = field(
        default=0.15, metadata={"help": "Mean difference of the fused scores of the categories that are there."}
    )
    same_top: float = field(default=0.7, metadata={"help": "Share of pictures with the same best category, at least."})
    objects_f1: float = field(default=0.6, metadata={"help": "F1 of the fused boxes at IoU 0.5, at least."})
    min_requests: int = field(
        default=20, metadata={"help": "Requests on each side without which shares and latencies are not judged."}
    )
    min_compared: int = field(default=10, metadata={"help": "Comparisons without which they are not judged."})


@dataclass(frozen=True, slots=True)
class Arm:
    """What one side has answered. What callers did wrong themselves, or gave up, is counted apart."""

    requests: int = 0
    """Answered or failed."""
    errors: int = 0
    """Failed; of the candidate, what the stable release did not fail in the same way."""
    refused: int = 0
    """Bad pictures and cancelled requests."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def error_share(self) -> float:
        """Share of the requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What a canary has shown so far."""

    seconds: float
    stable: Arm
    candidate: Arm
    compared: int = 0
    """How many of the candidate's answers were compared with the stable release's."""
    category_distance: float | None = None
    same_top: float | None = None
    objects_f1: float | None = None
    tripped: str | None = None
    """The code with which the candidate failed when the router gave it up."""
    dropped: int = 0
    """Lines that could not be written."""
    silent_s: float = 0.0
    """Seconds since the router last gave a sign."""
    unrecorded: int = 0
    """Requests that the server has counted for the two ensembles, and of which there is no line, or none yet."""
    broken: str | None = None
    """Why the router itself cannot answer."""

    def facts(self) -> dict[str, Any]:
        """For the journal."""
        facts: dict[str, Any] = {"seconds": round(self.seconds, 1), "compared": self.compared}
        for name, arm in (("stable", self.stable), ("candidate", self.candidate)):
            facts[name] = {key: _rounded(getattr(arm, key)) for key in Arm.__dataclass_fields__}
        for key in ("category_distance", "same_top", "objects_f1", "tripped", "dropped", "unrecorded", "broken"):
            if (value := getattr(self, key)) is not None:
                facts[key] = _rounded(value)
        return facts


class Verdict(StrEnum):
    """What is to become of a candidate."""

    PASSED = "passed"
    STOP = "stop"
    NOT_JUDGED = "not judged"
    """It did nothing wrong, with too little traffic to say more."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reasons."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


class Tally:
    """Adds up the lines of a watch file."""

    def __init__(self) -> None:
        self._latencies: dict[str, list[float]] = {routing.STABLE: [], routing.CANDIDATE: []}
        self._errors = dict.fromkeys(self._latencies, 0)
        self._refused = dict.fromkeys(self._latencies, 0)
        self._compared: dict[str, list[float]] = {"category_distance": [], "same_top": [], "objects_f1": []}
        self._tripped: str | None = None
        self._dropped: dict[str, int] = {}
        self.alive = 0
        """How many signs of life the routers have given."""

    @property
    def asked(self) -> int:
        """How often the two ensembles were asked for what has a line: again after a failure, and for a comparison."""
        lines = sum(map(len, self._latencies.values())) + sum(self._refused.values())
        return lines + self._errors[routing.CANDIDATE] + len(self._compared["same_top"])

    def add(self, lines: Iterable[Line]) -> None:
        """Count some more lines. Unknown kinds are passed over."""
        for line in lines:
            arm = line.get("request")
            if arm in self._latencies:
                self._add_request(str(arm), line)
            elif "beat" in line:
                self.alive += 1
                self._dropped[str(line["beat"])] = int(line.get("dropped", 0))
            elif "tripped" in line:
                self._tripped = str(line.get("reason"))

    def _add_request(self, arm: str, line: Line) -> None:
        failed = bool(line.get("failed"))
        if line.get("code") in routing.CALLERS_FAULT and not failed:
            self._refused[arm] += 1
            return
        self._latencies[arm].append(float(line.get("ms", 0.0)))
        # What the candidate failed and the stable release failed likewise is no error of the candidate's.
        bad = (
            failed or line.get("code") == error_codes.UNAVAILABLE
            if arm == routing.CANDIDATE
            else line.get("code") != error_codes.OK
        )
        self._errors[arm] += bad
        for name, values in self._compared.items():
            if name in line:
                values.append(float(line[name]))

    def observation(self, seconds: float) -> Observation:
        """What the lines amount to."""
        return Observation(
            seconds,
            self._arm(routing.STABLE),
            self._arm(routing.CANDIDATE),
            compared=len(self._compared["same_top"]),
            category_distance=mean(self._compared["category_distance"]),
            same_top=mean(self._compared["same_top"]),
            objects_f1=mean(self._compared["objects_f1"]),
            tripped=self._tripped,
            dropped=sum(self._dropped.values()),
        )

    def _arm(self, arm: str) -> Arm:
        latencies = self._latencies[arm]
        percentiles = np.percentile(latencies, (50, 95, 99)).tolist() if latencies else (None, None, None)
        return Arm(len(latencies), self._errors[arm], self._refused[arm], *percentiles)


def judge(seen: Observation, limits: CanaryLimits) -> Judgement:
    """Hold what was seen against the limits.

    What is wrong stops a canary at any moment, however little traffic there was: a router that cannot answer, or keeps
    no record of what it answers, and a candidate that the router has given up. Shares, latencies and comparisons are
    judged from a number of requests on. Too little traffic is no reason to stop: the golden pictures have been compared
    before, and a quiet service would never get a new version. It is said, and whoever wants it otherwise makes it a
    reason.
    """
    if seen.broken:
        return Judgement(Verdict.STOP, (f"the canary itself cannot answer: {seen.broken}",))
    stop = []
    if seen.tripped:
        stop.append(
            f"the candidate was given up after it had failed again and again, last with {seen.tripped}; callers got "
            "the stable release's answers, and the server's log says why"
        )
    if seen.unrecorded > 0 and seen.silent_s > SILENT_S:
        stop.append(
            f"the canary has kept no record for {seen.silent_s:.0f} s, and {_requests(seen.unrecorded)} came: what the "
            f"candidate does to them cannot be seen. Expected lines in {WATCH_FILE} in the model repository, which the "
            "server writes and this command reads; the server's log says why it cannot"
        )
    enough = min(seen.candidate.requests, seen.stable.requests) >= limits.min_requests
    if seen.candidate.requests >= limits.min_requests:
        allowed = limits.error_share + seen.stable.error_share
        if seen.candidate.error_share > allowed:
            stop.append(
                f"errors: the candidate failed {seen.candidate.errors} of {seen.candidate.requests} requests, "
                f"{seen.candidate.error_share:.1%}; expected at most {allowed:.1%}"
            )
    if enough:
        stop += _slow("median", seen.candidate.p50_ms, seen.stable.p50_ms, limits.latency_ratio)
        stop += _slow("95th percentile", seen.candidate.p95_ms, seen.stable.p95_ms, limits.tail_ratio)
    if seen.compared >= limits.min_compared:
        stop += _differing(seen, limits)
    if stop:
        return Judgement(Verdict.STOP, tuple(stop))
    missing = []
    if not enough:
        fewer = min(seen.candidate.requests, seen.stable.requests)
        side = "candidate" if fewer == seen.candidate.requests else "stable release"
        missing.append(
            f"only {_requests(fewer)} for the {side} in {seen.seconds:.0f} s: errors and latency not judged (from "
            f"{limits.min_requests} on)"
        )
    if seen.compared < limits.min_compared:
        missing.append(f"only {seen.compared} answers compared: not judged (from {limits.min_compared} on)")
    if seen.unrecorded > 0 and seen.dropped:
        missing.append(
            f"{_requests(seen.unrecorded)} not in the canary's record, as lines were lost: see the server's log"
        )
    return Judgement(Verdict.NOT_JUDGED if not enough else Verdict.PASSED, tuple(missing))


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _slow(name: str, candidate: float | None, stable: float | None, limit: float) -> list[str]:
    if not candidate or not stable or candidate / stable <= limit:
        return []
    return [
        f"latency: the candidate's {name} is {candidate:.0f} ms, {candidate / stable:.1f} times the stable "
        f"{stable:.0f} ms; expected at most {limit:g} times"
    ]


def _differing(seen: Observation, limits: CanaryLimits) -> list[str]:
    figures = (
        ("mean difference of the fused scores", seen.category_distance, limits.category_distance, False),
        ("share with the same best category", seen.same_top, limits.same_top, True),
        ("F1 of the fused boxes", seen.objects_f1, limits.objects_f1, True),
    )
    return [
        f"disagreement over {seen.compared} answers: {name} {value:.3f}, expected at "
        f"{'least' if at_least else 'most'} {limit:g}"
        for name, value, limit, at_least in figures
        # NaN is within no limit.
        if value is not None and not (value >= limit if at_least else value <= limit)
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


_PROBE_S = 10.0
_ENOUGH_FAILURES = 2
"""One may be a hiccup of the network between here and the server."""
_DEAD = "is not healthy"
"""What Triton says of a Python model whose process has ended; it never comes back."""


def router_failure(serving: Serving) -> str | None:
    """Why the router cannot answer; None if it can.

    Asked with no picture at all, which every release refuses as the caller's mistake within milliseconds: whoever says
    so is alive, from the router to preprocess. Triton itself goes on calling a router ready whose process was killed.

    Raises:
        ServerLost: The server is gone.
    """
    try:
        analyze(serving, b"", outputs=["RESULT"])
    except ServerLost:
        raise
    except ServingError as exc:
        # A full queue is a busy server's answer, not a dead one's.
        return None if exc.code == "INVALID_ARGUMENT" or is_busy(exc) else f"{exc} ({exc.code})"
    return "it took no bytes for a picture"


class Watch:
    """Looks at a running canary.

    Args:
        serving: The server.
        settings: What ``begin`` gave.
        limits: What is too much.
        clock: Seconds, for how long it has run.
    """

    def __init__(
        self,
        serving: Serving,
        settings: Settings,
        limits: CanaryLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving = serving
        self._limits = limits
        self._clock = clock
        self._began = self._last_sign = clock()
        self._reader = WatchReader(settings.watch_file)
        self._tally = Tally()
        self._failures = 0
        self._counted_before = self._counted()

    def look(self) -> tuple[Observation, Judgement]:
        """What it has shown so far, and what that means.

        Raises:
            ServerLost: The server is gone.
            ServingError: The server does not tell its statistics.
        """
        broken = self._probe()
        # Counted before it is read: what comes in between is not taken for missing.
        counted = self._counted() - self._counted_before
        signs = self._tally.alive
        with contextlib.suppress(OSError):  # then there is no sign, which is said
            self._tally.add(self._reader.read())
        if self._tally.alive > signs:
            self._last_sign = self._clock()
        seen = replace(
            self._tally.observation(self._clock() - self._began),
            silent_s=self._clock() - self._last_sign,
            unrecorded=max(0, counted - self._tally.asked),
            broken=broken if self._failures >= _ENOUGH_FAILURES else None,
        )
        return seen, judge(seen, self._limits)

    def _probe(self) -> str | None:
        # In a thread of its own: a router that hangs must not make the watch hang too, nor the end of the process.
        asked: Future[str | None] = Future()

        def ask() -> None:
            try:
                asked.set_result(router_failure(self._serving))
            except BaseException as exc:  # noqa: BLE001 - raised again by the result, in the thread that waits
                asked.set_exception(exc)

        threading.Thread(target=ask, name="canary-probe", daemon=True).start()
        try:
            broken = asked.result(_PROBE_S)
        except NotInTime:
            self._failures = _ENOUGH_FAILURES
            return f"no answer within {_PROBE_S:g} s"
        if broken and _DEAD in broken:
            self._failures = _ENOUGH_FAILURES
        else:
            self._failures = self._failures + 1 if broken else 0
        return broken

    def _counted(self) -> int:
        done = [self._serving.statistics(name) for name in (CANDIDATE, STABLE)]
        return sum(one.succeeded + one.failed for one in done)


def watch(
    serving: Serving,
    settings: Settings,
    limits: CanaryLimits,
    *,
    seconds: float,
    every_s: float = 0.5,
    progress: Callable[[Observation], None] = lambda seen: None,
) -> tuple[Observation, Judgement]:
    """Watch a canary for some seconds, or until it must be stopped. Ends nothing itself.

    Args:
        serving: The server.
        settings: What ``begin`` gave.
        limits: What is too much.
        seconds: How long.
        every_s: Seconds from one look to the next.
        progress: Gets what is seen at each look.

    Raises:
        ServerLost: The server is gone.
        ServingError: It does not tell its statistics.
    """
    looking = Watch(serving, settings, limits)
    deadline = time.monotonic() + seconds
    while True:
        seen, judgement = looking.look()
        progress(seen)
        left = deadline - time.monotonic()
        if judgement.verdict is Verdict.STOP or left <= 0:
            return seen, judgement
        time.sleep(min(every_s, left))
