"""``python -m benchmarks.scaling.size``: what so many pictures a second need, on paper."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click

from benchmarks import command
from benchmarks.report import REPORTS
from benchmarks.scaling.inputs import Inputs, inputs_from, read_inputs, write_inputs
from benchmarks.scaling.sizing import Line, Wish, number, size
from trident.atomic import replace_text
from trident.errors import SetupError

PROGRAM = ".venv/bin/python -m benchmarks.scaling.size"
_SHOWN = re.compile(rf"^```console\n\$ {re.escape(PROGRAM)}(?P<options>[^\n]*)\n.*?^```$", re.MULTILINE | re.DOTALL)
"""A block of a document that shows this command and what it prints."""
_DEFAULT = Wish(1.0)


def text_of(inputs: Inputs, wish: Wish, *, components: bool) -> str:
    """What the command prints."""
    sizing = size(inputs, wish)
    words = [
        number(wish.pictures),
        f"pictures a second at the busiest; p99 within {wish.p99_ms:,.0f} ms;",
        "1 zone" if wish.zones == 1 else f"{wish.zones} zones, one of which may be lost",
    ]
    about = f"One server was measured on: {inputs.machine} ({', '.join(inputs.measured)})"
    blocks = [[*sizing.lines()], [*sizing.component_lines()]] if components else [[*sizing.lines()]]
    return "\n\n".join([f"{' '.join(words)}\n{about}", *map(_aligned, blocks)]) + "\n"


def _aligned(lines: list[Line]) -> str:
    wide = max(len(line.what) for line in lines)
    right = max(len(line.value) for line in lines)
    return "\n".join(f"{line.what:<{wide}}  {line.value:>{right}}   {line.how}" for line in lines)


def refreshed(document: str) -> str:
    """A document with every block that shows this command as the command would print it now.

    Raises:
        SetupError: A block's options are not this command's, or nothing can be sized with them.
    """

    def shown(found: re.Match[str]) -> str:
        options = shlex.split(found["options"])
        try:
            given = main.make_context(PROGRAM, options).params
        except click.ClickException as error:
            raise SetupError(f"{PROGRAM}{found['options']}: {error.format_message()}") from error
        return f"```console\n$ {PROGRAM}{found['options']}\n{_sized(given)}```"

    return _SHOWN.sub(shown, document)


def _sized(given: dict[str, Any]) -> str:
    inputs = inputs_from(given["reports"]) if given["inputs"] is None else read_inputs(given["inputs"])
    names = ("pictures", "zones", "machine_cores", "embeddings", "poll_s", "clients")
    wish = Wish(**{name: given[name] for name in names}, p99_ms=given["p99"])
    return text_of(inputs, wish, components=given["components"])


@click.command(context_settings=command.SETTINGS)
@click.option("--pictures", type=float, default=1000.0, help="A second, when it is busiest.")
@click.option("--p99", default=_DEFAULT.p99_ms, help="Milliseconds within which 99 % of the answers are to come.")
@click.option("--zones", default=_DEFAULT.zones, help="Places of which one may be lost; 1 for none.")
@click.option("--machine-cores", default=_DEFAULT.machine_cores, help="Cores of the machines to be had.")
@click.option("--embeddings", default=_DEFAULT.embeddings, help="Faces in the gallery.")
@click.option("--poll", "poll_s", default=_DEFAULT.poll_s, help="gallery_poll_seconds of the entity recognizer.")
@click.option("--clients", default=_DEFAULT.clients, help="Processes that ask.")
@click.option("--components", is_flag=True, help="Also by component, as if each had servers of its own.")
@click.option(
    "--inputs",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with what one server takes. [default: from the newest reports]",
)
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    default=REPORTS,
    show_default="benchmarks/reports",
    help="Folder of the reports of `make bench-scaling` and `make latency-curve`.",
)
@click.option(
    "--write-inputs",
    "inputs_to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what the reports say of one server to this file, for --inputs, and do nothing else.",
)
@click.option(
    "--refresh",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Write anew what this command prints wherever a document shows it, and do nothing else.",
)
def main(*, inputs_to: Path | None, refresh: Path | None, **given: Any) -> None:
    """Say what so many pictures a second need: servers, cores, memory, network, the gallery's database, and GPUs.

    Arithmetic only, from what one server takes on one machine. Every step is shown.
    """
    with command.in_one_sentence("size"):
        if inputs_to is not None:
            write_inputs(inputs_from(given["reports"]), inputs_to)
            click.echo(f"Inputs: {inputs_to}")
        elif refresh is not None:
            replace_text(refresh, refreshed(refresh.read_text(encoding="utf-8")))
            click.echo(f"Refreshed: {refresh}")
        else:
            click.echo(_sized(given), nl=False)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scaling.size")
