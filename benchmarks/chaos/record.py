"""What a chaos run is told to do, and what it brings home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.answers import Answer, Answers
from benchmarks.chaos.accounting import Expected
from benchmarks.chaos.course import Fault
from benchmarks.chaos.kinds import ALL, Kind
from benchmarks.chaos.readiness import Change
from benchmarks.chaos.watch import Sample
from benchmarks.load import LONGEST_S, Plan
from benchmarks.ranges import check_range
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY

BY_HAND = "stopped by hand"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to do."""

    seconds: float = 900.0
    """For so long new faults begin."""
    seed: int = 0
    """Of the faults, the arrivals and the choice of pictures."""
    kinds: tuple[Kind, ...] = ALL
    faults: int | None = None
    """So many faults at most."""
    rate: float | None = None
    """Requests a second; None for a share of the saturated rate, which is measured first."""
    saturation_s: float = 15.0
    """How long to measure it."""
    client_rate: float | None = None
    """Requests a second by the client with retries; None for a quarter of the other rate."""
    bad_rate: float = 0.5
    """Bad pictures a second."""
    rest_s: float = 6.0
    """From the end of one fault to the begin of the next; what a fault leaves in queues has to be over."""
    within_s: float = 90.0
    """What the server may take to be as before: more, and the run ends."""
    deadline_s: float = 30.0
    """Of each request."""
    pictures: Path | None = None
    """Folder with the pictures to send; None for the sample pictures."""
    repository: Path = DEFAULT_REPOSITORY

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seconds", 1, LONGEST_S / 2),
            ("faults", 1, 10_000),
            ("rate", 0.1, 1000),
            ("saturation_s", 0.5, 600),
            ("client_rate", 0.01, 100),
            ("bad_rate", 0.01, 100),
            ("rest_s", 3, 600),
            ("within_s", 5, 1800),
            ("deadline_s", 0.5, 600),
        ):
            check_range(name, getattr(self, name), low, high)
        if not self.kinds:
            raise SetupError("kinds: expected at least one, got none")


@dataclass(slots=True)
class Run:
    """What was done, and what came of it. Times are seconds of the Unix clock."""

    settings: Settings
    command: str
    """By which the server was started."""
    private: bool
    """Whether the server had a /dev/shm of its own."""
    left_out: Mapping[Kind, str]
    """Kinds that cannot be done here, and why."""
    pictures: tuple[str, ...]
    bad_pictures: tuple[str, ...]
    expected: Expected
    saturated: float | None
    rate: float
    client_rate: float
    plan: Plan
    faults: list[Fault] = field(default_factory=list)
    answers: Answers = field(default_factory=lambda: Answers({}, ()))
    """Of the load."""
    bad: Answers = field(default_factory=lambda: Answers({}, ()))
    bad_plan: Plan = field(default_factory=lambda: Plan(seconds=1, rate=1))
    client: tuple[Answer, ...] = ()
    client_asked: int = 0
    left: tuple[Answer, ...] = ()
    """Of the callers who left."""
    changes: tuple[Change, ...] = ()
    """Of its readiness."""
    longest_gap_s: float = 0.0
    samples: tuple[Sample, ...] = ()
    others_cores: float = 0.0
    begin: float = 0.0
    end: float = 0.0
    stopped: float = 0.0
    """When its load was told to send nothing more."""
    broken_off: str = ""
    """Why it ended before its time; ``BY_HAND`` if somebody stopped it."""
    exit_code: int = 0
    """Of the launcher, stopped in the end."""
    stop_s: float = 0.0
    orphans: tuple[str, ...] = ()
    """What was there when it had ended."""
