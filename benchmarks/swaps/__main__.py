"""``python -m benchmarks.swaps``: swap every component back and forth under a steady load, and say what it costs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import report, verdict
from benchmarks.swaps.figures import Figures, group_row, work_out
from benchmarks.swaps.page import WHAT, to_html, to_json
from benchmarks.swaps.repository import ORDER
from benchmarks.swaps.run import Run, Settings, measure
from trident.errors import TridentError
from trident.layout import DEFAULT_REPOSITORY

_DEFAULT = Settings()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--requests", default=_DEFAULT.requests, help="Send at least so many.")
@click.option("--swaps", default=_DEFAULT.swaps, help="Swap so many times, the components in turn.")
@click.option("--components", help=f"Which to swap, with commas between. [default: {','.join(ORDER)}]")
@click.option("--rate", type=float, help="Requests a second. [default: half of the saturated rate]")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure the saturated rate for.")
@click.option("--rest", default=_DEFAULT.rest_s, help="Least seconds between two swaps.")
@click.option(
    "--golden",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Pictures for the shadow. [default: two of the load's]",
)
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of the choice of pictures.")
@click.option(
    "--model-repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the project's",
    help="Is copied, never changed.",
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
    requests: int,
    swaps: int,
    components: str | None,
    rate: float | None,
    saturation: float,
    rest: float,
    golden: Path | None,
    seed: int,
    model_repository: Path,
    out: Path,
) -> None:
    """Swap components back and forth by `trident rollout` while a steady load is answered.

    Starts a server of its own on a copy of the models. It ends when both the requests and the swaps are reached. Exit
    code 1: a request failed, an answer was wrong, a swap failed, or the server leaked.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.swaps"))
    try:
        settings = Settings(
            requests=requests,
            swaps=swaps,
            components=tuple(components.split(",")) if components else ORDER,
            rate=rate,
            saturation_s=saturation,
            rest_s=rest,
            golden=golden,
            seed=seed,
            repository=model_repository,
        )
        run = measure(settings, lambda line: console.print(escape(line), soft_wrap=True))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        as_html, as_json = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    except TridentError as error:
        Console(stderr=True, highlight=False).print(f"[red]swaps:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
    show(console, run, figures)
    console.print(f"Report: {as_html}\nFigures: {as_json}", soft_wrap=True)
    if not figures.passed:
        sys.exit(1)


def show(console: Console, run: Run, figures: Figures) -> None:
    """The figures as a table, and what they come to."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for heading in ("ms, in flight during", "swaps", "s", "requests", "p50", "p95", "p99", "worst", "×p99", "95 %"):
        table.add_column(heading, justify="left" if heading.startswith("ms") else "right", no_wrap=True)
    for group in (figures.steady, *figures.components, *figures.phases):
        cells = group_row(group)
        table.add_row(*cells[:8], *cells[9:])  # without the medians' ratio, for which there is no room
    console.print(table)
    verdict.show(console, figures.verdicts)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.swaps")
