"""While a model is brought back, the first step refuses what is new: that may be asked again, an error may not.

The supervision and the first step are in different processes; a file that is there or not is between them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from trident.admission.gate import LATER, Overloaded

VARIABLE = "TRIDENT_HOLD_FILE"
"""Environment variable of the server's processes that names the file."""


class Hold:
    """The side that says so.

    Args:
        file: In a folder of the server's own; None where there is none.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._set = False

    def set(self, on: bool) -> None:
        """Have requests refused, or not any more."""
        if self._file is None or on == self._set:
            return
        with contextlib.suppress(OSError):  # the folder goes with the server
            if on:
                self._file.touch(mode=0o600)
            else:
                self._file.unlink(missing_ok=True)
            self._set = on


def check_held(environment: Mapping[str, str] = os.environ) -> None:
    """To be called for each request, before anything is done for it.

    Raises:
        Overloaded: It is to be refused.
    """
    file = environment.get(VARIABLE)
    if file and Path(file).exists():
        raise Overloaded(f"a model is being brought back: {LATER}")
