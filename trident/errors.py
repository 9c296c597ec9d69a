"""What goes wrong, by whose fault it is.

TridentError
├── InvalidInput             the caller's picture or tensor; served as INVALID_ARGUMENT
│   ├── UnknownFormat           no bytes, or not a picture of a format that is served
│   ├── PictureTooLarge         more bytes or pixels than are decoded here
│   ├── UnsupportedPicture      a format that is served, in a variant that is not
│   └── DamagedPicture          cut short, or not what it says that it is
└── SetupError               the operator's machine, files or settings; one sentence that says what to do
"""

from __future__ import annotations

from typing import ClassVar


class TridentError(Exception):
    """Base of every error that Trident raises on purpose."""


class InvalidInput(TridentError):
    """The caller sent something that cannot be served; the message names what and why."""

    reason: ClassVar[str] = "other"
    """One word for the kind of error, for metrics and logs: one of a few, and nothing of what was sent."""


class UnknownFormat(InvalidInput):
    """There is nothing, or nothing of a format that is served."""

    reason = "unknown_format"


class PictureTooLarge(InvalidInput):
    """The picture has more bytes or pixels than are decoded here."""

    reason = "too_large"


class UnsupportedPicture(InvalidInput):
    """The picture is of a format that is served, in a variant that is not."""

    reason = "unsupported"


class DamagedPicture(InvalidInput):
    """The picture is cut short, or is not what it says that it is."""

    reason = "damaged"


class SetupError(TridentError):
    """The machine, a file or a setting is not as it must be; the message says what to do."""
