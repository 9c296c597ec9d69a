"""``trident verify``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trident.launcher.verified import survey
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import check_is_there


@click.command()
@click.option(
    "--model-repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default="the clone's own",
    help="Folder of the models.",
)
def verify(model_repository: Path) -> None:
    """Hold every network on disk against the record of its export, and tell the digest of every component.

    The exit code is 0 only if all fit. `trident serve` and `trident rollout` do this for what they load; other ways to
    start a server do not, such as NVIDIA's container with its native backend. Code is in no record: compare its digest
    with that of a copy you trust.
    """
    check_is_there(model_repository)
    console = Console()
    table = Table()
    for column in ("component", "version", "what", "digest"):
        table.add_column(column, overflow="fold", justify="right" if column == "version" else "left")
    problems = []
    for found in survey(model_repository):
        state = "refused" if found.problem else found.digest
        table.add_row(*map(Text, (found.component, str(found.version), found.what, state)))
        if found.problem:
            problems.append(found.problem)
    console.print(table)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.ClickException(f"{len(problems)} of the versions above may not be loaded")
