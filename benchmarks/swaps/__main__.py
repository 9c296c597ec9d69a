"""``python -m benchmarks.swaps``: swap every component back and forth under a steady load, and say what it costs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.swaps.figures import group_row, work_out
from benchmarks.swaps.page import WHAT, to_html, to_json
from benchmarks.swaps.repository import ORDER
from benchmarks.swaps.run import Settings, measure

_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
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
@command.repository_option("Is copied, never changed.")
@command.out_option()
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
    with command.in_one_sentence("swaps"):
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
        run = measure(settings, command.teller(console))
        figures = work_out(run)
        stem = report.report_stem(WHAT, facts)
        paths = report.write(stem, to_html(run, figures, facts), to_json(run, figures, facts), out)
    headings = ("ms, in flight during", "swaps", "s", "requests", "p50", "p95", "p99", "worst", "×p99", "95 %")
    cells = [group_row(group) for group in (figures.steady, *figures.components, *figures.phases)]
    # Without the medians' ratio, for which there is no room.
    command.print_table(console, headings, [(*row[:8], *row[9:]) for row in cells], no_wrap=True)
    command.finish(console, figures.verdicts, paths)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.swaps")
