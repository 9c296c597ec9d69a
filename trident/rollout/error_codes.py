"""The code of an error that came by a call from model to model.

The Python backend of Triton 2.51 hands on the message alone, and calls every such error INTERNAL. What the ensemble's
callers may have to tell apart is read from the sentence again.
"""

from __future__ import annotations

import re

OK, INVALID_ARG, CANCELLED, UNAVAILABLE, INTERNAL = "OK", "INVALID_ARG", "CANCELLED", "UNAVAILABLE", "INTERNAL"
"""Triton's names of what this project's models answer with."""

_SIGNS = (
    # Preprocess begins every sentence about a caller's picture with the tensor's name.
    (INVALID_ARG, re.compile(r"^(in ensemble '[^']*', )?(picture \d+ of \d+: )?IMAGE: ")),
    # Its queue's own, its gate's, and what any model says to a call once the server is stopping.
    (
        UNAVAILABLE,
        re.compile(r"(Exceeds maximum queue size|Request timeout expired|ask again later)$|Server not ready"),
    ),
    (CANCELLED, re.compile(r"the request was cancelled$")),
)


def code_of(message: str, code: str) -> str:
    """The code of an error.

    Args:
        message: Its sentence.
        code: As it arrived. Anything but INTERNAL is believed.

    >>> code_of("in ensemble 'trident', IMAGE: expected JPEG, got text", "INTERNAL")
    'INVALID_ARG'
    >>> code_of("in ensemble 'trident', detector: out of memory", "INTERNAL")
    'INTERNAL'
    """
    if code != INTERNAL:
        return code
    return next((name for name, sign in _SIGNS if sign.search(message)), INTERNAL)
