"""The limits of all steps in one place: what ``--limit NAME=VALUE`` may name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from trident.errors import SetupError
from trident.rollout.canary_watch import CanaryLimits
from trident.rollout.limits import Limits, limit_value
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.watch import WatchLimits

_SECTIONS = {"preflight": PreflightLimits, "canary": CanaryLimits, "watch": WatchLimits}
_Section = TypeVar("_Section", PreflightLimits, CanaryLimits, WatchLimits)


@dataclass(frozen=True, slots=True)
class AllLimits:
    """The limits of a rollout."""

    preflight: PreflightLimits = field(default_factory=PreflightLimits)
    shadow: Limits = field(default_factory=Limits)
    canary: CanaryLimits = field(default_factory=CanaryLimits)
    watch: WatchLimits = field(default_factory=WatchLimits)

    @classmethod
    def with_settings(cls, settings: Sequence[str]) -> AllLimits:
        """The defaults with some replaced: ``NAME=VALUE``, or with ``preflight.``, ``canary.`` or ``watch.`` before it.

        Raises:
            SetupError: There is no such limit, or the value is no number of 0 or more.

        >>> AllLimits.with_settings(["canary.latency_ratio=4"]).canary.latency_ratio
        4.0
        """
        sections: dict[str, list[str]] = {"preflight": [], "canary": [], "watch": []}
        shadow = []
        for setting in settings:
            section, dot, rest = setting.partition(".")
            if dot and section in sections:
                sections[section].append(rest)
            else:
                shadow.append(setting)
        return cls(
            _changed(PreflightLimits(), "preflight", sections["preflight"]),
            Limits().changed(shadow),
            _changed(CanaryLimits(), "canary", sections["canary"]),
            _changed(WatchLimits(), "watch", sections["watch"]),
        )


def described_limits() -> Iterator[tuple[str, str]]:
    """Name and meaning of every limit, the default with it."""
    for name in Limits.names():
        yield name, Limits.about(name)
    for section, kind in _SECTIONS.items():
        for one in fields(kind):
            yield f"{section}.{one.name}", f"{one.metadata['help']} {one.default:g}."


def _changed(limits: _Section, section: str, settings: Sequence[str]) -> _Section:
    known = {one.name: one for one in fields(limits)}
    values: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in known:
            raise SetupError(
                f"limit: expected one of {', '.join(f'{section}.{n}' for n in known)}, got {section}.{name}"
            )
        value = limit_value(f"{section}.{name}", text)
        values[name] = int(value) if isinstance(known[name].default, int) else value
    return replace(limits, **values)
