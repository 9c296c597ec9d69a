"""The pictures that the benchmarks of speed ask about."""

from __future__ import annotations

import pytest
from PIL import Image

from benchmarks.pictures import pictures_in, write_pictures
from trident.errors import SetupError


def test_the_sample_pictures_are_of_mixed_sizes_and_always_the_same(tmp_path):
    written = write_pictures(tmp_path / "one" / "folder")
    sizes = {}
    for file in written:
        with Image.open(file) as opened:
            opened.load()
            sizes[file.stem] = opened.size
            assert (opened.format, opened.mode) == ("JPEG", "RGB")
    assert list(sizes) == ["astronaut", "mirrored", "motorcycle", "coffee", "large", "small"]
    assert len(set(sizes.values())) == 5
    assert sizes["large"][0] * sizes["large"][1] > 6e6
    assert max(sizes["small"]) == 240
    again = write_pictures(tmp_path / "again")
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in written]
    assert pictures_in(tmp_path / "again") == sorted(again)


def test_the_other_sizes_can_be_left_out(tmp_path):
    assert len(write_pictures(tmp_path, other_sizes=False)) == 4
    assert len(pictures_in(tmp_path)) == 4


def test_pictures_are_told_from_what_lies_beside_them(tmp_path):
    for name in ("b.JPG", "a.webp", "c.tiff", "labels.csv", ".hidden"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in pictures_in(tmp_path)] == ["a.webp", "b.JPG", "c.tiff"]


def test_folders_that_hold_none_are_named(tmp_path):
    with pytest.raises(SetupError, match=r"expected a folder, got .*nowhere"):
        pictures_in(tmp_path / "nowhere")
    (tmp_path / "labels.csv").write_text("file")
    with pytest.raises(SetupError, match=r"expected files that end in \.bmp, .* got none of them"):
        pictures_in(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(SetupError, match=r"got empty files: a\.png"):
        pictures_in(tmp_path)
