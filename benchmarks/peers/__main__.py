"""``python -m benchmarks.peers``: the same work behind other servers, measured in the same manner."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click
from rich.console import Console

from benchmarks import command, report
from benchmarks.peers.environments import environment_of
from benchmarks.peers.figures import Figures, work_out
from benchmarks.peers.measure import Settings, measure
from benchmarks.peers.page import WHAT, row_cells, sentences, to_html, to_json, verdicts
from benchmarks.peers.peer import Peer, read_peers
from benchmarks.peers.serving import Served, Subject, Trident
from benchmarks.verdict import passed
from trident.errors import SetupError

_DEFAULT = Settings()


@click.command(context_settings=command.SETTINGS)
@click.argument("peers", nargs=-1, metavar="[PEER]...")
@click.option("--seconds", default=_DEFAULT.seconds, help="At one client, and saturated; half load takes twice that.")
@click.option("--rounds", default=_DEFAULT.rounds, help="The order is reversed in every second one.")
@click.option("--callers", default=_DEFAULT.callers, help="Of the saturated loop.")
@click.option("--seed", default=_DEFAULT.seed, help="Of the arrivals and of the choice of pictures.")
@command.pictures_option()
@command.repository_option("Is only read.")
@command.out_option()
@click.option("--install-only", is_flag=True, help="Make the environments, and measure nothing.")
def main(
    peers: tuple[str, ...],
    *,
    seconds: float,
    rounds: int,
    callers: int,
    seed: int,
    pictures: Path | None,
    model_repository: Path,
    out: Path,
    install_only: bool,
) -> None:
    """Measure Trident and each PEER (all by default) on the same work, one after the other.

    Makes an environment of its own for every peer, once; that takes minutes. Then about a minute and three quarters for
    each server and round with the default settings, 40 minutes for all. A peer that cannot be installed, or that
    answers otherwise than Trident, is left out, and the report says why. Exit code 1 if that happened, or if others
    kept the machine busy.
    """
    # So that `kill` leaves no server behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(highlight=False)
    facts = report.circumstances(report.command_line("benchmarks.peers"))

    tell = command.teller(console)
    with command.in_one_sentence("peers"):
        settings = Settings(seconds, rounds, callers, seed, pictures, model_repository)
        installed, refused = _install(read_peers(peers), tell)
        if install_only:
            sys.exit(1 if refused else 0)
        subjects: list[Subject] = [Trident(f"nvidia-pytriton {metadata.version('nvidia-pytriton')}"), *installed]
        run = measure(settings, subjects, tell)
        run.refused = {**refused, **run.refused}
        figures = work_out(run)
        paths = report.write(
            report.report_stem(WHAT, facts), to_html(run, figures, facts), to_json(run, figures, facts), out
        )
    show(console, figures)
    for sentence in sentences(run, figures):
        tell(sentence)
    command.tell_report(console, paths)
    if run.refused or run.broken_off is not None or not passed(verdicts(figures)):
        sys.exit(1)


def _install(peers: tuple[Peer, ...], tell: Callable[[str], None]) -> tuple[list[Served], dict[str, str]]:
    """The peers that can be installed here, and why the others cannot, by their titles."""
    installed, refused = [], {}
    for peer in peers:
        try:
            environment = environment_of(peer, tell)
            version = environment.version(peer.package)
            installed.append(Served(peer, environment, f"{peer.package} {version}"))
            tell(f"{peer.title}: {peer.package} {version}")
        except SetupError as error:
            refused[peer.title] = str(error)
            tell(f"{peer.title}: left out: {error}")
    return installed, refused


def show(console: Console, figures: Figures) -> None:
    """The one table, with headings that a terminal has room for."""
    headings = ("server", "over", "a second", "1 client, ms", "half /s", "half load, ms", "CPU s", "MB", "lines")
    command.print_table(console, headings, map(row_cells, figures.rows), left=2, no_wrap=True)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.peers")
