"""What became of every request, and during which fault: nothing here knows of processes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from benchmarks.answers import BAD_ANSWER, NOT_SENT, Answer, Answers
from benchmarks.chaos.readiness import Span
from benchmarks.load import Plan, arrival_times
from trident.contract import STEPS
from trident.provenance import Provenance
from trident_client.errors import lost_connection

INVALID = "INVALID_ARGUMENT"
_REFUSED = "UNAVAILABLE"
_NEVER_SENT = "failed to connect"
"""gRPC's words where nobody listens: the request has not left the client."""
_LONGEST_SENTENCE = 160
_NUMBER = re.compile(r"\d+(\.\d+)?")
_LATE_S = 5.0
"""A request whose moment comes less than this before the end may not have been sent any more."""
_PLAN_S = 0.005
"""Planned moments are compared to within this: they have been through two clocks and a file."""

Models = Mapping[str, Provenance]


class Stream(StrEnum):
    """Who asks."""

    LOAD = "load"
    """At planned moments, with raw calls that are not repeated."""
    BAD = "bad pictures"
    """The same, with what cannot be served."""
    CLIENT = "client with retries"
    """The project's client, as it is by default."""
    VANISHED = "callers who left"


class End(StrEnum):
    """What became of a request."""

    RIGHT = "answered right"
    """With an answer of the versions that were to answer, and the client with what it answered before any fault; a bad
    picture, by saying what is wrong with it."""
    WRONG = "answered wrong"
    REFUSED = "refused"
    """UNAVAILABLE: nothing has been done for it, and it may be sent again."""
    LOST = "lost"
    """Ended otherwise."""
    LEFT = "left by its caller"
    """Counted by the callers, each of whom has one under way: of these requests themselves nobody has a record."""
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that has ended, and how that is to be taken."""

    stream: Stream
    answer: Answer
    end: End
    why: str = ""
    """What is wrong with an answer."""

    @property
    def failed(self) -> bool:
        """Whether its caller did not get what a healthy server gives."""
        return self.end not in (End.RIGHT, End.LEFT)


@dataclass(frozen=True, slots=True)
class Expected:
    """Which versions answer: a release, and while a rollout moves one component, its other version too."""

    first: Models
    other: Models
    moving: Sequence[Span] = ()
    """When rollouts were under way. Seconds of the Unix clock."""

    def problem(self, answer: Answer) -> str:
        """What is wrong with the versions that an answer names; empty if nothing is."""
        if missing := [name for name in STEPS if name not in answer.models]:
            return f"it does not name {', '.join(missing)}"
        moving = any(begin <= answer.done and answer.sent <= end for begin, end in self.moving)
        strange = [
            f"{name} {made_by.version} ({made_by.digest[:19]}…)"
            for name, made_by in answer.models.items()
            if made_by != self.first.get(name) and not (moving and made_by == self.other.get(name))
        ]
        return f"not to answer then: {', '.join(strange)}" if strange else ""


def end_of(code: str, message: str) -> End:
    """What a status other than OK means for the caller of a good picture.

    >>> end_of("UNAVAILABLE", "a model is being brought back: ask again later")
    <End.REFUSED: 'refused'>
    >>> end_of("UNAVAILABLE", "Socket closed")
    <End.LOST: 'lost'>
    """
    if code == NOT_SENT:
        return End.NOT_SENT
    if code in (BAD_ANSWER, INVALID):
        return End.WRONG
    if code == _REFUSED and (lost_connection(code, message) is None or _NEVER_SENT in message):
        return End.REFUSED
    return End.LOST


def judged(stream: Stream, answers: Iterable[Answer], expected: Expected) -> list[Ended]:
    """How each request of a stream ended."""
    return [_judged(stream, answer, expected) for answer in answers]


def _judged(stream: Stream, answer: Answer, expected: Expected) -> Ended:
    if stream is Stream.BAD:
        if answer.ok:
            return Ended(stream, answer, End.WRONG, "a bad picture was answered")
        if answer.code == INVALID:
            return Ended(stream, answer, End.RIGHT)
    if answer.ok:
        problem = answer.message or expected.problem(answer)
        return Ended(stream, answer, End.WRONG if problem else End.RIGHT, problem)
    return Ended(stream, answer, end_of(answer.code, answer.message), answer.message)


def totals(ended: Iterable[Ended]) -> dict[Stream, Counter[End]]:
    """How many requests of each stream ended how."""
    found: dict[Stream, Counter[End]] = {}
    for one in ended:
        found.setdefault(one.stream, Counter())[one.end] += 1
    return found


def unaccounted(answers: Answers, plan: Plan, stopped: float) -> str:
    """Whether an open loop tells of each request that its plan holds, from the first to its end.

    Args:
        answers: What it tells.
        plan: What it was to do.
        stopped: When it was told to send nothing more, in seconds of the Unix clock.

    Returns:
        What is missing; empty if nothing is.
    """
    records = sorted(answers.records, key=lambda answer: answer.number)
    if [answer.number for answer in records] != list(range(len(records))):
        return f"expected the requests 0 to {len(records) - 1}, once each, got other numbers"
    if not records:
        return "no request was recorded"
    offsets = list(zip(arrival_times(plan, 0.0), records, strict=False))
    if len(offsets) < len(records):
        return f"{len(records)} requests were recorded, {len(offsets)} were planned"
    begin = records[0].planned - offsets[0][0]
    shifted = [answer.number for offset, answer in offsets if abs(answer.planned - begin - offset) > _PLAN_S]
    if shifted:
        return f"{len(shifted)} requests were not planned for the moment that they name, the first is {shifted[0]}"
    last = stopped - _LATE_S - begin
    due = sum(1 for _ in takewhile(lambda offset: offset < last, arrival_times(plan, 0.0)))
    if due > len(records):
        return f"{len(records)} requests were recorded, {due} were due before the load was stopped"
    return ""


@dataclass(frozen=True, slots=True)
class Window:
    """A fault's: from its begin until all that it has left in queues is over. Seconds of the Unix clock."""

    number: int
    begin: float
    end: float


def window_of(answer: Answer, windows: Sequence[Window]) -> int | None:
    """During which fault a request was under way; None if during none."""
    found = (window.number for window in windows if answer.sent <= window.end and answer.done >= window.begin)
    return next(found, None)


def by_fault(ended: Iterable[Ended], windows: Sequence[Window]) -> dict[int | None, list[Ended]]:
    """The requests that failed, by the fault during which they were under way; None for those of no fault."""
    found: dict[int | None, list[Ended]] = {}
    for one in ended:
        if one.failed:
            found.setdefault(window_of(one.answer, windows), []).append(one)
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """What one fault cost those who asked without retries, and those who have them."""

    in_flight: int
    """Requests under way at the moment of a strike."""
    ends: Mapping[End, int]
    """How those that failed ended."""
    lost_later: int
    """Lost ones that were sent after the strike: nothing had to be lost of them."""
    client_failed: int
    """Failures that the client with retries told its caller of."""
    last_failure: float | None
    """When the last of those without retries failed. Seconds of the Unix clock."""


def cost_of(strikes: Sequence[float], ended: Sequence[Ended], failed: Sequence[Ended]) -> Cost:
    """What one fault cost.

    Args:
        strikes: The moments of harm.
        ended: All requests.
        failed: Those that failed during this fault.
    """
    raw = [one for one in failed if one.stream in (Stream.LOAD, Stream.BAD)]
    lost = [one for one in raw if one.end is End.LOST]
    return Cost(
        in_flight=sum(
            _struck(one.answer, strikes)
            for one in ended
            if one.stream in (Stream.LOAD, Stream.BAD) and one.end is not End.NOT_SENT
        ),
        ends=dict(sorted(Counter(one.end for one in raw).items())),
        lost_later=sum(not _struck(one.answer, strikes) for one in lost),
        client_failed=sum(one.stream is Stream.CLIENT for one in failed),
        last_failure=max((one.answer.done for one in raw), default=None),
    )


def _struck(answer: Answer, strikes: Sequence[float]) -> bool:
    return any(answer.sent <= moment <= answer.done for moment in strikes)


def sentence_of(message: str) -> str:
    r"""A message without what differs from request to request, so that those of a kind can be counted.

    >>> sentence_of("Stub process 'fusion_0_0' is not healthy.\n\nAt:\n  /a/b.py(7): execute")
    "Stub process 'fusion_N_N' is not healthy."
    """
    # Without the trace that the Python backend appends, be it in a line of its own or not.
    text = " ".join(message.split()).partition(" At: ")[0]
    return _NUMBER.sub("N", text)[:_LONGEST_SENTENCE]


def sentences(failed: Iterable[Ended]) -> list[tuple[End, str, str, int]]:
    """End, code, sentence and number of those that failed, the most frequent first."""
    counted = Counter((one.end, one.answer.code, sentence_of(one.why or one.answer.message)) for one in failed)
    return [(end, code, text, count) for (end, code, text), count in counted.most_common()]


def without_sentence(failed: Iterable[Ended]) -> int:
    """How many failed without a word of why."""
    return sum(not (one.why or one.answer.message).strip() for one in failed)
