"""What a run must show, or aims at, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks import report

QUIET_CORES = 0.2
"""Others may keep so many cores busy; a quiet machine shows some hundredths. With more, they compete with what is
measured, and the figures are not its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that a run must show, or aims at."""

    good: bool
    sentence: str
    required: bool = True
    """Whether the benchmark has failed without it."""

    def to_html(self) -> str:
        """A sentence with a mark in front of it."""
        return report.verdict(self.good, self.sentence)

    def to_json(self) -> dict[str, Any]:
        """As a report's JSON holds it."""
        return asdict(self)


def left_alone(others_cores: float, when: str, *, required: bool = False) -> Verdict:
    """Whether others left the machine alone.

    Args:
        others_cores: Cores that all but what was measured, and the benchmark, kept busy.
        when: Over what time, and how it was summed up, as in "on average".
        required: As of a verdict.
    """
    sentence = f"others kept {others_cores:.2f} cores busy {when} (up to {QUIET_CORES:g} the machine counts as quiet)"
    return Verdict(others_cores <= QUIET_CORES, sentence, required)


ALONE = "left_alone"
"""In a report's JSON: false where others kept the machine busy, and the run was not stopped for it."""


def passed(verdicts: Iterable[Verdict]) -> bool:
    """Whether all that is required was shown."""
    return all(verdict.good for verdict in verdicts if verdict.required)


def show(console: Console, verdicts: Iterable[Verdict]) -> None:
    """Print them."""
    for verdict in verdicts:
        mark = "[green]✓[/]" if verdict.good else "[red]✗[/]"
        console.print(f"{mark} {escape(verdict.sentence)}", soft_wrap=True)
