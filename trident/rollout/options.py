"""What an operator may ask of a rollout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.errors import SetupError

DEFAULT_WATCH_S = 10.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Options:
    """How careful a rollout is to be, and on what pictures."""

    golden: Path | None = None
    """Folder of pictures; None for the default ones."""
    limits: tuple[str, ...] = ()
    """``NAME=VALUE`` of limits that are to differ from their defaults."""
    canary: float = 0.0
    """Share of the traffic that the new release answers before the flip; 0 for no canary."""
    canary_s: float = 60.0
    """For how many seconds."""
    watch_s: float = DEFAULT_WATCH_S
    """For how many seconds the new release is watched after the flip; 0 for not at all."""
    report: Path | None = None
    """Folder for the report of the shadow; None for none."""
    gallery_url: str | None = None
    """The gallery's database; None for the one of the environment."""

    def to_json(self) -> dict[str, Any]:
        """For the journal; without the gallery's URL, which may hold a password."""
        return {
            "golden": None if self.golden is None else str(self.golden),
            "limits": list(self.limits),
            "canary": self.canary,
            "canary_s": self.canary_s,
            "watch_s": self.watch_s,
            "report": None if self.report is None else str(self.report),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], *, gallery_url: str | None = None) -> Options:
        """Back from the journal."""

        def path(name: str) -> Path | None:
            return Path(facts[name]) if facts.get(name) else None

        return cls(
            golden=path("golden"),
            limits=tuple(facts.get("limits", ())),
            canary=float(facts.get("canary", 0.0)),
            canary_s=float(facts.get("canary_s", 60.0)),
            watch_s=float(facts.get("watch_s", DEFAULT_WATCH_S)),
            report=path("report"),
            gallery_url=gallery_url,
        )


def parse_share(text: str) -> float:
    """A share as ``10%`` or ``0.1``.

    Raises:
        SetupError: It is none between 0 and 1.

    >>> parse_share("10%")
    0.1
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SetupError(f"share: expected 0% to 100%, or 0 to 1, got {text!r}")
    return share


def parse_duration(text: str) -> float:
    """Seconds of ``60s``, ``5m``, ``1h`` or ``60``.

    Raises:
        SetupError: It is no duration.

    >>> parse_duration("1.5m")
    90.0
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise SetupError(f"duration: expected seconds, or a number with s, m or h, as 60s, got {text!r}")
    return float(found[1]) * _SECONDS[found[2] or "s"]
