"""One rollout, step by step: preflight, load, shadow, canary, flip, watch. What fails goes no further.

At any moment one whole release answers, in the server's memory as on disk: until the flip the old one, after it the new
one. The journal has a line before each step, so that a rollout that was killed can be finished or taken back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trident.contract import ENSEMBLE, STEPS
from trident.errors import SetupError, TridentError
from trident.rollout import canary, control, journal
from trident.rollout.digests import digest_of
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal, Record
from trident.rollout.memory import memory_of
from trident.rollout.plan import Plan, new_id, plan_of
from trident.rollout.release import Release
from trident.rollout.serving import ServerLost, Serving, ServingError

PREFLIGHT, LOAD, SHADOW, CANARY, FLIP, WATCH = "preflight", "load", "shadow", "canary", "flip", "watch"
ROLLBACK = "rollback"

_VERIFY_TRIES = 4
_VERIFY_PAUSE_S = 0.25

GONE_WRONG = (TridentError, OSError, ValueError, KeyError)
"""What a step may raise: refusals, the disk's errors, and answers that are none."""


class Stopped(TridentError):
    """A check was not passed; what it says goes to the operator. The old release goes on answering."""


class Interrupted(TridentError):
    """The rollout cannot go on, nor be taken back now; the journal knows where it stands."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What a step has to say that was passed."""

    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Measurements, for the journal; what ``json`` takes."""
    warnings: tuple[str, ...] = ()


class Progress(Protocol):
    """Is told what happens, for a display."""

    def begin(self, step: str, about: str) -> None:
        """A step begins."""

    def advance(self, done: int, total: int) -> None:
        """So much of the step is done."""

    def end(self, step: str, passed: Passed | None, seconds: float) -> None:
        """A step was passed, or left out."""

    def fail(self, step: str, sentence: str, seconds: float) -> None:
        """A step was not passed."""

    def tell(self, sentence: str) -> None:
        """Something worth a line."""


class Checks(Protocol):
    """The steps that look and judge, and change nothing on disk. All raise ``Stopped``."""

    def preflight(self, plan: Plan) -> Passed:
        """Look at the files of the new release, without the server."""

    def load_candidate(self, plan: Plan) -> None:
        """Load the candidate ensemble, which answers with the new release beside the old, and have it answer once."""

    def shadow(self, plan: Plan, progress: Progress) -> Passed:
        """Have both releases answer the golden pictures."""

    def canary(self, plan: Plan, progress: Progress) -> Passed | None:
        """Have the candidate answer a share of the traffic; None where that is not wanted."""

    def before_flip(self) -> None:
        """Measure what ``watch`` compares with, while the old release answers."""

    def watch(self, plan: Plan, progress: Progress) -> Passed | None:
        """Watch the new release after the flip; None where that is not wanted."""

    def answering(self) -> Mapping[str, int]:
        """Which versions name themselves in an answer of the ensemble, now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended."""

    plan: Plan
    outcome: str
    """One of the outcomes of the journal."""
    sentence: str
    seconds: float

    @property
    def done(self) -> bool:
        """Whether the new release answers."""
        return self.outcome == journal.DONE


class Rollout:
    """Carries plans out on one repository and one server. The caller holds the journal's lock."""

    def __init__(
        self, repository: Repository, serving: Serving, diary: Journal, checks: Checks, progress: Progress
    ) -> None:
        self._repository = repository
        self._serving = serving
        self._journal = diary
        self._checks = checks
        self._progress = progress
        self._touched = False
        """Whether anything in the server may be other than it was."""
        self._held: frozenset[str] = frozenset()
        """Components whose new version was in memory before, as somebody's way back: it is to stay there."""
        self._named: frozenset[str] = frozenset()
        """Components that named themselves in an answer before the flip."""

    def run(self, plan: Plan, options: Mapping[str, Any] | None = None) -> Outcome:
        """Carry a plan out.

        Args:
            plan: From which release to which.
            options: What the operator asked for, for the journal.

        Returns:
            How it ended; whatever stopped it has been taken back.

        Raises:
            SetupError: It could not begin.
            ServerLost: No server answers; nothing was begun.
            Interrupted: It can neither go on nor be taken back now, since the server is gone.
        """
        if (left := self._journal.unfinished()) is not None:
            raise SetupError(left.how_to_end())
        if not self._serving.ready(ENSEMBLE):
            raise SetupError(f"{ENSEMBLE} does not answer at {self._serving.url}: see `trident status`")
        self._journal.append(
            plan.id,
            journal.STARTED,
            kind=plan.kind,
            who=journal.who(),
            server=self._serving.url,
            targets=dict(plan.targets),
            before=dict(plan.before),
            after=dict(plan.after),
            digests={
                change.component: {
                    "before": digest_of(self._repository, change.component, change.before),
                    "after": digest_of(self._repository, change.component, change.after),
                }
                for change in plan.changes
            },
            options=dict(options or {}),
        )
        return self._carry_out(plan)

    def resume(self, record: Record) -> Outcome:
        """Go on with a rollout that was interrupted: from the start if its pins have not moved on disk, else the rest.

        Raises:
            SetupError: The repository has been changed since.
            Interrupted: As ``run``.
        """
        plan = plan_of(record)
        now = self._release_of(plan)
        self._remember(record)
        self._journal.append(plan.id, journal.RESUMED, who=journal.who(), server=self._serving.url)
        try:
            # A canary of the time before answers with two releases; nobody watches it any more.
            if control.pins_in_memory(self._serving) is None:
                canary.end(self._serving, self._repository.config(ENSEMBLE))
        except ServingError as exc:
            raise self._interrupted(plan, exc) from exc
        return self._carry_out(plan, committed=now == plan.after)

    def abort(self, record: Record) -> Outcome:
        """Take back a rollout that was interrupted. Without a server, on disk alone.

        Raises:
            SetupError: The repository has been changed since.
            Interrupted: The server is there and refuses; the disk has been taken back.
        """
        plan, began = plan_of(record), time.monotonic()
        now = self._release_of(plan)
        self._remember(record)
        if now == plan.after:
            self._repository.pin({name: plan.before[name] for name in STEPS})
        where, refusal = "", None
        try:
            if self._touched:
                control.withdraw(self._serving, self._repository, plan, keep=self._held)
                self._verify(plan.before)
        except ServerLost:
            where = f"; no server answers at {self._serving.url}, and the next start serves the old versions"
        except (ServingError, Stopped) as exc:
            refusal = exc
        control.withdraw_on_disk(self._repository, plan, keep=self._held)
        if refusal is not None:
            raise self._interrupted(plan, refusal, because="the disk was taken back, the server was not") from refusal
        return self._ended(plan, journal.ABORTED, f"{plan} was taken back{where}", began)

    def _remember(self, record: Record) -> None:
        """What the time before has noted."""
        loading = next((entry for entry in record.entries if entry.event == journal.LOADING), None)
        self._touched = loading is not None
        self._held = frozenset(loading.facts.get("held", ()) if loading is not None else ())

    def _release_of(self, plan: Plan) -> Release:
        now = self._repository.release()
        if now not in (plan.before, plan.after):
            raise SetupError(
                f"{self._repository.path} pins neither what served before {plan} nor what was to serve after it: "
                "set the pins in trident/config.pbtxt to one of the two"
            )
        return now

    def _carry_out(self, plan: Plan, *, committed: bool = False) -> Outcome:
        began = time.monotonic()
        try:
            if committed:
                self._step(plan, FLIP, "the pins have moved on disk: verifying", lambda: self._follow(plan))
            else:
                self._prepare(plan)
                self._step(plan, FLIP, "moving the pins", lambda: self._flip(plan))
        except ServerLost as exc:
            raise self._interrupted(plan, exc) from exc
        except GONE_WRONG as exc:
            return self._take_back(plan, said(exc), began)
        except BaseException:
            # Ctrl-C and the like: whatever answers is one whole release, and no canary may go on unwatched.
            self._let_be(plan)
            raise
        return self._after_flip(plan, began)

    def _prepare(self, plan: Plan) -> None:
        way_back = plan.kind == ROLLBACK
        if not way_back:
            self._step(plan, PREFLIGHT, "looking at the files", lambda: self._checks.preflight(plan))
        self._step(plan, LOAD, "loading beside the old", lambda: self._load(plan))
        if not way_back:
            self._step(plan, SHADOW, "asking both", lambda: self._checks.shadow(plan, self._progress))
            self._step(
                plan, CANARY, "answering a share of the traffic", lambda: self._checks.canary(plan, self._progress)
            )

    def _load(self, plan: Plan) -> Passed:
        control.check_pins(self._serving, self._repository, plan.before)
        if not self._touched:
            self._held = frozenset(
                change.component
                for change in plan.changes
                if change.after in control.in_memory(self._serving, change.component)
            )
        self._journal.append(plan.id, journal.LOADING, held=sorted(self._held))
        self._touched = True
        # The way back of the rollout before this one ends here: at most two releases are in memory.
        kept = {name: {plan.before[name], plan.after[name]} for name in plan.before}
        settled = control.settle(self._serving, self._repository, kept)
        for name, version in settled.retired:
            self._progress.tell(f"{name} {version} retired: it was the way back of an earlier rollout")
        loaded: dict[str, Any] = {}
        for component in control.called_first(change.component for change in plan.changes):
            began = time.monotonic()
            version = plan.after[component]
            control.load_beside(self._serving, self._repository, component, plan.before[component], version)
            memory = memory_of(self._repository.path, component, version)
            loaded[component] = {"seconds": round(time.monotonic() - began, 3), "memory_mb": memory}
        self._checks.load_candidate(plan)
        if not self._serving.ready(ENSEMBLE):
            raise Stopped(f"{ENSEMBLE} is not ready after the load: the old version is loaded again")
        parts = [
            f"{name} {plan.after[name]} "
            + ("was there" if name in self._held else f"in {facts['seconds']:.1f} s")
            + (f", {facts['memory_mb']:.0f} MB" if facts["memory_mb"] else "")
            for name, facts in loaded.items()
        ]
        warnings = tuple(f"{name}: requests in flight keep old versions of it" for name in settled.lingering)
        facts = {"loaded": loaded, "retired": [f"{name} {version}" for name, version in settled.retired]}
        return Passed("; ".join(parts), facts, warnings)

    def _flip(self, plan: Plan) -> Passed:
        self._named = frozenset(self._checks.answering())
        self._checks.before_flip()
        self._journal.append(plan.id, journal.FLIP, pins=plan.pins)
        control.commit(self._repository, plan)
        self._note(plan, journal.COMMITTED)
        return self._follow(plan)

    def _follow(self, plan: Plan) -> Passed:
        began = time.monotonic()
        canary.answer_from_disk(self._serving, self._repository.config(ENSEMBLE))
        flip_ms = 1000 * (time.monotonic() - began)
        self._verify(plan.after)
        self._note(plan, journal.FLIPPED, flip_ms=round(flip_ms, 1))
        with contextlib.suppress(ServingError):
            canary.let_companions_go(self._serving)
        return Passed(f"the server follows in {flip_ms:.0f} ms; answers name the new versions", {"flip_ms": flip_ms})

    def _verify(self, release: Release) -> None:
        """From outside: the ensemble's steps call the release, and an answer names it.

        Raises:
            Stopped: It is not so, some times in a row.
            ServerLost: The server is gone.
        """
        for left in reversed(range(_VERIFY_TRIES)):
            complaint = self._complaint(release)
            if not complaint:
                return
            if left:
                time.sleep(_VERIFY_PAUSE_S)
        raise Stopped(complaint)

    def _complaint(self, release: Release) -> str:
        try:
            pins = control.pins_in_memory(self._serving)
            answering = self._checks.answering()
        except ServerLost:
            raise
        except GONE_WRONG as exc:
            return f"{ENSEMBLE} does not answer: {said(exc)}"
        wrong = {name: version for name, version in answering.items() if release[name] != version}
        if pins != {name: release[name] for name in STEPS} or wrong:
            expected = ", ".join(f"{name} {release[name]}" for name in wrong) or "other pins"
            return f"the answers do not name the versions that they should: {named(wrong)} instead of {expected}"
        if silent := self._named - answering.keys():
            return f"the answer does not name {', '.join(sorted(silent))}, as it did before"
        return ""

    def _after_flip(self, plan: Plan, began: float) -> Outcome:
        try:
            self._step(plan, WATCH, "watching the new release", lambda: self._checks.watch(plan, self._progress))
        except ServerLost as exc:
            raise self._interrupted(plan, exc) from exc
        except GONE_WRONG as exc:
            if plan.kind == ROLLBACK:
                # Going forward again would bring back what somebody wanted to leave.
                return self._ended(plan, journal.DONE, f"{plan}, but {said(exc)}", began)
            return self._take_back(plan, said(exc), began)
        except BaseException:
            self._let_be(plan)
            raise
        return self._ended(plan, journal.DONE, str(plan), began)

    def _take_back(self, plan: Plan, sentence: str, began: float) -> Outcome:
        """The old release answers again, or still; the new one is let go."""
        if not self._touched:
            return self._ended(plan, journal.STOPPED, sentence, began)
        try:
            moved = self._repository.release() == plan.after
            if moved:
                self._repository.pin({name: plan.before[name] for name in STEPS})
            control.withdraw(self._serving, self._repository, plan, keep=self._held)
            control.withdraw_on_disk(self._repository, plan, keep=self._held)
            self._verify(plan.before)
        except GONE_WRONG as exc:
            raise self._interrupted(plan, exc, because=sentence) from exc
        return self._ended(plan, journal.ROLLED_BACK if moved else journal.STOPPED, sentence, began)

    def _let_be(self, plan: Plan) -> None:
        """Leave it to ``--resume`` or ``--abort``, with memory as the disk has it."""
        with contextlib.suppress(*GONE_WRONG):
            release = self._repository.release()
            if self._touched and control.pins_in_memory(self._serving) != {name: release[name] for name in STEPS}:
                canary.answer_from_disk(self._serving, self._repository.config(ENSEMBLE))
        self._note(plan, journal.INTERRUPTED)

    def _interrupted(self, plan: Plan, exc: BaseException, because: str = "") -> Interrupted:
        self._note(plan, journal.INTERRUPTED, sentence=said(exc))
        try:
            serves = "new" if self._repository.release() == plan.after else "old"
        except SetupError:
            serves = "pinned"
        return Interrupted(
            (f"{because}; and " if because else "")
            + f"{said(exc)}. On disk the {serves} versions are pinned, and a start serves them. Once the server is "
            "there, `trident rollout --resume` goes on and `trident rollout --abort` takes it back"
        )

    def _ended(self, plan: Plan, outcome: str, sentence: str, began: float) -> Outcome:
        seconds = time.monotonic() - began
        self._note(plan, journal.ENDED, outcome=outcome, sentence=sentence, seconds=round(seconds, 3))
        return Outcome(plan, outcome, sentence, seconds)

    def _note(self, plan: Plan, event: str, **facts: Any) -> None:
        """A line about what has been done already: if it cannot be written, that undoes nothing."""
        try:
            self._journal.append(plan.id, event, **facts)
        except SetupError as exc:
            self._progress.tell(str(exc))

    def _step(self, plan: Plan, name: str, about: str, work: Callable[[], Passed | None]) -> None:
        """A step, in the journal and on the display. Raises what ``work`` raises."""
        if name == WATCH:  # a full disk must not take a good release back
            self._note(plan, journal.STEP, name=name, status="begin")
        else:
            self._journal.append(plan.id, journal.STEP, name=name, status="begin")
        self._progress.begin(name, about)
        began = time.monotonic()
        try:
            passed = work()
        except BaseException as exc:
            seconds = time.monotonic() - began
            self._note(plan, journal.STEP, name=name, status="stopped", seconds=round(seconds, 3), sentence=said(exc))
            self._progress.fail(name, said(exc), seconds)
            raise
        seconds = time.monotonic() - began
        facts: dict[str, Any] = {"name": name, "status": "left out", "seconds": round(seconds, 3)}
        if passed is not None:
            facts |= {"status": "passed", "sentence": passed.sentence, "warnings": list(passed.warnings)}
            facts |= {"facts": dict(passed.facts)} if passed.facts else {}
        self._note(plan, journal.STEP, **facts)
        self._progress.end(name, passed, seconds)


def retire(
    repository: Repository, serving: Serving, diary: Journal, components: tuple[str, ...]
) -> tuple[control.Settled, dict[str, float]]:
    """Let the versions go that do not answer.

    Args:
        repository: The model repository.
        serving: The server.
        diary: Its journal.
        components: Whose; with a network behind the recognizer the recognizer's old versions go too, as they call it.

    Returns:
        What went, and the memory in MB that each version held, by ``component version``.

    Raises:
        SetupError: A configuration cannot be written, a rollout has not ended, or the server serves another release.
        ServingError: The server does not answer.
    """
    if (left := diary.unfinished()) is not None:
        raise SetupError(left.how_to_end())
    release = repository.release()
    control.check_pins(serving, repository, release)
    names = control.with_callers(components)
    held = {
        f"{name} {version}": memory
        for name in names
        for version in control.in_memory(serving, name)
        if version != release[name] and (memory := memory_of(repository.path, name, version)) is not None
    }
    settled = control.settle(serving, repository, {name: (version,) for name, version in release.items()}, names)
    if settled.retired:
        gone = [f"{name} {version}" for name, version in settled.retired]
        diary.append(new_id(), journal.RETIRED, who=journal.who(), server=serving.url, retired=gone, memory_mb=held)
    return settled, held


def named(versions: Mapping[str, int]) -> str:
    """``component version``, and so on.

    >>> named({"detector": 2, "fusion": 1})
    'detector 2, fusion 1'
    """
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "none"


def said(exc: BaseException) -> str:
    """What an error says; of one that is not ours, its kind too."""
    return str(exc) if isinstance(exc, TridentError) else f"{type(exc).__name__} {exc}".strip()
