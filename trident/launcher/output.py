"""What a running server's launcher writes: sentences for people, or one JSON object a line for what collects logs.

In JSON every line has ``ts`` (UTC, when the launcher wrote it), ``level``, ``component`` and ``message``, and where it
is known ``request_id``, with further facts. ``component`` is the model that wrote the line, where it says so, and else
``triton``; the launcher's own are of ``launcher``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import click
from rich.console import Console

from trident.errors import TridentError
from trident.launcher.log import Entry, Level
from trident.log_fields import split_fields

LAUNCHER, TRITON = "launcher", "triton"
LOGGER = "trident"
"""The logger whose lines, and those of the loggers below it, are written as the launcher's own."""

_NAMES = {Level.INFO: "info", Level.WARNING: "warning", Level.ERROR: "error", Level.FATAL: "fatal"}
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record of ``logging`` has; the rest are the facts that a line was given by ``extra=``."""


class LogFormat(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


def json_line(level: str, component: str, message: str, facts: dict[str, Any]) -> str:
    """One line.

    >>> json.loads(json_line("info", "launcher", "it serves", {"pid": 7}))["message"]
    'it serves'
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {"ts": now, "level": level, "component": component, "message": message}
    line |= {name: value for name, value in facts.items() if name not in line}
    return json.dumps(line, ensure_ascii=False, default=str)


def entry_line(entry: Entry) -> str:
    """A line of Triton's log, or of a model's, as JSON."""
    message, found = split_fields(entry.text)
    facts: dict[str, Any] = dict(found)
    component = facts.pop("component", TRITON)
    if entry.source:
        facts["source"] = entry.source
    return json_line(_NAMES[entry.level], component, message, facts)


class JsonFormatter(logging.Formatter):
    """Records of ``logging`` as JSON, with the facts that they were given by ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        facts = {name: value for name, value in vars(record).items() if name not in _USUAL}
        component = str(facts.pop("component", LAUNCHER))
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        return json_line(record.levelname.lower(), component, message, facts)


class _Lines(logging.Handler):
    """Writes as click does, to what is standard error now."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class Output:
    """Where a command that runs a server writes.

    Args:
        log_format: How.
        verbose: Whether all of Triton's log is shown, and not only warnings and errors.
    """

    def __init__(self, log_format: LogFormat, *, verbose: bool = False) -> None:
        self.json = log_format is LogFormat.JSON
        self._verbose = verbose

    def say(self, message: str, *, err: bool = True, level: str = "info", **facts: Any) -> None:
        """Say something of the launcher's own.

        Args:
            message: A sentence.
            err: To standard error; else to standard output.
            level: ``info``, ``warning`` or ``error``.
            facts: What else a line of JSON holds.
        """
        click.echo(json_line(level, LAUNCHER, message, facts) if self.json else message, err=err)

    def show(self, entry: Entry, *, serving: bool) -> None:
        """Show a line of the server's log, if it is one to show.

        Args:
            entry: The line.
            serving: Whether the server serves already. Until then what is wrong is said in one sentence at the end.
        """
        if not self._verbose and not (serving and (entry.worth_showing or (self.json and entry.facts))):
            return
        click.echo(entry_line(entry) if self.json else f"{entry.level} {entry.text}", err=True)

    def status(self, message: str) -> AbstractContextManager[object]:
        """Shows that something takes its time, where somebody looks."""
        return nullcontext() if self.json else Console(stderr=True).status(message)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Write what is logged in this process below ``trident`` as well, from ``INFO`` on."""
        handler = _Lines(logging.INFO)
        handler.setFormatter(JsonFormatter() if self.json else logging.Formatter("%(message)s"))
        logger = logging.getLogger(LOGGER)
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class ServingCommand(click.Command):
    """A command with an option ``--log-format``: what is logged and what ends it are lines of that format."""

    def invoke(self, ctx: click.Context) -> Any:
        """See ``click.Command``."""
        output = Output(LogFormat(ctx.params["log_format"]))
        try:
            with output.logged():
                return super().invoke(ctx)
        except TridentError as exc:
            if not output.json:
                raise
            output.say(str(exc), level="error")
            raise click.exceptions.Exit(1) from exc


def log_format_option(command: Any) -> Any:
    """Give a command the option ``--log-format``."""
    return click.option(
        "--log-format",
        type=click.Choice([str(one) for one in LogFormat]),
        default=str(LogFormat.TEXT),
        show_default=True,
        help="Sentences for people, or one JSON object a line for what collects logs.",
    )(command)
