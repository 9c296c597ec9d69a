"""``python -m benchmarks.chaos``: faults at random under load, and what became of every request."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.chaos.figures import work_out
from benchmarks.chaos.kinds import ABOUT, ALL, Kind, parse_kinds
from benchmarks.chaos.page import WHAT, kind_row, to_html, to_json
from benchmarks.chaos.record import Settings
from benchmarks.chaos.run import measure

_DEFAULT = Settings()
_SHORT = ("fault", "n", "noticed", "≤ 1 s", "ready", "≤ 5 s", "flying", "lost", "later", "refused", "client")
"""Headings of the report's table that a terminal has room for."""


def _list_kinds(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    command.print_table(
        Console(highlight=False), ("fault", "what is done"), [(kind, ABOUT[kind].sentence) for kind in Kind], left=2
    )
    context.exit()


@click.command(context_settings=command.SETTINGS)
@click.option("--seconds", default=_DEFAULT.seconds, help="For so long new faults begin.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the faults, the arrivals and the choice of pictures.")
@click.option("--kinds", help="Which faults, with commas between; --list tells them. [default: all]")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_kinds, help="List the kinds of faults."
)
@click.option("--faults", type=int, help="So many faults at most.")
@click.option("--rate", type=float, help="Requests a second. [default: 40 % of the saturated rate]")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure the saturated rate for.")
@click.option(
    "--client-rate", type=float, help="Requests a second by the client with retries. [default: a quarter of the other]"
)
@click.option("--bad-rate", default=_DEFAULT.bad_rate, help="Bad pictures a second.")
@click.option("--rest", default=_DEFAULT.rest_s, help="Seconds from the end of one fault to the next.")
@click.option("--within", default=_DEFAULT.within_s, help="Seconds to get over a fault in, once it is done.")
@click.option("--deadline", default=_DEFAULT.deadline_s, help="Of each request, in seconds.")
@command.pictures_option()
@command.repository_option("Is copied, never changed.")
@command.out_option()
def main(
    *,
    seconds: float,
    seed: int,
    kinds: str | None,
    faults: int | None,
    rate: float | None,
    saturation: float,
    client_rate: float | None,
    bad_rate: float,
    rest: float,
    within: float,
    deadline: float,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Do one fault after the other to a server of its own, under load, and account for every request.

    Processes are killed, halted or hang, Triton too, memory runs out, callers leave, a rollout is met in its middle. A
    quarter of an hour with the defaults. What cannot be done on this machine is left out, and told. Exit code 1: a
    request is not accounted for or was lost during no fault, an answer was wrong, no fault came about, the server did
    not get over one, or left something behind. What is aimed at beyond that is told as reached or not.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.chaos"))
    with command.in_one_sentence("chaos"):
        settings = Settings(
            seconds=seconds,
            seed=seed,
            kinds=ALL if kinds is None else parse_kinds(kinds),
            faults=faults,
            rate=rate,
            saturation_s=saturation,
            client_rate=client_rate,
            bad_rate=bad_rate,
            rest_s=rest,
            within_s=within,
            deadline_s=deadline,
            pictures=pictures,
            repository=model_repository,
        )
        run = measure(settings, command.teller(console))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        paths = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    command.print_table(console, _SHORT, map(kind_row, figures.rows), no_wrap=True)
    command.finish(console, figures.verdicts, paths)


if __name__ == "__main__":
    command.end_in_order()
    main(prog_name="python -m benchmarks.chaos")
