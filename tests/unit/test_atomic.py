"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trident import atomic
from trident.atomic import replace_text
from trident.errors import SetupError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model" / "config.pbtxt"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o640)
    return path


def test_contents_change_and_the_mode_stays(file: Path, tmp_path: Path) -> None:
    replace_text(file, "new: 路\r\n", by_way_of=tmp_path)
    assert file.read_bytes() == "new: 路\r\n".encode()
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.pbtxt", "model"]


def test_it_is_another_file_so_that_who_reads_the_old_one_goes_on(file: Path) -> None:
    with file.open() as reader:
        replace_text(file, "new")
        assert reader.read() == "old"
    assert file.read_text() == "new"


def test_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.pbtxt"
    link.symlink_to(file)
    replace_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_what_is_new_has_reached_the_disk_before_it_has_the_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink()
        seen.append("folder" if name.is_dir() else "file")
        real_fsync(handle)

    def replace(self: Path, target: Path) -> Path:
        seen.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    replace_text(file, "new")
    assert seen == ["file", "rename", "folder"]


@pytest.mark.parametrize("step", ["mkstemp", "fsync", "replace"])
def test_a_full_disk_changes_nothing(file: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {"mkstemp": atomic.tempfile, "fsync": atomic.os, "replace": Path}[step]
    monkeypatch.setattr(target, step, full)
    with pytest.raises(
        SetupError, match=r"config\.pbtxt: cannot be written \(No space left on device\); it is as it was"
    ):
        replace_text(file, "new")
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_is_said(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written"):
        replace_text(file, "new", by_way_of=tmp_path / "nowhere")
    assert file.read_text() == "old"


def test_what_a_killed_writer_left_goes_and_nothing_else(file: Path) -> None:
    left = file.parent / ".model.config.pbtxt.abc123"
    other = file.parent / ".other.config.pbtxt.abc123"
    left.write_text("half")
    other.write_text("half")
    replace_text(file, "new")
    assert not left.exists()
    assert other.exists()
