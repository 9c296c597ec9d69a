"""What the commands share that change servers: lines about each step, and an end that is as by Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from trident.rollout.engine import Passed

INTERRUPTED_EXIT = 3
"""Exit code of a rollout that has neither ended nor been taken back."""


class Stop(BaseException):
    """SIGTERM or SIGHUP came."""


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end what is done here by ``Stop``, as Ctrl-C does by its own.

    What this process was started to ignore, as by ``nohup``, it goes on ignoring.
    """

    def stop(*_: object) -> NoReturn:
        raise Stop

    heard = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def was_given(
    name: str, by: Collection[ParameterSource] = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
) -> bool:
    """Whether the command that runs was given this parameter, rather than taking its default."""
    return click.get_current_context().get_parameter_source(name) in by


class Display:
    """Meets ``engine.Progress``: steps as lines; the one that runs has a bar and its time."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def head(self, sentence: str) -> None:
        """What is going to happen."""
        self._console.print(Text(sentence, style="bold"), soft_wrap=True)

    def begin(self, step: str, about: str) -> None:
        """See ``engine.Progress``."""
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn(f"{step:<9}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(about, total=None)

    def advance(self, done: int, total: int) -> None:
        """See ``engine.Progress``."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def end(self, step: str, passed: Passed | None, seconds: float) -> None:
        """See ``engine.Progress``."""
        if passed is None:
            self.close()
            return
        self._line("[green]✓[/]", step, passed.sentence, seconds)
        for warning in passed.warnings:
            self._console.print(Text(f"  {'':<9} {warning}", style="yellow"), soft_wrap=True)

    def fail(self, step: str, sentence: str, seconds: float) -> None:
        """See ``engine.Progress``."""
        self._line("[red]✗[/]", step, sentence, seconds)

    def tell(self, sentence: str) -> None:
        """See ``engine.Progress``."""
        self._console.print(Text(f"  {'':<9} {sentence}"), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _line(self, mark: str, step: str, sentence: str, seconds: float) -> None:
        self.close()
        line = Text.from_markup(mark)
        line.append(f" {step:<9} {seconds:6.1f} s  {sentence}")
        self._console.print(line, soft_wrap=True)
