"""Triton's log: what to show of it, and the reason that it gives when it cannot start."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum

from trident.log_fields import split_fields

_HEAD = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ \d+ ([\w.]+:\d+)?\] ?(.*)$", re.DOTALL)
_FAILED_LOAD = re.compile(r"failed to load '([^']+)'(?: version (\d+))?: (.*)", re.DOTALL)
_PORT_TAKEN = re.compile(r"failed to start (\w+)[\w ]*: .*?(?:Socket '([^']+)'|in use)", re.DOTALL)
_STATUS = re.compile(
    r"^(?:Internal|Invalid argument|Not found|Unavailable|Unsupported|Unknown|Already exists)(?::| -) "
)

_PROGRAM = re.compile(r"^\S*tritonserver: ")
_TELLING = re.compile(
    r"error\b|exception\b|\b(?:bad|cannot|denied|failed|fatal|invalid|missing|no such|not found|unable|unknown|"
    r"unrecogni[sz]ed|unsupported)\b",
    re.IGNORECASE,
)

# Said by every server without a GPU.
_HARMLESS = (
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "unable to create stream for",
    "CudaDriverHelper has not been initialized",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "Signal (15) received",
    # Said of each model that is handed over whole: a canary's, and the one that refuses what comes while it is stopped.
    "Failed to set config modification time: model_config_content_name_ is empty",
)


class Level(StrEnum):
    """Severity, as the log writes it."""

    INFO = "I"
    WARNING = "W"
    ERROR = "E"
    FATAL = "F"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    level: Level
    text: str
    """The message; the line as it is where it has no head."""
    bare: bool = False
    """Whether the line has no head: Triton's words before its log is open, tables, and what a model prints."""
    source: str = field(default="", compare=False, repr=False)
    """File and line of Triton's code that wrote it, or of a model's; empty where the line does not say."""

    @property
    def facts(self) -> dict[str, str]:
        """The facts at its end that Trident's models write: see ``trident.log_fields``."""
        return split_fields(self.text)[1]

    @property
    def worth_showing(self) -> bool:
        """Whether it is a warning or an error that says something about this server."""
        return self.level is not Level.INFO and not any(text in self.text for text in _HARMLESS)


def parse_line(line: str, previous: Level = Level.INFO) -> Entry:
    r"""Read one line. A line without a head goes on with the ``previous`` one's level.

    >>> parse_line('E1121 20:46:29.360424 8425 server.cc:241] "no such\\nthing"')
    Entry(level=<Level.ERROR: 'E'>, text='no such\nthing', bare=False)
    """
    head = _HEAD.match(line)
    if head is None:
        return Entry(previous, line, bare=True)
    text = head[3]
    if text.startswith('"'):
        try:
            text = json.loads(text, strict=False)
        except ValueError:
            text = text.strip('"')
    return Entry(Level(head[1]), text, source=head[2] or "")


def reason(entries: list[Entry]) -> str:
    """The one sentence that says why a server did not start, out of its log."""
    errors = [entry.text for entry in entries if entry.level in (Level.ERROR, Level.FATAL) and entry.worth_showing]
    for text in errors:
        failed = _FAILED_LOAD.search(text)
        if failed is not None:
            version = f" version {failed[2]}" if failed[2] else ""
            return f"model {failed[1]}{version} does not load: {_first_sentence(failed[3])}"
    for text in errors:
        if _PORT_TAKEN.search(text):
            return f"a port is taken: {_first_sentence(text)}"
    for text in errors:
        return _first_sentence(text)
    return _bare_reason(entries) or "it says nothing about why"


def _bare_reason(entries: list[Entry]) -> str:
    """What the lines without a head say; only they tell of a wrong option or of a library that is missing."""
    # What is indented is the list of options that Triton prints after a wrong one; the rest are tables and headings.
    lines = [entry.text for entry in entries if entry.bare and entry.text.strip() and entry.text[0] not in " \t+|"]
    lines = [_PROGRAM.sub("", line.strip()) for line in lines if not line.strip().endswith(":")]
    telling = [line for line in lines if _TELLING.search(line)]
    if telling:
        return " ".join(dict.fromkeys(telling[-2:]))
    # Where the log was open, a line without a head may be anything that a model has printed.
    return lines[-1] if lines and all(entry.bare for entry in entries) else ""


def _first_sentence(text: str) -> str:
    """One line: without Triton's status, and without the trace that the Python backend appends."""
    text = text.partition("\n\nAt:\n")[0].strip()
    text = _STATUS.sub("", text).removeprefix("TritonModelException: ")
    return " ".join(text.split())
