"""The measured figures as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from benchmarks.quality.measures import Measure
from benchmarks.report import commit, processor


def table(measures: Sequence[Measure]) -> Table:
    """The figures, each with its floor and the number of pictures."""
    shown = Table(title="Quality, measured through the served endpoint", title_justify="left")
    for heading in ("measure", "value", "floor", "", "pictures"):
        shown.add_column(heading, justify="left" if heading in ("measure", "") else "right", no_wrap=True)
    for measure in measures:
        verdict = "" if measure.floor is None else "[green]ok[/]" if measure.reached else "[bold red]missed[/]"
        floor = "" if measure.floor is None else _number(measure.floor, measure)
        shown.add_row(measure.name, _number(measure.value, measure), floor, verdict, str(measure.pictures))
    return shown


def notes(measures: Sequence[Measure]) -> list[str]:
    """What has to be known about single figures."""
    return [f"{measure.name}: {measure.note}." for measure in measures if measure.note]


def to_json(
    measures: Sequence[Measure], models: Mapping[str, Any], skipped: Sequence[str], limit: int | None
) -> dict[str, Any]:
    """The figures with all that one needs to measure them again: models, commit, date and machine."""
    return {
        "measures": [
            {
                "name": measure.name,
                "value": round(measure.value, 5),
                "unit": measure.unit,
                "floor": measure.floor,
                "reached": measure.reached,
                "pictures": measure.pictures,
                "note": measure.note,
            }
            for measure in measures
        ],
        "skipped": list(skipped),
        "limit": limit,
        "models": dict(sorted(models.items())),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "platform": platform.platform()},
    }


def _number(value: float, measure: Measure) -> str:
    return f"{value:+.2f}" if measure.unit else f"{value:.4f}"
