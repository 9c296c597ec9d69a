"""The live view of ``trident status --watch``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trident.contract import ENSEMBLE
from trident_client.client import TridentClient
from trident_client.errors import ClientError, SettingsError
from trident_client.exposed import fetch, read
from trident_client.statistics import Exposed, Flow, ModelFlow, ServerStatistics, flow

_LONGEST_QUESTION_S = 5.0
_MEBI = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a server."""

    flow: Flow | None = None
    """What it did since the last one; None where it did not answer."""
    problem: str = ""
    """Why not, or why its metrics are not shown; empty if all is well."""


def looks(
    client: TridentClient,
    seconds: float,
    metrics_url: str | None,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Look]:
    """Look at a server again and again, without end.

    Args:
        client: Of the server.
        seconds: Between two looks.
        metrics_url: Where its metrics are; None leaves them out.
        sleep: Waits so many seconds.
        clock: Gives seconds.

    Raises:
        ClientError: It does not answer at first. If it ceases to later on, looks say so.
    """
    patience = min(_LONGEST_QUESTION_S, max(1.0, seconds))
    before: ServerStatistics | None = client.statistics(timeout=patience)
    since = clock()
    while True:
        sleep(seconds)
        try:
            after, now = client.statistics(timeout=patience), clock()
        except ClientError as exc:
            before = None  # it may come back as another, with counts of its own
            yield Look(problem=str(exc))
            continue
        if before is not None:
            exposed, problem = _exposed(metrics_url, patience)
            yield Look(flow(before, after, now - since, exposed), problem)
        before, since = after, now


def _exposed(url: str | None, timeout: float) -> tuple[Exposed | None, str]:
    if url is None:
        return None, "queue, memory and refusals are unknown: say where the metrics are by --metrics-url"
    try:
        return read(fetch(url, timeout)), ""
    except SettingsError:
        raise
    except ClientError as exc:
        return None, str(exc)


def watch(client: TridentClient, seconds: float, metrics_url: str | None, *, as_json: bool) -> None:
    """Show what a server does until Ctrl-C: in place on a terminal, else one view or line of JSON after the other.

    Args:
        client: Of the server.
        seconds: Between two looks.
        metrics_url: Where its metrics are; None leaves them out.
        as_json: Lines of JSON.

    Raises:
        ClientError: The server does not answer at first.
    """
    console = Console()
    in_place = console.is_terminal and not as_json
    try:
        with Live(Text("measuring…"), console=console, auto_refresh=False) if in_place else nullcontext() as live:
            for look in looks(client, seconds, metrics_url):
                if live is not None:
                    live.update(view(client.url, look), refresh=True)
                elif as_json:
                    click.echo(json.dumps(_document(look), ensure_ascii=False))
                else:
                    console.print(view(client.url, look))
    except KeyboardInterrupt:
        return


def _document(look: Look) -> dict[str, object]:
    found: dict[str, object] = {} if look.flow is None else look.flow.to_json()
    return found | {"problem": look.problem or None}


def view(url: str, look: Look) -> RenderableType:
    """One look, for a terminal."""
    if look.flow is None:
        return Text.assemble((url, "bold"), ": ", ("no answer", "bold red"), f" ({look.problem})")
    parts: list[RenderableType] = [_headline(url, look.flow), _table(look.flow)]
    if refused := _refused(look.flow.exposed):
        parts.append(Text(refused))
    if look.problem:
        parts.append(Text(f"note: {look.problem}", style="dim"))
    return Group(*parts)


def _headline(url: str, seen: Flow) -> Text:
    whole = seen.model(ENSEMBLE)
    state = ("ready", "bold green") if seen.ready else ("not ready", "bold red")
    line = Text.assemble((url, "bold"), ": ", state)
    if whole is not None:
        line.append(f"  {whole.per_second:.1f} requests/s, ")
        line.append(f"{whole.failed_per_second:.1f} failed/s", style="red" if whole.failed_per_second else "")
        if whole.mean_ms is not None:
            line.append(f", mean {whole.mean_ms:.0f} ms")
    exposed = seen.exposed
    if exposed is not None:
        for quantile, latency in exposed.quantiles_ms.items():
            if quantile in ("0.5", "0.99"):
                line.append(f", p{float(quantile) * 100:.0f} {latency:.0f} ms")
        if exposed.memory_used is not None and exposed.memory_total:
            line.append(f"  memory {exposed.memory_used / _MEBI:.0f} of {exposed.memory_total / _MEBI:.0f} MiB")
        if exposed.cpu is not None:
            line.append(f", processors {100 * exposed.cpu:.0f} %")
    return line


def _table(seen: Flow) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("versions", overflow="fold")
    for column in ("requests/s", "failed/s", "mean ms", "queue ms", "compute ms", "waiting"):
        table.add_column(column, justify="right")
    for one in seen.models:
        table.add_row(Text(one.name), _versions(one), *_figures(one))
    return table


def _versions(one: ModelFlow) -> Text:
    """The loaded versions, those in bold that answered."""
    text = Text()
    for number, version in enumerate(one.versions):
        text.append(", " if number else "")
        text.append(str(version), style="bold" if version in one.answering else "dim")
    return text


def _figures(one: ModelFlow) -> list[Text]:
    times = [Text("–" if value is None else f"{value:.1f}") for value in (one.mean_ms, one.queue_ms, one.compute_ms)]
    return [
        Text(f"{one.per_second:.1f}"),
        Text(f"{one.failed_per_second:.1f}", style="red" if one.failed_per_second else ""),
        *times,
        Text("–" if one.pending is None else str(one.pending)),
    ]


def _refused(exposed: Exposed | None) -> str:
    """The refusals since the server's start, by reason; empty if there are none."""
    counts = {} if exposed is None else {reason: count for reason, count in exposed.refused.items() if count}
    listed = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items())
    return f"pictures refused since the start: {listed}" if listed else ""
