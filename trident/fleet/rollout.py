"""One rollout over all servers of a fleet: each goes through the ordinary one, one after the other, or all go back.

While it runs, two releases answer side by side, each request by one of them. All servers are looked at before the first
is touched. There is no journal of its own: what was done stands in those of the servers (``trident.fleet.past``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trident.contract import ENSEMBLE
from trident.errors import SetupError, TridentError
from trident.fleet.before import ChecksOf, Progress, check_all_serve, live_checks, refusal
from trident.fleet.member import Member, listed, standings
from trident.fleet.past import MARK, ROLLOUT, Left, Mark, Part, left_by, refuse_others, turn_forward
from trident.fleet.plans import (
    Move,
    common_targets,
    identity_threshold_of,
    moves_back,
    moves_of,
    moves_to,
    way_back,
)
from trident.rollout import engine, journal
from trident.rollout.engine import ROLLBACK, Rollout
from trident.rollout.options import Options
from trident.rollout.plan import Plan
from trident.rollout.serving import ServingError

READY_WITHIN_S = 60.0
"""How long a server that is being brought back is waited for when its turn comes."""
_LOOK_S = 0.25
_UNWATCHED = Options(watch_s=0.0)
"""Of the way back: what is known to answer well is not watched."""


class FleetInterrupted(TridentError):
    """It has neither ended nor been taken back as a whole; the servers' journals know where they stand."""


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """How it ended."""

    outcome: str
    """One of the outcomes of the journal."""
    sentence: str
    """What was done, or why it was stopped."""
    standing: str
    """Who serves what now."""
    seconds: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why one server's part did not come to its end."""

    sentence: str
    interrupted: bool
    """Whether the server's own rollout stands in its middle; else the server is as it was before."""


class FleetRollout:
    """Carries one rollout out on all servers. The caller holds the locks of their journals.

    Args:
        members: The servers, in the order in which they move.
        progress: Is told what happens.
        again: The command that names this fleet, for messages.
        checks_of: Makes the checks of one server's part.
        ready_within_s: How long a server that does not answer is waited for when its turn comes.
    """

    def __init__(
        self,
        members: Sequence[Member],
        progress: Progress,
        *,
        again: str = "trident rollout --fleet FILE",
        checks_of: ChecksOf = live_checks,
        ready_within_s: float = READY_WITHIN_S,
    ) -> None:
        self._members = tuple(members)
        self._progress = progress
        self._again = again
        self._checks_of = checks_of
        self._ready_within_s = ready_within_s
        self._began = time.monotonic()

    def run(
        self, targets: Mapping[str, int], options: Options, *, identity_threshold: float | None = None
    ) -> FleetOutcome:
        """Have all servers serve these versions. One that does already is left alone.

        The same targets as those of a rollout of the fleet that was interrupted between two servers go on with that.

        Args:
            targets: The wanted version of each component that is to move.
            options: As for one server; the canary is of the first that moves alone.
            identity_threshold: For another ``face_embedder``.

        Returns:
            How it ended; if it was stopped, the servers that had moved have gone back.

        Raises:
            SetupError: It could not begin; nothing has changed.
            FleetInterrupted: It can neither go on, nor be taken back as a whole.
        """
        left = self._nothing_half_done()
        if left is not None and left.mark.kind == ROLLOUT and dict(left.mark.targets) == dict(targets):
            self._progress.head(f"Going on: {left}")
            mark = turn_forward(left, options.to_json()) if left.turned_back else left.mark
            return self._forward(mark, moves_of(left.moved), options, identity_threshold)
        if left is not None:
            self._progress.tell(f"mind: {left}")
        return self._forward(Mark.new(ROLLOUT, targets, self._members), [], options, identity_threshold)

    def back(self, component: str, options: Options) -> FleetOutcome:
        """Have all servers go back from what brought the present version of a component, the last server first.

        One that cannot does not keep the others from it, and none goes forward again.

        Args:
            component: Its name.
            options: How long each server is watched afterwards.

        Raises:
            SetupError: The servers do not serve the same, or would not go back to the same; nothing has changed.
            FleetInterrupted: Some have gone back and some have not.
        """
        left = self._nothing_half_done()
        if left is not None and (left.mark.kind != ROLLBACK or component not in left.mark.targets):
            raise SetupError(self._how_to_end(left))
        if left is not None:
            self._progress.head(f"Going on: {left}")
            return self._rest_back(left, options)
        try:
            moves = moves_back(self._members, component)
        except SetupError as exc:
            raise SetupError(f"{exc}: say what is to answer, `{self._again} {component}=VERSION`") from exc
        return self._all_back(Mark.new(ROLLBACK, common_targets(moves), self._members), moves, options)

    def resume(self, *, gallery_url: str | None = None) -> FleetOutcome:
        """Go on with what was interrupted, in the direction in which it was going, with the options that it had.

        Args:
            gallery_url: The gallery's database, which no journal has.

        Raises:
            SetupError: Nothing was interrupted, or something else was.
            FleetInterrupted: As ``run``.
        """
        left = self._interrupted()
        self._progress.head(f"Going on: {left}")
        if left.turned_back:
            return self._taken_back(left)
        moved = moves_of(left.moved)
        for part in left.unfinished:
            self._progress.head(f"{part.member.name}: {part.record}")
            failure = self._resume(part, _options_of(part, gallery_url))
            if failure is not None and (failure.interrupted or left.mark.kind == ROLLBACK):
                raise self._interrupted_by(failure.sentence)
            if failure is not None:
                return self._stopped(left.mark, moved, failure.sentence)
            moved += moves_of([part])
        # The server that moved first has answered a share, if that was wanted.
        options = replace(Options.from_json(left.options, gallery_url=gallery_url), canary=0.0)
        if left.mark.kind == ROLLBACK:
            return self._rest_back(left, options)
        return self._forward(left.mark, moved, options, identity_threshold_of(left))

    def abort(self) -> FleetOutcome:
        """Take back a rollout that was interrupted, on all servers that have moved or begun to.

        Raises:
            SetupError: Nothing was interrupted, or it was a rollback.
            FleetInterrupted: A server could not go back.
        """
        left = self._interrupted()
        if left.mark.kind == ROLLBACK:
            raise SetupError(f"{self._how_to_end(left)}; a rollback is not taken back")
        self._progress.head(f"Taking back: {left}")
        return self._taken_back(left)

    def _forward(
        self, mark: Mark, moved: list[Move], options: Options, identity_threshold: float | None
    ) -> FleetOutcome:
        try:
            check_all_serve(self._members)
            moves = moves_to(
                self._members,
                mark.targets,
                kind=ROLLOUT,
                identity_threshold=identity_threshold,
                tell=self._progress.tell,
            )
            complaint = refusal(self._members, moves, options, self._checks_of, self._progress)
        except SetupError as exc:
            if not moved:
                raise SetupError(f"{exc}. Nothing has changed") from exc
            moves, complaint = [], str(exc)
        if complaint and moved:
            raise self._interrupted_by(f"{complaint}. {listed(member.name for member, _ in moved)} had moved before")
        if complaint:
            return self._ended(journal.STOPPED, complaint, mark)
        for member, plan in moves:
            # What the first server has answered a share with, the others need not try again.
            own = replace(options, canary=0.0) if moved else options
            self._progress.head(f"{member.name}: {plan}")
            failure = self._run(member, plan, own, mark)
            if failure is not None and failure.interrupted:
                raise self._interrupted_by(failure.sentence)
            if failure is not None:
                return self._stopped(mark, moved, failure.sentence)
            moved = [*moved, (member, plan)]
        return self._ended(journal.DONE, str(mark), mark)

    def _stopped(self, mark: Mark, moved: Sequence[Move], failure: str) -> FleetOutcome:
        """Have those that have moved go back, the last one first."""
        if stuck := self._go_back(mark, moved):
            raise self._interrupted_by(f"{failure}. {_sentences(stuck)}")
        if not moved:
            return self._ended(journal.STOPPED, failure, mark)
        went = listed(member.name for member, _ in moved)
        return self._ended(journal.ROLLED_BACK, f"{failure}. {went} went back", mark)

    def _taken_back(self, left: Left) -> FleetOutcome:
        stuck = []
        for part in left.unfinished:
            self._progress.head(f"{part.member.name}, back: the {part.record}")
            failure = self._resume(part, _UNWATCHED) if part.record.kind == ROLLBACK else self._abort(part)
            stuck += [] if failure is None else [failure]
        stuck += self._go_back(left.mark, moves_of(left.moved))
        if stuck:
            raise self._interrupted_by(_sentences(stuck))
        return self._ended(journal.ABORTED, f"the {left.mark} was taken back", left.mark)

    def _go_back(self, mark: Mark, moved: Sequence[Move]) -> list[_Failure]:
        """Have servers serve again what they did before; gives those that do not. One does not keep others from it."""
        stuck = []
        for member, plan in reversed(moved):
            back = way_back(plan)
            self._progress.head(f"{member.name}, back: {back}")
            failure = self._run(member, back, _UNWATCHED, mark)
            stuck += [] if failure is None else [failure]
        return stuck

    def _rest_back(self, left: Left, options: Options) -> FleetOutcome:
        moves = moves_to(self._members, left.mark.targets, kind=ROLLBACK, tell=self._progress.tell)
        return self._all_back(left.mark, moves, options)

    def _all_back(self, mark: Mark, moves: Sequence[Move], options: Options) -> FleetOutcome:
        stuck = []
        for member, plan in reversed(moves):
            self._progress.head(f"{member.name}: {plan}")
            failure = self._run(member, plan, options, mark)
            stuck += [] if failure is None else [failure]
        if not stuck:
            return self._ended(journal.DONE, str(mark), mark)
        if len(stuck) < len(self._members) or any(failure.interrupted for failure in stuck):
            raise self._interrupted_by(_sentences(stuck))
        return self._ended(journal.STOPPED, _sentences(stuck), mark)

    def _run(self, member: Member, plan: Plan, options: Options, mark: Mark) -> _Failure | None:
        facts: dict[str, Any] = {**options.to_json(), MARK: mark.to_json()}
        return self._carried_out(member, options, lambda one: one.run(plan, facts))

    def _resume(self, part: Part, options: Options) -> _Failure | None:
        return self._carried_out(part.member, options, lambda one: one.resume(part.record))

    def _abort(self, part: Part) -> _Failure | None:
        # That is possible without a server, too: on disk alone.
        return self._carried_out(part.member, _UNWATCHED, lambda one: one.abort(part.record), waits=False)

    def _carried_out(
        self, member: Member, options: Options, work: Callable[[Rollout], engine.Outcome], *, waits: bool = True
    ) -> _Failure | None:
        """Do one server's part; gives what went wrong, if something did."""
        try:
            if waits:
                self._await_ready(member)
            checks = self._checks_of(member, options)
            outcome = work(Rollout(member.repository, member.serving, member.diary, checks, self._progress))
        except engine.Interrupted as exc:
            return _Failure(f"{member.name}: {exc}", interrupted=True)
        except TridentError as exc:
            return _Failure(f"{member.name}: {exc}", interrupted=_may_stand_there(member))
        if outcome.outcome in (journal.DONE, journal.ABORTED):
            return None
        return _Failure(f"{member.name}: {outcome.sentence}", interrupted=False)

    def _await_ready(self, member: Member) -> None:
        """Raises SetupError for a server that does not answer in time."""
        deadline = time.monotonic() + self._ready_within_s
        while True:
            try:
                if member.serving.ready(ENSEMBLE):
                    return
                why = f"{ENSEMBLE} does not answer at {member.serving.url}"
            except ServingError as exc:
                why = str(exc)
            if time.monotonic() > deadline:
                raise SetupError(f"{why}, also after {self._ready_within_s:g} s")
            time.sleep(_LOOK_S)

    def _nothing_half_done(self) -> Left | None:
        """What an earlier command has left between two servers. Raises SetupError for what it left in the middle."""
        left = self._left()
        if left is not None and left.unfinished:
            raise SetupError(self._how_to_end(left))
        return left

    def _interrupted(self) -> Left:
        left = self._left()
        if left is None:
            raise SetupError("no rollout of this fleet was interrupted: what was begun has ended on all of its servers")
        return left

    def _left(self) -> Left | None:
        left = left_by(self._members)
        refuse_others(self._members, left)
        return left

    def _how_to_end(self, left: Left) -> str:
        return f"{left}: {self._ways_out(left)}"

    def _ways_out(self, left: Left | None) -> str:
        go_on = f"`{self._again} --resume` goes on with it"
        if left is not None and left.mark.kind == ROLLBACK:
            return go_on
        return f"{go_on}, `{self._again} --abort` takes it back"

    def _interrupted_by(self, sentence: str) -> FleetInterrupted:
        try:
            left = left_by(self._members)
            stands = "" if left is None else f" {standings(self._members, left.mark.targets)}."
        except SetupError as exc:
            left, stands = None, f" What has become of it cannot be read: {exc}."
        return FleetInterrupted(f"{sentence.rstrip('.')}.{stands} For the fleet: {self._ways_out(left)}")

    def _ended(self, outcome: str, sentence: str, mark: Mark) -> FleetOutcome:
        seconds = time.monotonic() - self._began
        return FleetOutcome(outcome, sentence, standings(self._members, mark.targets), seconds)


def _options_of(part: Part, gallery_url: str | None) -> Options:
    return Options.from_json(part.record.started.get("options", {}), gallery_url=gallery_url)


def _may_stand_there(member: Member) -> bool:
    """Whether a server that could not be gone on with stands in the middle, as far as is known."""
    try:
        return member.diary.unfinished() is not None
    except SetupError:
        return True


def _sentences(failures: Sequence[_Failure]) -> str:
    return " ".join(f"{failure.sentence.rstrip('.')}." for failure in failures)
