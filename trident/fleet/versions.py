"""What the servers of a fleet have of one component: on disk, loaded, rolled out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from trident.errors import SetupError
from trident.fleet.member import Member
from trident.rollout.versions import Versions, survey_versions

_DIGITS = 12
"""Of a digest, as far as it is shown."""
_SECONDS = 19
"""Of a time, as far as it is shown."""


@dataclass(frozen=True, slots=True)
class MemberVersions:
    """What one server has of a component."""

    name: str
    found: Versions | None
    """None where its configuration or its journal cannot be read."""
    notes: tuple[str, ...]
    """What is wrong or could not be found out, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes."""
        facts = {} if self.found is None else asdict(self.found)
        return {"name": self.name, **facts, "notes": list(self.notes)}


def survey_all(members: Iterable[Member], component: str) -> list[MemberVersions]:
    """Collect what the servers have of a component. What is wrong with one of them becomes a note."""
    surveyed = []
    for member in members:
        try:
            found = survey_versions(member.repository, member.serving, member.diary, component)
        except SetupError as exc:
            surveyed.append(MemberVersions(member.name, None, (str(exc),)))
        else:
            surveyed.append(MemberVersions(member.name, found, found.notes))
    return surveyed


def versions_table(component: str, surveyed: Iterable[MemberVersions]) -> Table:
    """A row for each version on each server."""
    table = Table(title=component, title_justify="left", box=None, pad_edge=False)
    for heading in ("server", "version", "", "state", "MB", "digest", "last rollout"):
        table.add_column(heading, justify="right" if heading in ("version", "MB") else "left", overflow="fold")
    for one in surveyed:
        if one.found is None:
            table.add_row(Text(one.name), "", "", Text("unknown", style="red"))
            continue
        last = one.found.rollouts[0] if one.found.rollouts else None
        said = "" if last is None else f"{last.at[:_SECONDS]} {last.what}: {last.outcome or 'not ended'}"
        for number, version in enumerate(one.found.versions):
            table.add_row(
                Text(one.name if number == 0 else ""),
                str(version.version),
                version.standing,
                version.state,
                "" if version.memory_mb is None else f"{version.memory_mb:.0f}",
                version.digest.removeprefix("sha256:")[:_DIGITS],
                Text(said if number == 0 else ""),
            )
    return table
