"""The kinds of faults, and the order in which a seed has them happen."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trident.contract import COMPONENTS, NETWORKS
from trident.errors import SetupError


class Kind(StrEnum):
    """What is done to the server."""

    KILL = "kill"
    HALT = "halt"
    HANG = "hang"
    OUT_OF_MEMORY = "oom"
    SHARED_MEMORY = "shm"
    KILL_SERVER = "kill-server"
    HALT_SERVER = "halt-server"
    VANISH = "vanish"
    ROLLOUT = "rollout"
    STORM = "storm"


ALL: tuple[Kind, ...] = tuple(Kind)
STORM_KILLS, STORM_MOST = 7, 15
"""Two more than the supervision brings back at once within a minute; and where a model takes so long to be back that
nothing had to wait, up to so many."""
DELAYED = ("revival_delayed", "restart_delayed")
"""Events by which the supervision tells that it waits."""
HANGING: tuple[str, ...] = tuple(name for name in COMPONENTS if name not in NETWORKS)
"""What can be made to hang: components whose code is their own; networks share one that belongs to no version."""


@dataclass(frozen=True, slots=True)
class About:
    """One kind."""

    sentence: str
    """What is done, for a report."""
    share: int = 1
    """How often it comes in each round."""
    victims: tuple[str, ...] = ()
    """The components that it may befall; empty where it befalls no single one."""
    felt: bool = True
    """Whether the server must say meanwhile that it is not ready."""
    aims: bool = True
    """Whether what a single fault should take is a measure for it."""


ABOUT: Mapping[Kind, About] = {
    Kind.KILL: About("a component's process is killed (SIGKILL)", share=3, victims=COMPONENTS),
    Kind.HALT: About("a component's process is halted (SIGSTOP)", victims=COMPONENTS),
    Kind.HANG: About("all processes of a Python component do nothing any more", victims=HANGING),
    Kind.OUT_OF_MEMORY: About("the kernel kills a component's process for want of memory", victims=COMPONENTS),
    # Noticed by requests that fail, if any does.
    Kind.SHARED_MEMORY: About("shared memory (/dev/shm) is full for some seconds", aims=False),
    Kind.KILL_SERVER: About("Triton is killed (SIGKILL)"),
    Kind.HALT_SERVER: About("Triton is halted (SIGSTOP)"),
    Kind.VANISH: About("callers who keep the server busy are gone in the middle", felt=False, aims=False),
    Kind.ROLLOUT: About("a component's process is killed in the middle of a rollout", victims=COMPONENTS),
    Kind.STORM: About(
        f"a component's process is killed as often as it is back, {STORM_KILLS} times or more",
        victims=COMPONENTS,
        aims=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault that is to happen."""

    number: int
    """From 1."""
    kind: Kind
    victim: str
    """A component; empty where it befalls no single one."""


def parse_kinds(text: str) -> tuple[Kind, ...]:
    """Kinds with commas between, each once.

    Raises:
        SetupError: One is unknown, or there is none.

    >>> parse_kinds("kill, hang,kill")
    (<Kind.KILL: 'kill'>, <Kind.HANG: 'hang'>)
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in list(Kind)]
    if unknown or not names:
        raise SetupError(f"kinds: expected some of {', '.join(Kind)}, got {', '.join(unknown) or 'none'}")
    return tuple(Kind(name) for name in names)


def draw(kinds: Sequence[Kind], seed: int) -> Iterator[Planned]:
    """Faults without end, in rounds that hold every kind as often as its share says, in an order of chance.

    Every victim of a kind has its turn before one comes again.

    Args:
        kinds: Which; at least one.
        seed: The same one gives the same faults.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    turns = {kind: _turns(ABOUT[kind].victims, chance) for kind in kinds}
    numbers = itertools.count(1)
    while True:
        order = [kind for kind in kinds for _ in range(ABOUT[kind].share)]
        chance.shuffle(order)
        for kind in order:
            yield Planned(next(numbers), kind, next(turns[kind]))


def _turns(victims: Sequence[str], chance: random.Random) -> Iterator[str]:
    while True:
        order = list(victims) or [""]
        chance.shuffle(order)
        yield from order
