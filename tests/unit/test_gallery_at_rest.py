"""How a gallery is kept: who can read its files, what is in them, and what is left of what was deleted."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import event

from trident.commands import gallery as commands
from trident.entities.gallery import Gallery, GalleryWatcher
from trident.entities.gallery_complaints import gallery_complaints
from trident.entities.gallery_file import make_private
from trident.entities.sealing import KEY_VARIABLE, Broken, Keys, Seal, keys_from, new_key
from trident.errors import InvalidInput, SetupError

NETWORK, OTHER_NETWORK = "sha256:" + "a" * 64, "sha256:" + "b" * 64
KEY, OTHER_KEY, THIRD_KEY = new_key(), new_key(), new_key()
NAMES = tuple(f"Somebody number {number:02}" for number in range(12))


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def vectors(seed: int = 0, count: int = len(NAMES)) -> np.ndarray:
    """Embeddings of length 1, ``[count, 512]``."""
    made = np.random.default_rng(seed).normal(size=(count, 512)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def traces(folder: Path, *contents: bytes) -> list[tuple[str, int]]:
    """Which of the contents stand in a file of the folder, as file's name and index."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return [(name, index) for name, held in files.items() for index, one in enumerate(contents) if one in held]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "gallery.db"


def opened(file: Path, keys: str | None = None) -> Gallery:
    return Gallery(f"sqlite:///{file}", keys=keys or "")


def enrolled(file: Path, keys: str | None = None) -> np.ndarray:
    """Enrol ``NAMES``, an embedding each; give what was stored of them."""
    rows = vectors()
    with opened(file, keys) as gallery:
        for name, row in zip(NAMES, rows, strict=True):
            gallery.enroll(name, row[None], NETWORK)
        return gallery.snapshot().by_network[NETWORK].embeddings if keys is None else rows


class TestModes:
    def test_a_file_that_others_could_read_is_narrowed_and_that_is_said(self, file: Path) -> None:
        enrolled(file)
        file.chmod(0o644)
        with opened(file) as gallery:
            (sentence,) = gallery.check()
            assert sentence == (
                f"gallery {file}: others could read the gallery: {file} had mode 0644; it is 0600 now, and whoever "
                "read it may have a copy"
            )
            assert mode(file) == 0o600
            assert gallery.check() == []

    def test_what_sqlite_keeps_beside_it_is_narrowed_too(self, file: Path) -> None:
        enrolled(file)
        for ending in ("-journal", "-wal", "-shm"):
            place = file.with_name(file.name + ending)
            place.touch()
            place.chmod(0o666)
        assert make_private(file).count("had mode 0666") == 3
        assert {mode(one) for one in file.parent.iterdir()} == {0o600}

    def test_one_that_cannot_be_narrowed_is_said(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        enrolled(file)
        file.chmod(0o640)

        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "chmod", refused)
        assert "it cannot be changed here (Operation not permitted): have its owner run chmod 600" in make_private(file)

    def test_the_rollback_journal_is_private_from_its_first_byte(self, file: Path) -> None:
        enrolled(file)
        seen: set[int] = set()
        with opened(file) as gallery:

            @event.listens_for(gallery._engine, "after_cursor_execute")
            def look(*_: object) -> None:
                journal = file.with_name(f"{file.name}-journal")
                if journal.exists():
                    seen.add(mode(journal))

            before = os.umask(0)
            try:
                gallery.enroll("Ada", vectors(1, 1), NETWORK)
            finally:
                os.umask(before)
        assert seen == {0o600}

    def test_a_write_ahead_log_is_private_too(self, file: Path) -> None:
        enrolled(file)
        before = os.umask(0)
        try:
            with closing(sqlite3.connect(file)) as holding:
                holding.execute("PRAGMA journal_mode=WAL")
                with opened(file) as gallery:
                    gallery.enroll("Ada", vectors(1, 1), NETWORK)
                assert holding.execute("SELECT count(*) FROM trident_people").fetchone() == (len(NAMES) + 1,)
                modes = {one.name: mode(one) for one in file.parent.iterdir()}
        finally:
            os.umask(before)
        assert modes == dict.fromkeys(("gallery.db", "gallery.db-wal", "gallery.db-shm"), 0o600)

    def test_a_watcher_narrows_it_and_says_so_once(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        enrolled(file)
        file.chmod(0o604)
        watcher = GalleryWatcher(opened(file), seconds=60)
        watcher.stop()
        assert mode(file) == 0o600
        assert [one.levelname for one in caplog.records if "had mode 0604" in one.getMessage()] == ["WARNING"]

    def test_the_launcher_says_what_is_to_be_minded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "models" / "entity_recognizer" / "config.pbtxt"
        monkeypatch.setenv("TRIDENT_GALLERY_URL", f"sqlite:///{tmp_path}/gallery.db")
        assert gallery_complaints(config.parents[1]) == []
        config.parent.mkdir(parents=True)
        config.write_text('name: "entity_recognizer"')
        assert gallery_complaints(config.parents[1]) == []
        enrolled(tmp_path / "gallery.db", KEY)
        (tmp_path / "gallery.db").chmod(0o644)
        (sentence,) = gallery_complaints(config.parents[1])
        assert f"expected its key in {KEY_VARIABLE}, got none; others could read the gallery: " in sentence
        assert sentence.endswith(": nobody is recognized by name")
        assert mode(tmp_path / "gallery.db") == 0o600


class TestSeals:
    def test_content_opens_with_its_key_and_about_the_same_thing_only(self) -> None:
        seal = Seal(KEY)
        sealed = seal.seal(b"content", "Ada")
        assert b"content" not in sealed
        assert seal.open(sealed, "Ada") == b"content"
        assert Seal(KEY).open(sealed, "Ada") == b"content"
        with pytest.raises(Broken, match="about another"):
            seal.open(sealed, "Bob")
        with pytest.raises(Broken, match="sealed with this key"):
            Seal(OTHER_KEY).open(sealed, "Ada")

    @pytest.mark.parametrize("sealed", [b"", b"no token", "text", "täxt", None, 7, b"\xff" * 200])
    def test_anything_else_is_broken_and_nothing_worse(self, sealed: object) -> None:
        with pytest.raises(Broken):
            Seal(KEY).open(sealed, "Ada")  # type: ignore[arg-type]

    def test_one_changed_byte_is_noticed(self) -> None:
        sealed = bytearray(Seal(KEY).seal(b"content", "Ada"))
        sealed[40] = ord("A") if sealed[40] != ord("A") else ord("B")
        with pytest.raises(Broken):
            Seal(KEY).open(bytes(sealed), "Ada")

    def test_a_token_is_the_same_for_the_same_name_and_key_and_fits_its_column(self) -> None:
        token = Seal(KEY).token("Ada")
        assert token == Seal(KEY).token("Ada")
        assert token not in (Seal(OTHER_KEY).token("Ada"), Seal(KEY).token("Bob"))
        assert len(token) == 71

    @pytest.mark.parametrize("key", ["short", "ä" * 44, "A" * 43, new_key()[:-4]], ids=["short", "odd", "43", "cut"])
    def test_what_is_no_key_is_refused_without_being_repeated(self, key: str) -> None:
        with pytest.raises(
            SetupError, match=rf"^{KEY_VARIABLE}: expected keys of 32 bytes .* new-key` makes one"
        ) as caught:
            Keys(key)
        assert key not in str(caught.value)

    def test_several_keys_may_be_parted_by_commas_or_space(self) -> None:
        keys = Keys(f"{KEY}, {OTHER_KEY}\n{THIRD_KEY}")
        assert keys.first.proves(Seal(KEY).proof())
        made = keys.that_made(Seal(THIRD_KEY).proof())
        assert made is not None
        assert made is not keys.first
        assert keys.that_made(Seal(new_key()).proof()) is None
        assert keys.that_made(b"no proof") is None

    def test_no_text_is_no_key_and_blank_text_a_mistake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert keys_from(None) is None
        assert keys_from("") is None
        with pytest.raises(SetupError, match="expected one or more keys, got none"):
            keys_from(" , ")
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        assert keys_from(None) is not None
        assert keys_from("") is None

    def test_without_the_library_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
        with pytest.raises(SetupError, match=r"needs the package cryptography: run pip install '\.\[serve\]'"):
            Seal(KEY)


class TestEncryption:
    def test_neither_names_nor_embeddings_stand_in_the_file(self, file: Path) -> None:
        rows = enrolled(file.parent / "plain" / "gallery.db")
        contents = [row.tobytes()[:16] for row in rows] + [name.encode() for name in NAMES]
        assert len(traces(file.parent / "plain", *contents)) == len(contents), "they would be found"
        (file.parent / "plain" / "gallery.db").unlink()
        (file.parent / "plain").rmdir()
        enrolled(file, KEY)
        assert traces(file.parent, *contents) == []

    def test_it_is_read_as_one_that_is_not_encrypted(self, file: Path) -> None:
        rows = enrolled(file, KEY)
        with opened(file, KEY) as gallery:
            known = gallery.snapshot().by_network[NETWORK]
            assert known.names == NAMES
            np.testing.assert_allclose(known.embeddings, rows, atol=1e-6)
            assert [person.name for person in gallery.people()] == list(NAMES)
            gallery.enroll(NAMES[3], vectors(1, 2), OTHER_NETWORK)
            person = gallery.people()[3]
            assert person.embeddings == {NETWORK: 1, OTHER_NETWORK: 2}
            assert gallery.forget(NAMES[3]) == 3
            assert len(gallery.people()) == len(NAMES) - 1
            with pytest.raises(InvalidInput, match="nobody called"):
                gallery.forget(NAMES[3])
            assert gallery.check() == []

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            pytest.param("", f"expected its key in {KEY_VARIABLE}, got none", id="no key"),
            pytest.param(OTHER_KEY, f"expected its key among those in {KEY_VARIABLE}, got others", id="wrong key"),
        ],
    )
    def test_without_its_key_everything_is_refused_and_nothing_lost(self, file: Path, keys: str, words: str) -> None:
        enrolled(file, KEY)
        before = file.read_bytes()
        with opened(file, keys) as gallery:
            for attempt in (
                gallery.snapshot,
                gallery.people,
                gallery.check,
                lambda: gallery.enroll("Ada", vectors(1, 1), NETWORK),
                lambda: gallery.forget(NAMES[0]),
                lambda: gallery.reseal(encrypted=False),
            ):
                with pytest.raises(SetupError, match=words):
                    attempt()
            assert gallery.stamp(), "a stamp is no secret"
        assert file.read_bytes() == before

    def test_the_environment_has_the_key(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        with Gallery(f"sqlite:///{file}") as gallery:
            gallery.enroll("Ada", vectors(1, 1), NETWORK)
        with opened(file, KEY) as gallery:
            assert gallery.snapshot().names() == {"Ada"}

    def test_an_embedding_in_another_persons_row_is_damaged_there(self, file: Path) -> None:
        enrolled(file, KEY)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE trident_embeddings SET person_id = 1 WHERE person_id = 2")
        with opened(file, KEY) as gallery:
            snapshot = gallery.snapshot()
        assert NAMES[0] in snapshot.names()
        assert snapshot.damaged == (NAMES[0],)
        assert NAMES[1] not in snapshot.names()

    def test_a_damaged_name_takes_away_nobody_else(self, file: Path) -> None:
        enrolled(file, KEY)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE trident_sealed_names SET name = 'x' WHERE person_id = 2")
        with opened(file, KEY) as gallery:
            assert gallery.snapshot().names() == set(NAMES) - {NAMES[1]}
            assert gallery.snapshot().damaged == ("somebody whose name is damaged",)
            assert len(gallery.people()) == len(NAMES)
            with pytest.raises(SetupError, match="2 of its rows are damaged and would be lost"):
                gallery.reseal(encrypted=False)
            assert gallery.forget(NAMES[1]) == 1, "whoever knows the name can still have it forgotten"
            assert gallery.snapshot().damaged == ()

    def test_the_watcher_goes_on_with_what_it_knows_and_logs_no_name(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        enrolled(file, KEY)
        with caplog.at_level(logging.DEBUG):
            watcher = GalleryWatcher(opened(file, OTHER_KEY), seconds=60)
            watcher.stop()
        assert watcher.snapshot.names() == set()
        assert not watcher.readable
        assert "expected its key among those in" in caplog.text
        assert KEY not in caplog.text
        assert OTHER_KEY not in caplog.text
        assert not [name for name in NAMES if name in caplog.text]


class TestMigration:
    def test_one_that_is_not_encrypted_is_read_with_a_warning_and_not_added_to(self, file: Path) -> None:
        enrolled(file)
        with opened(file, KEY) as gallery:
            assert gallery.snapshot().names() == set(NAMES)
            (sentence,) = gallery.check()
            assert "it is not encrypted, though TRIDENT_GALLERY_KEY is set: run `trident gallery encrypt`" in sentence
            with pytest.raises(SetupError, match="run `trident gallery encrypt`, before which nobody is enrolled"):
                gallery.enroll("Ada", vectors(1, 1), NETWORK)
            assert gallery.forget(NAMES[0]) == 1
            assert "Ada" not in gallery.snapshot().names()

    def test_one_from_before_there_was_encryption_goes_on_and_can_be_encrypted(self, file: Path) -> None:
        enrolled(file)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DROP TABLE trident_sealed_names")
            connection.execute("DROP TABLE trident_gallery_seal")
        with opened(file) as gallery:
            assert gallery.snapshot().names() == set(NAMES)
            assert gallery.forget(NAMES[0]) == 1
        with opened(file, KEY) as gallery:
            assert gallery.reseal(encrypted=True) == len(NAMES) - 1
            assert gallery.snapshot().names() == set(NAMES[1:])

    def test_there_and_back(self, file: Path) -> None:
        rows = enrolled(file)
        contents = [row.tobytes()[:16] for row in rows] + [name.encode() for name in NAMES]
        with opened(file, KEY) as gallery:
            stamp = gallery.stamp()
            assert gallery.reseal(encrypted=True) == len(NAMES)
            assert traces(file.parent, *contents) == [], "what was there is overwritten"
            assert gallery.stamp() != stamp, "running servers read it again"
            assert gallery.reseal(encrypted=True) is None
            np.testing.assert_array_equal(gallery.snapshot().by_network[NETWORK].embeddings, rows)
            assert gallery.reseal(encrypted=False) == len(NAMES)
        with opened(file) as gallery:
            assert gallery.reseal(encrypted=False) is None
            np.testing.assert_array_equal(gallery.snapshot().by_network[NETWORK].embeddings, rows)
            gallery.enroll(NAMES[0], vectors(1, 1), NETWORK)
            assert gallery.people()[0].embeddings == {NETWORK: 2}

    def test_keys_are_changed_while_servers_have_both(self, file: Path) -> None:
        rows = enrolled(file, KEY)
        both = f"{OTHER_KEY},{KEY}"
        with opened(file, both) as gallery:
            assert gallery.snapshot().names() == set(NAMES)
            assert "run `trident gallery encrypt` to change to it" in gallery.check()[0]
            # Until it is changed, who has the old key alone goes on reading what is new.
            gallery.enroll("Ada", vectors(1, 1), NETWORK)
            with opened(file, KEY) as old:
                assert "Ada" in old.snapshot().names()
            assert gallery.reseal(encrypted=True) == len(NAMES) + 1
            assert gallery.check() == []
        with opened(file, KEY) as gallery, pytest.raises(SetupError, match="got others"):
            gallery.snapshot()
        with opened(file, OTHER_KEY) as gallery:
            assert gallery.forget("Ada") == 1
            np.testing.assert_allclose(gallery.snapshot().by_network[NETWORK].embeddings, rows, atol=1e-6)

    def test_an_interrupted_change_leaves_all_as_it_was(self, file: Path) -> None:
        enrolled(file)
        before = file.read_bytes()
        with opened(file, KEY) as gallery:

            @event.listens_for(gallery._engine, "before_cursor_execute")
            def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
                if statement.startswith("UPDATE trident_embeddings"):
                    raise OSError(28, "No space left on device")

            with pytest.raises(SetupError, match="No space left on device"):
                gallery.reseal(encrypted=True)
        assert file.read_bytes() == before

    def test_who_enrols_meanwhile_is_not_lost(self, file: Path) -> None:
        enrolled(file, KEY)
        together = threading.Barrier(3)

        def enroll(number: int) -> None:
            with opened(file, f"{OTHER_KEY} {KEY}") as gallery:
                together.wait()
                for index in range(4):
                    gallery.enroll(f"New {number} {index}", vectors(number * 10 + index, 1), NETWORK)

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(enroll, number) for number in range(2)]
            with opened(file, f"{OTHER_KEY} {KEY}") as gallery:
                together.wait()
                gallery.reseal(encrypted=True)
            for one in running:
                one.result()
        with opened(file, OTHER_KEY) as gallery:
            snapshot = gallery.snapshot()
        assert snapshot.damaged == ()
        assert len(snapshot.names()) == len(NAMES) + 8

    def test_there_has_to_be_a_gallery_and_a_key(self, file: Path) -> None:
        with opened(file, KEY) as gallery, pytest.raises(InvalidInput, match="there is no gallery"):
            gallery.reseal(encrypted=True)
        with opened(file) as gallery, pytest.raises(SetupError, match="expected the gallery's key, got none"):
            gallery.reseal(encrypted=True)
        assert not file.exists()


class TestForgetting:
    @pytest.mark.parametrize("keys", [None, KEY], ids=["plain", "encrypted"])
    def test_no_byte_of_it_is_left_in_any_file(self, file: Path, keys: str | None) -> None:
        enrolled(file, keys)
        with closing(sqlite3.connect(file)) as connection:
            (stored, name) = connection.execute(
                "SELECT vector, name FROM trident_embeddings JOIN trident_people ON person_id = trident_people.id "
                "WHERE person_id = 7"
            ).fetchone()
        pieces = [stored[start : start + 24] for start in range(0, len(stored) - 24, 24)] + [name.encode()]
        # Some are parted by the end of a page.
        assert len(traces(file.parent, *pieces)) > 0.8 * len(pieces)
        with opened(file, keys) as gallery:
            assert gallery.forget(NAMES[6]) == 1
        assert traces(file.parent, *pieces) == []

    def test_nor_in_the_write_ahead_log_of_a_database_that_has_one(self, file: Path) -> None:
        rows = enrolled(file)
        trace = rows[6].astype("<f4").tobytes()[100:140]
        assert traces(file.parent, trace)
        with closing(sqlite3.connect(file)) as holding:
            holding.execute("PRAGMA journal_mode=WAL")
            holding.execute("SELECT count(*) FROM trident_people").fetchone()
            with opened(file) as gallery:
                gallery.enroll(NAMES[6], vectors(1, 1), NETWORK)
                gallery.forget(NAMES[6])
            assert file.with_name("gallery.db-wal").exists(), "the other connection keeps it"
            assert traces(file.parent, trace, NAMES[6].encode(), vectors(1, 1)[0].tobytes()[100:140]) == []

    def test_another_program_that_keeps_old_pages_is_said(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trident.entities.gallery_place.CONNECT_SECONDS", 0.1)
        enrolled(file)
        with closing(sqlite3.connect(file, isolation_level=None)) as reading:
            reading.execute("PRAGMA journal_mode=WAL")
            reading.execute("BEGIN")
            reading.execute("SELECT * FROM trident_people").fetchone()
            with (
                opened(file) as gallery,
                pytest.raises(SetupError, match="the rows are deleted, but another program is reading the database"),
            ):
                gallery.forget(NAMES[6])
            reading.execute("COMMIT")
        with opened(file) as gallery:
            assert len(gallery.people()) == len(NAMES) - 1
        assert traces(file.parent, NAMES[6].encode()) == []


class TestCommands:
    @pytest.fixture(autouse=True)
    def _wide(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(commands, "_network_of", lambda _: None)

    @pytest.fixture
    def url(self, file: Path) -> Iterator[str]:
        enrolled(file)
        return f"sqlite:///{file}"

    def run(self, *arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands.gallery, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    def test_from_a_new_key_to_an_encrypted_gallery_and_back(
        self, url: str, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, key = self.run("new-key")
        monkeypatch.setenv(KEY_VARIABLE, key.strip())
        code, output = self.run("encrypt", "--url", url)
        assert (code, output) == (0, f"{file}: 12 embeddings encrypted, and the names of their people\n")
        assert self.run("encrypt", "--url", url)[1].endswith(f"first key of {KEY_VARIABLE} already.\n")
        assert NAMES[0] not in file.read_bytes().decode("latin-1")
        code, output = self.run("forget", NAMES[0], "--url", url)
        assert (code, output) == (0, f"{NAMES[0]}: forgotten, 1 embedding deleted from {file}\n")
        assert "11 embeddings decrypted" in self.run("decrypt", "--url", url)[1]
        assert "is not encrypted. Unset" in self.run("decrypt", "--url", url)[1]

    def test_new_keys_differ(self) -> None:
        assert self.run("new-key") != self.run("new-key")

    def test_what_is_to_be_minded_is_said_with_every_command(self, url: str, file: Path) -> None:
        file.chmod(0o644)
        _, output = self.run("forget", NAMES[0], "--url", url)
        assert f"Mind: gallery {file}: others could read the gallery: {file} had mode 0644" in output

    def test_whose_embeddings_are_damaged_is_said_where_people_are_listed(self, url: str, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE trident_embeddings SET vector = x'00' WHERE person_id = 2")
        assert f"Mind: damaged embeddings of '{NAMES[1]}' are left out" in self.run("list", "--url", url)[1]
