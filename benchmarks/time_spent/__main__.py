"""``python -m benchmarks.time_spent``: where the time of a request goes, and what serving alone costs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from benchmarks import command, report
from benchmarks.time_spent.figures import work_out
from benchmarks.time_spent.page import (
    TWIN_HEADINGS,
    WHAT,
    account_headings,
    account_rows,
    sentences,
    to_html,
    to_json,
    twin_row,
)
from benchmarks.time_spent.run import Settings, measure
from benchmarks.verdict import Verdict

_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
@click.option("--requests", default=_DEFAULT.requests, help="How many with one client, and again at half load.")
@click.option("--twin-requests", default=_DEFAULT.twin_requests, help="The same of the twins.")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure each saturated rate for.")
@click.option("--callers", default=_DEFAULT.callers, help="Callers that wait, to measure it with.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of the choice of pictures.")
@command.pictures_option()
@command.repository_option("What is measured, and what the twins are twins of.")
@command.out_option()
def main(
    *,
    requests: int,
    twin_requests: int,
    saturation: float,
    callers: int,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Say where the time of a request goes: by component, and how it adds up to what callers wait.

    Starts a server, asks it with one client and at half load, and reads Triton's statistics and traces. Then the same
    with a twin of the ensemble that computes nothing. With the defaults it takes about three minutes. Exit code 1: the
    counts, or statistics and traces, disagree.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.time_spent"))
    with command.in_one_sentence("time-spent"):
        settings = Settings(
            requests=requests,
            twin_requests=twin_requests,
            saturation_s=saturation,
            callers=callers,
            seed=seed,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        paths = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    real = figures.servers[0]
    command.print_table(console, account_headings(real.loads), account_rows(real.loads))
    command.print_table(console, TWIN_HEADINGS, [twin_row(server) for server in figures.servers])
    for sentence in sentences(run, figures):
        console.print(escape(sentence))
    bad = [verdict for verdict in figures.verdicts if not verdict.good]
    everything = Verdict(
        True, f"all {len(figures.verdicts)} checks of counts and sums, and of statistics against traces"
    )
    command.finish(console, bad or [everything], paths)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.time_spent")
