"""``RESULTS.md`` itself: a head, and a section for each benchmark that says where its figures come from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks import markdown
from benchmarks.circumstances import DIRTY
from benchmarks.report import Outcome
from benchmarks.summary import Summary
from trident.errors import SetupError

FIRST_LINE = "<!-- Made by `python -m benchmarks.results` of benchmarks' reports: never edited by hand. -->"
KINDS = (
    "load",
    "latency-curve",
    "time-spent",
    "scaling",
    "overload",
    "chaos",
    "soak",
    "floor",
    "peers",
    "quality",
    "fusion-gain",
    "swaps",
)
"""Benchmarks in the order of their sections; others come behind them."""

_MARK = re.compile(r"^<!-- report: (.+) of (\S+), (\S+), sha256 ([0-9a-f]{16}) -->$", re.MULTILINE)
_MACHINE = re.compile(r"^- Machine: (.+)$", re.MULTILINE)
_FOLDERS = re.compile(r"(?<![^\s='\"])/(?:[^\s'\"/]+/)*")
"""The folders of an absolute path at the begin of an argument or of its value."""

_HEAD = """
# Results

What the benchmarks said where they were run; [their README](README.md) tells what each of them does. `make results`
writes this page out of their newest reports. Every section names its machine, date, commit and command, so that anybody
can measure the same; the reports, with all figures and plots, stay where they were made.
"""
_LIMITS = """
What these figures do not say:

- How fast it is elsewhere. They are of the machines named here, and another processor, more cores, a GPU or NVIDIA's
  container changes them, also against each other.
- How much of it is the load's own part. What asks runs on the machine that answers, and takes its share of the cores.
- How good it is on your pictures. Quality is that of the labelled pictures at hand, which are few; speed is that of a
  few sample pictures, unless the command names others.
- What another day gives. An interval holds what chance does within its own run, and nothing else.
- What the present commit does. A section is of the commit that it names.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """What the results say of one benchmark."""

    kind: str
    stem: str
    """Name of the report that it is made of."""
    when: datetime
    """When its run began."""
    body: str
    """Markdown, heading and all."""

    @property
    def machine(self) -> str:
        """What it was measured on, as Markdown."""
        found = _MACHINE.search(self.body)
        return found[1] if found else ""

    def to_markdown(self) -> str:
        """The section with the mark by which ``parse`` finds it again."""
        origin = f"{self.stem} of {self.kind}, {self.when.isoformat()}, sha256 {_digest(self.body)}"
        return f"<!-- report: {origin} -->\n\n{self.body}\n"


def moment(facts: Mapping[str, Any]) -> datetime:
    """When a run began. Raises SetupError if its circumstances hold no such date."""
    try:
        when = datetime.fromisoformat(facts["date"])
    except (TypeError, ValueError) as error:
        raise SetupError(
            f"a report's date: expected one such as 2026-01-02T03:04:05+00:00, got {facts['date']!r}"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def order(kind: str) -> tuple[int, str]:
    """What sections are sorted by."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS), kind


def section_of(stem: str, figures: Mapping[str, Any]) -> Section:
    """The section that one report makes. ``figures`` have passed ``report.check_figures``."""
    facts, summary = figures["circumstances"], Summary.from_json(figures["summary"])
    parts = [f"## {markdown.inline(summary.title.strip())}"]
    if figures.get("outcome") == Outcome.FAILED:
        parts.append("**This run counts as failed.**")
    parts.append("\n".join(f"- {markdown.line(_ended(sentence))}" for sentence in summary.sentences))
    parts += [markdown.table(one.headings, one.rows) for one in summary.tables]
    parts += ["How it was measured:", "\n".join(_measured(facts))]
    return Section(figures["what"], stem, moment(facts), "\n\n".join(parts))


def _ended(sentence: str) -> str:
    sentence = sentence.strip()
    return sentence if sentence.endswith((".", "!", "?", ":")) else f"{sentence}."


def _measured(facts: Mapping[str, Any]) -> list[str]:
    """Where, when, at which commit and how."""
    commit = facts["commit"]
    if commit is None:
        at = "**at an unknown commit**"
    else:
        at = f"commit {markdown.code(str(commit).removesuffix(DIRTY))}"
        if str(commit).endswith(DIRTY):
            at += ", **with files that differ from it**, so that nobody else can measure just this"
    average = ", ".join(f"{value:.2f}" for value in facts["load_average"])
    return [
        f"- Machine: {markdown.inline(_machine(facts['machine']))}",
        f"- Measured: {moment(facts).astimezone(UTC):%Y-%m-%d %H:%M} UTC, {at}",
        f"- Load average before it, over 1, 5 and 15 minutes: {average}",
        # The folders on the machine of whoever measured are nobody's business, and no part of what was measured.
        f"- Command: {markdown.code(_FOLDERS.sub('…/', facts['command']))}",
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    words = [str(machine["processor"]), f"{machine['cores']} cores"]
    if "cpu_limit" in machine:
        words.append(f"limited to the time of {machine['cpu_limit']:g}")
    if "memory_gb" in machine:
        words.append(f"{machine['memory_gb']:g} GB of memory")
    if "accelerators" in machine:
        words.append(", ".join(machine["accelerators"]) or "no accelerator")
    if machine.get("instructions"):
        words.append(f"instructions {' '.join(machine['instructions'])}")
    return ", ".join(words)


def render(sections: Sequence[Section]) -> str:
    """The whole page."""
    parts = [FIRST_LINE + "\n", _HEAD]
    machines = list(dict.fromkeys(section.machine for section in sections if section.machine))
    if machines:
        parts.append("\nMeasured on:\n\n" + "".join(f"- {machine}\n" for machine in machines))
    there = {section.kind for section in sections}
    if missing := [kind for kind in KINDS if kind not in there]:
        parts.append(f"\nNot measured yet: {', '.join(missing)}.\n")
    parts.append(_LIMITS)
    return "".join([*parts, *(f"\n{section.to_markdown()}" for section in sections)])


def parse(text: str, source: str = "RESULTS.md") -> list[Section]:
    """The sections of a page that ``render`` gave.

    Raises:
        SetupError: It is another page, holds a section twice, or one was changed by hand.
    """
    first = text.partition("\n")[0]
    if first != FIRST_LINE:
        raise SetupError(
            f"{source}: expected {FIRST_LINE!r} as its first line, got {first!r:.120}: it was not written by this "
            "command, so move it away, or say another --out"
        )
    marks = list(_MARK.finditer(text))
    ends = [*(one.start() for one in marks), len(text)][1:]
    sections: list[Section] = []
    for mark, end in zip(marks, ends, strict=True):
        stem, kind, when, digest = mark.groups()
        body = text[mark.end() : end].strip("\n")
        if _digest(body) != digest:
            raise SetupError(
                f"{source}: expected the section {kind} as it was made of {stem}, got another text: bring back the "
                "committed file; what it says is changed by measuring again"
            )
        if kind in (section.kind for section in sections):
            raise SetupError(f"{source}: expected one section {kind}, got two: bring back the committed file")
        sections.append(Section(kind, stem, moment({"date": when}), body))
    return sections


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
