"""What the metrics say of a gallery as it is made, changes, and cannot be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from trident.entities.gallery import Gallery, GalleryWatcher
from trident.entities.gallery_metrics import GalleryLook
from trident.metrics import Tally

NETWORK, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ROW = np.array([[1.0, 0.0]], np.float32)
PEOPLE, EMBEDDINGS = "trident_gallery_people", "trident_gallery_embeddings"
CHANGED, READABLE = "trident_gallery_changed_timestamp_seconds", "trident_gallery_readable"

Watch = Callable[[], GalleryWatcher]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "gallery.db"


@pytest.fixture
def gallery(file: Path) -> Iterator[Gallery]:
    with Gallery(f"sqlite:///{file}") as gallery:
        yield gallery


@pytest.fixture
def watch(file: Path) -> Iterator[Watch]:
    watchers: list[GalleryWatcher] = []

    def start() -> GalleryWatcher:
        watchers.append(GalleryWatcher(Gallery(f"sqlite:///{file}"), seconds=0.01))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.stop()


def seen(look: GalleryLook) -> dict[str, float]:
    tally = Tally()
    look(tally)
    return {spec.name: value for (spec, _), value in tally.take().items()}


def seen_once(look: GalleryLook, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    deadline = time.monotonic() + 20
    while not wanted(found := seen(look)):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def test_a_gallery_that_does_not_exist_is_empty_and_readable(watch: Watch) -> None:
    assert seen(GalleryLook(watch())) == {PEOPLE: 0, EMBEDDINGS: 0, CHANGED: 0, READABLE: 1}


def test_at_the_start_its_change_is_that_of_its_newest_embedding(gallery: Gallery, watch: Watch) -> None:
    before = time.time()
    gallery.enroll("Ada", np.repeat(ROW, 3, axis=0), NETWORK)
    gallery.enroll("Bob", ROW, OTHER)
    enrolled = time.time()
    found = seen(GalleryLook(watch()))
    assert (found[PEOPLE], found[EMBEDDINGS]) == (2, 4)
    assert before - 1 <= found[CHANGED] <= enrolled


def test_later_its_change_is_when_it_was_seen(gallery: Gallery, watch: Watch) -> None:
    gallery.enroll("Ada", ROW, NETWORK)
    look = GalleryLook(watch())
    assert seen(look)[PEOPLE] == 1
    before = time.time()
    gallery.forget("Ada")
    found = seen_once(look, lambda found: found[PEOPLE] == 0)
    assert found[EMBEDDINGS] == 0
    assert before <= found[CHANGED] <= time.time()


def test_a_database_that_cannot_be_read_is_said_and_what_is_known_stays(
    gallery: Gallery, file: Path, watch: Watch
) -> None:
    gallery.enroll("Ada", ROW, NETWORK)
    look = GalleryLook(watch())
    new = file.with_name("new")
    new.write_bytes(b"no database at all" * 100)
    new.chmod(0o600)
    new.replace(file)
    found = seen_once(look, lambda found: found[READABLE] == 0)
    assert found[PEOPLE] == 1
