"""One swap by the real rollout, and what its journal says of when it did what."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.swaps.timeline import Flip
from trident.contract import CALLED, RECOGNIZER
from trident.errors import TridentError
from trident.rollout import engine, journal
from trident.rollout.checks import LiveChecks
from trident.rollout.disk import Repository
from trident.rollout.journal import Entry, Journal, Record
from trident.rollout.limits import Limits
from trident.rollout.options import Options
from trident.rollout.plan import make_plan
from trident.rollout.release import Release
from trident.rollout.serving import Serving

RETIRE = "retire"
_NO_LIMIT = 1_000_000.0


class SwapFailed(TridentError):
    """A rollout did not bring the new version."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of a swap. Times are seconds of the Unix clock."""

    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Swap:
    """One component's move, from the loading of the new version to the end of the old one."""

    component: str
    before: int
    after: int
    flip_ms: float
    """How long the server took to follow: the load of the ensemble."""
    phases: tuple[Phase, ...]

    @property
    def begin(self) -> float:
        """When loading began; the preflight before it does not touch the server."""
        return next((phase.begin for phase in self.phases if phase.name == engine.LOAD), self.phases[0].begin)

    @property
    def end(self) -> float:
        """When the old version was gone."""
        return self.phases[-1].end

    @property
    def whole(self) -> tuple[float, float]:
        """Begin and end with the preflight, which takes processor time on this machine."""
        return self.phases[0].begin, self.end

    @property
    def seconds(self) -> float:
        """How long it took, without the preflight."""
        return self.end - self.begin


def options_for(golden: Path, gallery_url: str) -> Options:
    """A rollout that measures what it usually does and lets every version pass: some are there to swap with only."""
    limits = tuple(f"{name}={0.0 if Limits.at_least(name) else _NO_LIMIT}" for name in Limits.names())
    return Options(
        golden=golden, limits=(*limits, f"preflight.slower={_NO_LIMIT}"), watch_s=0.0, gallery_url=gallery_url
    )


def targets_for(component: str, version: int, release: Release) -> dict[str, int]:
    """What to ask of a rollout so that this component alone moves."""
    targets = {component: version}
    if component == RECOGNIZER:
        # A version of the recognizer names networks; those that serve are to stay.
        targets |= {name: release[name] for name in CALLED}
    return targets


def swap(repository: Repository, serving: Serving, component: str, version: int, options: Options) -> Swap:
    """Move a component to a version by the rollout, and let the old version go.

    Raises:
        SwapFailed: The rollout was stopped, or the old version did not go.
        TridentError: The server or the disk failed.
    """
    diary, silent = Journal(repository.path), _Silent()
    with diary.locked():
        plan = make_plan(repository, targets_for(component, version, repository.release()))
        checks = LiveChecks(repository, serving, options)
        outcome = engine.Rollout(repository, serving, diary, checks, silent).run(plan, options.to_json())
        if not outcome.done:
            raise SwapFailed(f"{component} {version}: {outcome.outcome}: {outcome.sentence}")
        begin = time.time()
        settled, _ = engine.retire(repository, serving, diary, tuple(change.component for change in plan.changes))
        end = time.time()
    if settled.lingering:
        raise SwapFailed(f"{component} {version}: the old version of {', '.join(settled.lingering)} did not go")
    record = next(record for record in reversed(diary.records()) if record.id == plan.id)
    return read_swap(record, component, Phase(RETIRE, begin, end))


def read_swap(record: Record, component: str, retirement: Phase) -> Swap:
    """What the journal says of a rollout that ended well, and the retirement after it."""
    begun: dict[str, float] = {}
    phases: list[Phase] = []
    flip_ms = 0.0
    for entry in record.entries:
        if entry.event == journal.STEP and entry.facts["status"] == "begin":
            begun[entry.facts["name"]] = moment(entry)
        elif entry.event == journal.STEP and entry.facts["status"] == "passed":
            phases.append(Phase(entry.facts["name"], begun[entry.facts["name"]], moment(entry)))
        elif entry.event == journal.FLIPPED:
            flip_ms = float(entry.facts["flip_ms"])
    before, after = record.before[component], record.after[component]
    return Swap(component, before, after, flip_ms, (*phases, retirement))


def moment(entry: Entry) -> float:
    """When it was written, in seconds of the Unix clock."""
    return datetime.fromisoformat(entry.at).timestamp()


def flips_of(records: Iterable[Record], until: float) -> list[Flip]:
    """Between which releases the rollouts of a journal flipped, and when.

    A flip that was taken back, or has not ended, is there and back: both releases may answer until its end.

    Args:
        records: Rollouts, oldest first.
        until: The end of what has not ended.
    """
    flips = []
    for record in records:
        at = {entry.event: moment(entry) for entry in record.entries if entry.event != journal.STEP}
        if journal.FLIP not in at:
            continue
        begin = at[journal.FLIP]
        if record.outcome == journal.DONE:
            flips.append(Flip(begin, at[journal.FLIPPED], record.before, record.after))
        else:
            end = at.get(journal.ENDED, until)
            flips += [Flip(begin, begin, record.before, record.after), Flip(begin, end, record.after, record.before)]
    return flips


class _Silent:
    """Shows nothing: the journal holds what is wanted."""

    def begin(self, step: str, about: str) -> None:
        """See ``engine.Progress``."""

    def advance(self, done: int, total: int) -> None:
        """See ``engine.Progress``."""

    def end(self, step: str, passed: engine.Passed | None, seconds: float) -> None:
        """See ``engine.Progress``."""

    def fail(self, step: str, sentence: str, seconds: float) -> None:
        """See ``engine.Progress``."""

    def tell(self, sentence: str) -> None:
        """See ``engine.Progress``."""
