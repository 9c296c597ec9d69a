"""The admin key: its file, who finds it, and where it is not sent."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from trident.access import keys
from trident.access.keys import GRPC_HEADER, KeyFile, admin_headers, find_key, is_local, read_key
from trident.errors import SetupError
from trident_client.errors import SettingsError
from trident_client.transport import ADMIN_METHODS, metadata_for

URL = "127.0.0.1:4711"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """An empty place for keys, and nothing named by the environment."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(keys.KEY_FILE_VARIABLE, raising=False)
    return tmp_path / "state" / "trident" / "admin"


def written(path, text="an-operators-own-key", mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


class TestKeyFile:
    def test_it_is_this_users_alone_and_gone_afterwards(self, state):
        made = KeyFile.of(None, "127.0.0.1", 4711)
        assert made.path == state / "127.0.0.1-4711.key"
        assert (mode_of(made.path), mode_of(state)) == (0o600, 0o700)
        assert made.path.read_text().strip() == made.key
        assert len(made.key) >= 43  # 32 random bytes

        made.remove()

        assert not state.exists()
        made.remove()  # harmless

    def test_a_wide_umask_makes_no_difference(self, state):
        before = os.umask(0)
        try:
            made = KeyFile.of(None, "127.0.0.1", 4711)
        finally:
            os.umask(before)
        assert (mode_of(made.path), mode_of(state)) == (0o600, 0o700)
        made.remove()

    def test_a_folder_that_was_open_is_closed(self, state):
        state.mkdir(parents=True)
        state.chmod(0o755)
        made = KeyFile.of(None, "127.0.0.1", 4711)
        assert mode_of(state) == 0o700
        made.remove()

    def test_each_start_has_another_key(self):
        one = KeyFile.of(None, "127.0.0.1", 4711)
        first = one.key
        one.remove()
        other = KeyFile.of(None, "127.0.0.1", 4711)
        assert other.key != first
        other.remove()

    def test_one_that_came_after_at_the_same_address_is_left_alone(self):
        old = KeyFile.of(None, "127.0.0.1", 4711)
        new = KeyFile.of(None, "127.0.0.1", 4711)
        old.remove()
        assert read_key(new.path) == new.key
        new.remove()

    def test_those_of_killed_servers_are_cleared_and_those_of_running_ones_stay(self, state):
        running = KeyFile.of(None, "127.0.0.1", 1)
        killed = KeyFile.of(None, "127.0.0.1", 2)
        os.close(killed._handle)  # as the kernel does for a killed process
        third = KeyFile.of(None, "127.0.0.1", 3)
        assert sorted(path.name for path in state.iterdir()) == ["127.0.0.1-1.key", "127.0.0.1-3.key"]
        running.remove()
        third.remove()

    def test_a_folder_that_another_servers_end_removes_is_made_again(self, monkeypatch):
        prepare, removed = keys._prepare, []

        def prepare_and_lose(folder):
            prepare(folder)
            if not removed:
                folder.rmdir()
                removed.append(folder)

        monkeypatch.setattr(keys, "_prepare", prepare_and_lose)
        made = KeyFile.of(None, "127.0.0.1", 4711)
        assert removed
        assert read_key(made.path) == made.key
        made.remove()

    def test_what_killed_servers_left_can_be_cleared_by_itself(self, state):
        keys.clear_left()  # harmless where there is nothing
        running, killed = KeyFile.of(None, "127.0.0.1", 1), KeyFile.of(None, "127.0.0.1", 2)
        os.close(killed._handle)
        keys.clear_left()
        assert [path.name for path in state.iterdir()] == ["127.0.0.1-1.key"]
        os.close(running._handle)
        keys.clear_left()
        assert not state.exists()

    def test_a_named_file_that_is_there_gives_the_key_and_stays(self, tmp_path):
        file = written(tmp_path / "key", "an-operators-own-key\n")
        used = KeyFile.of(file, "127.0.0.1", 4711)
        assert used.key == "an-operators-own-key"
        used.remove()
        assert file.read_text() == "an-operators-own-key\n"

    def test_a_named_file_that_is_not_there_is_written_and_removed(self, tmp_path, state):
        made = KeyFile.of(tmp_path / "key", "127.0.0.1", 4711)
        assert (read_key(tmp_path / "key"), mode_of(tmp_path / "key")) == (made.key, 0o600)
        assert not state.exists()
        made.remove()
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        with pytest.raises(SetupError, match=r"cannot write .*gone/key: No such file.*--admin-key-file"):
            KeyFile.of(tmp_path / "gone" / "key", "127.0.0.1", 4711)

    def test_a_user_without_a_home_is_told_what_to_do(self, monkeypatch):
        def no_home():
            raise RuntimeError("no home")

        monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
        monkeypatch.setattr(keys.Path, "home", no_home)
        with pytest.raises(SetupError, match=r"no home folder.*--admin-key-file"):
            KeyFile.of(None, "127.0.0.1", 4711)
        assert find_key(URL) is None

    def test_no_key_is_in_a_repr(self):
        made = KeyFile.of(None, "127.0.0.1", 4711)
        found = find_key(URL)
        assert found is not None
        assert found.key == made.key
        assert made.key not in repr(made) + repr(found)
        made.remove()


class TestReading:
    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602])
    def test_what_others_may_read_or_write_is_refused(self, tmp_path, mode):
        file = written(tmp_path / "key", mode=mode)
        with pytest.raises(SetupError, match=rf"open to every user of this machine \({mode:04o}\): chmod 600 it"):
            read_key(file)

    def test_a_group_may_read_it(self, tmp_path):
        """As a mounted secret is, for a server that is not root."""
        assert read_key(written(tmp_path / "key", mode=0o440)) == "an-operators-own-key"

    @pytest.mark.parametrize(
        "text", ["", "short", "two words of enough letters", "é" * 20, "x" * 257, "a-key-of-one-line\nand-another"]
    )
    def test_what_is_no_key_is_refused_and_not_shown(self, tmp_path, text):
        file = tmp_path / "key"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        with pytest.raises(SetupError, match="expected 16 to 256 printable ASCII characters") as caught:
            read_key(file)
        assert not text or text not in str(caught.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(SetupError, match=r"admin key: cannot read .*key: No such file"):
            read_key(tmp_path / "key")


class TestFinding:
    @pytest.mark.parametrize("bound", ["127.0.0.1", "localhost", "0.0.0.0"])
    @pytest.mark.parametrize(
        "asked", ["127.0.0.1:4711", "localhost:4711", "dns:///localhost:4711", "[::1]:4711", "127.0.0.2:4711"]
    )
    def test_a_server_on_this_machine_is_found_under_its_other_names(self, bound, asked):
        made = KeyFile.of(None, bound, 4711)
        assert admin_headers(asked, encrypted=False) == {GRPC_HEADER: made.key}
        made.remove()

    @pytest.mark.parametrize("asked", ["127.0.0.1:4712", "vision.example:4711", "10.0.0.7:4711", "unix:4711", "4711"])
    def test_no_other_server_gets_it(self, asked):
        made = KeyFile.of(None, "0.0.0.0", 4711)
        assert admin_headers(asked, encrypted=True) == {}
        made.remove()

    def test_one_that_is_bound_to_an_address_of_the_network_is_found_under_that(self):
        made = KeyFile.of(None, "10.0.0.7", 4711)
        assert admin_headers("10.0.0.7:4711", encrypted=False) == {GRPC_HEADER: made.key}
        assert admin_headers(URL, encrypted=False) == {}
        made.remove()

    def test_the_environment_names_a_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv(keys.KEY_FILE_VARIABLE, str(written(tmp_path / "key")))
        assert admin_headers(URL, encrypted=False) == {GRPC_HEADER: "an-operators-own-key"}
        other = written(tmp_path / "other", "another-operators-key")
        assert admin_headers(URL, encrypted=False, named=other) == {GRPC_HEADER: "another-operators-key"}

    def test_a_named_key_goes_to_another_machine_only_encrypted(self, tmp_path):
        file = written(tmp_path / "key")
        with pytest.raises(SetupError, match=r"not sent to vision\.example:8001 in plain text"):
            admin_headers("vision.example:8001", encrypted=False, named=file)
        assert admin_headers("vision.example:8001", encrypted=True, named=file)
        assert admin_headers("unix:/run/triton", encrypted=False, named=file)

    @pytest.mark.parametrize(
        ("target", "local"),
        [
            ("127.0.0.1:1", True),
            ("[::1]:1", True),
            ("localhost:1", True),
            ("unix:x", True),
            ("localhost.example:1", False),
            ("10.0.0.1:1", False),
            ("dns:///vision:1", False),
            ("nonsense", False),
        ],
    )
    def test_what_is_local(self, target, local):
        assert is_local(target) is local


class TestClient:
    def test_only_calls_that_need_it_carry_it(self):
        made = KeyFile.of(None, "127.0.0.1", 4711)
        for method in ("ModelInfer", "ServerLive", "ModelMetadata", "ModelReady"):
            assert metadata_for(method, URL, (("a", "b"),), encrypted=False) == (("a", "b"),)
        for method in ADMIN_METHODS:
            assert metadata_for(method, URL, (), encrypted=False) == ((GRPC_HEADER, made.key),)
        made.remove()

    def test_a_header_of_the_callers_own_takes_its_place(self):
        made = KeyFile.of(None, "127.0.0.1", 4711)
        own = ((GRPC_HEADER, "own"),)
        assert metadata_for("RepositoryIndex", URL, own, encrypted=False) == own
        made.remove()

    def test_a_file_that_cannot_be_used_is_an_error_of_the_library(self, tmp_path):
        with pytest.raises(SettingsError, match="cannot read"):
            metadata_for("RepositoryIndex", URL, (), encrypted=False, key_file=Path(tmp_path / "gone"))
