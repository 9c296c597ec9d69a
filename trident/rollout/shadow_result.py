"""What a shadow found, for the terminal, the journal and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trident.rollout.limits import Metric
from trident.rollout.release import Release, changes_between

OLD, NEW = "old", "new"

_SHOWN_WORST = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the two versions took over the same inputs, asked in turn."""

    component: str
    old_ms: float
    """Median of the old version's calls, in milliseconds."""
    new_ms: float
    ratio: float
    """Median of new over old, each pair asked one right after the other: what else the machine does cancels out."""
    calls: int
    """Calls of each."""

    def to_json(self) -> dict[str, object]:
        """For the journal."""
        return {
            "component": self.component,
            "old_ms": round(self.old_ms, 3),
            "new_ms": round(self.new_ms, 3),
            "ratio": round(self.ratio, 3),
            "calls": self.calls,
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """A call that failed, or whose answer is none."""

    component: str
    side: str
    """``old`` or ``new``: whose fault it is."""
    version: int
    picture: str
    what: str

    def __str__(self) -> str:
        if self.side == NEW:
            return f"{self.component} {self.version}, the new version, failed on {self.picture!r}: {self.what}"
        return (
            f"{self.component} {self.version}, the version that serves now, failed on {self.picture!r}, so there is "
            f"nothing to compare with: {self.what}"
        )

    def to_json(self) -> dict[str, object]:
        """For the journal."""
        return {
            "component": self.component,
            "side": self.side,
            "version": self.version,
            "picture": self.picture,
            "what": self.what,
        }


@dataclass(frozen=True, slots=True)
class Quality:
    """One measure on labelled pictures, of both releases."""

    name: str
    old: float
    new: float
    pictures: int
    loss: float
    """How much the new release lost, as the limit counts it; 0 or less where it did not."""
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the loss is within the limit."""
        return self.loss <= self.limit + 1e-9

    def to_json(self) -> dict[str, object]:
        """For the journal."""
        return {
            "name": self.name,
            "old": round(self.old, 5),
            "new": round(self.new, 5),
            "pictures": self.pictures,
            "limit": self.limit,
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True)
class ComparedPicture:
    """One picture, and how the two releases differ on it."""

    name: str
    badness: float
    """0 where they agree, 1 where their answers are wholly other ones, 2 where a call failed."""
    reasons: tuple[str, ...]
    """The worst first, without anything that was read or recognized."""
    details: tuple[str, ...] = ()
    """What was read or recognized; not for the journal."""
    encoded: bytes = b""
    old_result: bytes | None = None
    """``RESULT`` of the old release; None where it did not answer."""
    new_result: bytes | None = None


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """How two releases compare on a set of pictures."""

    before: Release
    after: Release
    components: tuple[str, ...]
    """What was asked directly, beside the ensembles."""
    pictures: tuple[ComparedPicture, ...]
    """All of them, the worst first."""
    metrics: tuple[Metric, ...]
    latencies: tuple[Latency, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    """What stops nothing, and should be known."""
    quality: tuple[Quality, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and every figure is within its limit."""
        return not self.complaints

    @property
    def complaints(self) -> tuple[str, ...]:
        """What speaks against the new release, one sentence each."""
        found = [str(fault) for fault in self.faults]
        found += [f"{one} (--limit {one.option}=…)" if one.option else str(one) for one in self._missed]
        for one in self.quality:
            if not one.passed:
                found.append(
                    f"{one.name}: {one.new:.4g}, expected a loss of at most {one.limit:g} from {one.old:.4g} "
                    "(--limit quality_loss=…)"
                )
        return tuple(found)

    @property
    def _missed(self) -> list[Metric]:
        return [one for one in self.metrics if not one.passed]

    @property
    def worst(self) -> tuple[ComparedPicture, ...]:
        """The pictures on which the releases differ most, at most five; none on which they agree."""
        return tuple(one for one in self.pictures if one.badness > 0.01)[:_SHOWN_WORST]

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        what = ", ".join(map(str, changes_between(self.before, self.after)))
        many = f"{len(self.pictures)} picture{'s' if len(self.pictures) != 1 else ''}"
        if self.passed:
            return f"{what}: agrees on {many}, {len(self.metrics)} figures within their limits"
        complaints = self.complaints
        more = f", and {len(complaints) - 1} more" if len(complaints) > 1 else ""
        worst = self.worst
        where = f"; worst: {', '.join(repr(one.name) for one in worst[:3])}" if worst else ""
        return f"{what}: {complaints[0]}{more}{where}"

    def to_json(self) -> dict[str, Any]:
        """For the journal: figures and names of pictures, and nothing that was read or recognized in one."""
        return {
            "passed": self.passed,
            "components": list(self.components),
            "pictures": len(self.pictures),
            "metrics": [one.to_json() for one in self.metrics],
            "latencies": [one.to_json() for one in self.latencies],
            "faults": [one.to_json() for one in self.faults],
            "warnings": list(self.warnings),
            "quality": [one.to_json() for one in self.quality],
            "worst": [
                {"picture": one.name, "badness": round(one.badness, 4), "reasons": list(one.reasons)}
                for one in self.worst
            ],
            "seconds": round(self.seconds, 2),
        }
