"""A release: which version of every component answers together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trident.contract import COMPONENTS
from trident.errors import SetupError

Release = Mapping[str, int]
"""The version of each of ``COMPONENTS`` that answers."""


@dataclass(frozen=True, slots=True)
class Change:
    """One component's move from one version to another."""

    component: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.component} {self.before} → {self.after}"


def changes_between(before: Release, after: Release) -> tuple[Change, ...]:
    """What is different, in the order of the contract."""
    return tuple(
        Change(name, before[name], after[name])
        for name in COMPONENTS
        if name in before and name in after and before[name] != after[name]
    )


def parse_targets(arguments: tuple[str, ...]) -> dict[str, int]:
    """Understand ``detector 2`` and ``detector=2 fusion=2``.

    Returns:
        The wanted version of each named component.

    Raises:
        SetupError: Something else was given, a component is unknown, or one is named twice.

    >>> parse_targets(("detector", "2"))
    {'detector': 2}
    >>> parse_targets(("detector=2", "fusion=3"))
    {'detector': 2, 'fusion': 3}
    """
    if len(arguments) == 2 and "=" not in "".join(arguments):
        arguments = (f"{arguments[0]}={arguments[1]}",)
    targets: dict[str, int] = {}
    for argument in arguments:
        name, separator, number = argument.partition("=")
        if not separator:
            raise SetupError(f"what to roll out: expected COMPONENT VERSION or COMPONENT=VERSION …, got {argument!r}")
        check_component(name)
        if not number.isdecimal() or not 0 < int(number) < 2**31:
            raise SetupError(f"version of {name}: expected a whole number of 1 or more, got {number!r}")
        if name in targets:
            raise SetupError(f"{name} is named twice")
        targets[name] = int(number)
    if not targets:
        raise SetupError("what to roll out: expected COMPONENT VERSION or COMPONENT=VERSION …, got nothing")
    return targets


def check_component(name: str) -> None:
    """Raise SetupError unless ``name`` is a component."""
    if name not in COMPONENTS:
        raise SetupError(f"component: expected one of {', '.join(COMPONENTS)}, got {name!r}")
