"""What the parts of the report have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import report
from benchmarks.quality import metrics

DIGITS = 5
NONE = "–"
"""In the place of a figure that there is not."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the report, on all versions that were asked."""

    title: str
    html: Sequence[str]
    figures: Mapping[str, Mapping[str, Any]]
    """By version."""


def shown(value: float | None, digits: int = 4) -> str:
    """A figure as text."""
    return NONE if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def rounded(value: float | None) -> float | None:
    """A figure as JSON holds it."""
    return None if value is None or not np.isfinite(value) else round(float(value), DIGITS)


def subheading(text: str) -> str:
    """The heading of something within a part."""
    return f"<h3>{escape(text)}</h3>"


def of_version(text: str, name: str, sides: Mapping[str, Any]) -> str:
    """A title that names the version where there are several."""
    return text if len(sides) == 1 else f"{text}: {name}"


@dataclass(frozen=True, slots=True)
class Paired:
    """How one version compares with the first on the same things."""

    name: str
    only_first: int
    """What the first alone gets right."""
    only_this: int
    """What this one alone gets right."""
    chance: float
    """How often two sides that are equally good would differ so much: see ``metrics.sign_test``."""


def paired(right: Mapping[str, npt.NDArray[np.bool_]]) -> list[Paired]:
    """Every version against the first, on the same things in the same order.

    Args:
        right: Whether each thing was answered rightly, by version.
    """
    (_, first), *others = right.items()
    found = []
    for name, this in others:
        only_first, only_this = int((first & ~this).sum()), int((this & ~first).sum())
        found.append(Paired(name, only_first, only_this, metrics.sign_test(only_first, only_this)))
    return found


def paired_html(right: Mapping[str, npt.NDArray[np.bool_]], things: str) -> list[str]:
    """The comparison as a table; nothing of one version alone."""
    if len(right) < 2:
        return []
    first = next(iter(right))
    rows: Iterable[Sequence[str]] = (
        (one.name, str(one.only_this), str(one.only_first), f"{one.chance:.3f}") for one in paired(right)
    )
    return [
        report.paragraph(
            f"The same {things}, answered by each version: which ones only one of the two gets right. p is how often "
            "chance alone would part two equally good versions so far (McNemar's exact test).",
            "note",
        ),
        report.table((f"against {first}", "right where it is wrong", "wrong where it is right", "p"), rows),
    ]
