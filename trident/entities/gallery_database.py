"""The people whose faces are known: their database.

Photos are never stored. Each embedding carries the digest of the network that made it, because embeddings of two
networks have nothing to do with each other and are never compared.
"""

from __future__ import annotations

import sqlite3
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from trident.entities import gallery_tables as tables
from trident.entities.gallery_file import create_private, make_private, wipe
from trident.entities.gallery_place import make_engine, resolve_url, sqlite_file
from trident.entities.gallery_rows import NAME, as_utc, read_embedding, read_vector, stored_name, stored_vector
from trident.entities.gallery_tables import MAX_NAME_LENGTH
from trident.entities.known_faces import Embeddings, KnownFaces, Snapshot
from trident.entities.sealing import KEY_VARIABLE, Broken, Seal, keys_from
from trident.errors import InvalidInput, SetupError

_ONLY_ROW = 1
_ENROLL_ATTEMPTS = 4
"""Others who enrol at the same time can be first with the tables, with the person and with the stamp."""
_READ_ATTEMPTS = 3
"""Whoever changes the gallery while it is read makes it be read again."""
_NAMELESS = "somebody whose name is damaged"
_NOT_ENCRYPTED = (
    f"it is not encrypted, though {KEY_VARIABLE} is set: run `trident gallery encrypt`, before which nobody is enrolled"
)
_ANOTHER_KEY = (
    f"it is encrypted with another key than the first of {KEY_VARIABLE}: run `trident gallery encrypt` to change to it"
)


@dataclass(frozen=True, slots=True)
class Person:
    """One enrolled person, as ``trident gallery list`` shows it."""

    name: str
    embeddings: Mapping[str, int]
    """How many embeddings there are, by the digest of the network that made them."""
    enrolled: datetime
    """When the first of them was made, in UTC."""


class Gallery:
    """The gallery's database.

    SQLite files are made with mode 0600 in a folder of mode 0700, at the first enrolment; reading a gallery that does
    not exist yet makes nothing and finds nobody. A gallery that is made while there is a key is encrypted: names and
    embeddings as a whole. Whether one is, it says itself; ``reseal`` changes it.
    """

    def __init__(self, url: str | None = None, *, keys: str | None = None) -> None:
        """Take the database by its SQLAlchemy URL.

        Args:
            url: None or empty stands for the variable ``TRIDENT_GALLERY_URL``, and where that is not set, for
                ``gallery.db`` in the user's data folder.
            keys: The keys of an encrypted gallery, as ``sealing.Keys`` takes them; None stands for the variable
                ``TRIDENT_GALLERY_KEY``.

        Raises:
            SetupError: the URL or a key cannot be understood, or what it needs is not installed.
        """
        self._url = resolve_url(url)
        self.file = sqlite_file(self._url)
        self._keys = keys_from(keys)
        self._engine = make_engine(self._url, self.file)

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

    def check(self) -> list[str]:
        """Take its file away from others, and see whether it can be opened.

        Returns:
            What the operator should mind, a sentence each.

        Raises:
            SetupError: the database cannot be read, or is encrypted and not with a key that is here.
        """
        narrowed = "" if self.file is None else make_private(self.file)
        mind = [narrowed]
        with self._errors("read"), self._reading() as connection:
            if connection is not None:
                try:
                    seal = self._opened(connection)
                except SetupError as exc:
                    raise SetupError(f"{exc}; {narrowed}" if narrowed else str(exc)) from exc
                if self._keys is not None and seal is not self._keys.first:
                    mind.append(_NOT_ENCRYPTED if seal is None else _ANOTHER_KEY)
        return [f"gallery {self}: {sentence}" for sentence in mind if sentence]

    def enroll(self, name: str, embeddings_ND: Embeddings, network: str) -> None:
        """Add embeddings of a person, who may be new or known already.

        Args:
            name: how the person is called in answers; surrounding space is dropped.
            embeddings_ND: one a row, any length but 0; they are stored with length 1.
            network: digest of the network that made them.

        Raises:
            InvalidInput: the name or an embedding cannot be used.
            SetupError: the database cannot be written, or not with the keys that are here.
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
            if self.file is not None:
                create_private(self.file)
            for attempt in range(1, _ENROLL_ATTEMPTS + 1):
                try:
                    tables.metadata.create_all(self._engine)
                    self._add(name, rows, network, now)
                except DBAPIError as exc:
                    if attempt == _ENROLL_ATTEMPTS or not _was_first(exc):
                        raise
                else:
                    return

    def _add(self, name: str, rows_ND: Embeddings, network: str, now: datetime) -> None:
        with self._engine.begin() as connection:
            new = self._touch(connection)
            seal = self._sealing(connection, new=new)
            stored = stored_name(name, seal)
            person_id = connection.scalar(select(tables.people.c.id).where(tables.people.c.name == stored))
            if person_id is None:
                added = connection.execute(insert(tables.people).values(name=stored)).inserted_primary_key
                person_id = added[0] if added is not None else None
                if seal is not None:
                    sealed = seal.seal(name.encode(), NAME)
                    connection.execute(insert(tables.sealed_names).values(person_id=person_id, name=sealed))
            connection.execute(
                insert(tables.embeddings),
                [
                    {
                        "person_id": person_id,
                        "network": network,
                        "dimension": rows_ND.shape[1],
                        "vector": stored_vector(row.astype("<f4").tobytes(), seal, name, network),
                        "created": now,
                    }
                    for row in rows_ND
                ],
            )

    def forget(self, name: str) -> int:
        """Delete a person for good, and give the number of embeddings that went.

        SQLite overwrites the deleted rows and rewrites the file, so that no copy stays in unused pages.

        Raises:
            InvalidInput: there is no such person.
            SetupError: the database cannot be written, or is encrypted and not with a key that is here.
        """
        name = clean_name(name)
        unknown = InvalidInput(f"nobody called {name!r} is in the gallery {self}")
        with self._errors("write"):
            if not self._exists():
                raise unknown
            with self._engine.begin() as connection:
                self._touch(connection)
                seal = self._opened(connection)
                person_id = connection.scalar(
                    select(tables.people.c.id).where(tables.people.c.name == stored_name(name, seal))
                )
                if person_id is None:
                    raise unknown
                gone = connection.execute(delete(tables.embeddings).where(tables.embeddings.c.person_id == person_id))
                if seal is not None:
                    connection.execute(delete(tables.sealed_names).where(tables.sealed_names.c.person_id == person_id))
                connection.execute(delete(tables.people).where(tables.people.c.id == person_id))
            self._wipe()
        return gone.rowcount

    def reseal(self, *, encrypted: bool) -> int | None:
        """Encrypt all names and embeddings with the first of the keys, or decrypt them; all of them or none.

        Args:
            encrypted: Whether the gallery is to be encrypted afterwards. It may be before, with any of the keys.

        Returns:
            How many embeddings were written anew; None where all was so already.

        Raises:
            InvalidInput: there is no gallery yet.
            SetupError: there is no key, none that opens it, the database cannot be written, or something in it is
                damaged and would be lost. Nothing has changed then.
        """
        if encrypted and self._keys is None:
            raise SetupError(
                f"{KEY_VARIABLE}: expected the gallery's key, got none; `trident gallery new-key` makes one"
            )
        new = self._keys.first if encrypted and self._keys is not None else None
        with self._errors("write"):
            if not self._exists():
                raise InvalidInput(
                    f"there is no gallery {self} yet; one that is made while {KEY_VARIABLE} is set is encrypted"
                )
            tables.metadata.create_all(self._engine)
            with self._engine.connect() as connection:
                if self._opened(connection) is new:
                    return None
            with self._engine.begin() as connection:
                self._touch(connection)
                count = self._reseal(connection, self._opened(connection), new)
            self._wipe()
        return count

    def _reseal(self, connection: Connection, old: Seal | None, new: Seal | None) -> int:
        names = self._names(connection, old)
        people = connection.scalars(select(tables.people.c.id)).all()
        columns = (
            tables.embeddings.c.id,
            tables.embeddings.c.person_id,
            tables.embeddings.c.network,
            tables.embeddings.c.vector,
        )
        contents: list[tuple[int, str, str, bytes]] = []
        damaged = sum(person_id not in names for person_id in people)
        for row, person_id, network, vector in connection.execute(select(*columns)).all():
            name = names.get(person_id, "")
            content = read_vector(vector, old, name, network)
            if isinstance(content, bytes) and name:
                contents.append((row, name, network, content))
            else:
                damaged += 1
        if damaged:
            raise SetupError(
                f"gallery {self}: {damaged} of its rows are damaged and would be lost: forget those people first "
                "(`trident gallery list` names them); nothing has changed"
            )
        connection.execute(delete(tables.sealed_names))
        connection.execute(delete(tables.seal))
        for person_id in people:
            name = names[person_id]
            connection.execute(
                update(tables.people).where(tables.people.c.id == person_id).values(name=stored_name(name, new))
            )
            if new is not None:
                sealed = new.seal(name.encode(), NAME)
                connection.execute(insert(tables.sealed_names).values(person_id=person_id, name=sealed))
        if new is not None:
            connection.execute(insert(tables.seal).values(id=_ONLY_ROW, proof=new.proof()))
        if contents:
            connection.execute(
                update(tables.embeddings)
                .where(tables.embeddings.c.id == bindparam("row"))
                .values(vector=bindparam("content")),
                [
                    {"row": row, "content": stored_vector(content, new, name, network)}
                    for row, name, network, content in contents
                ],
            )
        return len(contents)

    def people(self) -> list[Person]:
        """Everybody who is enrolled, by name.

        Raises:
            SetupError: the database cannot be read.
        """
        query = select(
            tables.embeddings.c.person_id,
            tables.embeddings.c.network,
            func.count(),
            func.min(tables.embeddings.c.created),
        ).group_by(tables.embeddings.c.person_id, tables.embeddings.c.network)
        counts: dict[str, dict[str, int]] = {}
        enrolled: dict[str, datetime] = {}
        with self._errors("read"), self._reading() as connection:
            if connection is not None:
                names = self._names(connection, self._opened(connection))
                for person_id, network, count, created in connection.execute(query):
                    name = names.get(person_id, _NAMELESS)
                    counts.setdefault(name, {})[network] = count
                    when = as_utc(created)
                    enrolled[name] = min(when, enrolled.get(name, when))
        return [Person(name, counts[name], enrolled[name]) for name in sorted(counts)]

    def stamp(self) -> str:
        """What ``Snapshot.stamp`` would be now; one small query.

        Raises:
            SetupError: the database cannot be read.
        """
        with self._errors("read"), self._reading() as connection:
            return "" if connection is None else self._stamp(connection)

    def newest(self) -> float:
        """Unix time at which the newest embedding was made; 0 where there is none.

        Raises:
            SetupError: the database cannot be read.
        """
        with self._errors("read"), self._reading() as connection:
            created = None if connection is None else connection.scalar(select(func.max(tables.embeddings.c.created)))
            return 0.0 if created is None else as_utc(created).timestamp()

    def snapshot(self) -> Snapshot:
        """Everything that is needed to recognize people, in memory.

        A damaged embedding is left out, so that it takes nobody else's name away; ``Snapshot.damaged`` says whose.

        Raises:
            SetupError: the database cannot be read, or is encrypted and not with a key that is here.
        """
        with self._errors("read"), self._reading() as connection:
            if connection is None:
                return Snapshot()
            for _ in range(_READ_ATTEMPTS):
                # The stamp is read first: a change in between makes the next look load again, never miss something.
                stamp = self._stamp(connection)
                rows, damaged = self._read(connection)
                if self._stamp(connection) == stamp:
                    break
        by_network = {}
        for network, found in rows.items():
            # One network's embeddings are all of one length: a row of another is the one that is wrong.
            usual = Counter(len(embedding) for _, embedding in found).most_common(1)[0][0]
            damaged |= {name for name, embedding in found if len(embedding) != usual}
            kept = [(name, embedding) for name, embedding in found if len(embedding) == usual]
            by_network[network] = KnownFaces(tuple(name for name, _ in kept), np.stack([row for _, row in kept]))
        return Snapshot(stamp, by_network, tuple(sorted(damaged)))

    def _read(self, connection: Connection) -> tuple[dict[str, list[tuple[str, Embeddings]]], set[str]]:
        """Names and embeddings by network, and whose are damaged."""
        seal = self._opened(connection)
        names = self._names(connection, seal)
        columns = (
            tables.embeddings.c.person_id,
            tables.embeddings.c.network,
            tables.embeddings.c.dimension,
            tables.embeddings.c.vector,
        )
        rows: dict[str, list[tuple[str, Embeddings]]] = {}
        damaged: set[str] = set()
        for person_id, network, dimension, vector in connection.execute(
            select(*columns).order_by(tables.embeddings.c.id)
        ):
            name = names.get(person_id)
            embedding = None
            if name is not None:
                embedding = read_embedding(read_vector(vector, seal, name, network), dimension)
            if name is None or embedding is None:
                damaged.add(name or _NAMELESS)
            else:
                rows.setdefault(network, []).append((name, embedding))
        return rows, damaged

    def _names(self, connection: Connection, seal: Seal | None) -> dict[int, str]:
        """Everybody's name by id; whose name is damaged is left out."""
        names: dict[int, str] = {}
        if seal is None:
            for person_id, name in connection.execute(select(tables.people.c.id, tables.people.c.name)):
                names[person_id] = name
            return names
        for person_id, sealed in connection.execute(
            select(tables.sealed_names.c.person_id, tables.sealed_names.c.name)
        ):
            with suppress(Broken):
                names[person_id] = seal.open(sealed, NAME).decode()
        return names

    def _stamp(self, connection: Connection) -> str:
        return connection.scalar(select(tables.revision.c.stamp)) or ""

    def _touch(self, connection: Connection) -> bool:
        """Change the stamp, before anything else: who changes the gallery waits here until the others have.

        Returns:
            Whether the gallery is new.
        """
        stamp = uuid.uuid4().hex
        if connection.execute(update(tables.revision).values(stamp=stamp)).rowcount:
            return False
        connection.execute(insert(tables.revision).values(id=_ONLY_ROW, stamp=stamp))
        return True

    def _opened(self, connection: Connection) -> Seal | None:
        """What the gallery is sealed with; None where it is not encrypted. Raises SetupError without its key."""
        if not inspect(connection).has_table(tables.seal.name):
            return None  # made before there was encryption
        proof = connection.scalar(select(tables.seal.c.proof))
        if proof is None:
            return None
        if self._keys is None:
            raise SetupError(f"gallery {self}: it is encrypted: expected its key in {KEY_VARIABLE}, got none")
        seal = self._keys.that_made(proof)
        if seal is None:
            raise SetupError(
                f"gallery {self}: it is encrypted: expected its key among those in {KEY_VARIABLE}, got others; nothing "
                "has changed"
            )
        return seal

    def _sealing(self, connection: Connection, *, new: bool) -> Seal | None:
        """What somebody who is enrolled is sealed with. Raises SetupError where that is not as the operator wants."""
        if new and self._keys is not None:
            connection.execute(insert(tables.seal).values(id=_ONLY_ROW, proof=self._keys.first.proof()))
            return self._keys.first
        seal = self._opened(connection)
        if seal is None and self._keys is not None:
            raise SetupError(f"gallery {self}: {_NOT_ENCRYPTED}")
        return seal

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A look's only connection, as servers look every second; None where there is no gallery yet."""
        if self.file is not None and not self.file.exists():
            yield None
        else:
            with self._engine.connect() as connection:
                yield connection if inspect(connection).has_table(tables.revision.name) else None

    def _exists(self) -> bool:
        with self._reading() as connection:
            return connection is not None

    def _wipe(self) -> None:
        """Leave no trace of what was deleted. Raises SetupError."""
        try:
            wipe(self._engine, (tables.people.name, tables.sealed_names.name, tables.embeddings.name))
        except SetupError as exc:
            raise SetupError(f"gallery {self}: {exc}") from exc

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
