"""What a soak does, and what it calls flat."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ranges import check_range
from trident.layout import DEFAULT_REPOSITORY

LONGEST_S = 14 * 86_400.0
FLOOD = 3.0
"""Times the saturated rate, in the flood before the load."""
_WARM_SHARE, _LONGEST_WARM_S = 0.4, 1800.0
"""What processes have allocated goes on rising for some time, the more slowly the longer."""
_FLOODED_WARM_SHARE, _LONGEST_FLOODED_WARM_S = 0.25, 600.0
"""After a flood it has risen already. What is left comes and goes: glibc gives back what is free at the end of a heap,
in teeth of up to 10 MB and half an hour in the recognizer. The more of them count, the less hangs on where one ends."""
_WINDOWS, _SHORTEST_WINDOW_S = 60, 5.0
_MOST_LOOKS = 5000
"""A longer soak looks less often, so that its own memory, and its report, stay as small."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What still counts as flat."""

    memory_mb: float = 10.0
    """Growth of the memory of all processes, in megabytes (10⁶ bytes) an hour."""
    disk_mb: float = 10.0
    """The same of logs, state, gallery and temporary files."""
    handles: float = 0.0
    """Growth of the number of open file handles, over the whole run."""
    shared_mb: float = 0.0
    """The same of the server's shared-memory files, in megabytes."""

    def __post_init__(self) -> None:
        for name in ("memory_mb", "disk_mb", "handles", "shared_mb"):
            check_range(f"limits: {name}", getattr(self, name), 0, 1e6)


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do. Raises SetupError for a value out of its range."""

    seconds: float = 3600.0
    """How long the load lasts."""
    share: float = 0.5
    """The rate, as a share of the saturated one, which is measured first."""
    rate: float | None = None
    """Requests a second, in place of the share."""
    saturation_s: float = 20.0
    """How long the saturated rate is measured."""
    callers: int = 8
    """Who wait for their answers, while it is measured."""
    flood_s: float = 60.0
    """How long three times the saturated rate is offered before. Triton's pools of shared memory grow with the most
    that was ever under way at a time, and never shrink. Admission bounds that: a flood takes them there, and what
    rises later is no pool that chance had kept small. 0, or a rate that is given: none."""
    warm_s: float | None = None
    """What comes first and does not count; None for a quarter of the time, at most ten minutes, and where no flood
    comes before for two fifths, at most half an hour."""
    look_s: float = 5.0
    """Between two looks at the server."""
    gallery_s: float = 60.0
    """Between two changes of the gallery; 0 for none."""
    bad: float = 0.02
    """Share of requests that carry no good picture."""
    leaving: float = 0.01
    """Share of callers that go before they are answered."""
    deadline_s: float = 30.0
    """Of each request."""
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    pictures: Path | None = None
    """Folder with the good pictures; None for the sample pictures, in several sizes and formats."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seconds", 1, LONGEST_S),
            ("share", 0.01, 2),
            ("rate", 0.01, 10_000),
            ("saturation_s", 0.5, 600),
            ("callers", 1, 1000),
            ("flood_s", 0, 600),
            ("warm_s", 0, LONGEST_S),
            ("look_s", 0.1, 3600),
            ("gallery_s", 0, LONGEST_S),
            ("bad", 0, 0.5),
            ("leaving", 0, 0.5),
            ("deadline_s", 0.1, 600),
        ):
            check_range(name, getattr(self, name), low, high)

    @property
    def flooded(self) -> bool:
        """Whether a flood comes before: it takes the saturated rate, which is measured only if no other is given."""
        return self.flood_s > 0 and self.rate is None

    @property
    def left_out_s(self) -> float:
        """How much of the beginning does not count."""
        if self.warm_s is not None:
            return self.warm_s
        if self.flooded:
            return min(_FLOODED_WARM_SHARE * self.seconds, _LONGEST_FLOODED_WARM_S)
        return min(_WARM_SHARE * self.seconds, _LONGEST_WARM_S)

    @property
    def window_s(self) -> float:
        """How long the windows are whose latency is told."""
        return max(self.seconds / _WINDOWS, _SHORTEST_WINDOW_S)

    @property
    def between_looks_s(self) -> float:
        """``look_s``, or longer where that would be too many looks."""
        return max(self.look_s, self.seconds / _MOST_LOOKS)
