"""The people whose faces are known: a database of embeddings, and what a server keeps of it in memory.

Photos are never stored. Each embedding carries the digest of the network that made it, because embeddings of two
networks have nothing to do with each other and are never compared.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import platformdirs
from sqlalchemy import (
    URL,
    Column,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from trident.entities.types import Identity
from trident.errors import InvalidInput, SetupError

Embeddings = npt.NDArray[np.float32]

URL_VARIABLE = "TRIDENT_GALLERY_URL"
MAX_NAME_LENGTH = 200
_CONNECT_SECONDS = 3
_ONLY_ROW = 1
_ENROLL_ATTEMPTS = 4
"""Others who enrol at the same time can be first with the tables, with the person and with the stamp."""
_LENGTH_TOLERANCE = 1e-3

_metadata = MetaData()
_people = Table(
    "trident_people",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(MAX_NAME_LENGTH), nullable=False, unique=True),
)
_embeddings = Table(
    "trident_embeddings",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey(_people.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("network", String(71), nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
)
# A random stamp instead of a count: a gallery that was deleted and made anew must not look like the old one.
_revision = Table(
    "trident_gallery_revision",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stamp", String(32), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One enrolled person, as ``trident gallery list`` shows it."""

    name: str
    embeddings: Mapping[str, int]
    """How many embeddings there are, by the digest of the network that made them."""
    enrolled: datetime
    """When the first of them was made, in UTC."""


@dataclass(frozen=True, slots=True)
class KnownFaces:
    """The embeddings that one network made."""

    names: tuple[str, ...]
    """The person of each row, N of them."""
    embeddings: Embeddings
    """One embedding a row, of length 1, ``[N, D]``."""

    def match(self, queries_MD: Embeddings, threshold: float) -> list[Identity | None]:
        """The most similar person of each query, or None where nobody reaches the threshold.

        A person's similarity is the best of that person's embeddings, so the best row overall decides.

        Args:
            queries_MD: embeddings of length 1, one a row.
            threshold: smallest cosine similarity that counts as the same person.

        Raises:
            ValueError: the queries have another dimension than the gallery.
        """
        if queries_MD.ndim != 2 or queries_MD.shape[1] != self.embeddings.shape[1]:
            raise ValueError(f"queries_MD: expected shape (M, {self.embeddings.shape[1]}), got {queries_MD.shape}")
        similarities_MN = queries_MD @ self.embeddings.T
        best_M = similarities_MN.argmax(axis=1)
        best_similarities_M = similarities_MN[np.arange(len(best_M)), best_M]
        return [
            Identity(self.names[row], float(np.clip(similarity, 0.0, 1.0))) if similarity >= threshold else None
            for row, similarity in zip(best_M, best_similarities_M, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gallery at one moment. Immutable: whoever holds it sees no half of a change."""

    stamp: str = ""
    """Changes with every change of the gallery; empty for a gallery that does not exist yet."""
    by_network: Mapping[str, KnownFaces] = field(default_factory=dict)
    """What is known, by the digest of the network that made it."""
    damaged: tuple[str, ...] = ()
    """Who has embeddings that cannot be used and are left out."""

    def match(self, queries_MD: Embeddings, network: str, threshold: float) -> list[Identity | None]:
        """Like ``KnownFaces.match``, among the embeddings made by ``network`` only."""
        known = self.by_network.get(network)
        return [None] * len(queries_MD) if known is None else known.match(queries_MD, threshold)

    def names(self, network: str | None = None) -> set[str]:
        """Everybody who has embeddings that can be used; with ``network``, those who have some that it made."""
        known = self.by_network.values() if network is None else filter(None, [self.by_network.get(network)])
        return {name for faces in known for name in faces.names}

    def strangers(self, network: str) -> list[str]:
        """Who is enrolled with other networks only, and so is never recognized by this one; sorted by name."""
        return sorted(self.names() - self.names(network))

    def complaint(self) -> str:
        """One sentence about the damaged embeddings; empty where there are none."""
        if not self.damaged:
            return ""
        names = ", ".join(map(repr, self.damaged))
        return f"damaged embeddings of {names} are left out; forget and enrol again whom they belong to"


class Gallery:
    """The gallery's database.

    SQLite files are made with mode 0600 in a folder of mode 0700, at the first enrolment; reading a gallery that does
    not exist yet makes nothing and finds nobody.
    """

    def __init__(self, url: str | None = None) -> None:
        """Take the database by its SQLAlchemy URL.

        Args:
            url: None or empty stands for the variable ``TRIDENT_GALLERY_URL``, and where that is not set, for
                ``gallery.db`` in the user's data folder.

        Raises:
            SetupError: the URL cannot be understood, or its driver is not installed.
        """
        self._url = resolve_url(url)
        self.file = sqlite_file(self._url)
        self._engine = _make_engine(self._url, self.file)

    def __str__(self) -> str:
        return str(self.file) if self.file else self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def enroll(self, name: str, embeddings_ND: Embeddings, network: str) -> None:
        """Add embeddings of a person, who may be new or known already.

        Args:
            name: how the person is called in answers; surrounding space is dropped.
            embeddings_ND: one a row, any length but 0; they are stored with length 1.
            network: digest of the network that made them.

        Raises:
            InvalidInput: the name or an embedding cannot be used.
            SetupError: the database cannot be written.
        """
        name = clean_name(name)
        rows = np.asarray(embeddings_ND, dtype=np.float32)
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(f"embeddings_ND: expected shape (N, D) with at least one row, got {rows.shape}")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or (lengths == 0).any():
            raise InvalidInput(f"embeddings of {name!r}: expected finite values and a length above 0")
        rows = rows / lengths
        now = datetime.now(UTC)
        with self._errors("write"):
            self._make_private_file()
            for attempt in range(1, _ENROLL_ATTEMPTS + 1):
                try:
                    _metadata.create_all(self._engine)
                    self._add(name, rows, network, now)
                except DBAPIError as exc:
                    if attempt == _ENROLL_ATTEMPTS or not _was_first(exc):
                        raise
                else:
                    return

    def _add(self, name: str, rows_ND: Embeddings, network: str, now: datetime) -> None:
        with self._engine.begin() as connection:
            person_id = connection.scalar(select(_people.c.id).where(_people.c.name == name))
            if person_id is None:
                added = connection.execute(insert(_people).values(name=name)).inserted_primary_key
                person_id = added[0] if added is not None else None
            connection.execute(
                insert(_embeddings),
                [
                    {
                        "person_id": person_id,
                        "network": network,
                        "dimension": rows_ND.shape[1],
                        "vector": row.astype("<f4").tobytes(),
                        "created": now,
                    }
                    for row in rows_ND
                ],
            )
            stamp = uuid.uuid4().hex
            if connection.execute(update(_revision).values(stamp=stamp)).rowcount == 0:
                connection.execute(insert(_revision).values(id=_ONLY_ROW, stamp=stamp))

    def forget(self, name: str) -> int:
        """Delete a person for good, and give the number of embeddings that went.

        SQLite overwrites the deleted rows and rewrites the file, so that no copy stays in unused pages.

        Raises:
            InvalidInput: there is no such person.
            SetupError: the database cannot be written.
        """
        name = clean_name(name)
        with self._errors("write"):
            person_id = None
            if self._exists():
                with self._engine.begin() as connection:
                    person_id = connection.scalar(select(_people.c.id).where(_people.c.name == name))
                    if person_id is not None:
                        gone = connection.execute(delete(_embeddings).where(_embeddings.c.person_id == person_id))
                        connection.execute(delete(_people).where(_people.c.id == person_id))
                        connection.execute(update(_revision).values(stamp=uuid.uuid4().hex))
            if person_id is None:
                raise InvalidInput(f"nobody called {name!r} is in the gallery {self}")
            self._wipe()
        return gone.rowcount

    def people(self) -> list[Person]:
        """Everybody who is enrolled, by name.

        Raises:
            SetupError: the database cannot be read.
        """
        query = (
            select(_people.c.name, _embeddings.c.network, func.count(), func.min(_embeddings.c.created))
            .join_from(_people, _embeddings)
            .group_by(_people.c.name, _embeddings.c.network)
            .order_by(_people.c.name)
        )
        counts: dict[str, dict[str, int]] = {}
        enrolled: dict[str, datetime] = {}
        with self._errors("read"):
            if self._exists():
                with self._engine.connect() as connection:
                    for name, network, count, created in connection.execute(query):
                        counts.setdefault(name, {})[network] = count
                        when = _as_utc(created)
                        enrolled[name] = min(when, enrolled.get(name, when))
        return [Person(name, counts[name], enrolled[name]) for name in counts]

    def stamp(self) -> str:
        """What ``Snapshot.stamp`` would be now; one small query.

        Raises:
            SetupError: the database cannot be read.
        """
        with self._errors("read"):
            if not self._exists():
                return ""
            with self._engine.connect() as connection:
                return connection.scalar(select(_revision.c.stamp)) or ""

    def snapshot(self) -> Snapshot:
        """Everything that is needed to recognize people, in memory.

        A damaged embedding is left out, so that it takes nobody else's name away; ``Snapshot.damaged`` says whose.

        Raises:
            SetupError: the database cannot be read.
        """
        query = select(_people.c.name, _embeddings.c.network, _embeddings.c.dimension, _embeddings.c.vector).join_from(
            _people, _embeddings
        )
        rows: dict[str, list[tuple[str, Embeddings]]] = {}
        damaged: set[str] = set()
        with self._errors("read"):
            if not self._exists():
                return Snapshot()
            with self._engine.connect() as connection:
                # The stamp is read first: a change in between makes the next look load again, never miss something.
                stamp = connection.scalar(select(_revision.c.stamp)) or ""
                for name, network, dimension, vector in connection.execute(query.order_by(_embeddings.c.id)):
                    embedding = _read_embedding(vector, dimension)
                    if embedding is None:
                        damaged.add(name)
                    else:
                        rows.setdefault(network, []).append((name, embedding))
        by_network = {}
        for network, found in rows.items():
            # One network's embeddings are all of one length: a row of another is the one that is wrong.
            usual = Counter(len(embedding) for _, embedding in found).most_common(1)[0][0]
            damaged |= {name for name, embedding in found if len(embedding) != usual}
            kept = [(name, embedding) for name, embedding in found if len(embedding) == usual]
            by_network[network] = KnownFaces(tuple(name for name, _ in kept), np.stack([row for _, row in kept]))
        return Snapshot(stamp, by_network, tuple(sorted(damaged)))

    def _exists(self) -> bool:
        if self.file is not None and not self.file.exists():
            return False
        return inspect(self._engine).has_table(_revision.name)

    def _wipe(self) -> None:
        """Have the database give up the space of deleted rows."""
        tables = {"sqlite": "", "postgresql": f" {_people.name}, {_embeddings.name}"}
        if (of := tables.get(self._engine.dialect.name)) is not None:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(f"VACUUM{of}"))

    def _make_private_file(self) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if self.file.stat().st_mode & 0o077:
                self.file.chmod(0o600)

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            lines = str(getattr(exc, "orig", None) or exc).strip().splitlines()
            reason = lines[0] if lines else type(exc).__name__
            raise SetupError(f"gallery {self}: cannot {verb} it: {reason}") from exc
        except (TypeError, ValueError) as exc:
            # SQLite keeps any value in any column: a date that is none, for one.
            raise SetupError(f"gallery {self}: cannot {verb} it: a value in it is damaged ({exc})") from exc


class GalleryWatcher:
    """Keeps a snapshot of a gallery up to date from a thread of its own, so that no request waits for the database.

    A database that is down or damaged keeps the last snapshot, and is mentioned once in the log until it is back.
    """

    def __init__(self, gallery: Gallery, *, seconds: float = 1.0, logger: logging.Logger | None = None) -> None:
        """Read the gallery once, then look for a change every ``seconds``.

        A gallery that cannot be read at first is empty until it can.
        """
        self._gallery = gallery
        self._seconds = seconds
        self._logger = logger or logging.getLogger(__name__)
        self._snapshot = Snapshot()
        self._down = False
        self._ended = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name="gallery-watcher", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """The newest one there is."""
        return self._snapshot

    def stop(self) -> None:
        """End the thread and close the gallery."""
        self._ended.set()
        self._thread.join(timeout=2 * _CONNECT_SECONDS)
        self._gallery.close()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._look()

    def _look(self) -> None:
        try:
            if self._gallery.stamp() != self._snapshot.stamp:
                self._snapshot = self._gallery.snapshot()
                self._logger.info("gallery %s: %d people", self._gallery, len(self._snapshot.names()))
                if complaint := self._snapshot.complaint():
                    self._logger.warning("gallery %s: %s", self._gallery, complaint)
        except SetupError as exc:
            if not self._down:
                self._logger.error("%s; going on with what is known", exc)
            self._down = True
        except Exception as exc:  # the thread has to outlive whatever a database and its driver come up with
            if not self._down:
                self._logger.error("gallery %s: %r; going on with what is known", self._gallery, exc, exc_info=exc)
            self._down = True
        else:
            if self._down:
                self._logger.info("gallery %s: can be read again", self._gallery)
            self._down = False


def _read_embedding(vector: object, dimension: int) -> Embeddings | None:
    """One stored embedding, ``[D]``; None if it is not what enrolling writes: ``dimension`` values of length 1."""
    # SQLite keeps any value in any column, text among the bytes too.
    if not isinstance(vector, bytes) or not vector or len(vector) != 4 * dimension:
        return None
    embedding = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm(embedding))
    # Not the other way round: the length may be NaN.
    return embedding if abs(length - 1.0) <= _LENGTH_TOLERANCE else None


def _as_utc(created: datetime) -> datetime:
    """A stored time in UTC: SQLite gives it without a zone, PostgreSQL in the zone of the session."""
    return created.astimezone(UTC) if created.tzinfo else created.replace(tzinfo=UTC)


def _was_first(error: DBAPIError) -> bool:
    """Whether somebody else has just added what was to be added."""
    return isinstance(error, IntegrityError) or "already exists" in str(error.orig)


def clean_name(name: str) -> str:
    """A person's name in the form that is stored: composed Unicode, without surrounding space.

    Raises:
        InvalidInput: the name is empty, too long or holds control characters.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > MAX_NAME_LENGTH or any(unicodedata.category(c) in ("Cc", "Cs") for c in cleaned):
        raise InvalidInput(f"name: expected 1 to {MAX_NAME_LENGTH} printable characters, got {name!r}")
    return cleaned


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


def gallery_ready_for(gallery: Gallery, old_digest: str, new_digest: str) -> list[str]:
    """Whom a move from one embedder to another would turn into strangers.

    Args:
        gallery: The people.
        old_digest: Digest of the network that serves.
        new_digest: Digest of the one that is to serve.

    Returns:
        The names, sorted, of those who have embeddings of the old network and none of the new; empty where everybody
        who is recognized now will be.

    Raises:
        SetupError: The database cannot be read.
    """
    snapshot = gallery.snapshot()
    return sorted(snapshot.names(old_digest) - snapshot.names(new_digest))


def ensure_outside(gallery: Gallery, folder: Path) -> None:
    """Hold a gallery's file out of a folder that a server loads and may copy or publish.

    Raises:
        SetupError: it lies in there.
    """
    if gallery.file is not None and gallery.file.resolve().is_relative_to(folder.resolve()):
        raise SetupError(f"gallery {gallery}: it must not lie inside the model repository {folder}; move it elsewhere")


def _make_engine(url: URL, file: Path | None) -> Engine:
    if file is not None:
        location = f"{file.as_uri()}?mode=rw"

        def connect() -> sqlite3.Connection:
            # mode=rw never makes a file: only enrolling does, with its own mode.
            return sqlite3.connect(location, uri=True, timeout=_CONNECT_SECONDS)

        # No pool: a pooled connection would go on reading a file that has been deleted or replaced.
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        if url.get_backend_name() == "postgresql":
            return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS})
        return create_engine(url, pool_pre_ping=True)
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
