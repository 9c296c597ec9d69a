"""Asks an advisory service which of the pinned packages have known vulnerabilities: ``make audit``.

``pip-audit`` asks; here its findings are held against ``audited.toml``, where those stand that were looked at and are
accepted, each with a reason and a day on which it is to be looked at again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

EXCUSES = Path(__file__).with_name("audited.toml")
_FOUND, _NOT_ASKED = 1, 2


class NotAsked(Exception):
    """The advisory service did not answer, or not as expected."""


@dataclass(frozen=True, slots=True)
class Advisory:
    """A known vulnerability of a pinned package."""

    package: str
    version: str
    names: tuple[str, ...]
    """Its id, and what others call it."""
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why one is accepted, and until when."""

    reason: str
    until: date


def ask(program: str, file: Path) -> tuple[list[Advisory], list[str]]:
    """Have ``pip-audit`` look at the packages that a requirements file pins, without installing any.

    Args:
        program: Path of ``pip-audit``.
        file: With exact versions.

    Returns:
        What is known, and which packages could not be looked at, each with the reason.

    Raises:
        NotAsked: There is no answer.
    """
    command = [program, "--requirement", str(file), "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--desc", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except OSError as exc:
        raise NotAsked(f"{program} cannot be run: {exc.strerror or exc}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise NotAsked(f"pip-audit gave no answer: {lines[-1] if lines else 'it says nothing'}"[:500]) from exc
    return read(packages)


def read(packages: Iterable[Mapping[str, Any]]) -> tuple[list[Advisory], list[str]]:
    """The answer of ``pip-audit``, understood; see ``ask``."""
    known = [
        Advisory(
            package["name"],
            package["version"],
            (found["id"], *found.get("aliases", ())),
            tuple(found.get("fix_versions", ())),
        )
        for package in packages
        for found in package.get("vulns", ())
    ]
    skipped = [f"{package['name']}: {package['skip_reason']}" for package in packages if "skip_reason" in package]
    return known, skipped


def read_excuses(text: str) -> dict[str, Excuse]:
    """What ``audited.toml`` says, by id. Raises ValueError or KeyError for what it may not hold."""
    return {name: Excuse(str(one["reason"]), _day(one["until"])) for name, one in tomllib.loads(text).items()}


def _day(value: object) -> date:
    if not isinstance(value, date):
        raise ValueError(f"until: expected a date as 2027-01-31, got {value!r}")
    return value


def excuse_of(advisory: Advisory, excuses: Mapping[str, Excuse], today: date) -> Excuse | None:
    """The excuse of an advisory, if there is one whose day has not come."""
    found = (excuses[name] for name in advisory.names if name in excuses)
    return next((one for one in found if today < one.until), None)


@click.command()
@click.argument("program")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(program: str, files: tuple[Path, ...]) -> None:
    """Audit the requirements FILES with the pip-audit at PROGRAM.

    Exits with 1 if something is known that audited.toml does not excuse, else with 2 if the service could not be asked
    about every package.
    """
    excuses = read_excuses(EXCUSES.read_text(encoding="utf-8"))
    today = datetime.now(UTC).date()
    console = Console()
    table = Table("package", "advisory", "fixed in", "standing")
    bad = unknown = 0
    for file in files:
        try:
            known, skipped = ask(program, file)
        except NotAsked as exc:
            click.echo(f"{file} was not audited: {exc}. An audit needs a network, and a service to ask.", err=True)
            sys.exit(_NOT_ASKED)
        for advisory in known:
            excuse = excuse_of(advisory, excuses, today)
            bad += excuse is None
            standing = "open" if excuse is None else f"accepted until {excuse.until}: {excuse.reason}"
            package = f"{advisory.package} {advisory.version}"
            table.add_row(*map(Text, (package, ", ".join(advisory.names), ", ".join(advisory.fixed_in), standing)))
        for sentence in skipped:
            click.echo(f"{file}: not looked at: {sentence}", err=True)
        unknown += len(skipped)
    if table.row_count:
        console.print(table)
    what = "known vulnerability" if bad == 1 else "known vulnerabilities"
    click.echo(f"{', '.join(map(str, files))}: {bad or 'no'} {what} not accepted")
    if unknown:
        # pip-audit calls that a success: an index that has no advisories answers so for every package.
        click.echo(f"{unknown} of the packages were not looked at: the service does not know them.", err=True)
    sys.exit(_FOUND if bad else _NOT_ASKED if unknown else 0)


if __name__ == "__main__":
    main()
