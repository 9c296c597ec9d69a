"""What is to change on each server of a fleet, worked out for all before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from trident.contract import EMBEDDER, RECOGNIZER
from trident.errors import SetupError
from trident.fleet.alike import differences
from trident.fleet.member import Member, named, standings
from trident.fleet.past import Left, Part
from trident.rollout.engine import ROLLBACK
from trident.rollout.engine import named as versions_named
from trident.rollout.plan import Plan, make_plan, new_id, plan_back, plan_of

Move = tuple[Member, Plan]


def moves_to(
    members: Sequence[Member],
    targets: Mapping[str, int],
    *,
    kind: str,
    identity_threshold: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Move]:
    """The moves of those servers that do not serve the targets.

    Args:
        members: The servers.
        targets: The wanted version of each component.
        kind: ``rollout`` or ``rollback``.
        identity_threshold: For another ``face_embedder``.
        tell: Told of each server that serves them already.

    Raises:
        SetupError: Some cannot, with the reason of each; nothing has changed.
    """
    moves, complaints = [], []
    for member in members:
        try:
            if member.serves(targets):
                tell(f"{member.name} serves {versions_named(targets)} already")
                continue
            with named(member.name):
                plan = make_plan(member.repository, targets, kind=kind, identity_threshold=identity_threshold)
            moves.append((member, plan))
        except SetupError as exc:
            complaints.append(str(exc))
    if complaints:
        raise SetupError("; ".join(complaints))
    return moves


def moves_back(members: Sequence[Member], component: str) -> list[Move]:
    """The moves of all servers back from what brought the present version of a component, as their journals know it.

    Raises:
        SetupError: They do not serve the same version of it, or would not go back to the same.
    """
    with_versions = {}
    for member in members:
        with named(member.name):
            with_versions[member.name] = member.repository.release()[component]
    if len(set(with_versions.values())) > 1:
        raise SetupError(standings(members, [component]))
    moves, complaints = [], []
    for member in members:
        try:
            moves.append((member, plan_back(member.repository, component, member.diary.records())))
        except SetupError as exc:
            complaints.append(f"{member.name}: {exc}")
    if complaints:
        raise SetupError("; ".join(complaints))
    unlike = differences(members, {member.name: plan.after for member, plan in moves})
    moving = {change.component for _, plan in moves for change in plan.changes}
    if found := [sentence for name, sentence in unlike.items() if name in moving]:
        raise SetupError(f"the servers would not go back to the same: {'; '.join(found)}")
    return moves


def common_targets(moves: Sequence[Move]) -> dict[str, int]:
    """What all of them lead to: a recognizer that was made for a network may bear another number on each server."""
    first = moves[0][1].targets
    return {name: to for name, to in first.items() if all(plan.targets.get(name) == to for _, plan in moves)}


def moves_of(parts: Sequence[Part]) -> list[Move]:
    """What has brought servers to the targets, or is to, as their journals have it."""
    return [(part.member, _way_there(part)) for part in parts]


def _way_there(part: Part) -> Plan:
    plan = plan_of(part.record)
    # Of a way back that has come to nothing, the other way round.
    return replace(way_back(plan), kind=part.mark.kind) if part.was_way_back else plan


def way_back(plan: Plan) -> Plan:
    """Back to exactly what a plan has started from."""
    targets = {change.component: change.before for change in plan.changes if change.component in plan.targets}
    return Plan(new_id(), ROLLBACK, targets, plan.after, plan.before)


def identity_threshold_of(left: Left) -> float | None:
    """The threshold that came with another embedder, as a server has it that was begun with. Raises SetupError."""
    if EMBEDDER not in left.mark.targets:
        return None
    part = (left.moved or left.unfinished)[0]
    with named(part.member.name):
        return part.member.repository.networks(_way_there(part).after[RECOGNIZER]).identity_threshold
