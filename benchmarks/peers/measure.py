"""The measurement: one server after the other, in rounds, each at one client, saturated and at half load."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.answers import Answer, Answers
from benchmarks.load import Plan, saturated_rate, send_all
from benchmarks.peers.processes import Family
from benchmarks.peers.same import ask_all, check_same
from benchmarks.peers.serving import Running, Subject
from benchmarks.pictures import pictures_for
from benchmarks.ranges import check_range
from benchmarks.served import empty_gallery
from trident.errors import SetupError, TridentError
from trident.layout import DEFAULT_REPOSITORY

CALLERS = 8
"""Callers of the closed loop that saturates: four a core, so that no server runs out of work between two of them."""
LONGEST_S = 600.0
_WARM_S = 5.0
"""At most; a short run is warmed for as long as it measures."""
_LEFT_OUT_S = 2.0
_HALF = 0.5

Results = Mapping[str, Mapping[str, Any]]
"""``RESULT`` by picture."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure."""

    seconds: float = 20.0
    """At one client, and as long saturated; half load takes twice as long, since it sends half as much."""
    rounds: int = 4
    """The order of the servers is turned round in every second one."""
    callers: int = CALLERS
    seed: int = 0
    pictures: Path | None = None
    """A folder of one's own; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("seconds", self.seconds, 1.0, LONGEST_S),
            ("rounds", self.rounds, 1, 100),
            ("callers", self.callers, 1, 1000),
        ):
            check_range(f"peers: {name}", value, low, high)


@dataclass(frozen=True, slots=True)
class Phase:
    """One load, and what it cost."""

    answers: tuple[Answer, ...]
    cpu_s: float
    """Seconds of processor time of all the server's processes, from just before the load to just after it."""
    others_cores: float
    """Cores that all but the server, the load and this process kept busy meanwhile."""
    busiest: float = math.nan
    """Share of the server's processor time that its busiest process took: 0.5 where two workers share the work."""

    @property
    def answered(self) -> int:
        """How many requests were."""
        return sum(answer.ok for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Visit:
    """One server in one round."""

    subject: str
    round: int
    start_s: float
    one: Phase
    """A closed loop of one caller."""
    saturated: Phase
    """A closed loop of many callers."""
    rate: float
    """Answers a second of the closed loop of many, without its beginning."""
    half: Phase
    """An open loop at half of that rate."""
    memory_mb: float
    """Proportional set size after the saturated loop."""


@dataclass(slots=True)
class Run:
    """What was measured, and what was not."""

    settings: Settings
    subjects: Sequence[Subject]
    visits: list[Visit] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Why a peer is not in the comparison, by its title."""
    results: Results = field(default_factory=dict)
    """What all of them answered."""
    broken_off: str | None = None
    """Why Trident could not be measured again; the rounds before that count."""
    commands: dict[str, str] = field(default_factory=dict)
    """How each was started, by its title."""

    def visits_of(self, subject: str) -> list[Visit]:
        """Of one server, in their order."""
        return [visit for visit in self.visits if visit.subject == subject]


def orders(names: Sequence[str], rounds: int) -> list[list[str]]:
    """Who is measured when: forwards, backwards, forwards, so that a drift of the machine meets all of them alike."""
    return [list(names) if number % 2 == 0 else list(reversed(names)) for number in range(rounds)]


def measure(settings: Settings, subjects: Sequence[Subject], tell: Callable[[str], None]) -> Run:
    """Measure.

    Args:
        settings: What.
        subjects: Trident first: its answers are what the others' are held against.
        tell: Is told what happens, a line at a time.

    Raises:
        SetupError: Trident cannot be measured at all. A peer that cannot be is left out, and the run says why.
    """
    run = Run(settings, subjects)
    reference, by_name = subjects[0], {subject.name: subject for subject in subjects}
    with tempfile.TemporaryDirectory(prefix="trident-peers-") as text:
        folder = Path(text)
        pictures = pictures_for(settings.pictures, folder / "pictures")
        gallery = empty_gallery(folder)
        for number, order in enumerate(orders(list(by_name), settings.rounds)):
            for name in order:
                subject = by_name[name]
                if subject.title in run.refused:
                    continue
                try:
                    with subject.serving(settings.repository, gallery, pictures[0].read_bytes()) as running:
                        answers = ask_all(running.url, running.form, pictures)
                        if run.results:
                            check_same(run.results, answers)
                        else:
                            run.results = answers
                        run.commands[subject.title] = running.command
                        visit = _visit(subject, number, running, pictures, settings, folder=folder)
                except TridentError as error:
                    if subject is reference:
                        whole = [visit for visit in run.visits if visit.round < number]
                        if not whole:
                            raise SetupError(f"{subject.title}: {error}") from error
                        # What was measured in an hour is not thrown away.
                        run.visits, run.broken_off = whole, str(error)
                        tell(f"{subject.title}: broken off in round {number + 1}: {error}")
                        return run
                    run.refused[subject.title] = str(error)
                    run.visits = [visit for visit in run.visits if visit.subject != name]
                    tell(f"{subject.title}: left out: {error}")
                    continue
                run.visits.append(visit)
                tell(
                    f"Round {number + 1}, {subject.title}: {visit.rate:.2f} a second saturated, "
                    f"{visit.memory_mb:.0f} MB; started in {visit.start_s:.0f} s"
                )
    return run


def _visit(
    subject: Subject, number: int, running: Running, pictures: Sequence[Path], settings: Settings, *, folder: Path
) -> Visit:
    """All phases of one server in one round. Raises SetupError if a saturated request failed."""

    def load(seconds: float, *, workers: int | None = None, rate: float | None = None) -> Phase:
        plan = Plan(
            seconds=seconds, workers=workers, rate=rate, seed=settings.seed + number, timeout_s=60.0, form=running.form
        )
        return _phase(running, pictures, plan, folder / "answers.jsonl")

    left_out_s = min(_LEFT_OUT_S, settings.seconds)
    load(min(_WARM_S, settings.seconds), workers=settings.callers)
    one = load(settings.seconds, workers=1)
    saturated = load(settings.seconds + left_out_s, workers=settings.callers)
    rate = saturated_rate(Answers({}, saturated.answers), leave_out_s=left_out_s)
    memory_mb = running.family.memory_mb()
    half = load(2 * settings.seconds, rate=_HALF * rate)
    return Visit(subject.name, number, running.start_s, one, saturated, rate, half, memory_mb)


def _phase(running: Running, pictures: Sequence[Path], plan: Plan, file: Path) -> Phase:
    clock = _Clock(running.family)
    answers = send_all(running.url, pictures, file, plan)
    return Phase(answers.records, *clock.since())


class _Clock:
    """Processor time since it was made: a server's, and that of all but it and the benchmark."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._begin = self._read()

    def since(self) -> tuple[float, float, float]:
        """Seconds of the server's processor time, cores that others kept busy, and the share of its busiest process."""
        (then, served_then, busy_then, own_then), (now, served, busy, own) = self._begin, self._read()
        spent = [seconds - served_then.get(pid, 0.0) for pid, seconds in served.items()]
        # One that has ended since takes its time along, or has left it to its parent.
        total_s = sum(served.values()) - sum(served_then.values())
        others_s = (busy - busy_then) - total_s - (own - own_then)
        share = max(spent, default=0.0) / total_s if total_s > 0 else math.nan
        return total_s, max(0.0, others_s / max(now - then, 1e-3)), share

    def _read(self) -> tuple[float, dict[int, float], float, float]:
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        # What a guest used is in the user's time already.
        busy = sum(times) - idle - times.guest - times.guest_nice
        # This process's, and those of the loads that it has waited for.
        own = sum(os.times()[:4])
        return time.monotonic(), self._family.cpu_s(), busy, own
