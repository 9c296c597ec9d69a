"""``python -m benchmarks.soak``: keep a server under load for an hour, and say whether anything of it grows."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report, verdict
from benchmarks.soak.figures import Figures, work_out
from benchmarks.soak.page import FLOOR_HEADINGS, TREND_HEADINGS, WHAT, floor_row, to_html, to_json, trend_row
from benchmarks.soak.run import Run, measure
from benchmarks.soak.settings import Limits, Settings

_DEFAULT = Settings()
_LIMITS = Limits()
_SHOWN = 5
"""Columns for which a terminal has room."""
TOO_SHORT = 3
"""Exit code of a run in which nothing went wrong, and that was too short, or cut short, to tell."""


@click.command(context_settings=command.SETTINGS)
@click.option("--seconds", default=_DEFAULT.seconds, help="How long the load lasts.")
@click.option("--share", default=_DEFAULT.share, help="The rate, as a share of the saturated one.")
@click.option("--rate", type=float, help="Requests a second, in place of the share.")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure the saturated rate for.")
@click.option("--flood", default=_DEFAULT.flood_s, help="Seconds of three times that rate before; 0: none.")
@click.option(
    "--warm",
    type=float,
    help="Seconds at the beginning that do not count. "
    "[default: a quarter, at most 10 minutes; without a flood two fifths, at most half an hour]",
)
@click.option("--every", default=_DEFAULT.look_s, help="Seconds between two looks at the server.")
@click.option("--gallery-every", default=_DEFAULT.gallery_s, help="Seconds between changes of the gallery; 0: none.")
@click.option("--bad", default=_DEFAULT.bad, help="Share of requests with a bad picture.")
@click.option("--leaving", default=_DEFAULT.leaving, help="Share of callers that leave before they are answered.")
@click.option("--deadline", default=_DEFAULT.deadline_s, help="Of each request, in seconds.")
@click.option("--limit-memory", default=_LIMITS.memory_mb, help="Growth of memory that counts as flat, MB an hour.")
@click.option("--limit-disk", default=_LIMITS.disk_mb, help="The same of logs, state, gallery and temporary files.")
@click.option("--limit-handles", default=_LIMITS.handles, help="Rise of open file handles that counts as flat.")
@click.option("--limit-shared", default=_LIMITS.shared_mb, help="Rise of shared memory that counts as flat, MB.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of what is sent.")
@command.pictures_option("the sample pictures, in several sizes and formats")
@command.repository_option("What the server serves.")
@command.out_option()
def main(
    *,
    seconds: float,
    share: float,
    rate: float | None,
    saturation: float,
    flood: float,
    warm: float | None,
    every: float,
    gallery_every: float,
    bad: float,
    leaving: float,
    deadline: float,
    limit_memory: float,
    limit_disk: float,
    limit_handles: float,
    limit_shared: float,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Keep a server of its own, started by `trident serve`, under a mixed load, and see whether anything of it grows.

    An hour with the defaults. Ctrl-C ends it early, with a report of what there is.

    Exit code 1: a request ended as it should not have, the server did not go on by itself, or something grows; 3:
    nothing of that, and it was too short, or cut short, to tell.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.soak"))
    with command.in_one_sentence("soak", OSError):
        settings = Settings(
            seconds=seconds,
            share=share,
            rate=rate,
            saturation_s=saturation,
            flood_s=flood,
            warm_s=warm,
            look_s=every,
            gallery_s=gallery_every,
            bad=bad,
            leaving=leaving,
            deadline_s=deadline,
            limits=Limits(limit_memory, limit_disk, limit_handles, limit_shared),
            seed=seed,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        paths = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    show(console, figures)
    command.tell_report(console, paths)
    sys.exit(exit_code(run, figures))


def exit_code(run: Run, figures: Figures) -> int:
    """What the command ends with."""
    if not figures.passed:
        return 1
    return TOO_SHORT if figures.unknown or run.stopped else 0


def show(console: Console, figures: Figures) -> None:
    """The figures as tables, without what the sentences below them say, and what they come to."""
    trends = [trend_row(one) for one in (*figures.memory, *figures.disk)]
    command.print_table(console, TREND_HEADINGS[:_SHOWN], [row[:_SHOWN] for row in trends], no_wrap=True)
    floors = [floor_row(one) for one in figures.floors]
    command.print_table(console, FLOOR_HEADINGS[:_SHOWN], [row[:_SHOWN] for row in floors], no_wrap=True)
    verdict.show(console, figures.verdicts)


if __name__ == "__main__":
    command.end_in_order()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it early, with a report, as Ctrl-C does
    main(prog_name="python -m benchmarks.soak")
