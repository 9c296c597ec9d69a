"""``python -m benchmarks.overload``: what a server does with more requests than it can answer."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.overload.page import HEADINGS, WHAT, row, to_html, to_json, verdicts
from benchmarks.overload.run import Settings, measure

_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
@click.option("--seconds", default=_DEFAULT.seconds, help="How long each load is measured.")
@click.option("--settle", default=_DEFAULT.settle_s, help="Seconds at the beginning of a load that do not count.")
@click.option("--rest", default=_DEFAULT.rest_s, help="Seconds between two loads, once all is answered.")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure the saturated rate for.")
@click.option("--callers", default=_DEFAULT.callers, help="Callers that wait, to measure it with.")
@click.option("--deadline", default=_DEFAULT.deadline_s, help="Of each request, in seconds.")
@click.option("--vanish", default=_DEFAULT.vanish_s, help="Seconds after which the clients that vanish do.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of the choice of pictures.")
@command.pictures_option()
@command.repository_option("What the server serves.")
@command.out_option()
def main(
    *,
    seconds: float,
    settle: float,
    rest: float,
    saturation: float,
    callers: int,
    deadline: float,
    vanish: float,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Offer a server of its own up to three times what it can answer, and say what becomes of the requests.

    About four minutes with the defaults. Exit code 1: a request hung or ended in another code than those of overload,
    less than 0.9 of the peak was answered, a request below saturation failed, or the server did not recover.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.overload"))
    with command.in_one_sentence("overload"):
        settings = Settings(
            seconds=seconds,
            settle_s=settle,
            rest_s=rest,
            saturation_s=saturation,
            callers=callers,
            deadline_s=deadline,
            vanish_s=vanish,
            seed=seed,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        paths = report.write(report.report_stem(WHAT, facts), to_html(run, facts), to_json(run, facts), out)
    command.print_table(console, HEADINGS, [row(one) for one in (*run.phases, run.after)], overflow="fold")
    command.finish(console, verdicts(run), paths)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.overload")
