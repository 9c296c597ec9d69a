"""What the servers' own journals know of a rollout of the whole fleet: there is no other record of it.

Each server's part is an ordinary rollout in its journal, whose options carry a mark: which rollout of the fleet it is a
part of. So what was interrupted is found again wherever the command was killed, also between two servers. The parts say
in which direction it was going, too; where it was told to turn forward again, a line that stands alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from trident.errors import SetupError
from trident.fleet.member import Member, listed, named
from trident.rollout.journal import DONE, Record, who
from trident.rollout.plan import new_id

ROLLOUT = "rollout"
MARK = "fleet"
"""Where a record's options have the mark."""
FORWARD = "forward"
"""Event, in the journal of a server that has moved: what was being taken back is to go on after all. It is written
before anything is done for that, with options and mark as a record has them, under the id of the mark."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which rollout of the fleet a record is a part of."""

    id: str
    kind: str
    """``rollout`` or ``rollback``: of the whole. The part of a server that went back again is a rollback in both."""
    targets: Mapping[str, int]
    """What every server is to serve."""
    servers: tuple[str, ...]
    """The fleet, by name."""
    turn: int = 0
    """How often it had turned forward again by then."""

    @classmethod
    def new(cls, kind: str, targets: Mapping[str, int], members: Sequence[Member]) -> Self:
        """The mark of one that begins now."""
        return cls(new_id(), kind, dict(targets), tuple(member.name for member in members))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self | None:
        """The mark in a line of a journal, as the first of a record; None for what is of that server alone."""
        try:
            mark = facts["options"][MARK]
            targets = {str(name): int(version) for name, version in mark["targets"].items()}
            servers = tuple(map(str, mark["servers"]))
            return cls(str(mark["id"]), str(mark["kind"]), targets, servers, int(mark.get("turn", 0)))
        except (TypeError, KeyError, AttributeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} of {' '.join(f'{name}={version}' for name, version in self.targets.items())}"


@dataclass(frozen=True, slots=True)
class Part:
    """What a rollout of the fleet last did to one server."""

    member: Member
    record: Record
    mark: Mark

    @property
    def unfinished(self) -> bool:
        """Whether it was interrupted there."""
        return self.record.outcome is None

    @property
    def was_way_back(self) -> bool:
        """Whether that was to have the server serve again what it did before, since the rollout of the whole failed."""
        return self.record.kind != self.mark.kind

    @property
    def moved(self) -> bool:
        """Whether the server serves the targets by it: it has moved, or its way back has come to nothing."""
        return not self.unfinished and (self.record.outcome == DONE) != self.was_way_back

    @property
    def turned_back(self) -> bool:
        """Whether it failed there, or the server has gone back, or is on its way."""
        return self.was_way_back or self.record.outcome not in (None, DONE)


@dataclass(frozen=True, slots=True)
class Left:
    """A rollout of the fleet that has come only a part of its way."""

    mark: Mark
    """The newest."""
    parts: tuple[Part, ...]
    """Those that it has begun, in the order of the fleet."""
    forward: Mapping[str, Any] | None = None
    """The options with which it has turned forward last; None if it never has."""

    @property
    def unfinished(self) -> tuple[Part, ...]:
        """Servers in whose middle it was interrupted: one at most, unless journals were changed by hand."""
        return tuple(part for part in self.parts if part.unfinished)

    @property
    def moved(self) -> tuple[Part, ...]:
        """Servers that serve its targets by it."""
        return tuple(part for part in self.parts if part.moved)

    @property
    def turned_back(self) -> bool:
        """Whether it was being taken back. What went back before it turned forward does not say so."""
        return self.mark.kind == ROLLOUT and any(
            part.turned_back for part in self.parts if part.mark.turn == self.mark.turn
        )

    @property
    def options(self) -> Mapping[str, Any]:
        """What was asked of the servers that have not moved, as the journal has it."""
        if self.forward is not None:
            return self.forward
        began: Mapping[str, Any] = (self.unfinished or self.moved)[0].record.started.get("options", {})
        return began

    def __str__(self) -> str:
        began = min(part.record.at for part in self.parts)
        where = [f"{part.member.name} is at step {part.record.step}" for part in self.unfinished]
        if self.moved:
            names = [part.member.name for part in self.moved]
            where.append(f"{listed(names)} {'has' if len(names) == 1 else 'have'} moved")
        return f"a {self.mark} of the fleet, begun {began}, was interrupted: {', '.join(where)}"


def left_by(members: Sequence[Member]) -> Left | None:
    """The rollout of the fleet that was interrupted, or could not be taken back as a whole; None if there is none.

    Only what a server did last counts: where something else has been done to it since, that was somebody's wish.

    Raises:
        SetupError: A journal or a repository cannot be read.
    """
    parts: list[Part] = []
    marks: dict[str, list[Mark | None]] = {}
    for member in members:
        with named(member.name):
            records = member.diary.records()
        marks[member.name] = [Mark.of(record.started) for record in records]
        if records and (mark := marks[member.name][-1]) is not None:
            parts.append(Part(member, records[-1], mark))
    if not parts:
        return None
    newest = max(parts, key=lambda part: (part.unfinished, part.record.at))
    left = _left(members, [part for part in parts if part.mark.id == newest.mark.id])
    if left.unfinished:
        return left
    own = {part.member.name for part in left.parts}
    gone_on = {
        name
        for name, known in marks.items()
        if name not in own and any(one and one.id == left.mark.id for one in known)
    }
    concerned = [member for member in members if member.name in left.mark.servers and member.name not in gone_on]
    behind = [member for member in concerned if not member.serves(left.mark.targets)]
    return left if left.moved and behind else None


def _left(members: Sequence[Member], parts: Sequence[Part]) -> Left:
    """What is known of the rollout of the fleet that these are parts of. Raises SetupError."""
    newest, forward = max((part.mark for part in parts), key=lambda mark: mark.turn), None
    for member in members:
        with named(member.name):
            lines = [entry for entry in member.diary.entries() if entry.event == FORWARD and entry.rollout == newest.id]
        for entry in lines:
            mark = Mark.of(entry.facts)
            if mark is not None and mark.turn >= newest.turn:
                newest, forward = mark, entry.facts["options"]
    return Left(newest, tuple(parts), forward)


def turn_forward(left: Left, options: Mapping[str, Any]) -> Mark:
    """Note that a rollout goes on which was being taken back.

    Args:
        left: What has become of it so far.
        options: With which it goes on, for the journal.

    Returns:
        The mark of what follows.

    Raises:
        SetupError: The journal cannot be written.
    """
    mark = replace(left.mark, turn=left.mark.turn + 1)
    member = left.moved[0].member
    with named(member.name):
        member.diary.append(mark.id, FORWARD, who=who(), options={**options, MARK: mark.to_json()})
    return mark


def refuse_others(members: Sequence[Member], left: Left | None) -> None:
    """Make sure that nothing was interrupted on a server but what ``left`` knows of.

    Raises:
        SetupError: A rollout of one server alone was.
    """
    known = {part.record.id for part in left.unfinished} if left is not None else set()
    for member in members:
        with named(member.name):
            record = member.diary.unfinished()
        if record is not None and record.id not in known:
            options = f"--model-repository {member.repository} --url {record.started.get('server', member.serving.url)}"
            raise SetupError(
                f"{member.name}: {record.how_to_end()}. It is no part of what was done to the fleet: end it there, "
                f"with {options}"
            )
