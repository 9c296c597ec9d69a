"""How many users there are when: the stages of a load. Locust is handed them by ``locustfile``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from benchmarks.load import LONGEST_S
from trident.errors import SetupError

MOST_USERS = 500
"""Each of them has a connection of its own, and a thread while it waits."""
SHORTEST_S = 2.0
_STEPS = 4
_SPIKE = 5
"""By how much a spike is higher than what is around it."""
_RAMP_SHARE, _RAMP_S = 0.1, 60.0


class Kind(StrEnum):
    """The course of a load."""

    CONSTANT = "constant"
    """All users from the beginning to the end."""
    STEPS = "steps"
    """A quarter of the users, then half of them, three quarters and all, for the same time each."""
    SPIKE = "spike"
    """A fifth of the users; all at once for a fifth of the time in the middle; and a fifth again, to see it recover."""
    SOAK = "soak"
    """All users for long, after a ramp of a tenth of the time, at most a minute. The rest counts in quarters: what
    leaks or drifts makes the last one differ from the first."""

    @property
    def usual_s(self) -> float:
        """How long it takes unless told otherwise, in seconds."""
        return {Kind.CONSTANT: 60.0, Kind.STEPS: 120.0, Kind.SPIKE: 100.0, Kind.SOAK: 3600.0}[self]


@dataclass(frozen=True, slots=True)
class Stage:
    """A time with the same number of users."""

    users: int
    seconds: float


def stages(kind: Kind, users: int, seconds: float) -> tuple[Stage, ...]:
    """The stages of a load.

    Args:
        kind: Its course.
        users: At its height, 1 to ``MOST_USERS``.
        seconds: All stages together.

    Raises:
        SetupError: Too many users or too few, too long or too short.

    >>> [stage.users for stage in stages(Kind.STEPS, users=8, seconds=120)]
    [2, 4, 6, 8]
    """
    if not 1 <= users <= MOST_USERS:
        raise SetupError(f"users: expected 1 to {MOST_USERS}, got {users}")
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise SetupError(f"seconds: expected {SHORTEST_S:g} to {LONGEST_S:g}, got {seconds:g}")
    steps = [-(-users * step // _STEPS) for step in range(1, _STEPS + 1)]
    low = max(1, round(users / _SPIKE))
    match kind:
        case Kind.CONSTANT:
            return (Stage(users, seconds),)
        case Kind.STEPS:
            return _merged([Stage(step, seconds / _STEPS) for step in steps])
        case Kind.SPIKE:
            return _merged([Stage(low, 0.4 * seconds), Stage(users, 0.2 * seconds), Stage(low, 0.4 * seconds)])
        case Kind.SOAK:
            ramp = min(_RAMP_S, _RAMP_SHARE * seconds)
            rising = [Stage(step, ramp / len(steps[:-1])) for step in steps[:-1] if step < users]
            hold = seconds - sum(stage.seconds for stage in rising)
            return (*_merged(rising), *(Stage(users, hold / 4) for _ in range(4)))


def _merged(planned: list[Stage]) -> tuple[Stage, ...]:
    """Neighbours with the same number of users as one."""
    runs = groupby(planned, key=lambda stage: stage.users)
    return tuple(Stage(users, sum(stage.seconds for stage in run)) for users, run in runs)


def stage_at(planned: tuple[Stage, ...], seconds: float) -> int | None:
    """Which stage it is so many seconds after the begin; None after the last one."""
    end = 0.0
    for index, stage in enumerate(planned):
        end += stage.seconds
        if seconds < end:
            return index
    return None
