"""What a run must show, or aims at, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from benchmarks import report


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


def passed(verdicts: Iterable[Verdict]) -> bool:
    """Whether all that is required was shown."""
    return all(verdict.good for verdict in verdicts if verdict.required)


def show(console: Console, verdicts: Iterable[Verdict]) -> None:
    """Print them."""
    for verdict in verdicts:
        mark = "[green]✓[/]" if verdict.good else "[red]✗[/]"
        console.print(f"{mark} {escape(verdict.sentence)}", soft_wrap=True)
