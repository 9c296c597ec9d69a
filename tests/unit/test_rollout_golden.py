"""The golden pictures: the project's own, and those of a folder."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.pictures import corners, encode, forged
from trident.errors import SetupError
from trident.preprocess import Limits, prepare
from trident.rollout import golden


class TestDefault:
    def test_every_one_can_be_served(self):
        pictures = golden.default_pictures()
        assert 12 <= len(pictures) <= 20
        assert max(Counter(one.name for one in pictures).values()) == 1
        for one in pictures:
            assert prepare(one.encoded).canvas.shape == (640, 640, 3)

    def test_they_are_the_same_every_time(self):
        first = golden.default_pictures()
        golden.default_pictures.cache_clear()
        assert golden.default_pictures() == first

    def test_there_is_an_empty_a_grey_and_a_tiny_one(self):
        images = {one.name: Image.open(io.BytesIO(one.encoded)) for one in golden.default_pictures()}
        assert np.asarray(images["nothing"]).std(axis=(0, 1)).max() < 1
        assert images["cameraman, grey"].mode == "L"
        assert max(images["cat, tiny"].size) < 50

    def test_without_scikit_image_it_says_what_to_do(self, monkeypatch):
        def missing(name):
            raise SetupError("the sample pictures are photos of scikit-image")

        golden.default_pictures.cache_clear()
        monkeypatch.setattr(golden, "photo", missing)
        with pytest.raises(SetupError, match="--golden"):
            golden.default_pictures()


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "below" / "deeper").mkdir(parents=True)
        (tmp_path / "b.png").write_bytes(encode(corners(), "PNG"))
        (tmp_path / "below" / "a.jpg").write_bytes(encode(corners(), "JPEG"))
        (tmp_path / "below" / "deeper" / "picture-00001").write_bytes(encode(corners(), "WEBP"))
        return tmp_path

    def test_all_pictures_below_it_are_taken_by_name(self, folder):
        found = golden.folder_pictures(folder)
        assert [one.name for one in found] == ["b.png", "below/a.jpg", "below/deeper/picture-00001"]
        assert found[0].encoded == (folder / "b.png").read_bytes()

    def test_labels_notes_and_hidden_files_are_passed_over(self, folder):
        for name in ("labels.csv", "instances.json", "README.md", "notes.TXT", ".hidden"):
            (folder / name).write_text("no picture")
        (folder / ".git").mkdir()
        (folder / ".git" / "object").write_text("no picture")
        assert len(golden.folder_pictures(folder)) == 3

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            pytest.param("broken.jpg", encode(corners(), "JPEG")[:-200], id="cut short"),
            pytest.param("movie.mp4", b"\0\0\0\x18ftypmp42", id="no picture"),
            pytest.param("huge.png", forged("PNG", 30000, 30000), id="too large"),
            pytest.param("empty.jpg", b"", id="empty"),
        ],
    )
    def test_a_bad_file_is_named(self, folder, name, content):
        (folder / name).write_bytes(content)
        with pytest.raises(SetupError, match=rf"{name}: .*take it out of the folder"):
            golden.folder_pictures(folder)

    def test_the_servers_own_limits_hold(self, folder):
        with pytest.raises(SetupError, match=r"at most 0\.001 megapixels"):
            golden.folder_pictures(folder, accepted=Limits(max_pixels=1000))

    def test_of_many_every_so_many_th_is_taken(self, tmp_path):
        for number in range(10):
            (tmp_path / f"{number}.png").write_bytes(encode(corners(16, 16)))
        assert [one.name for one in golden.folder_pictures(tmp_path, 3)] == ["0.png", "3.png", "6.png"]

    @pytest.mark.parametrize("make", [pytest.param(True, id="empty"), pytest.param(False, id="not there")])
    def test_no_picture_is_refused(self, tmp_path, make):
        folder = tmp_path / "none"
        if make:
            folder.mkdir()
        with pytest.raises(SetupError, match="expected a folder of pictures"):
            golden.folder_pictures(folder)

    def test_a_limit_of_nothing_is_refused(self, folder):
        with pytest.raises(SetupError, match="expected 1 or more, got 0"):
            golden.folder_pictures(folder, 0)


def test_labelled_sets_are_told_by_their_labels(tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "pairs.csv").write_text("file_a,file_b,same\n")
    assert golden.labelled_sets(tmp_path) == ("faces",)
