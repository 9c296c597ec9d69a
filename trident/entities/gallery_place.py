"""Where a gallery's database is, and how it is connected to."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from trident.errors import SetupError

URL_VARIABLE = "TRIDENT_GALLERY_URL"
CONNECT_SECONDS = 3
"""How long a connection, or a lock that somebody else has, is waited for."""


def resolve_url(url: str | None) -> URL:
    """The URL of the gallery's database, from the argument, ``TRIDENT_GALLERY_URL`` or the default.

    Raises:
        SetupError: it cannot be understood.
    """
    given = url or os.environ.get(URL_VARIABLE)
    if not given:
        return URL.create("sqlite", database=str(platformdirs.user_data_path("trident") / "gallery.db"))
    try:
        parsed = make_url(given)
    except ArgumentError as exc:
        # The text may hold a password: it is not repeated.
        raise SetupError(
            "the gallery's URL cannot be understood; expected sqlite:////folder/gallery.db or "
            "postgresql://user:password@host/database"
        ) from exc
    # SQLAlchemy's default driver for PostgreSQL is psycopg 2; version 3 is the one that is kept up.
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The file behind an SQLite URL; None for other databases.

    Raises:
        SetupError: an SQLite URL without a file, which would be forgotten at once.
    """
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SetupError("the gallery's SQLite URL must name a file: sqlite:////folder/gallery.db")
    return Path(url.database).expanduser().absolute()


def make_engine(url: URL, file: Path | None) -> Engine:
    """SQLAlchemy's engine for a gallery's database; ``file`` is that of an SQLite one.

    Raises:
        SetupError: the database is not supported, or its driver is not installed.
    """
    if file is not None:
        location = f"{file.as_uri()}?mode=rw"

        def connect() -> sqlite3.Connection:
            # mode=rw never makes a file: only enrolling does, with its own mode.
            return sqlite3.connect(location, uri=True, timeout=CONNECT_SECONDS)

        # No pool: a pooled connection would go on reading a file that has been deleted or replaced.
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        if url.get_backend_name() == "postgresql":
            options: dict[str, Any] = {"connect_args": {"connect_timeout": CONNECT_SECONDS}}
        else:
            options = {}
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, **options)
    except NoSuchModuleError as exc:
        raise SetupError(f"the gallery's URL names a database that is not supported: {url.drivername}") from exc
    except ImportError as exc:
        raise SetupError(
            f"the gallery's URL needs a driver that is not installed ({exc.name}); for PostgreSQL install trident's "
            "extra postgres"
        ) from exc


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("secure_delete=ON", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
