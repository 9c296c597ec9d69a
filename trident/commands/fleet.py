"""What ``trident rollout``, ``rollback``, ``retire`` and ``versions`` do with ``--fleet``: all servers of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from trident.background import step_back
from trident.commands.at_work import INTERRUPTED_EXIT, Display, Stop, stoppable
from trident.errors import TridentError
from trident.fleet.file import read_fleet
from trident.fleet.member import opened
from trident.fleet.rollout import FleetInterrupted, FleetOutcome, FleetRollout
from trident.fleet.versions import survey_all, versions_table
from trident.rollout import engine, journal
from trident.rollout.options import Options


def roll_out(file: Path, targets: Mapping[str, int], options: Options, identity_threshold: float | None) -> None:
    """``trident rollout --fleet``."""
    what = " ".join(f"{name}={version}" for name, version in targets.items())
    with _at_work(file, f"Rollout of {what}") as (fleet, display):
        _finish(file, display, lambda: fleet.run(targets, options, identity_threshold=identity_threshold))


def go_on(file: Path, *, back: bool, gallery_url: str | None) -> None:
    """``trident rollout --fleet --resume`` and ``--abort``."""
    with _at_work(file) as (fleet, display):
        _finish(file, display, fleet.abort if back else lambda: fleet.resume(gallery_url=gallery_url))


def roll_back(file: Path, component: str, options: Options) -> None:
    """``trident rollback --fleet``."""
    with _at_work(file, f"Rollback of {component}") as (fleet, display):
        _finish(file, display, lambda: fleet.back(component, options))


def retire(file: Path, components: tuple[str, ...]) -> None:
    """``trident retire --fleet``. One server that cannot does not keep the others from it."""
    complaints = []
    with opened(read_fleet(file), alone=True) as members:
        for member in members:
            try:
                settled, held = engine.retire(member.repository, member.serving, member.diary, components)
            except TridentError as exc:
                complaints.append(f"{member.name}: {exc}")
                continue
            for name, version in settled.retired:
                memory = held.get(f"{name} {version}")
                said = f", {memory:.0f} MB" if memory is not None else ""
                click.echo(f"{member.name}: {name} {version} retired{said}")
            if not settled.retired:
                click.echo(f"{member.name}: nothing to retire")
            if settled.lingering:
                complaints.append(
                    f"{member.name}: {', '.join(settled.lingering)}: requests in flight keep old versions"
                )
    if complaints:
        raise click.ClickException("; ".join(complaints))


def show_versions(file: Path, component: str, *, as_json: bool) -> None:
    """``trident versions --fleet``; the exit code is 0 only if every server's models could be read."""
    with opened(read_fleet(file), alone=False) as members:
        found = survey_all(members, component)
    if as_json:
        document = {"component": component, "servers": [one.to_json() for one in found]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        console = Console()
        console.print(versions_table(component, found))
        for one in found:
            for note in one.notes:
                console.print(Text(f"{one.name}: {note}", style="yellow"), soft_wrap=True)
    if not all(one.found for one in found):
        raise click.exceptions.Exit(1)


@contextmanager
def _at_work(file: Path, heading: str = "") -> Iterator[tuple[FleetRollout, Display]]:
    """The only one who changes any of the servers, giving way to them, and stoppable as by Ctrl-C."""
    servers = read_fleet(file)
    step_back()
    with opened(servers, alone=True) as members, stoppable():
        display = Display()
        if heading:
            display.head(f"{heading} on {len(members)} servers: {', '.join(member.name for member in members)}")
        yield FleetRollout(members, display, again=f"trident rollout --fleet {file}"), display


def _finish(file: Path, display: Display, carry_out: Callable[[], FleetOutcome]) -> None:
    try:
        outcome = carry_out()
    except FleetInterrupted as exc:
        click.echo(f"Interrupted: {exc}.", err=True)
        raise click.exceptions.Exit(INTERRUPTED_EXIT) from exc
    except (KeyboardInterrupt, Stop):
        click.echo(
            f"Interrupted. On each server one whole release answers. `trident rollout --fleet {file} --resume` goes "
            f"on, `trident rollout --fleet {file} --abort` takes back what was done, and `trident status --fleet "
            f"{file}` shows who serves what.",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED_EXIT) from None
    finally:
        display.close()
    if outcome.outcome in (journal.DONE, journal.ABORTED):
        click.echo(f"Done in {outcome.seconds:.1f} s: {outcome.sentence}. {outcome.standing}.")
        return
    raise click.ClickException(f"{outcome.sentence.rstrip('.')}. {outcome.standing}.")
