"""What is looked at on all servers before the first is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from trident.contract import EMBEDDER, ENSEMBLE
from trident.errors import SetupError, TridentError
from trident.fleet.alike import differences, galleries_differ
from trident.fleet.member import Member
from trident.fleet.plans import Move
from trident.rollout import control, engine
from trident.rollout.checks import LiveChecks
from trident.rollout.engine import GONE_WRONG, PREFLIGHT, Checks, Passed, said
from trident.rollout.options import Options
from trident.rollout.plan import Plan

ChecksOf = Callable[[Member, Options], Checks]
"""Makes the checks of one server's part."""


class Progress(engine.Progress, Protocol):
    """Is told what happens, for a display."""

    def head(self, sentence: str) -> None:
        """What is going to happen."""


def live_checks(member: Member, options: Options) -> Checks:
    """The checks of an ordinary rollout."""
    return LiveChecks(member.repository, member.serving, options)


def check_all_serve(members: Sequence[Member]) -> None:
    """Make sure that every server answers, and serves what its disk says.

    Raises:
        SetupError: Some do not: all of them, each with its reason.
    """
    complaints = []
    for member in members:
        try:
            if not member.serving.ready(ENSEMBLE):
                raise SetupError(f"{ENSEMBLE} does not answer at {member.serving.url}: see `trident status`")
            control.check_pins(member.serving, member.repository, member.repository.release())
        except TridentError as exc:
            complaints.append(f"{member.name}: {exc}")
    if complaints:
        raise SetupError("; ".join(complaints))


def refusal(
    members: Sequence[Member], moves: Sequence[Move], options: Options, checks_of: ChecksOf, progress: Progress
) -> str:
    """What keeps a rollout from beginning; empty if nothing does.

    What moves has to be the same on all servers, and each one's own preflight has to pass.

    Args:
        members: The servers.
        moves: What is to change on some of them.
        options: What the operator asked for.
        checks_of: Makes the checks of one server's part.
        progress: Is told of each preflight, and of what is no reason to refuse.

    Raises:
        SetupError: A repository cannot be read.
    """
    before = {member.name: member.repository.release() for member in members}
    after = before | {member.name: dict(plan.after) for member, plan in moves}
    moving = {change.component for _, plan in moves for change in plan.changes}
    unlike = differences(members, after)
    if refusals := [sentence for name, sentence in unlike.items() if name in moving]:
        return f"{'; '.join(refusals)}: copy the version's folder from one server to the others"
    warnings = list(unlike.values())
    if EMBEDDER in moving and not options.gallery_url:
        warnings.append(galleries_differ(members, before))
    for sentence in filter(None, warnings):
        progress.tell(f"mind: {sentence}")
    complaints = [_preflight(member, plan, checks_of(member, options), progress) for member, plan in moves]
    return "; ".join(filter(None, complaints))


def _preflight(member: Member, plan: Plan, checks: Checks, progress: Progress) -> str:
    progress.begin(PREFLIGHT, f"{member.name}: looking at the files")
    began = time.monotonic()
    try:
        passed = checks.preflight(plan)
    except GONE_WRONG as exc:
        complaint = f"{member.name}: {said(exc)}"
        progress.fail(PREFLIGHT, complaint, time.monotonic() - began)
        return complaint
    # What it warns of is said when the server's turn comes.
    progress.end(PREFLIGHT, Passed(f"{member.name}: {passed.sentence}"), time.monotonic() - began)
    return ""
