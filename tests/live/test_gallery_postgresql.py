"""The gallery in a real PostgreSQL: encryption, and what is left of what was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.postgresql import PostgreSQL, postgresql
from trident.entities.gallery import Gallery
from trident.entities.sealing import KEY_VARIABLE, new_key
from trident.errors import SetupError

NETWORK = "sha256:" + "a" * 64
NAMES = tuple(f"Somebody number {number:02}" for number in range(8))
KEY, OTHER_KEY = new_key(), new_key()


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(database: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def traces(database: PostgreSQL, *contents: bytes) -> set[int]:
    """Which of the contents stand in a file of the tables; the write-ahead log is another matter."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    held = [file.read_bytes() for file in Path(database.data, "base").rglob("*") if file.is_file()]
    return {index for index, one in enumerate(contents) if any(one in content for content in held)}


def enrolled(database: PostgreSQL, keys: str = "") -> list[bytes]:
    """Enrol ``NAMES``; give a piece of each one's embedding."""
    rows = np.random.default_rng(0).normal(size=(len(NAMES), 1024)).astype(np.float32)
    with Gallery(database.url, keys=keys) as gallery:
        for name, row in zip(NAMES, rows, strict=True):
            gallery.enroll(name, row[None], NETWORK)
        embeddings = gallery.snapshot().by_network[NETWORK].embeddings
    return [row.tobytes()[400:424] for row in embeddings]


def test_forgetting_leaves_nothing_in_the_tables(database: PostgreSQL) -> None:
    contents = [*enrolled(database), *(name.encode() for name in NAMES)]
    assert traces(database, *contents) == set(range(len(contents)))
    with Gallery(database.url) as gallery:
        assert gallery.forget(NAMES[3]) == 1
    assert traces(database, *contents) == set(range(len(contents))) - {3, len(NAMES) + 3}


def test_encrypting_leaves_nothing_in_plain_and_can_be_undone(database: PostgreSQL) -> None:
    contents = [*enrolled(database), *(name.encode() for name in NAMES)]
    with Gallery(database.url, keys=KEY) as gallery:
        assert gallery.reseal(encrypted=True) == len(NAMES)
        assert traces(database, *contents) == set()
        assert gallery.snapshot().names() == set(NAMES)
        assert gallery.forget(NAMES[0]) == 1
        with Gallery(database.url, keys=OTHER_KEY) as wrong, pytest.raises(SetupError, match="got others"):
            wrong.snapshot()
        assert gallery.reseal(encrypted=False) == len(NAMES) - 1
    with Gallery(database.url) as gallery:
        assert [person.name for person in gallery.people()] == list(NAMES[1:])


def test_a_gallery_that_is_made_with_a_key_is_encrypted_from_its_first_row(database: PostgreSQL) -> None:
    contents = [*enrolled(database, KEY), *(name.encode() for name in NAMES)]
    assert traces(database, *contents) == set()


def test_who_enrols_while_the_key_changes_is_not_lost(database: PostgreSQL) -> None:
    enrolled(database, KEY)
    both = f"{OTHER_KEY},{KEY}"

    def enroll(number: int) -> None:
        with Gallery(database.url, keys=both) as gallery:
            for index in range(4):
                gallery.enroll(f"New {number} {index}", np.eye(8, 1024, dtype=np.float32)[:1], NETWORK)

    with ThreadPoolExecutor(2) as pool, Gallery(database.url, keys=both) as gallery:
        running = [pool.submit(enroll, number) for number in range(2)]
        gallery.reseal(encrypted=True)
        for one in running:
            one.result()
    with Gallery(database.url, keys=OTHER_KEY) as gallery:
        snapshot = gallery.snapshot()
    assert snapshot.damaged == ()
    assert len(snapshot.names()) == len(NAMES) + 8
