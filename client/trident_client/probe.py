"""The picture that a server is asked with to see which versions answer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "photos" / "probe.jpg"


@cache
def picture() -> bytes:
    """A small photo as a JPEG file, with a face and a licence plate in it, so that every component has work to do.

    So ``RESULT["models"]`` names all of them, those that the entity recognizer calls as well.
    """
    return _FILE.read_bytes()
