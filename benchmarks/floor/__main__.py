"""``python -m benchmarks.floor``: how far the served ensemble is from the same work in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.floor.run import Run, Settings, measure

if TYPE_CHECKING:
    from benchmarks.floor.figures import Comparison, Quantity

_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
@click.option("--rounds", default=_DEFAULT.rounds, help="Rounds of eight blocks; at least 2.")
@click.option("--block", "block_s", default=_DEFAULT.block_s, help="About how many seconds a block takes.")
@click.option("--workers", default=_DEFAULT.workers, help="Pictures at a time of the saturated floor.")
@click.option("--callers", default=_DEFAULT.callers, help="Of the saturated server; each waits for its answer.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the order of the pictures.")
@command.pictures_option("samples with faces and plates")
@command.repository_option("Is only read.")
@command.out_option()
def main(
    *,
    rounds: int,
    block_s: float,
    workers: int,
    callers: int,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Compare the served ensemble with the same work in one process, without a server.

    The same ONNX files, the same decoding and the same Python functions, in the best way that was found: one picture at
    a time, and saturated with two workers. Both sides take turns, the idle one idle. It starts a server of its own on
    free ports, and takes about 12 minutes. Exit code 1: the two do not give the same answers, a request
    failed, or others kept the machine busy.
    """
    # Here, because the processes of the floor import this module as well, and need none of these.
    from benchmarks.floor.figures import verdicts, work_out  # noqa: PLC0415
    from benchmarks.floor.page import to_html, to_json  # noqa: PLC0415
    from benchmarks.verdict import passed  # noqa: PLC0415

    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.floor"))
    with command.in_one_sentence("floor"):
        settings = Settings(
            rounds=rounds,
            block_s=block_s,
            workers=workers,
            callers=callers,
            seed=seed,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        compared = work_out(run)
        paths = report.write(
            report.report_stem("floor", facts), to_html(run, compared, facts), to_json(run, compared, facts), out
        )
    show(console, run, compared)
    command.tell_report(console, paths)
    if not passed(verdicts(run)):
        sys.exit(1)


def show(console: Console, run: Run, compared: dict[Quantity, Comparison]) -> None:
    """The figures as a table, and what they come to."""
    from benchmarks.floor.figures import HEADINGS, summary  # noqa: PLC0415

    command.print_table(console, HEADINGS, [comparison.cells() for comparison in compared.values()])
    for sentence in summary(run, compared).sentences:
        command.teller(console)(sentence)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.floor")
