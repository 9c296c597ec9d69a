"""Which versions may answer when: the flips of a run, and each answer held against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.answers import Answer
from trident.contract import CALLED, STEPS
from trident.rollout.release import Release

CLOCK_S = 0.01
"""Times of different processes are compared to within this; the journal writes milliseconds."""

Digests = Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True)
class Flip:
    """From one release to another. In between, both may answer. Times are seconds of the Unix clock."""

    begin: float
    end: float
    before: Release
    after: Release


class Timeline:
    """The releases of a run, one after the other.

    Args:
        first: What answers at the beginning.
        flips: In their order.

    Raises:
        ValueError: A flip does not begin with the release that the one before led to, or begins before its end.
    """

    def __init__(self, first: Release, flips: Iterable[Flip] = ()) -> None:
        # Each with the moment from which, and until which, it may answer.
        self._spans: list[tuple[float, float, Release]] = []
        since, release, last_end = float("-inf"), dict(first), float("-inf")
        for flip in flips:
            if dict(flip.before) != release:
                raise ValueError("a flip does not begin with the release that the one before it led to")
            if not last_end <= flip.begin <= flip.end:
                raise ValueError("flips overlap, or one ends before it begins")
            self._spans.append((since, flip.end, release))
            since, release, last_end = flip.begin, dict(flip.after), flip.end
        self._spans.append((since, float("inf"), release))

    def allowed(self, sent: float, done: float) -> list[Release]:
        """The releases that may have answered a request between its sending and its answer."""
        return [release for begin, end, release in self._spans if begin - CLOCK_S <= done and sent <= end + CLOCK_S]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An answer that should not have been."""

    answer: Answer
    mixed: bool
    """Whether its versions belong to different releases, rather than to one that was not to answer then."""
    reason: str


def judge(answer: Answer, timeline: Timeline, digests: Digests) -> Wrong | None:
    """Whether one whole release answered that was allowed to, with the digests of its files; what is wrong otherwise.

    Every step of the ensemble must be named. Components that the entity recognizer calls are named only where they were
    called.
    """
    versions = {name: made_by.version for name, made_by in answer.models.items()}
    if missing := [name for name in STEPS if name not in versions]:
        return Wrong(answer, False, f"it does not name {', '.join(missing)}")
    if unknown := sorted(set(versions) - {*STEPS, *CALLED}):
        return Wrong(answer, False, f"it names {', '.join(unknown)}, which no release has")
    for name, made_by in answer.models.items():
        expected = digests.get((name, made_by.version))
        if made_by.digest != expected:
            return Wrong(
                answer,
                False,
                f"{name} {made_by.version}: expected digest {expected or '(no such file)'}, got {made_by.digest}",
            )
    allowed = timeline.allowed(answer.sent, answer.done)
    if any(all(release[name] == version for name, version in versions.items()) for release in allowed):
        return None
    # Each version allowed by itself, and no release that has them all: that is a mixture.
    mixed = all(any(release[name] == version for release in allowed) for name, version in versions.items())
    strange = [
        f"{name} {version} (allowed: {', '.join(map(str, sorted({release[name] for release in allowed})))})"
        for name, version in versions.items()
        if all(release[name] != version for release in allowed)
    ]
    return Wrong(
        answer, mixed, "versions of different releases" if mixed else f"not to answer then: {'; '.join(strange)}"
    )


def judge_all(answers: Sequence[Answer], timeline: Timeline, digests: Digests) -> list[Wrong]:
    """All that is wrong among those that were answered."""
    return [wrong for answer in answers if answer.ok and (wrong := judge(answer, timeline, digests)) is not None]
