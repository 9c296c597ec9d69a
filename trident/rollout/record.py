"""The record that export writes beside a network: what it is, and the digest of its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trident.errors import SetupError
from trident.layout import RECORD_FILE


def read_record(version_folder: Path) -> dict[str, Any]:
    """The ``model.json`` of a network version: its digest, the SHA-256 of its file, and where it comes from.

    Raises:
        SetupError: There is none, or it is not a JSON object.
    """
    file = version_folder / RECORD_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SetupError(f"{file}: expected the record that `make export` or `export.own` writes, got none") from exc
    except (OSError, ValueError) as exc:
        raise SetupError(f"{file}: expected a JSON object, got a file that cannot be read as one ({exc})") from exc
    if not isinstance(record, dict):
        raise SetupError(f"{file}: expected a JSON object, got {type(record).__name__}")
    return record
