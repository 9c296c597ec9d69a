"""What all benchmarks' reports have in common: what was measured on, and one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
REPORTS = Path(__file__).resolve().parent / "reports"
"""Where reports go; git ignores it."""

_LIBRARIES = ("nvidia-pytriton", "onnxruntime", "numpy", "opencv-python-headless", "grpcio", "tritonclient")

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


def commit() -> str | None:
    """The commit of this clone, marked where files differ from it; None outside of one."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None


def processor() -> str:
    """What the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def circumstances(command: str) -> dict[str, Any]:
    """All that one needs to measure the same again: commit, machine, versions, command, date, and how busy it was."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "platform": platform.platform(),
        },
        "python": platform.python_version(),
        "versions": versions,
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def command_line(module: str) -> str:
    """How this process was called, as one would type it."""
    return " ".join([".venv/bin/python -m", module, *sys.argv[1:]])


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
    """Names and values; a mapping among the values becomes one line."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {text(one)}" for name, one in value.items())
        return ", ".join(map(text, value)) if isinstance(value, list | tuple) else str(value)

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


def write(stem: str, html: str, figures: Mapping[str, Any], folder: Path = REPORTS) -> tuple[Path, Path]:
    """Write ``<stem>.html`` and ``<stem>.json``; gives both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_html, as_json = folder / f"{stem}.html", folder / f"{stem}.json"
    as_html.write_text(html, encoding="utf-8")
    as_json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return as_html, as_json
