from __future__ import annotations

import logging
import sqlite3
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from trident.entities.gallery import (
    Gallery,
    GalleryWatcher,
    KnownFaces,
    Snapshot,
    clean_name,
    ensure_outside,
    resolve_url,
)
from trident.entities.gallery_rows import as_utc
from trident.errors import InvalidInput, SetupError

NETWORK = "sha256:" + "a" * 64
OTHER_NETWORK = "sha256:" + "b" * 64


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def damage(file: Path, vector: bytes | str, name: str, dimension: int = 4) -> None:
    """Overwrite the stored embedding of a person."""
    with sqlite3.connect(file) as connection:
        connection.execute(
            "UPDATE trident_embeddings SET vector = ?, dimension = ? "
            "WHERE person_id = (SELECT id FROM trident_people WHERE name = ?)",
            (vector, dimension, name),
        )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "gallery.db"


@pytest.fixture
def gallery(file: Path):
    with Gallery(f"sqlite:///{file}") as opened:
        yield opened


class TestGallery:
    def test_reading_a_gallery_that_does_not_exist_makes_no_file(self, gallery: Gallery, file: Path) -> None:
        assert gallery.snapshot() == Snapshot()
        assert gallery.people() == []
        assert gallery.stamp() == ""
        assert not file.parent.exists()

    def test_file_and_folder_are_private(self, gallery: Gallery, file: Path) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def test_a_file_that_others_can_read_is_made_private_at_the_next_enrolment(
        self, gallery: Gallery, file: Path
    ) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        file.chmod(0o644)
        gallery.enroll("Ada", unit(1, 1)[None], NETWORK)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_embeddings_come_back_with_length_one(self, gallery: Gallery) -> None:
        gallery.enroll("Ada", np.array([[3, 4]], dtype=np.float32), NETWORK)
        known = gallery.snapshot().by_network[NETWORK]
        assert known.names == ("Ada",)
        np.testing.assert_allclose(known.embeddings, [[0.6, 0.8]], rtol=1e-6)

    def test_enrolling_again_adds_to_the_same_person(self, gallery: Gallery) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        gallery.enroll(" Ada ", np.stack([unit(0, 1), unit(1, 1)]), NETWORK)
        gallery.enroll("Ada", unit(1, 0, 0)[None], OTHER_NETWORK)
        (person,) = gallery.people()
        assert person.name == "Ada"
        assert person.embeddings == {NETWORK: 3, OTHER_NETWORK: 1}
        assert person.enrolled.tzinfo is not None

    def test_forgetting_leaves_no_trace_in_the_file(self, gallery: Gallery, file: Path) -> None:
        vectors = np.random.default_rng(0).normal(size=(40, 1024)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for index, vector in enumerate(vectors):
            gallery.enroll(f"Somebody number {index:02}", vector[None], NETWORK)
        trace = gallery.snapshot().by_network[NETWORK].embeddings[7].tobytes()[100:200]
        assert trace in file.read_bytes()
        assert gallery.forget("Somebody number 07") == 1
        left = file.read_bytes()
        assert trace not in left
        assert b"Somebody number 07" not in left
        assert b"Somebody number 08" in left
        assert len(gallery.people()) == 39

    def test_forgetting_somebody_unknown_is_refused(self, gallery: Gallery) -> None:
        with pytest.raises(InvalidInput, match="nobody called 'Ada'"):
            gallery.forget("Ada")
        gallery.enroll("Bob", unit(1, 0)[None], NETWORK)
        with pytest.raises(InvalidInput, match="nobody called 'Ada'"):
            gallery.forget("Ada")

    def test_every_change_changes_the_stamp(self, gallery: Gallery, file: Path) -> None:
        stamps = [gallery.stamp()]
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        stamps.append(gallery.stamp())
        gallery.forget("Ada")
        stamps.append(gallery.stamp())
        file.unlink()
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        stamps.append(gallery.stamp())
        assert len(set(stamps)) == 4
        assert gallery.snapshot().stamp == stamps[-1]

    @pytest.mark.parametrize(
        "rows",
        [
            pytest.param(np.zeros((1, 4), np.float32), id="zero length"),
            pytest.param(np.array([[np.nan, 1]], np.float32), id="not a number"),
        ],
    )
    def test_useless_embeddings_are_refused(self, gallery: Gallery, rows: np.ndarray) -> None:
        with pytest.raises(InvalidInput, match="finite values and a length above 0"):
            gallery.enroll("Ada", rows, NETWORK)

    @pytest.mark.parametrize(
        "vector",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\0\0\0", id="3 bytes"),
            pytest.param("sixteen letters.", id="text"),
            pytest.param(unit(1, 0).tobytes(), id="too short"),
            pytest.param(unit(1, 0, 0, 0).tobytes() + b"\0", id="too long"),
            pytest.param(np.zeros(4, np.float32).tobytes(), id="zeros"),
            pytest.param(np.array([np.nan, 0, 0, 0], np.float32).tobytes(), id="not a number"),
            pytest.param(np.array([3e38, 3e38, 0, 0], np.float32).tobytes(), id="too large"),
        ],
    )
    def test_a_damaged_embedding_takes_away_nobody_else(
        self, gallery: Gallery, file: Path, vector: bytes | str
    ) -> None:
        for name in ("Ada", "Bob", "Eve"):
            gallery.enroll(name, unit(1, 0, 0, 0)[None], NETWORK)
        damage(file, vector, "Ada")
        snapshot = gallery.snapshot()
        assert snapshot.by_network[NETWORK].names == ("Bob", "Eve")
        assert snapshot.damaged == ("Ada",)
        assert snapshot.complaint().startswith("damaged embeddings of 'Ada' are left out; forget and enrol")
        gallery.forget("Ada")
        assert gallery.snapshot().complaint() == ""

    def test_a_row_of_another_dimension_is_the_damaged_one_though_it_comes_first(
        self, gallery: Gallery, file: Path
    ) -> None:
        for name in ("Ada", "Bob", "Eve"):
            gallery.enroll(name, unit(1, 0, 0, 0)[None], NETWORK)
        damage(file, unit(1, 0).tobytes(), "Ada", dimension=2)
        assert gallery.snapshot().by_network[NETWORK].names == ("Bob", "Eve")
        assert gallery.snapshot().damaged == ("Ada",)

    def test_a_date_that_is_none_is_one_sentence(self, gallery: Gallery, file: Path) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE trident_embeddings SET created = 'yesterday'")
        with pytest.raises(SetupError, match="cannot read it: a value in it is damaged"):
            gallery.people()

    def test_somebody_else_enrols_the_same_name_first(self, gallery: Gallery, file: Path) -> None:
        gallery.enroll("Bob", unit(1, 0)[None], NETWORK)
        rivals = [Gallery(f"sqlite:///{file}")]

        @event.listens_for(gallery._engine, "before_cursor_execute")
        def overtake(_connection, _cursor, statement: str, *_: object) -> None:
            # What is done first, so that nobody else can come in between from there on.
            if rivals and statement.startswith("UPDATE trident_gallery_revision"):
                rivals.pop().enroll("Ada", unit(0, 1)[None], NETWORK)

        gallery.enroll("Ada", unit(1, 1)[None], NETWORK)

        assert not rivals
        assert {person.name: person.embeddings for person in gallery.people()} == {
            "Ada": {NETWORK: 2},
            "Bob": {NETWORK: 1},
        }

    def test_the_very_first_enrolments_may_come_at_once(self, tmp_path: Path) -> None:
        together = threading.Barrier(4)

        def enroll(url: str) -> None:
            with Gallery(url) as own:
                together.wait()
                own.enroll("Ada", unit(1, 0)[None], NETWORK)

        with ThreadPoolExecutor(4) as pool:
            for round_ in range(5):
                url = f"sqlite:///{tmp_path}/{round_}.db"
                list(pool.map(enroll, [url] * 4))
                assert Gallery(url).people()[0].embeddings == {NETWORK: 4}

    def test_times_are_in_utc_whatever_the_database_makes_of_them(self) -> None:
        noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
        assert as_utc(noon.replace(tzinfo=None)) == noon
        in_tokyo = as_utc(noon.astimezone(timezone(timedelta(hours=9))))
        assert in_tokyo == noon
        assert f"{in_tokyo:%H:%M}" == "12:00"

    def test_a_look_opens_one_connection(self, gallery: Gallery) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        opened: list[object] = []
        event.listen(gallery._engine, "connect", lambda connection, _: opened.append(connection))
        counts = {}
        for look in (gallery.stamp, gallery.check, gallery.people, gallery.newest, gallery.snapshot):
            opened.clear()
            look()
            counts[look.__name__] = len(opened)
        assert counts == dict.fromkeys(counts, 1)

    def test_a_file_that_is_no_database_is_one_sentence(self, gallery: Gallery, file: Path) -> None:
        file.parent.mkdir()
        file.write_bytes(b"no database at all, but text " * 100)
        for look in (gallery.snapshot, gallery.people, gallery.stamp):
            with pytest.raises(SetupError, match=r"cannot read it: file is not a database"):
                look()
        with pytest.raises(SetupError, match=r"cannot write it: file is not a database"):
            gallery.enroll("Ada", unit(1, 0)[None], NETWORK)


class TestMatching:
    KNOWN = KnownFaces(("Ada", "Bob", "Ada"), np.stack([unit(1, 0, 0), unit(0, 1, 0), unit(1, 0.2, 0)]))

    def test_the_best_embedding_of_a_person_counts(self) -> None:
        (identity,) = self.KNOWN.match(unit(1, 0.2, 0)[None], 0.5)
        assert identity is not None
        assert identity.name == "Ada"
        assert identity.similarity == pytest.approx(1.0)

    def test_nobody_reaches_the_threshold(self) -> None:
        assert self.KNOWN.match(unit(0, 0, 1)[None], 0.5) == [None]

    def test_many_faces_keep_their_order(self) -> None:
        queries = np.stack([unit(0, 1, 0), unit(0, 0, 1), unit(1, 0, 0)])
        names = [identity.name if identity else None for identity in self.KNOWN.match(queries, 0.6)]
        assert names == ["Bob", None, "Ada"]

    def test_another_dimension_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"expected shape \(M, 3\), got \(1, 2\)"):
            self.KNOWN.match(unit(1, 0)[None], 0.5)

    def test_another_network_is_never_compared(self) -> None:
        snapshot = Snapshot("stamp", {NETWORK: self.KNOWN})
        assert snapshot.match(unit(1, 0, 0)[None], OTHER_NETWORK, 0.0) == [None]
        assert snapshot.match(unit(1, 0)[None], OTHER_NETWORK, 0.0) == [None]
        assert snapshot.strangers(OTHER_NETWORK) == sorted(set(self.KNOWN.names))
        assert snapshot.strangers(NETWORK) == []


def wait_for(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within 5 seconds"
        time.sleep(0.01)


def replace(file: Path, content: bytes) -> None:
    """Put other content in a file's place in one step."""
    beside = file.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(file)


class TestWatcher:
    def test_changes_are_seen_without_a_reload(self, gallery: Gallery, file: Path) -> None:
        watcher = GalleryWatcher(Gallery(f"sqlite:///{file}"), seconds=0.02)
        try:
            assert watcher.snapshot == Snapshot()
            gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
            wait_for(lambda: NETWORK in watcher.snapshot.by_network)
            gallery.forget("Ada")
            wait_for(lambda: not watcher.snapshot.by_network)
            gallery.enroll("Bob", unit(0, 1)[None], NETWORK)
            wait_for(lambda: watcher.snapshot.by_network)
            file.unlink()
            wait_for(lambda: watcher.snapshot == Snapshot())
        finally:
            watcher.stop()

    def test_a_database_that_is_down_keeps_what_is_known_and_is_mentioned_once(
        self, gallery: Gallery, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        good = file.read_bytes()
        watcher = GalleryWatcher(Gallery(f"sqlite:///{file}"), seconds=0.01)
        with caplog.at_level(logging.INFO):
            try:
                replace(file, b"no database at all" * 100)
                wait_for(lambda: "going on with what is known" in caplog.text)
                time.sleep(0.2)
                assert watcher.snapshot.by_network[NETWORK].names == ("Ada",)
                assert caplog.text.count("going on with what is known") == 1
                replace(file, good)
                wait_for(lambda: "can be read again" in caplog.text)
                assert watcher.snapshot.by_network[NETWORK].names == ("Ada",)
            finally:
                watcher.stop()

    def test_a_damaged_embedding_is_mentioned_once(
        self, gallery: Gallery, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("Ada", "Bob"):
            gallery.enroll(name, unit(1, 0)[None], NETWORK)
        damage(file, b"\0\0\0", "Ada")
        watcher = GalleryWatcher(Gallery(f"sqlite:///{file}"), seconds=0.01)
        try:
            time.sleep(0.1)
            assert watcher.snapshot.by_network[NETWORK].names == ("Bob",)
            assert caplog.text.count("damaged embeddings of 1 person are left out") == 1
            assert "Ada" not in caplog.text
        finally:
            watcher.stop()

    def test_the_thread_outlives_any_error(
        self, gallery: Gallery, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gallery.enroll("Ada", unit(1, 0)[None], NETWORK)
        watched = Gallery(f"sqlite:///{file}")
        watcher = GalleryWatcher(watched, seconds=0.01)

        def fail() -> str:
            raise RuntimeError("the driver has a bug")

        try:
            with monkeypatch.context() as broken:
                broken.setattr(watched, "stamp", fail)
                wait_for(lambda: "the driver has a bug" in caplog.text)
                assert watcher.snapshot.by_network[NETWORK].names == ("Ada",)
            gallery.enroll("Bob", unit(0, 1)[None], NETWORK)
            wait_for(lambda: watcher.snapshot.by_network[NETWORK].names == ("Ada", "Bob"))
        finally:
            watcher.stop()

    def test_stopping_ends_the_thread(self, gallery: Gallery) -> None:
        watcher = GalleryWatcher(gallery, seconds=0.01)
        watcher.stop()
        assert not watcher._thread.is_alive()


class TestNamesAndPlaces:
    @pytest.mark.parametrize(
        ("given", "cleaned"),
        [
            pytest.param("  Eileen Collins\n", "Eileen Collins", id="surrounding space"),
            pytest.param("Zoe\u0308", "Zo\u00eb", id="composed"),
            pytest.param("王伟", "王伟", id="Chinese"),
        ],
    )
    def test_clean_name(self, given: str, cleaned: str) -> None:
        assert clean_name(given) == cleaned

    @pytest.mark.parametrize("name", ["", "  ", "a\x00b", "x" * 201], ids=["empty", "space", "control", "long"])
    def test_bad_names(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="name: expected 1 to 200 printable characters"):
            clean_name(name)

    def test_the_environment_names_the_default(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TRIDENT_GALLERY_URL", f"sqlite:///{tmp_path}/faces.db")
        assert Gallery().file == tmp_path / "faces.db"
        assert Gallery(f"sqlite:///{tmp_path}/given.db").file == tmp_path / "given.db"

    def test_without_anything_it_is_in_the_users_data_folder(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("TRIDENT_GALLERY_URL", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        assert Gallery("").file == tmp_path / "trident" / "gallery.db"

    def test_postgresql_means_psycopg_3(self) -> None:
        assert resolve_url("postgresql://ada@db/faces").drivername == "postgresql+psycopg"

    def test_the_password_is_never_shown(self) -> None:
        assert "geheim" not in str(Gallery("postgresql://ada:geheim@db/faces"))
        with pytest.raises(SetupError) as caught:
            Gallery("postgres ada:geheim@db")
        assert "geheim" not in str(caught.value)

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
    def test_a_gallery_in_memory_is_refused(self, url: str) -> None:
        with pytest.raises(SetupError, match="must name a file"):
            Gallery(url)

    def test_unknown_databases_are_refused(self) -> None:
        with pytest.raises(SetupError, match="not supported"):
            Gallery("oraculum://host/faces")

    def test_the_model_repository_is_no_place_for_it(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="must not lie inside the model repository"):
            ensure_outside(Gallery(f"sqlite:///{tmp_path}/models/gallery.db"), tmp_path / "models")
        ensure_outside(Gallery(f"sqlite:///{tmp_path}/gallery.db"), tmp_path / "models")
