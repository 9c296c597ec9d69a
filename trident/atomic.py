"""Files and folders that appear whole or not at all, also when the machine stops in the middle."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from trident.errors import SetupError


def replace_text(file: Path, text: str, *, by_way_of: Path | None = None) -> None:
    """Give a file new contents: a reader sees the old ones or the new ones, and never a part.

    Args:
        file: What is replaced; its mode is kept. A link is followed.
        text: Written as UTF-8.
        by_way_of: The folder in which the new file is written before it is renamed, on the same file system; that of
            ``file`` by default.

    Raises:
        SetupError: It cannot be written, for example because the disk is full. The file is then as it was.
    """
    target = file.resolve()
    folder = by_way_of or target.parent
    _sweep(folder, target)
    temporary: Path | None = None
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o644
        handle, name = tempfile.mkstemp(prefix=_prefix(target), dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            os.fchmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
        temporary = None
        sync_folder(target.parent)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise SetupError(f"{file}: cannot be written ({reason}); it is as it was") from exc
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(file: Path) -> None:
    """Have a file's contents reach the disk. Raises OSError."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prefix(file: Path) -> str:
    # The folder's name too: the temporary files of several may lie in one folder.
    return f".{file.parent.name}.{file.name}."


def _sweep(folder: Path, file: Path) -> None:
    """Remove what a writer that was killed has left."""
    for old in folder.glob(f"{_prefix(file)}*"):
        with suppress(OSError):
            old.unlink()
