"""What goes wrong, by whose fault it is.

TridentError
├── InvalidInput      the caller's picture or tensor; served as INVALID_ARGUMENT
└── SetupError        the operator's machine, files or settings; one sentence that says what to do
"""

from __future__ import annotations


class TridentError(Exception):
    """Base of every error that Trident raises on purpose."""


class InvalidInput(TridentError):
    """The caller sent something that cannot be served; the message names what and why."""


class SetupError(TridentError):
    """The machine, a file or a setting is not as it must be; the message says what to do."""
