"""What all benchmarks' reports have in common: one HTML file that needs no network, and one JSON of the same name."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from html import escape
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.circumstances import ROOT, circumstances, command_line, commit, processor, served_by
from benchmarks.self_contained import check_self_contained
from benchmarks.summary import Summary, SummaryTable
from trident.errors import SetupError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "REPORTS",
    "ROOT",
    "Outcome",
    "Summary",
    "SummaryTable",
    "check_figures",
    "circumstances",
    "command_line",
    "commit",
    "facts_table",
    "heading",
    "image",
    "page",
    "paragraph",
    "png",
    "processor",
    "report_stem",
    "served_by",
    "table",
    "verdict",
    "write",
]

REPORTS = ROOT / "benchmarks" / "reports"
"""Where reports go; git ignores it."""

_STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #5b6672; --ok: #1a7f37; --bad: #b42318; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2128; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.lead { color: var(--soft); margin-top: 0; } p.note { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
table.facts td { text-align: left; overflow-wrap: anywhere; } img { max-width: 100%; height: auto; }
.ok { color: var(--ok); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
code, pre { font: .85rem ui-monospace, monospace; } pre { overflow-x: auto; background: #f5f7f9; padding: .7rem; }
div.wide { overflow-x: auto; }
"""

_KIND = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FACTS = ("command", "commit", "date", "machine", "load_average")
"""What the circumstances of a report must say, so that they can be told of it."""
_MACHINE = ("processor", "cores")


class Outcome(StrEnum):
    """What became of a run, under ``outcome`` in its JSON; a report without it is of a run that finished."""

    FINISHED = "finished"
    FAILED = "failed"
    """It came to its end, and what it measured does not count, or shows that something is broken."""
    UNFINISHED = "unfinished"
    """It was broken off."""


def report_stem(what: str, facts: Mapping[str, Any]) -> str:
    """A name without suffix: what was measured, on what, and when.

    >>> report_stem("swaps", {"machine": {"processor": "A CPU @ 2GHz", "cores": 2}, "date": "2026-01-02T03:04:05Z"})
    'swaps-a-cpu-2ghz-2-cores-20260102T030405'
    """
    machine = facts["machine"]
    hardware = re.sub(r"[^a-z0-9.]+", "-", f"{machine['processor']} {machine['cores']} cores".lower()).strip("-")
    return f"{what}-{hardware}-{facts['date'][:19].replace('-', '').replace(':', '')}"


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()


def image(data: bytes, about: str) -> str:
    """A PNG inside the page; ``about`` is for those who cannot see it."""
    return f'<p><img alt="{escape(about)}" src="data:image/png;base64,{base64.b64encode(data).decode()}"></p>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """A table of plain texts, the first column at the left."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts_table(facts: Mapping[str, Any]) -> str:
    """Names and values; a mapping among the values becomes one line, None what is unknown."""

    def text(value: Any) -> str:
        if value is None:
            return "unknown"
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {text(one)}" for name, one in value.items()) or "none"
        if isinstance(value, list | tuple):
            return ", ".join(map(text, value)) or "none"
        return str(value)

    return table(("", ""), [(name.replace("_", " "), text(value)) for name, value in facts.items()], kind="facts")


def heading(text: str) -> str:
    """The heading of a part."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>'


def verdict(good: bool, text: str) -> str:
    """A sentence with a mark in front of it."""
    return f'<p><span class="{"ok" if good else "bad"}">{"✓" if good else "✗"}</span> {escape(text)}</p>'


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """The whole page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{"".join(parts)}</body></html>\n'
    )


def check_figures(figures: Mapping[str, Any]) -> None:
    """Check that a report's JSON says what it is, what it was measured on, and what it comes to.

    Raises:
        SetupError: ``what``, ``circumstances`` or ``summary`` is missing or is not as it must be.
    """
    what = figures.get("what")
    if not isinstance(what, str) or not _KIND.fullmatch(what):
        raise SetupError(f"a report's what: expected its kind, such as latency-curve, got {what!r}")
    facts = figures.get("circumstances")
    missing = [name for name in _FACTS if not isinstance(facts, Mapping) or name not in facts]
    if missing:
        raise SetupError(
            f"the {what} report's circumstances: expected what report.circumstances gives, "
            f"got none of {', '.join(missing)}"
        )
    machine = facts["machine"] if isinstance(facts, Mapping) else None
    if not isinstance(machine, Mapping) or any(name not in machine for name in _MACHINE):
        raise SetupError(f"the {what} report's machine: expected {' and '.join(_MACHINE)}, got {machine!r:.200}")
    Summary.from_json(figures.get("summary"))
    if (outcome := figures.get("outcome", Outcome.FINISHED)) not in list(Outcome):
        raise SetupError(f"the {what} report's outcome: expected one of {', '.join(Outcome)}, got {outcome!r}")


def write(stem: str, html: str, figures: Mapping[str, Any], folder: Path = REPORTS) -> tuple[Path, Path]:
    """Write ``<stem>.html`` and ``<stem>.json``; gives both paths.

    In the JSON a number that is none becomes null, numpy's values and paths become plain ones.

    Args:
        stem: What ``report_stem`` gives.
        html: What ``page`` gives.
        figures: Everything as JSON: ``what``, ``circumstances``, ``settings``, the figures, ``summary``.
        folder: Where to; it is made where it is missing.

    Raises:
        SetupError: The files are written, but the JSON lacks something, see ``check_figures``, or the page would ask
            the network for something, or does not say by which command and at which commit it was measured.
    """
    text = json.dumps(_plain(figures), indent=2, ensure_ascii=False, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    as_html, as_json = folder / f"{stem}.html", folder / f"{stem}.json"
    as_html.write_text(html, encoding="utf-8")
    as_json.write_text(text + "\n", encoding="utf-8")
    # After writing: a run of an hour is not to be lost for a fault of its summary.
    check_figures(figures)
    check_self_contained(html)
    facts = figures["circumstances"]
    missing = [name for name in ("command", "commit") if escape(str(facts[name] or "")) not in html]
    if missing:
        raise SetupError(
            f"the {figures['what']} report's page: expected what it was measured on, got none of {', '.join(missing)}: "
            "show report.facts_table(facts)"
        )
    return as_html, as_json


def _plain(value: Any) -> Any:
    """As ``json.dumps`` takes it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
