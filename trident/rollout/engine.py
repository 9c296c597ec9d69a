"""One rollout, step by step: preflight, load, shadow, canary, flip, watch. What fails goes no further.

At any moment one whole release answers, in the server's memory as on disk: until the flip the old one, after it the new
one. The journal has a line before each step, so that a rollout that was killed can be finished or taken back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from trident.contract import ENSEMBLE
from trident.errors import SetupError, TridentError
from trident.rollout import canary, control, journal
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal, Record
from trident.rollout.memory import memory_of
from trident.rollout.plan import Plan, plan_of
from trident.rollout.release import RECOGNIZER, STEPS, Release
from trident.rollout.serving import ServerLost, Serving, ServingError

PREFLIGHT, LOAD, SHADOW, CANARY, FLIP, WATCH = "preflight", "load", "shadow", "canary", "flip", "watch"
STEP_NAMES = (PREFLIGHT, LOAD, SHADOW, CANARY, FLIP, WATCH)

_VERIFY_WITHIN_S = 30.0


class Stopped(TridentError):
    """A check was not passed; what it says goes to the operator. The old release goes on answering."""


class Interrupted(TridentError):
    """The rollout cannot go on, nor be taken back now; the journal knows where it stands."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has to say."""

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

    def end(self, step: str, finding: Finding, seconds: float) -> None:
        """A step was passed."""

    def fail(self, step: str, sentence: str, seconds: float) -> None:
        """A step was not passed."""

    def tell(self, sentence: str) -> None:
        """Something worth a line."""


class Checks(Protocol):
    """The steps that look and judge, and change nothing on disk. All raise ``Stopped``."""

    def preflight(self, plan: Plan) -> Finding:
        """Look at the files of the new release, without the server."""

    def companions(self, plan: Plan) -> None:
        """Load the candidate ensemble, which answers with the new release beside the old."""

    def shadow(self, plan: Plan, progress: Progress) -> Finding:
        """Have both releases answer the golden pictures."""

    def canary(self, plan: Plan, progress: Progress) -> Finding | None:
        """Have the candidate answer a share of the traffic; None where that is not wanted."""

    def watch(self, plan: Plan, progress: Progress) -> Finding | None:
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
    steps: Mapping[str, float]
    """Seconds of each step that was begun."""

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
        self._seconds: dict[str, float] = {}

    def run(self, plan: Plan, options: Mapping[str, Any] | None = None) -> Outcome:
        """Carry a plan out.

        Args:
            plan: From which release to which.
            options: What the operator asked for, for the journal.

        Returns:
            How it ended; whatever stopped it has been taken back.

        Raises:
            SetupError: It could not begin.
            Interrupted: It can neither go on nor be taken back now, since the server is gone.
        """
        if (left := self._journal.unfinished()) is not None:
            raise SetupError(left.how_to_end())
        self._journal.append(
            plan.id,
            journal.STARTED,
            kind=plan.kind,
            who=journal.who(),
            server=self._serving.url,
            targets=dict(plan.targets),
            before=dict(plan.before),
            after=dict(plan.after),
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
        self._journal.append(plan.id, journal.RESUMED, who=journal.who())
        return self._carry_out(plan, committed=now == plan.after)

    def abort(self, record: Record) -> Outcome:
        """Take back a rollout that was interrupted. Without a server, on disk alone.

        Raises:
            SetupError: The repository has been changed since.
        """
        plan, began = plan_of(record), time.monotonic()
        now = self._release_of(plan)
        if now == plan.after:
            self._repository.pin({name: plan.before[name] for name in STEPS})
        try:
            control.withdraw(self._serving, self._repository, plan.before, plan.after)
            self._verify(plan.before)
            where = ""
        except ServerLost:
            where = "; no server answers, and the next start serves the old versions"
        control.withdraw_on_disk(self._repository, plan.before, plan.after)
        return self._ended(plan, journal.ABORTED, f"{plan} was taken back{where}", began)

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
            if not committed:
                self._prepare(plan)
                with self._step(plan, FLIP, "moving the pins") as report:
                    report(self._flip(plan))
            else:
                with self._step(plan, FLIP, "the pins have moved on disk: verifying") as report:
                    report(self._follow(plan))
        except ServerLost as exc:
            raise self._interrupted(plan, exc) from exc
        except (Stopped, SetupError, ServingError) as exc:
            return self._take_back(plan, str(exc), began)
        except BaseException:
            # Ctrl-C and the like: whatever answers is one whole release, and no canary may go on unwatched.
            self._let_be(plan)
            raise
        return self._after_flip(plan, began)

    def _prepare(self, plan: Plan) -> None:
        if self._is_loaded(plan):
            self._progress.tell("the versions are loaded already, from before")
            if plan.kind == "rollback":
                return
        if plan.kind != "rollback":
            with self._step(plan, PREFLIGHT, "looking at the files") as report:
                report(self._checks.preflight(plan))
        with self._step(plan, LOAD, "loading beside the old") as report:
            report(self._load(plan))
        if plan.kind == "rollback":
            return
        with self._step(plan, SHADOW, "asking both") as report:
            report(self._checks.shadow(plan, self._progress))
        with self._step(plan, CANARY, "answering a share of the traffic") as report:
            report(self._checks.canary(plan, self._progress))

    def _is_loaded(self, plan: Plan) -> bool:
        return all(self._serving.ready(change.component, change.after) for change in plan.changes)

    def _load(self, plan: Plan) -> Finding:
        pins = control.pins_in_memory(self._serving)
        wanted = {name: plan.before[name] for name in STEPS}
        if pins != wanted:
            raise Stopped(
                f"the server at {self._serving.url} does not serve what {self._repository.path} says "
                f"(server: {_named(pins)}; disk: {_named(wanted)}): is it the server of this repository? If so, "
                f"load {ENSEMBLE} there, or start it again"
            )
        # The way back of the rollout before this one ends here: at most two releases are in memory.
        kept = {name: {plan.before[name], plan.after[name]} for name in plan.before}
        settled = control.settle(self._serving, self._repository, {**kept, **self._only_before(plan)})
        for name, version in settled.retired:
            self._progress.tell(f"{name} {version} retired: it was the way back of an earlier rollout")
        loaded: dict[str, Any] = {}
        for component in control.called_first(change.component for change in plan.changes):
            began = time.monotonic()
            control.load_beside(
                self._serving, self._repository, component, plan.before[component], plan.after[component]
            )
            memory = memory_of(self._repository.path, component, plan.after[component])
            loaded[component] = {"seconds": round(time.monotonic() - began, 3), "memory_mb": memory}
        self._checks.companions(plan)
        if not self._serving.ready(ENSEMBLE):
            raise Stopped(f"{ENSEMBLE} is not ready after the load: the old version is loaded again")
        parts = [
            f"{name} {plan.after[name]} in {facts['seconds']:.1f} s"
            + (f", {facts['memory_mb']:.0f} MB" if facts["memory_mb"] else "")
            for name, facts in loaded.items()
        ]
        return Finding("; ".join(parts), {"loaded": loaded})

    def _only_before(self, plan: Plan) -> dict[str, set[int]]:
        """For what does not move, the version that serves."""
        moving = {change.component for change in plan.changes}
        return {name: {version} for name, version in plan.before.items() if name not in moving}

    def _flip(self, plan: Plan) -> Finding:
        self._journal.append(plan.id, journal.FLIP, pins=plan.pins)
        control.commit(self._repository, plan.before, plan.after)
        self._note(plan, journal.COMMITTED)
        return self._follow(plan)

    def _follow(self, plan: Plan) -> Finding:
        began = time.monotonic()
        control.answer_from_disk(self._serving)
        flip_s = time.monotonic() - began
        self._verify(plan.after)
        self._note(plan, journal.FLIPPED, flip_ms=round(1000 * flip_s, 1))
        with contextlib.suppress(ServingError):
            canary.end(self._serving)
        return Finding(
            f"the server follows in {1000 * flip_s:.0f} ms; answers name the new versions", {"flip_s": flip_s}
        )

    def _verify(self, release: Release) -> None:
        """From outside: the ensemble is ready, its steps call the release, and an answer names it.

        Raises:
            Stopped: It is not so.
        """
        deadline = time.monotonic() + _VERIFY_WITHIN_S
        while True:
            answering = self._answering()
            wrong = {name: version for name, version in answering.items() if release[name] != version}
            if answering and not wrong:
                return
            if time.monotonic() > deadline:
                raise Stopped(
                    f"the answers do not name the versions that they should: {_named(wrong)} instead of "
                    f"{_named({name: release[name] for name in wrong})}"
                    if wrong
                    else f"{ENSEMBLE} does not answer"
                )
            time.sleep(0.2)

    def _answering(self) -> Mapping[str, int]:
        try:
            return self._checks.answering()
        except ServerLost:
            raise
        except ServingError:
            return {}

    def _after_flip(self, plan: Plan, began: float) -> Outcome:
        try:
            with self._step(plan, WATCH, "watching the new release") as report:
                report(self._checks.watch(plan, self._progress))
        except ServerLost as exc:
            raise self._interrupted(plan, exc) from exc
        except (Stopped, SetupError, ServingError) as exc:
            return self._take_back(plan, str(exc), began)
        except BaseException:
            self._let_be(plan)
            raise
        return self._ended(plan, journal.DONE, f"{plan}", began)

    def _take_back(self, plan: Plan, sentence: str, began: float) -> Outcome:
        """The old release answers again, or still; the new one is let go."""
        try:
            moved = self._repository.release() == plan.after
            if moved:
                self._repository.pin({name: plan.before[name] for name in STEPS})
            control.withdraw(self._serving, self._repository, plan.before, plan.after)
            control.withdraw_on_disk(self._repository, plan.before, plan.after)
            self._verify(plan.before)
        except (TridentError, OSError) as exc:
            raise self._interrupted(plan, exc, because=sentence) from exc
        outcome = journal.ROLLED_BACK if moved else journal.STOPPED
        return self._ended(plan, outcome, sentence, began)

    def _let_be(self, plan: Plan) -> None:
        with contextlib.suppress(TridentError):
            if control.pins_in_memory(self._serving) is None:
                control.answer_from_disk(self._serving)
        self._note(plan, journal.INTERRUPTED)

    def _interrupted(self, plan: Plan, exc: BaseException, because: str = "") -> Interrupted:
        self._note(plan, journal.INTERRUPTED, sentence=str(exc))
        try:
            serves = "new" if self._repository.release() == plan.after else "old"
        except SetupError:
            serves = "pinned"
        return Interrupted(
            (f"{because}; and " if because else "")
            + f"{exc}. On disk the {serves} versions are pinned, and a start serves them. Once the server is there, "
            "`trident rollout --resume` goes on and `trident rollout --abort` takes it back"
        )

    def _ended(self, plan: Plan, outcome: str, sentence: str, began: float) -> Outcome:
        seconds = time.monotonic() - began
        self._note(plan, journal.ENDED, outcome=outcome, sentence=sentence, seconds=round(seconds, 3))
        return Outcome(plan, outcome, sentence, seconds, dict(self._seconds))

    def _note(self, plan: Plan, event: str, **facts: Any) -> None:
        """A line about what has been done already: if it cannot be written, that undoes nothing."""
        try:
            self._journal.append(plan.id, event, **facts)
        except SetupError as exc:
            self._progress.tell(str(exc))

    @contextmanager
    def _step(self, plan: Plan, name: str, about: str) -> Iterator[Callable[[Finding | None], None]]:
        """A step in the journal and on the display. What it found is handed to what this gives."""
        self._journal.append(plan.id, journal.STEP, name=name, status="begin")
        self._progress.begin(name, about)
        began = time.monotonic()
        found: list[Finding | None] = [None]
        try:
            yield lambda finding: found.__setitem__(0, finding)
        except BaseException as exc:
            seconds = time.monotonic() - began
            self._seconds[name] = seconds
            sentence = str(exc) if isinstance(exc, TridentError) else type(exc).__name__
            self._note(plan, journal.STEP, name=name, status="stopped", seconds=round(seconds, 3), sentence=sentence)
            self._progress.fail(name, sentence, seconds)
            raise
        seconds = time.monotonic() - began
        self._seconds[name] = seconds
        finding = found[0] or Finding("left out")
        self._note(
            plan,
            journal.STEP,
            name=name,
            status="left out" if found[0] is None else "passed",
            seconds=round(seconds, 3),
            sentence=finding.sentence,
            warnings=list(finding.warnings),
            **({"facts": dict(finding.facts)} if finding.facts else {}),
        )
        self._progress.end(name, finding, seconds)


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
        SetupError: A configuration cannot be written, or a rollout has not ended.
        ServingError: The server does not answer.
    """
    if (left := diary.unfinished()) is not None:
        raise SetupError(f"{left} has not ended: `trident rollout --resume` or `--abort` first")
    release = repository.release()
    names = control.with_callers(components)
    held = {
        f"{name} {version}": memory
        for name in names
        for version in control.in_memory(serving, name)
        if version != release[name] and (memory := memory_of(repository.path, name, version)) is not None
    }
    settled = control.settle(serving, repository, {name: (version,) for name, version in release.items()}, names)
    return settled, held


def _named(versions: Mapping[str, int] | None) -> str:
    if versions is None:
        return "something else than an ensemble, as a canary that was left behind"
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "none"


__all__ = ["RECOGNIZER", "Checks", "Finding", "Interrupted", "Outcome", "Progress", "Rollout", "Stopped", "retire"]
