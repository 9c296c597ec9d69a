"""What the benchmarks' commands have in common: options, errors in one sentence, tables for a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import report
from benchmarks.verdict import Verdict, passed, show
from trident.errors import TridentError
from trident.layout import DEFAULT_REPOSITORY

SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}
"""``context_settings`` of a command."""

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def pictures_option(default: str = "the sample pictures") -> Callable[[_Command], _Command]:
    """``--pictures FOLDER``; None stands for ``default``, as the help calls it."""
    return click.option("--pictures", type=_FOLDER, help=f"Folder with pictures of your own. [default: {default}]")


def repository_option(about: str) -> Callable[[_Command], _Command]:
    """``--model-repository FOLDER``; ``about`` says what it is for."""
    return click.option(
        "--model-repository", type=_FOLDER, default=DEFAULT_REPOSITORY, show_default="the project's", help=about
    )


def out_option() -> Callable[[_Command], _Command]:
    """``--out FOLDER``."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=report.REPORTS,
        show_default="benchmarks/reports",
        help="Folder for the report.",
    )


@contextmanager
def in_one_sentence(command: str, *others: type[Exception]) -> Iterator[None]:
    """End with exit code 1 and one sentence for a ``TridentError``.

    Args:
        command: Stands in front of the sentence.
        others: Further errors that are told so.
    """
    told: tuple[type[Exception], ...] = (TridentError, *others)
    try:
        yield
    except told as error:
        Console(stderr=True, highlight=False).print(f"[red]{command}:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def end_in_order() -> None:
    """Have ``kill``, and a terminal that is closed, end this process as an error would: nothing that it made is left.

    What is ignored stays so, for which there is ``nohup``.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> NoReturn:
    # A shell that ends tells its jobs once more: that would break off what is being put in order.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


def finish(console: Console, verdicts: Iterable[Verdict], paths: tuple[Path, Path]) -> None:
    """Print what a run has come to and where its report lies; exit code 1 where it has not shown what it must.

    Args:
        console: Where.
        verdicts: All of them.
        paths: What ``report.write`` gives.
    """
    found = list(verdicts)
    show(console, found)
    tell_report(console, paths)
    if not passed(found):
        sys.exit(1)


def tell_report(console: Console, paths: tuple[Path, Path]) -> None:
    """Print where a report lies."""
    teller(console)(f"Report: {paths[0]}\nFigures: {paths[1]}")


def teller(console: Console) -> Callable[[str], None]:
    """What prints plain lines, each as long as it is."""
    return lambda line: console.print(escape(line), soft_wrap=True)


def print_table(
    console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, **layout: Any
) -> None:
    """Print a table of plain texts.

    Args:
        console: Where.
        headings: Of the columns.
        rows: As long as the headings.
        left: So many columns stand at the left, the rest at the right.
        layout: As ``rich.table.Table.add_column`` takes it, for all columns.
    """
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number >= left else "left", **layout)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
