"""``python -m benchmarks.quality --data DIR``: measure the served quality, hold it against the floors, report it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tritonclient.utils import InferenceServerException

from benchmarks import command
from benchmarks import report as common
from benchmarks.load import check_loopback
from benchmarks.quality import report
from benchmarks.quality.data import described
from benchmarks.quality.measures import SUBJECTS, Subject
from benchmarks.quality.report import Column, Measured
from benchmarks.quality.run import Asked, Begin, measure, served
from benchmarks.quality.versions import parse_versions
from trident.errors import SetupError, TridentError
from trident.rollout.golden import LABELLED_SETS, labelled_sets
from trident_client import ClientError


def _versions(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
    try:
        return [parse_versions(one) for one in value] if isinstance(value, tuple) else value and parse_versions(value)
    except SetupError as error:
        raise click.BadParameter(str(error)) from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the labelled sets: "
    + ", ".join(one.name for one in SUBJECTS)
    + ". Those that are not there are left out.",
)
@click.option("--url", metavar="HOST:PORT", help="A running server's gRPC port. Without it, one is started for this.")
@click.option("--remote", is_flag=True, help="Allow a server on another machine.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures (pairs) of each set.")
@click.option(
    "--only", "names", multiple=True, type=click.Choice([one.name for one in SUBJECTS]), help="Only these sets."
)
@click.option(
    "--versions",
    callback=_versions,
    metavar="COMPONENT=N[,…]",
    help="Measure these versions, with the rest as it serves, instead of what serves.",
)
@click.option(
    "--compare",
    "compared",
    multiple=True,
    callback=_versions,
    metavar="COMPONENT=N[,…]",
    help="And these, side by side; may be given again for further ones.",
)
@command.repository_option("For a server of this command's own; and where other versions of a running one lie.")
@command.out_option()
@click.option("--floors/--no-floors", default=True, help="Whether a missed floor is a failure (exit code 1).")
def main(
    *,
    folder: Path,
    url: str | None,
    remote: bool,
    limit: int | None,
    names: tuple[str, ...],
    versions: dict[str, int] | None,
    compared: list[dict[str, int]],
    model_repository: Path,
    out: Path,
    floors: bool,
) -> None:
    """Measure how good the served answers are on labelled pictures, and write a report.

    Figures with their floors, curves, confusions, calibration and the worst pictures, as one HTML file, and JSON. Other
    versions are loaded beside those that serve, which go on answering; a server of this command's own runs on a copy of
    the models then. It takes as long as the answers: some minutes for a thousand pictures on two cores.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = common.circumstances(common.command_line("benchmarks.quality"))
    chosen, skipped = _chosen(folder, names)
    for sentence in skipped:
        console.print(f"Left out {escape(sentence)}.", style="yellow", soft_wrap=True)
    if not chosen:
        raise click.ClickException(f"{folder} holds none of the labelled sets")
    asked = Asked(chosen, folder, limit, versions, compared)
    try:
        asked.check()
        if url is not None and not remote:
            check_loopback(url)
        columns, facts["server"] = _measured(url, model_repository, asked, console)
        names_chosen = [one.name for one in chosen]
        known = {name: content for name, content in described(folder).items() if name in names_chosen}
        settings = {"data": folder, "limit": limit, "sets": names_chosen, "data_digests": known}
        measured = Measured(columns, skipped, settings)
        _show(console, measured)
        parts = report.parts_of(columns)
        paths = common.write(
            common.report_stem(report.WHAT, facts),
            report.to_html(measured, facts, parts),
            report.to_json(measured, facts, parts),
            out,
        )
    except (ClientError, InferenceServerException, TridentError) as error:
        raise click.ClickException(str(error)) from error
    command.tell_report(console, paths)
    if measured.missed and floors:
        console.print(f"Floors missed: {', '.join(measured.missed)}.", style="bold red")
        sys.exit(1)


def _chosen(folder: Path, names: tuple[str, ...]) -> tuple[list[Subject], list[str]]:
    """What is to be measured, and a sentence for each set that is not there."""
    chosen, skipped, there = [], [], labelled_sets(folder)
    for one in SUBJECTS:
        if names and one.name not in names:
            continue
        if one.name in there:
            chosen.append(one)
        else:
            skipped.append(f"{one.name}: there is no {one.name}/{LABELLED_SETS[one.name]} in {folder}")
    return chosen, skipped


def _measured(
    url: str | None, model_repository: Path, asked: Asked, console: Console
) -> tuple[list[Column], dict[str, Any]]:
    """All columns, and what served them."""
    bars = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Mistakes in the labels are to be said before a server is started.
    for one in asked.subjects:
        one.count(asked.folder / one.name, asked.limit)
    console.print("Starting a server…" if url is None else f"Asking the server at {escape(url)}.")
    with (
        served(url, model_repository, changes=bool(asked.others)) as (address, repository),
        Progress(*bars, console=console, transient=True) as progress,
    ):
        server = common.served_by(address)
        return measure(address, repository, asked, _begin(progress), callers=url is not None), server


def _begin(progress: Progress) -> Begin:
    def begin(what: str, count: int) -> Any:
        return partial(progress.advance, progress.add_task(what, total=count))

    return begin


def _show(console: Console, measured: Measured) -> None:
    console.print(report.table(measured.columns))
    for note in report.notes(measured.columns[0].measures):
        console.print(escape(note), style="dim")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.quality")
