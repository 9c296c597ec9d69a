"""Command line: ``python -m export [COMPONENT[=VERSION] …]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from export.build import Outcome, reports_of
from export.build import export as export_network
from export.registry import known_assets, select
from export.sources import NetworkVersion
from trident.errors import SetupError
from trident.layout import DEFAULT_REPOSITORY, MODEL_FILE


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("targets", nargs=-1, metavar="[COMPONENT[=VERSION]]…")
@click.option("--all", "every", is_flag=True, help="Build every version, not only the first of each component.")
@click.option("--no-parity", is_flag=True, help="Do not compare with the source networks.")
@click.option("--force", is_flag=True, help="Build also what is up to date.")
@click.option("--list", "list_only", is_flag=True, help="Say what there is and from which files, and build nothing.")
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    help="Model repository to write to.",
)
def main(
    targets: tuple[str, ...], *, every: bool, no_parity: bool, force: bool, list_only: bool, repository: Path
) -> None:
    """Fetch published weights, turn them into ONNX graphs that meet the contract, and compare them with their source.

    Without arguments, the first version of every component. What is up to date is left as it is.
    """
    console = Console(highlight=False)
    try:
        networks = select(targets, every=every or list_only)
        if list_only:
            for network in networks:
                console.print(escape(listed(network)), soft_wrap=True)
            return
        beside = known_assets()
        for network in networks:
            label = f"{network.component} {network.version}  {escape(network.name)}"
            started = time.monotonic()
            with console.status(label) as status:

                def announce(step: str, label: str = label) -> None:
                    status.update(f"{label}: {escape(step)}")
                    if not console.is_terminal:
                        console.print(f"  {label}: {escape(step)}", soft_wrap=True)

                outcome = export_network(
                    network,
                    repository=repository,
                    reports=reports_of(repository),
                    parity=not no_parity,
                    force=force,
                    beside=beside,
                    announce=announce,
                )
            size = (repository / network.component / str(network.version) / MODEL_FILE).stat().st_size / 1e6
            took = "" if outcome is Outcome.UP_TO_DATE else f", {time.monotonic() - started:.1f} s"
            console.print(f"[green]✓[/] {label}: {outcome}, {size:.1f} MB{took}", soft_wrap=True)
    except SetupError as error:
        Console(stderr=True, highlight=False).print(f"[red]export:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def listed(network: NetworkVersion) -> str:
    """A line for the network, and an indented one for every file: package, version, file, hash, licence, repository."""
    lines = [f"{network.component}={network.version}  {network.name}  {network.licence}  {network.repository}"]
    for assets, purpose in ((network.assets, ""), (network.reference_assets, "  (only to compare with)")):
        lines += [
            f"    {asset.registry}  {asset.package} {asset.package_version}  {asset.file}  "
            f"sha256 {asset.sha256[:12]}…  {asset.licence}  {asset.repository}{purpose}"
            for asset in assets
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(prog_name="python -m export")
