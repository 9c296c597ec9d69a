"""``python -m benchmarks.quality --data DIR``: measure the served quality and hold it against the floors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tritonclient.utils import InferenceServerException

from benchmarks.quality import report
from benchmarks.quality.measures import SETS, LabelledSet, Measure, Server
from trident.errors import SetupError
from trident.launcher.server import TritonServer
from trident.rollout.golden import LABELLED_SETS, labelled_sets
from trident_client import ClientError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    "folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the labelled sets: "
    + ", ".join(one.name for one in SETS)
    + ". Those that are not there are left out.",
)
@click.option("--url", metavar="HOST:PORT", help="A running server's gRPC port. Without it, one is started for this.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N pictures (pairs) of each set.")
@click.option("--only", "names", multiple=True, type=click.Choice([one.name for one in SETS]), help="Only these sets.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("benchmarks/reports/quality.json"),
    show_default=True,
    help="Where the figures are written.",
)
@click.option("--floors/--no-floors", default=True, help="Whether a missed floor is a failure (exit code 1).")
def main(
    *, folder: Path, url: str | None, limit: int | None, names: tuple[str, ...], json_file: Path, floors: bool
) -> None:
    """Measure how good the served answers are on labelled pictures."""
    console = Console()
    chosen, skipped, there = [], [], labelled_sets(folder)
    for one in SETS:
        if names and one.name not in names:
            continue
        if one.name in there:
            chosen.append(one)
        else:
            skipped.append(f"{one.name}: there is no {one.name}/{LABELLED_SETS[one.name]} in {folder}")
    for sentence in skipped:
        console.print(f"Left out {sentence}.", style="yellow", highlight=False)
    if not chosen:
        raise click.ClickException(f"{folder} holds none of the labelled sets")
    try:
        with _served(url, console) as address:
            measures, models = _measure_all(address, chosen, folder, limit, console)
    except (ClientError, InferenceServerException, SetupError) as error:
        raise click.ClickException(str(error)) from error
    console.print(report.table(measures))
    for note in report.notes(measures):
        console.print(note, highlight=False, style="dim")
    json_file.parent.mkdir(parents=True, exist_ok=True)
    content = report.to_json(measures, models, skipped, limit)
    json_file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(f"Written to {json_file}.", highlight=False)
    missed = [measure.name for measure in measures if not measure.reached]
    if missed and floors:
        console.print(f"Floors missed: {', '.join(missed)}.", style="bold red")
        sys.exit(1)


def _measure_all(
    url: str, chosen: list[LabelledSet], folder: Path, limit: int | None, console: Console
) -> tuple[list[Measure], dict[str, dict[str, object]]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    measures: list[Measure] = []
    server = Server(url)
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            for one in chosen:
                path = folder / one.name
                task = progress.add_task(one.name, total=one.count(path, limit))
                measures += one.measure(server, path, limit, partial(progress.advance, task))
    finally:
        server.close()
    return measures, server.answered


@contextmanager
def _served(url: str | None, console: Console) -> Iterator[str]:
    """The given server, or one of our own on free ports."""
    if url is not None:
        yield url
        return
    with console.status("Starting a server…"):
        server = TritonServer(grpc_port=0, http_port=0, metrics_port=0)
        server.start()
    try:
        yield server.grpc_url
    finally:
        server.stop()


if __name__ == "__main__":
    main()
