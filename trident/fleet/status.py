"""Which servers of a fleet answer, and what they serve. Needs no server packages: it is the client that asks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trident.contract import COMPONENTS
from trident.errors import SetupError
from trident.fleet.file import Server, read_fleet
from trident.rollout.journal import interruption
from trident_client.client import TridentClient
from trident_client.errors import ClientError
from trident_client.status import ServerStatus

_AT_ONCE = 16
"""Servers that are asked at a time."""

Serves = tuple[int, str]
"""The version of a component that answers, and its digest, empty where the server did not tell."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One server as it answers now."""

    server: Server
    status: ServerStatus | None
    """None where it cannot be reached."""
    error: str
    """Why it cannot; empty if it can."""
    interrupted: str
    """A rollout of it that did not end, in one sentence; empty if there is none."""

    @property
    def ready(self) -> bool:
        """Whether it can analyse pictures now."""
        return self.status is not None and self.status.ready

    @property
    def release(self) -> dict[str, Serves]:
        """What answers, by component, as far as the server tells."""
        found = {}
        for model in self.status.models if self.status is not None else ():
            if model.name in COMPONENTS and model.pinned is not None:
                digest = next((one.digest for one in model.versions if one.version == model.pinned), None)
                found[model.name] = (model.pinned, digest or "")
        return found

    def to_json(self) -> dict[str, Any]:
        """What ``json.dumps`` takes."""
        status: dict[str, Any] = {"url": self.server.url} if self.status is None else self.status.to_json()
        ends = {"error": self.error or None, "interrupted_rollout": self.interrupted or None}
        return {"name": self.server.name, **status, **ends}


def look_at_all(servers: Sequence[Server], *, probe: bool, timeout: float) -> list[MemberStatus]:
    """Ask all servers, side by side, what they are and what they serve.

    Args:
        servers: Those of the fleet.
        probe: As of ``TridentClient.status``; without it the networks behind the recognizer are not told.
        timeout: Deadline of each call in seconds.
    """

    def look_at(server: Server) -> MemberStatus:
        try:
            interrupted = interruption(server.model_repository)
        except SetupError as exc:
            interrupted = str(exc)
        try:
            with TridentClient(
                server.url, tls=server.tls, timeout=timeout, admin_key_file=server.admin_key_file
            ) as client:
                return MemberStatus(server, client.status(probe=probe), "", interrupted)
        except ClientError as exc:
            return MemberStatus(server, None, str(exc), interrupted)

    with ThreadPoolExecutor(min(_AT_ONCE, len(servers)), thread_name_prefix="trident-status") as pool:
        return list(pool.map(look_at, servers))


def common_release(seen: Iterable[MemberStatus]) -> dict[str, Serves]:
    """What most servers serve, by component, in the order of the contract."""
    votes: dict[str, Counter[Serves]] = {}
    for one in seen:
        for component, serves in one.release.items():
            votes.setdefault(component, Counter())[serves] += 1
    return {component: votes[component].most_common(1)[0][0] for component in COMPONENTS if component in votes}


def status_table(seen: Sequence[MemberStatus]) -> Table:
    """A row for each server, with what it serves otherwise than most."""
    common = common_release(seen)
    table = Table(box=None, pad_edge=False)
    for heading in ("server", "address", "state", "serves otherwise"):
        table.add_column(heading, overflow="fold")
    for one in seen:
        state = Text("ready", style="green") if one.ready else Text(one.error or "not ready", style="red")
        otherwise = Text(", ".join(_otherwise(one.release, common)), style="yellow")
        table.add_row(Text(one.server.name), Text(one.server.url), state, otherwise)
    return table


def _otherwise(release: Mapping[str, Serves], common: Mapping[str, Serves]) -> list[str]:
    said = []
    for component, (version, digest) in release.items():
        usual, usual_digest = common[component]
        if version != usual:
            said.append(f"{component} {version}")
        elif digest and usual_digest and digest != usual_digest:
            said.append(f"another {component} {version}")
    return said


def show_status(file: Path, *, probe: bool, timeout: float, as_json: bool) -> bool:
    """``trident status --fleet``: print a line for each server, or JSON.

    Returns:
        Whether all of them can analyse pictures now.

    Raises:
        SetupError: The file cannot be used.
    """
    seen = look_at_all(read_fleet(file), probe=probe, timeout=timeout)
    if as_json:
        click.echo(json.dumps({"servers": [one.to_json() for one in seen]}, indent=2, ensure_ascii=False))
        return all(one.ready for one in seen)
    console = Console()
    console.print(status_table(seen))
    if common := common_release(seen):
        named = ", ".join(f"{component} {version}" for component, (version, _) in common.items())
        alike = all(not _otherwise(one.release, common) for one in seen)
        console.print(Text(f"{'All that answer serve' if alike else 'Most serve'} {named}."), soft_wrap=True)
    for one in seen:
        if one.interrupted:
            console.print(Text(f"{one.server.name}: {one.interrupted}", style="yellow"), soft_wrap=True)
        for note in one.status.notes if one.status is not None else ():
            click.echo(f"note: {one.server.name}: {note}", err=True)
    return all(one.ready for one in seen)
