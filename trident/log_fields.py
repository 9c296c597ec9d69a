"""Facts at the end of a log line, ``refused a picture [component=preprocess request_id=4f1c reason=damaged]``.

Models write their lines through Triton's log, which knows text alone; the launcher reads the facts out again. They say
which request it was and what kind of thing happened, and never hold anything of a picture.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

FIELDS = ("component", "request_id", "reason", "network", "left_out")
"""What may stand there: words without spaces."""

_LONGEST = 64
_STRANGE = re.compile(r"[^0-9A-Za-z._:-]")
_END = re.compile(rf"(?s)\A([^\n]*?) \[((?:(?:{'|'.join(FIELDS)})=[0-9A-Za-z._:?-]+ ?)+)\](\n.*)?\Z")


def with_fields(message: str, **fields: str | int) -> str:
    """A message with facts behind its first line.

    What is empty is left out; of what callers choose, such as a request id, strange characters become ``?`` and the
    end is cut.

    Raises:
        ValueError: A field is not one of ``FIELDS``.

    >>> with_fields("refused a picture", component="preprocess", request_id="a b", reason="")
    'refused a picture [component=preprocess request_id=a?b]'
    """
    if unknown := [name for name in fields if name not in FIELDS]:
        raise ValueError(f"fields: expected some of {', '.join(FIELDS)}, got {', '.join(unknown)}")
    words = {name: _STRANGE.sub("?", str(value)[:_LONGEST]) for name, value in fields.items()}
    facts = " ".join(f"{name}={word}" for name, word in words.items() if word)
    first, separator, rest = message.partition("\n")
    return f"{first} [{facts}]{separator}{rest}" if facts else message


def split_fields(text: str) -> tuple[str, dict[str, str]]:
    """The message and the facts of a line; none of another's.

    >>> split_fields("refused a picture [component=preprocess reason=damaged]")
    ('refused a picture', {'component': 'preprocess', 'reason': 'damaged'})
    """
    found = _END.match(text)
    if found is None:
        return text, {}
    facts = dict(word.split("=", 1) for word in found[2].split())
    return found[1] + (found[3] or ""), facts


class Sparingly:
    """Keeps callers from filling a log: so many lines at most in so much time, and how many there were besides.

    Args:
        most: Lines.
        seconds: In this time.
        clock: Gives seconds.
    """

    def __init__(self, most: int = 20, seconds: float = 10.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._said = 0
        self._left_out = 0

    def may_say(self) -> int | None:
        """Whether a line may be said now: None if not, else how many were left out since the last one."""
        with self._lock:
            now = self._clock()
            if now - self._since >= self._seconds:
                self._since, self._said = now, 0
            if self._said >= self._most:
                self._left_out += 1
                return None
            self._said += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
