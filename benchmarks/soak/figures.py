"""What a soak comes to: trends and floors of what the server holds, latency late against early, and the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.intervals import Ratio, ratio_of_percentiles
from benchmarks.soak.run import Run
from benchmarks.soak.trends import ENOUGH_S, Floor, State, Trend, floor, trend
from benchmarks.soak.weights import ROLES, TRITON, Look, Weight
from benchmarks.verdict import Verdict, left_alone, passed

AS_EARLY = 1.25
"""Times the second quarter's p50: what the last quarter's may be."""
_LEAST_COMPARED = 100
"""Answers in a quarter that is compared."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A run, worked out."""

    counted: tuple[Look, ...]
    """The looks after the time that does not count."""
    memory: tuple[Trend, ...]
    """Of all processes and its parts, then of the processes by what they are there for."""
    disk: tuple[Trend, ...]
    """Of all places and then of each."""
    own: Trend | None
    """Memory of the measurement itself."""
    floors: tuple[Floor, ...]
    p50_ratio: Ratio | None
    """Latency of the last quarter over that of the second; None for too few answers."""
    p99_ratio: Ratio | None
    verdicts: tuple[Verdict, ...]
    unknown: bool
    """Whether the run is too short to tell of something that is required."""

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong, and nothing is known to grow."""
        return passed(self.verdicts)


def work_out(run: Run) -> Figures:
    """Everything that is counted out of a run."""
    counted = tuple(look for look in run.looks if look.at - run.begin >= run.settings.left_out_s)
    at = [look.at for look in counted]
    limits = run.settings.limits

    def trend_of(name: str, value: Callable[[Look], float], limit: float | None = None) -> Trend | None:
        return trend(name, "MB", at, [value(look) for look in counted], limit)

    def floor_of(name: str, unit: str, value: Callable[[Look], float], limit: float | None = None) -> Floor | None:
        return floor(name, unit, at, [value(look) for look in counted], limit)

    roles = [role for role in ROLES if any(role in look.roles for look in counted)]
    memory = [
        trend_of("memory of all processes", lambda look: look.all.kept_mb, limits.memory_mb),
        trend_of("allocated by them", lambda look: look.all.anonymous_mb),
        trend_of("shared memory in them", lambda look: look.all.shared_mb),
        trend_of("with mapped files", lambda look: look.all.memory_mb),
        *(trend_of(role, _memory_of(role)) for role in roles),
    ]
    places = list(counted[0].disk_mb) if counted else []
    disk = [
        trend_of("disk", lambda look: sum(look.disk_mb.values()), limits.disk_mb),
        *(trend_of(place, _held_by(place)) for place in places),
    ]
    floors = [
        floor_of("open file handles", "", lambda look: look.all.handles, limits.handles),
        floor_of("shared-memory files", "", lambda look: look.shm_files, 0.0),
        floor_of("held by shared-memory files", "MB", lambda look: look.shm_mb, limits.shared_mb),
        floor_of("processes", "", lambda look: look.all.processes, 0.0),
        floor_of("threads", "", lambda look: look.all.threads),
    ]
    judged: list[Trend | Floor | None] = [memory[0], *floors[:4], disk[0]]
    p50, p99 = _late_against_early(run)
    return Figures(
        counted=counted,
        memory=tuple(one for one in memory if one is not None),
        disk=tuple(one for one in disk if one is not None),
        own=trend_of("the measurement itself", lambda look: look.own_mb),
        floors=tuple(one for one in floors if one is not None),
        p50_ratio=p50,
        p99_ratio=p99,
        verdicts=(*_course(run), *_flat(judged), *_beside(counted, p50, p99)),
        unknown=any(one is None or one.state is State.UNKNOWN for one in judged),
    )


def _memory_of(role: str) -> Callable[[Look], float]:
    return lambda look: look.roles.get(role, Weight()).kept_mb


def _held_by(place: str) -> Callable[[Look], float]:
    return lambda look: look.disk_mb.get(place, 0.0)


def _late_against_early(run: Run) -> tuple[Ratio | None, Ratio | None]:
    """The last quarter's p50 and p99 over those of the second: in the first one the server is still cold."""
    quarter_s = run.seconds / 4
    early = run.account.stretches(quarter_s, 2 * quarter_s)
    # The last window may hold what was planned in its first moments only; its latencies are none the worse for that.
    late = run.account.stretches(3 * quarter_s, 4 * quarter_s + run.account.window_s)
    if min(sum(map(len, early)), sum(map(len, late))) < _LEAST_COMPARED:
        return None, None
    return ratio_of_percentiles(late, early, percent=50.0), ratio_of_percentiles(late, early)


def _course(run: Run) -> list[Verdict]:
    """Whether it went as it should."""
    account, settings = run.account, run.settings
    ended = ", ".join(f"{count} {kind} {code}" for kind, code, count, _ in account.rows()) or "none"
    found = [
        Verdict(
            account.balanced and account.told > 0,
            f"of {account.planned} planned requests it is known of {account.told} what became of them: {ended}",
        ),
        Verdict(not account.failed, f"{account.failed} of {account.told} requests ended as they should not have"),
    ]
    seen = sum(TRITON in look.roles for look in run.looks)
    found.append(Verdict(0 < seen == len(run.looks), f"Triton was there in {seen} of {len(run.looks)} looks"))
    found.append(_by_itself(run.status))
    if run.exit_code is not None:
        found.append(Verdict(run.exit_code == 0, f"the server stopped with exit code {run.exit_code}"))
    found.append(Verdict(not run.orphans, f"it left {len(run.orphans)} processes and shared-memory files behind"))
    changes = run.changes
    if changes.enrolled or changes.failed:
        found.append(
            Verdict(
                not changes.failed,
                f"somebody was enrolled {changes.enrolled} times and forgotten {changes.forgotten} times while it ran; "
                f"{changes.failed} changes failed" + (f": {changes.failures[0]}" if changes.failures else ""),
            )
        )
    if run.stopped:
        sentence = f"it ended after {run.seconds / 60:.1f} of {settings.seconds / 60:.1f} minutes: {run.stopped}"
        found.append(Verdict(False, sentence, required=not run.by_hand))
    return found


def _by_itself(status: Mapping[str, Any]) -> Verdict:
    """Whether the server went on without help, by its own word. One that said nothing is not known to have."""
    try:
        restarts, revivals = int(status["restarts"]), sum(status["revivals"].values())
    except KeyError:
        return Verdict(False, "the health endpoint never said how often the server, or a model, was started again")
    return Verdict(
        not restarts and not revivals,
        f"the server was started again {restarts} times, and {revivals} times one of its models",
    )


def _flat(judged: Sequence[Trend | Floor | None]) -> list[Verdict]:
    """Whether what is to be flat is flat. What cannot be told is no failure, and no success either."""
    found = []
    for one in judged:
        if one is None:
            sentence = f"something that is to be flat was hardly seen: {State.UNKNOWN}"
            found.append(Verdict(False, sentence, required=False))
        elif one.state is not None:
            sentence = trend_sentence(one) if isinstance(one, Trend) else floor_sentence(one)
            found.append(Verdict(one.state is State.FLAT, sentence, required=one.state is not State.UNKNOWN))
    return found


def trend_sentence(one: Trend) -> str:
    """What became of a quantity that goes up and down."""
    ended = ""
    by_end = one.state is State.UNKNOWN and one.limit is not None and one.high <= one.limit
    if by_end and one.rise is not None and one.late_rise is not None:
        ended = (
            f"; it ended {one.rise:+.1f} {one.unit} above the first third of the time that counts, and "
            f"{one.late_rise:+.1f} above what came shortly before"
        )
    return (
        f"{one.name}: {one.state}: {one.per_hour:+.1f} {one.unit} an hour (95 %: {one.low:+.1f} to {one.high:+.1f}; up "
        f"to {one.limit:g} counts as flat), which would be {one.per_day:+.0f} {one.unit} a day{ended}"
    )


def floor_sentence(one: Floor) -> str:
    """What became of a quantity that is to stay as it is."""
    unit = f" {one.unit}" if one.unit else ""
    steps = "once" if one.rises == 1 else f"in {one.rises} steps"
    how = f" ({steps}; up to {one.limit:g} counts as flat)" if max(one.last, one.ended) > one.first else ""
    ended = f", {number(one.ended)}{unit} at its end" if one.ended > one.last else ""
    return (
        f"{one.name}: {one.state}: never below {number(one.first)}{unit} in the first third of the time that counts, "
        f"{number(one.last)}{unit} in the last{ended}{how}"
    )


def number(value: float) -> str:
    """A count as it is, and anything else to two places.

    >>> number(12.0), number(0.125)
    ('12', '0.12')
    """
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def _beside(counted: Sequence[Look], p50: Ratio | None, p99: Ratio | None) -> list[Verdict]:
    """What is good to know of a run, and may be others' fault."""
    found = []
    if p50 is not None and p99 is not None:
        found.append(
            Verdict(
                p50.value <= AS_EARLY,
                f"latency of the last quarter over that of the second: p50 {p50.value:.2f} (95 %: {p50.low:.2f} to "
                f"{p50.high:.2f}; up to {AS_EARLY:g} is as before), p99 {p99.value:.2f} ({p99.low:.2f} to "
                f"{p99.high:.2f})",
                required=False,
            )
        )
    if counted:
        found.append(left_alone(float(np.mean([look.others_cores for look in counted])), "on average"))
    return found


def counted_s(figures: Figures) -> float:
    """How long the time that counts was."""
    return figures.counted[-1].at - figures.counted[0].at if figures.counted else 0.0


def what_flat_means(run: Run, figures: Figures) -> str:
    """For whoever reads the verdicts."""
    limits = run.settings.limits
    return (
        f"Flat means: after the first {run.settings.left_out_s / 60:.0f} minutes, in which caches fill and everything "
        f"is seen for the first time, memory does not grow by more than {limits.memory_mb:g} MB an hour, nor disk by "
        f"more than {limits.disk_mb:g}: not at the likeliest but at the upper end of the interval. What begins at the "
        "end moves no interval: so the last two of 24 stretches must not lie higher than such growth takes them, above "
        "the first third and, but for chance, above what came shortly before. File handles, shared memory and "
        "processes do not grow at all: what they never fall below is the same in the last third of the time, and in "
        "its last stretch, as in the first third. "
        f"Less than {ENOUGH_S / 60:.0f} minutes that count, an interval that holds the limit, a floor that has risen "
        "just once, or a rise at the end alone is too short to tell, which is no pass. Here "
        f"{counted_s(figures) / 60:.0f} minutes count."
    )
