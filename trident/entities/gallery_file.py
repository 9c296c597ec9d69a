"""The files of a gallery: nobody else's to read, and without a trace of what was deleted."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from trident.errors import SetupError

_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a database while it is used. It gives them the mode that the database has at that moment."""
_OTHERS = 0o077
_OWNER_ONLY = 0o600


def create_private(file: Path) -> None:
    """Make an empty SQLite file with mode 0600 in a folder of mode 0700; what is there stays. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, _OWNER_ONLY))
    except FileExistsError:
        make_private(file)


def make_private(file: Path) -> str:
    """Take a gallery's file, and those that SQLite keeps beside it, away from everybody but their owner.

    Args:
        file: The database; it may not exist.

    Returns:
        A sentence about what others could read, for the operator; empty where nothing was.
    """
    narrowed = []
    for place in (file, *(file.with_name(file.name + ending) for ending in _BESIDE)):
        try:
            mode = stat.S_IMODE(place.stat().st_mode)
            if mode & _OTHERS:
                place.chmod(_OWNER_ONLY)
                narrowed.append(f"{place} had mode {mode:04o}")
        except FileNotFoundError:
            continue
        except OSError as exc:
            return (
                f"{place}: expected mode 0600, got one that lets others read it, and it cannot be changed here "
                f"({exc.strerror or exc}): have its owner run chmod 600 on it"
            )
    if not narrowed:
        return ""
    return f"others could read the gallery: {', '.join(narrowed)}; it is 0600 now, and whoever read it may have a copy"


def wipe(engine: Engine, tables: Sequence[str]) -> None:
    """Have the database give up the space of deleted rows, with what stood in it.

    SQLite overwrites what is deleted (``secure_delete``) and rewrites the file; what a write-ahead log still has goes
    too. PostgreSQL rewrites the tables; its own write-ahead log keeps the rows until it recycles the segments.

    Args:
        engine: The database.
        tables: Those that lost rows; the ones that are not there are passed over.

    Raises:
        SetupError: Another program holds on to old pages.
        SQLAlchemyError: The database refuses.
    """
    there = [name for name in tables if inspect(engine).has_table(name)]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text("VACUUM"))
            # Without a write-ahead log, SQLite answers 0 here and does nothing.
            if connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)")).scalar():
                raise SetupError(
                    "the rows are deleted, but another program is reading the database, so that its write-ahead log "
                    "keeps a copy until that ends: stop it, and run `trident gallery list`"
                )
        elif engine.dialect.name == "postgresql" and there:
            connection.execute(text(f"VACUUM FULL {', '.join(there)}"))
