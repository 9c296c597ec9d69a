"""``python -m benchmarks.fusion_gain``: what fusion gains over its branches, and what each part of it adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.markup import escape
from tritonclient.utils import InferenceServerException

from benchmarks import command, report
from benchmarks.fusion_gain import words
from benchmarks.fusion_gain.asked import read_pictures
from benchmarks.fusion_gain.measure import Figures, Settings, measure
from benchmarks.fusion_gain.page import WHAT, to_html, to_json
from benchmarks.load import check_loopback
from benchmarks.quality.data import described
from benchmarks.served import own_server
from trident.fusion.taxonomy import load_taxonomy

_DEFAULT = Settings(Path())


@click.command(context_settings=command.SETTINGS)
@click.option(
    "--data",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the labelled pictures: coco, and imagenet, faces and plates where they are there.",
)
@click.option("--url", metavar="HOST:PORT", help="A running server of this machine; without it, one is started.")
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The served version's policy. [default: that of the project's model repository]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures of each set.")
@click.option("--resamples", type=click.IntRange(10, 100_000), default=_DEFAULT.resamples, help="Of the pictures.")
@click.option(
    "--box-resamples",
    type=click.IntRange(10, 100_000),
    default=_DEFAULT.box_resamples,
    help="Of them those for the boxes, which take longer.",
)
@click.option("--seed", default=_DEFAULT.seed, help="Of the resamples.")
@command.out_option()
def main(
    *,
    folder: Path,
    url: str | None,
    policy: Path | None,
    limit: int | None,
    resamples: int,
    box_resamples: int,
    seed: int,
    out: Path,
) -> None:
    """Measure what fusion gains over its branches on labelled pictures, and what each part of it adds.

    Asks a server once for what its branches say of every picture, then fuses the answers in this process under
    different policies. Takes a few minutes for 64 COCO pictures on two cores.
    """
    console = Console(highlight=False)
    # Before anything else, so that the load average is the machine's and not ours.
    facts = report.circumstances(report.command_line("benchmarks.fusion_gain"))
    settings = Settings(folder, policy, limit, resamples, box_resamples, seed)
    with command.in_one_sentence("fusion_gain", InferenceServerException):
        facts["data_digests"] = {name: content for name, content in described(folder).items() if name == "coco"}
        pictures = read_pictures(folder, load_taxonomy(), limit)
        with _served(url, console) as address:
            server = report.served_by(address)
            figures = measure(
                address, pictures, settings, lambda line: console.print(f"{escape(line)}…", soft_wrap=True)
            )
        page, content = to_html(figures, settings, facts, server), to_json(figures, settings, facts, server)
        paths = report.write(report.report_stem(WHAT, facts), page, content, out)
    show(console, figures)
    command.tell_report(console, paths)


@contextmanager
def _served(url: str | None, console: Console) -> Iterator[str]:
    """The given server, or one of our own on free ports, with a gallery that nobody is enrolled in."""
    if url is not None:
        check_loopback(url)
        yield url
        return
    with TemporaryDirectory(prefix="trident-fusion-gain-") as folder:
        console.print("Starting a server…")
        with own_server(Path(folder)) as server:
            yield server.grpc_url


def show(console: Console, figures: Figures) -> None:
    """The figures as tables, and what they come to."""
    parts = [(row[0], *row[2:6]) for row in words.part_rows(figures.parts)]  # as wide as a terminal
    for headings, rows in (
        (("categories", "mAP", "95 %", "points", "95 %"), words.way_rows(figures.categories.ways)),
        (("part", "without", "with", "points", "95 %"), parts),
    ):
        command.print_table(console, headings, rows, no_wrap=True)
        console.print()
    for sentence in words.sentences(figures):
        command.teller(console)(sentence)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.fusion_gain")
