"""The recorder of live traffic: bounded, private, and never in a request's way."""

import errno
import logging
import multiprocessing
import os
import threading
import time

import pytest
from click.testing import CliRunner

from trident import recorder
from trident.cli import main
from trident.errors import SetupError
from trident.recorder import Recorder, Recording, prepare_folder

PICTURE = b"\xff\xd8 a picture"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recorded"


def record(folder, pictures, *, share=1.0, most=200):
    """Offer pictures one by one, and wait until each has been written or dropped."""
    one = Recorder(Recording(folder, share, most))
    for picture in pictures:
        one.offer([picture])
        while not one._waiting.empty():
            time.sleep(0.0005)
    one.close()
    return one


def kept(folder):
    return sorted(path.read_bytes() for path in folder.iterdir())


def test_nothing_is_recorded_unless_switched_on(folder):
    one = Recorder.from_environment({})
    one.offer([PICTURE])
    one.close()
    assert not folder.exists()
    assert one._thread is None


def test_the_environment_switches_it_on(folder):
    one = Recorder.from_environment(Recording(folder, 1.0, 5).to_environment())
    one.offer([PICTURE, PICTURE + b"2"])
    one.close()
    assert kept(folder) == [PICTURE, PICTURE + b"2"]


def test_folder_and_files_are_private(folder):
    old = os.umask(0)
    try:
        record(folder, [PICTURE])
    finally:
        os.umask(old)
    (file,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_more_than_the_most_are_ever_there(folder):
    record(folder, [b"%d" % number for number in range(300)], most=7)
    assert len(kept(folder)) == 7


def test_a_full_folder_goes_on_with_recent_pictures(folder):
    record(folder, [b"old"] * 50, most=5)
    record(folder, [b"new"] * 100, most=5)
    assert kept(folder) == [b"new"] * 5


def test_a_smaller_folder_drops_what_is_too_much(folder):
    record(folder, [b"%d" % number for number in range(40)], most=9)
    record(folder, [], most=3)
    assert len(kept(folder)) <= 3


def test_a_share_is_recorded(folder):
    one = Recorder(Recording(folder, 0.1, 10_000))
    seen = []
    one._waiting.put_nowait = seen.append
    one.offer([PICTURE] * 5000)
    assert 350 < len(seen) < 650


def test_large_pictures_are_left_out(folder):
    record(folder, [b"x" * (recorder.LARGEST_PICTURE + 1), PICTURE])
    assert kept(folder) == [PICTURE]


def write_many(folder, mark):
    record(folder, [b"%d" % mark] * 60, most=10)


def test_several_processes_share_one_folder(folder):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(folder, mark)) for mark in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(kept(folder)) == 10
    assert set(kept(folder)) <= {b"0", b"1"}


def test_a_disk_that_is_full_is_said_once_and_harms_nobody(folder, monkeypatch, caplog):
    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.rename", full)
    with caplog.at_level(logging.WARNING, "trident.recorder"):
        record(folder, [PICTURE] * 5)
    assert [entry.getMessage() for entry in caplog.records] == ["pictures are not recorded: No space left on device"]
    assert list(folder.iterdir()) == []


def test_a_folder_that_vanishes_harms_nobody(folder, caplog):
    one = Recorder(Recording(folder, 1.0, 5))
    folder.rmdir()
    with caplog.at_level(logging.WARNING, "trident.recorder"):
        one.offer([PICTURE])
        one.close()
    assert "pictures are not recorded" in caplog.text


def test_a_slow_disk_drops_pictures_and_does_not_wait(folder, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(Recorder, "_write", lambda *_: go_on.wait(10))
    one = Recorder(Recording(folder, 1.0, 5))
    start = time.monotonic()
    one.offer([PICTURE] * 1000)
    assert time.monotonic() - start < 2
    assert one._waiting.qsize() <= 4
    go_on.set()
    one.close()


def test_what_a_killed_server_left_is_cleared(folder):
    record(folder, [PICTURE])
    stale, fresh = folder / ".unfinished-1", folder / ".unfinished-2"
    stale.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(stale, (0, 0))
    record(folder, [])
    assert not stale.exists()
    assert fresh.exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param({"TRIDENT_RECORD_SHARE": "2"}, "expected above 0 and at most 1", id="more than all"),
        pytest.param({"TRIDENT_RECORD_SHARE": "all"}, "expected numbers", id="no number"),
        pytest.param({"TRIDENT_RECORD_MOST": "0"}, "expected 1 to", id="none"),
    ],
)
def test_what_cannot_be_understood_is_said_and_nothing_recorded(folder, caplog, environment, message):
    with caplog.at_level(logging.WARNING, "trident.recorder"):
        one = Recorder.from_environment({"TRIDENT_RECORD": str(folder), **environment})
    one.offer([PICTURE])
    assert message in caplog.text
    assert not folder.exists()


class TestFolder:
    def test_one_that_others_can_read_is_refused(self, folder):
        folder.mkdir(mode=0o700)
        folder.chmod(0o750)
        with pytest.raises(SetupError, match="chmod 700"):
            prepare_folder(folder)

    def test_one_with_other_things_is_refused(self, folder):
        folder.mkdir(mode=0o700)
        (folder / "holiday.jpg").write_bytes(b"")
        with pytest.raises(SetupError, match=r"holds other things \('holiday\.jpg'\)"):
            prepare_folder(folder)

    def test_one_inside_the_model_repository_is_refused(self, folder):
        with pytest.raises(SetupError, match="must not lie inside the model repository"):
            prepare_folder(folder, folder.parent)
        assert not folder.exists()

    def test_one_that_cannot_be_made_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SetupError, match="cannot be used"):
            prepare_folder(tmp_path / "file" / "below")


class TestServe:
    @staticmethod
    def serve(monkeypatch, *arguments):
        """What ``trident serve`` hands to the server, without starting one."""
        given = {}

        class Stub:
            def __init__(self, repository, **options):
                given.update(options)

            def start(self):
                raise SetupError("not started here")

            def stop(self):
                pass

            def hurry(self):
                pass

        monkeypatch.setattr("trident.commands.serve.TritonServer", Stub)
        monkeypatch.setattr("trident.commands.serve._on_stop_signals", lambda handler: None)
        result = CliRunner().invoke(main, ["serve", "--no-supervise", *arguments])
        return given, result

    def test_it_is_off_by_default(self, monkeypatch):
        given, result = self.serve(monkeypatch)
        assert given["env"] is None
        assert "personal" not in result.output

    def test_it_hands_it_to_the_server_and_says_what_it_keeps(self, monkeypatch, folder):
        given, result = self.serve(monkeypatch, "--record", str(folder), "--record-share", "0.5", "--record-most", "9")
        assert Recording.from_environment(given["env"]) == Recording(folder, 0.5, 9)
        assert "personal data" in result.output
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_a_bad_share_is_refused_before_anything_starts(self, monkeypatch, folder):
        given, result = self.serve(monkeypatch, "--record", str(folder), "--record-share", "7")
        assert result.exit_code == 1
        assert "expected above 0 and at most 1, got 7.0" in result.output
        assert given == {}
