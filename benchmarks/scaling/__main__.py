"""``python -m benchmarks.scaling``: answers a second, processor time and memory by cores and servers."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmarks import command, report
from benchmarks.scaling.figures import Figures, work_out
from benchmarks.scaling.page import (
    WHAT,
    limit_sentences,
    part_rows,
    row,
    to_html,
    to_json,
)
from benchmarks.scaling.run import Settings, measure
from benchmarks.scaling.setups import Setup, parse_setup
from trident.errors import SetupError

_DEFAULT = Settings()
_SHORT_HEADINGS = ("setup", "/s", "gain", "p50 ms", "cpu ms", "busy", "generator", "MB", "start s")
"""Those of the report, for a terminal."""
_SHORT_PARTS = (0, 1, 2, 3, 4, 7)
"""Columns of the components' table for which there is room there."""
_SHORT_PART_HEADINGS = ("component", "instances", "cpu ms", "share", "calls", "/s at most")
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _counts(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Numbers with commas between; none of them for an empty text."""
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise click.BadParameter(f"expected numbers with commas between, as 2,4, got {text!r}") from None


def _setups(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[Setup, ...] | None:
    try:
        return tuple(map(parse_setup, texts)) or None
    except SetupError as error:
        raise click.BadParameter(str(error)) from None


def _joined(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


@click.command(context_settings=command.SETTINGS)
@click.option(
    "--setup",
    "setups",
    multiple=True,
    callback=_setups,
    metavar="CORES[xSERVERS[:shared]]",
    help="What to measure; may be given several times. Servers have a part of the cores each, or share them. "
    "[default: 1, 2, 4 … cores with one server, and with one for every two; two servers both ways]",
)
@click.option(
    "--instances",
    default=_joined(_DEFAULT.instances),
    callback=_counts,
    help="Also so many instances of each detector, on the most cores; an empty text for none.",
)
@click.option(
    "--threads",
    default=_joined(_DEFAULT.threads),
    callback=_counts,
    help="Also so many threads in each network, on the most cores; an empty text for none.",
)
@click.option(
    "--overlay",
    "overlays",
    multiple=True,
    type=_FOLDER,
    help="Also with this overlay of the configurations, on the most cores; may be given several times.",
)
@click.option("--rounds", default=_DEFAULT.rounds, help="How often to measure all of it; each second one backwards.")
@click.option("--seconds", default=_DEFAULT.seconds, help="How long each saturated rate is measured in a round.")
@click.option("--one-seconds", default=_DEFAULT.one_s, help="How long one caller alone asks.")
@click.option("--settle", default=_DEFAULT.settle_s, help="Seconds at the beginning of both that do not count.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the choice of pictures.")
@command.pictures_option()
@command.repository_option("What the servers serve.")
@command.out_option()
def main(
    *,
    setups: tuple[Setup, ...] | None,
    instances: tuple[int, ...],
    threads: tuple[int, ...],
    overlays: tuple[Path, ...],
    rounds: int,
    seconds: float,
    one_seconds: float,
    settle: float,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Measure how throughput grows with cores and servers on this machine, and say what limits it.

    Each setup starts servers of its own, held to their cores. About 8 minutes on two cores, more on more, since there
    is more to try. Exit code 1: a request failed, a setup could not be measured, or a process left its cores.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.scaling"))
    with command.in_one_sentence("scaling"):
        settings = Settings(
            rounds=rounds,
            seconds=seconds,
            one_s=one_seconds,
            settle_s=settle,
            setups=setups,
            instances=instances,
            threads=threads,
            overlays=overlays,
            seed=seed,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        paths = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    _show(console, figures)
    command.finish(console, figures.verdicts, paths)


def _show(console: Console, figures: Figures) -> None:
    """The tables, and what they come to."""
    rows = [(one.setup.code, *row(one)[1:]) for one in figures.rows]
    command.print_table(console, _SHORT_HEADINGS, rows, overflow="fold")
    if figures.limits is not None:
        parts = [[cells[number] for number in _SHORT_PARTS] for cells in part_rows(figures.limits)]
        command.print_table(console, _SHORT_PART_HEADINGS, parts, overflow="fold")
        for sentence in limit_sentences(figures.limits):
            console.print(escape(sentence))
    for line in figures.growths:
        console.print(escape(line.sentence()))


if __name__ == "__main__":
    command.end_in_order()
    main(prog_name="python -m benchmarks.scaling")
