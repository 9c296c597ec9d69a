"""``python -m benchmarks.floor``: how far the served ensemble is from the same work in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import report
from benchmarks.floor.run import Run, Settings, measure
from trident.errors import TridentError
from trident.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from benchmarks.floor.figures import Comparison, Quantity

_DEFAULT = Settings()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", default=_DEFAULT.rounds, help="Rounds of eight blocks; at least 2.")
@click.option("--block", "block_s", default=_DEFAULT.block_s, help="About how many seconds a block takes.")
@click.option("--workers", default=_DEFAULT.workers, help="Pictures at a time of the saturated floor.")
@click.option("--callers", default=_DEFAULT.callers, help="Of the saturated server; each waits for its answer.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the order of the pictures.")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with pictures. [default: samples with faces and plates]",
)
@click.option(
    "--model-repository",
    "repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the project's",
    help="Is only read.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=report.REPORTS,
    show_default="benchmarks/reports",
    help="Folder for the report.",
)
def main(
    *,
    rounds: int,
    block_s: float,
    workers: int,
    callers: int,
    seed: int,
    pictures: Path | None,
    repository: Path,
    out: Path,
) -> None:
    """Compare the served ensemble with the same work in one process, without a server.

    The same ONNX files, the same decoding and the same Python functions, in the best way that was found: one picture at
    a time, and saturated with two workers. Both sides take turns, the idle one idle. It starts a server of its own on
    free ports, and takes about 6 minutes. Exit code 1: the two do not give the same answers, or a request failed.
    """
    # Here, because the processes of the floor import this module as well, and need none of these.
    from benchmarks.floor.figures import work_out  # noqa: PLC0415
    from benchmarks.floor.page import to_html, to_json  # noqa: PLC0415

    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.floor"))
    try:
        settings = Settings(
            rounds=rounds,
            block_s=block_s,
            workers=workers,
            callers=callers,
            seed=seed,
            pictures=pictures,
            repository=repository,
        )
        run = measure(settings, lambda line: console.print(escape(line), soft_wrap=True))
        compared = work_out(run)
        as_html, as_json = report.write(
            report.report_stem("floor", facts), to_html(run, compared, facts), to_json(run, compared, facts), out
        )
    except TridentError as error:
        Console(stderr=True, highlight=False).print(f"[red]floor:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    show(console, run, compared)
    console.print(f"Report: {as_html}\nFigures: {as_json}", soft_wrap=True)


def show(console: Console, run: Run, compared: dict[Quantity, Comparison]) -> None:
    """The figures as a table, and what they come to."""
    from benchmarks.floor.figures import HEADINGS, summary  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    for comparison in compared.values():
        table.add_row(*comparison.cells())
    console.print(table)
    for sentence in summary(run, compared).sentences:
        console.print(escape(sentence), soft_wrap=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.floor")
