"""``python -m benchmarks.results``: make ``RESULTS.md`` of the newest report of each benchmark."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from benchmarks import results_page as page
from benchmarks.circumstances import DIRTY
from benchmarks.report import REPORTS, Outcome, check_figures
from benchmarks.results_page import Section
from benchmarks.verdict import ALONE
from trident.atomic import replace_text
from trident.errors import SetupError, TridentError

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


@dataclass(frozen=True, slots=True)
class Report:
    """One report's JSON."""

    stem: str
    """Its file's name without suffix."""
    figures: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Of which benchmark it is."""
        return str(self.figures["what"])

    @property
    def when(self) -> datetime:
        """When its run began."""
        return page.moment(self.figures["circumstances"])

    @property
    def uncommitted(self) -> str | None:
        """Why nobody else can measure just this; None where its commit says it all."""
        commit = self.figures["circumstances"]["commit"]
        if commit is None:
            return "its commit is unknown"
        return "files differed from its commit" if str(commit).endswith(DIRTY) else None

    @property
    def outcome(self) -> Outcome:
        """What became of the run."""
        return Outcome(self.figures.get("outcome", Outcome.FINISHED))


def read_reports(folder: Path) -> tuple[list[Report], list[str]]:
    """All reports in a folder, and a sentence for each JSON file there that is none.

    Raises:
        SetupError: There is no such folder.
    """
    if not folder.is_dir():
        raise SetupError(f"reports: expected a folder, got {folder}: run a benchmark first, or say --reports")
    reports, notices = [], []
    for file in sorted(folder.glob("*.json")):
        try:
            figures = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(figures, dict) or "what" not in figures:
                raise SetupError("it does not say what it is of")
            check_figures(figures)
            page.moment(figures["circumstances"])
        except (OSError, ValueError, SetupError) as error:
            notices.append(f"{file.name} is not a report: {error}")
        else:
            reports.append(Report(file.stem, figures))
    return reports, notices


def newest(reports: Iterable[Report]) -> dict[str, Report]:
    """The newest of each kind."""
    found: dict[str, Report] = {}
    for report in sorted(reports, key=lambda one: (one.when, one.stem)):
        found[report.kind] = report
    return found


def objections(report: Report, *, allow_dirty: bool, allow_failed: bool) -> list[str]:
    """Why a report may not stand in the results, with what to do about it; empty if it may."""
    found = []
    if report.uncommitted and not allow_dirty:
        found.append(f"{report.stem}: {report.uncommitted}: measure again from a commit, or say --allow-dirty")
    if report.figures.get(ALONE) is False and not allow_failed:
        found.append(f"{report.stem}: others kept the machine busy: measure again, or say --allow-failed")
    if report.outcome is Outcome.UNFINISHED:
        found.append(f"{report.stem}: the run was broken off: measure again, or remove the report")
    if report.outcome is Outcome.FAILED and not allow_failed:
        found.append(f"{report.stem}: the run failed: measure again, or say --allow-failed, and it is told as failed")
    return found


def not_outdated(chosen: Mapping[str, Report], kept: Iterable[Section]) -> tuple[dict[str, Report], list[str]]:
    """The reports that are no older than the section that stands there, and a sentence for each of the others."""
    fresh, notices, there = {}, [], {section.kind: section for section in kept}
    for kind, report in chosen.items():
        if kind in there and there[kind].when > report.when:
            stem = there[kind].stem
            notices.append(f"{report.stem} is older than {stem}, which the results hold: that one stays")
        else:
            fresh[kind] = report
    return fresh, notices


def sections_of(file: Path) -> list[Section]:
    """The sections that the results hold; none if there is no file yet.

    Raises:
        SetupError: The file is not one that this command wrote.
    """
    return page.parse(file.read_text(encoding="utf-8"), str(file)) if file.exists() else []


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--reports",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=REPORTS,
    show_default="benchmarks/reports",
    help="Folder of the reports.",
)
@click.option(
    "--out",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=RESULTS,
    show_default="benchmarks/RESULTS.md",
    help="What is written. Sections of benchmarks without a report stay as they are.",
)
@click.option("--only", "kinds", multiple=True, metavar="KIND", help="Renew only this section; may be given again.")
@click.option("--allow-dirty", is_flag=True, help="Also take reports of files that are not committed, and say so.")
@click.option("--allow-failed", is_flag=True, help="Also take reports of runs that failed, and say so.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if something would be written.")
def main(
    *, folder: Path, file: Path, kinds: tuple[str, ...], allow_dirty: bool, allow_failed: bool, check: bool
) -> None:
    """Make benchmarks/RESULTS.md of the newest report of each benchmark. Measures nothing; takes a second.

    Exit code 1: the newest report of a benchmark may not stand there, and nothing was written; or with --check the
    file is not what the reports say.
    """
    console = Console(highlight=False)
    try:
        good = _run(console, folder, file, kinds, allow_dirty=allow_dirty, allow_failed=allow_failed, check=check)
    except TridentError as error:
        Console(stderr=True, highlight=False).print(f"[red]results:[/] {escape(str(error))}", soft_wrap=True)
        good = False
    if not good:
        sys.exit(1)


def _run(
    console: Console,
    folder: Path,
    file: Path,
    kinds: Sequence[str],
    *,
    allow_dirty: bool,
    allow_failed: bool,
    check: bool,
) -> bool:
    kept = sections_of(file)
    # A fresh clone has no reports, and its results can be checked all the same.
    reports, notices = read_reports(folder) if folder.exists() or not check else ([], [])
    chosen = newest(reports)
    if missing := [kind for kind in kinds if kind not in chosen]:
        raise SetupError(f"only: expected {', '.join(chosen) or 'a report'} in {folder}, got {', '.join(missing)}")
    fresh, older = not_outdated({kind: chosen[kind] for kind in kinds or chosen}, kept)
    refused = {
        kind: found
        for kind, report in fresh.items()
        if (found := objections(report, allow_dirty=allow_dirty, allow_failed=allow_failed))
    }
    made = [page.section_of(report.stem, report.figures) for kind, report in fresh.items() if kind not in refused]
    by_kind = {section.kind: section for section in (*kept, *made)}  # what was made takes the place of what was kept
    sections = sorted(by_kind.values(), key=lambda section: page.order(section.kind))
    text = page.render(sections)
    for notice in (*notices, *older):
        console.print(f"[yellow]![/] {escape(notice)}", soft_wrap=True)
    for sentence in (sentence for found in refused.values() for sentence in found):
        # Only a hint for --check: what is refused changes nothing of the file.
        console.print(f"{'[yellow]![/]' if check else '[red]✗[/]'} {escape(sentence)}", soft_wrap=True)
    if check:
        return _checked(console, file, text, kept, sections)
    if refused:
        console.print("Nothing was written. --only renews single sections.")
        return False
    replace_text(file, text)
    for section in sections:
        of = "made of" if section in made else "kept:"
        console.print(f"{escape(section.kind)}: {of} {escape(section.stem)}", soft_wrap=True)
    console.print(f"Written: {escape(str(file))}", soft_wrap=True)
    return True


def _checked(console: Console, file: Path, text: str, kept: Sequence[Section], sections: Sequence[Section]) -> bool:
    """Whether the file holds the text; says what differs."""
    if file.exists() and file.read_text(encoding="utf-8") == text:
        console.print(f"[green]✓[/] {escape(str(file))} is what the reports say.", soft_wrap=True)
        return True
    differing = [section.kind for section in sections if section not in kept]
    parts = ", ".join(differing) or "what stands around the sections"
    sentence = f"{file} is not what the reports say ({parts}): run `make results`."
    console.print(f"[red]✗[/] {escape(sentence)}", soft_wrap=True)
    return False


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.results")
