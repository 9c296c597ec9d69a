"""``python -m benchmarks.latency_curve``: latency percentiles against offered load, up to saturation and over it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.latency_curve.page import WHAT, row, to_html, to_json, verdicts
from benchmarks.latency_curve.run import LEVELS, Settings, measure

_DEFAULT = Settings()
_SHORT_HEADINGS = ("%", "offered", "answered", "n", "p50", "p90", "p95", "by pass", "p99 ms", "failed", "late ms", "")
"""Those of the report, for a terminal: what is offered and answered a second, and how late the generator was."""


def _shares(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Percentages with commas between, as shares."""
    try:
        return tuple(float(word) / 100 for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected percentages with commas between, as 10,50,90, got {text!r}") from None


@click.command(context_settings=command.SETTINGS)
@click.option(
    "--levels",
    default=",".join(f"{100 * level:g}" for level in LEVELS),
    callback=_shares,
    help="Percentages of the saturated rate to offer, in this order.",
)
@click.option("--passes", default=_DEFAULT.passes, help="How many times to offer all of them, in turning order.")
@click.option("--requests", default=_DEFAULT.requests, help="How many a rate has, on average, in all passes together.")
@click.option(
    "--longest", default=_DEFAULT.longest_s, help="Most seconds of a rate; low rates then have fewer requests."
)
@click.option("--settle", default=_DEFAULT.settle_s, help="Least seconds at the beginning that do not count.")
@click.option("--rest", default=_DEFAULT.rest_s, help="Seconds between two rates, once all is answered.")
@click.option("--saturated", type=float, help="The saturated rate, requests a second. [default: it is measured]")
@click.option("--saturation", default=_DEFAULT.saturation_s, help="Seconds to measure it for, before and after.")
@click.option("--callers", default=_DEFAULT.callers, help="Callers that wait, to measure it with.")
@click.option("--timeout", default=_DEFAULT.timeout_s, help="Deadline of a request in seconds.")
@click.option(
    "--most-in-flight", default=_DEFAULT.most_in_flight, help="What is planned beyond is not sent, and fails."
)
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of the choice of pictures.")
@command.pictures_option()
@click.option("--url", help="gRPC port of a server of this machine that runs already. [default: one is started]")
@command.repository_option("What the server that is started serves.")
@command.out_option()
def main(
    *,
    levels: tuple[float, ...],
    passes: int,
    requests: int,
    longest: float,
    settle: float,
    rest: float,
    saturated: float | None,
    saturation: float,
    callers: int,
    timeout: float,
    most_in_flight: int,
    seed: int,
    pictures: Path | None,
    url: str | None,
    model_repository: Path,
    out: Path,
) -> None:
    """Offer one load after the other, and say how long the answers take: an open loop with Poisson arrivals.

    The saturated rate is measured first, then shares of it are offered. With the defaults that takes about 25
    minutes; it says how long once the rate is known. Exit code 1: a request below the saturated rate failed.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.latency_curve"))
    with command.in_one_sentence("latency-curve"):
        settings = Settings(
            levels=levels,
            passes=passes,
            requests=requests,
            longest_s=longest,
            settle_s=settle,
            rest_s=rest,
            saturated=saturated,
            saturation_s=saturation,
            callers=callers,
            timeout_s=timeout,
            most_in_flight=most_in_flight,
            seed=seed,
            pictures=pictures,
            repository=model_repository,
            url=url,
        )
        run = measure(settings, command.teller(console))
        paths = report.write(report.report_stem(WHAT, facts), to_html(run, facts), to_json(run, facts), out)
    command.print_table(console, _SHORT_HEADINGS, map(row, run.steps), left=0, overflow="fold")
    command.finish(console, verdicts(run), paths)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.latency_curve")
