from __future__ import annotations

import io
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from trident.commands import gallery as commands
from trident.contract import DETAIL_SIDE, MAX_BOXES
from trident.entities.gallery import Gallery, gallery_ready_for
from trident.errors import InvalidInput, SetupError
from trident.preprocess import Limits
from trident.provenance import Provenance, pack

FACE_SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
DIGEST, OTHER_DIGEST = "sha256:" + "c" * 64, "sha256:" + "d" * 64
REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


class FakeNetworks:
    """Finds every square that is not grey, scored by its size, and embeds it as its mean colour."""

    digest = DIGEST
    digest_of_version_2: str | None = None
    exported = True

    def __init__(self, model_repository: Path, versions: dict[str, int]) -> None:
        assert (model_repository / "entity_recognizer" / "config.pbtxt").is_file()
        self._second = versions["face_embedder"] == 2
        if self._second and self.digest_of_version_2 is not None:
            self.digest = self.digest_of_version_2

    async def infer(self, network, inputs):
        if not self.exported or (self._second and self.digest_of_version_2 is None):
            raise SetupError("no networks here")
        return getattr(self, network)(inputs["PIXELS"])

    def face_detector(self, canvases):
        (canvas,) = canvases
        boxes, landmarks = np.zeros((1, MAX_BOXES, 4), np.float32), np.zeros((1, MAX_BOXES, 5, 2), np.float32)
        scores = np.zeros((1, MAX_BOXES), np.float32)
        count = 0
        for channel in range(3):
            rows, columns = (canvas[..., channel].astype(int) - canvas.min(axis=2) > 100).nonzero()
            if len(rows):
                box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                boxes[0, count] = box
                landmarks[0, count] = box[:2] + FACE_SHAPE * (box[2:] - box[:2])
                scores[0, count] = 0.4 if box[2] - box[0] < 50 else 0.9
                count += 1
        return {
            "BOXES": boxes,
            "SCORES": scores,
            "LANDMARKS": landmarks,
            "NUM_BOXES": np.array([[count]], np.int32),
            "PROVENANCE": np.zeros((1, 36), np.uint8),
        }

    def face_embedder(self, faces):
        provenance = np.tile(pack(Provenance(1, self.digest)), (len(faces), 1))
        return {"EMBEDDING": faces.mean(axis=(1, 2)).astype(np.float32) - 10, "PROVENANCE": provenance}


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LocalNetworks", FakeNetworks)
    monkeypatch.setattr(FakeNetworks, "digest", DIGEST)
    monkeypatch.setattr(FakeNetworks, "exported", True)
    monkeypatch.setattr(FakeNetworks, "digest_of_version_2", None)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gallery.db"


def photo(path: Path, *squares: tuple[str, int, int, int]) -> Path:
    """A grey photo of 640 x 480 with coloured squares: colour, x, y, side."""
    image = Image.new("RGB", (640, 480), (60, 60, 60))
    for colour, x, y, side in squares:
        image.paste(Image.new("RGB", (side, side), colour), (x, y))
    image.save(path)
    return path


def cells(output: str, name: str) -> list[str]:
    """The row of a table that begins with a name."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]
    (row,) = [row for row in rows if row and row[0] == name]
    return row


def configure(repository: Path) -> Path:
    """A model repository with what enrolling reads."""
    for model in ("trident", "entity_recognizer", "preprocess"):
        (repository / model / "1").mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", repository / model)
    shutil.copy(REPOSITORY / "entity_recognizer/1/networks.json", repository / "entity_recognizer" / "1")
    return repository


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands.gallery, [str(argument) for argument in arguments])


def test_enroll_list_forget(tmp_path: Path, url: str) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    result = run("enroll", "Ada", red, red, "--url", url)
    assert result.exit_code == 0, result.output
    assert f"{red}: took its face, 200×200 pixels at (100, 100)" in result.output
    assert f"Ada: 2 faces enrolled in {tmp_path}/gallery.db" in result.output
    with Gallery(url) as gallery:
        assert gallery.snapshot().by_network[DIGEST].names == ("Ada", "Ada")

    result = run("list", "--url", url)
    assert result.exit_code == 0
    assert "Ada" in result.output
    assert cells(result.output, "Ada")[:3] == ["Ada", "2", ""]

    result = run("forget", "Ada", "--url", url)
    assert result.exit_code == 0
    assert "Ada: forgotten, 2 embeddings deleted" in result.output
    assert "Nobody is enrolled" in run("list", "--url", url).output


def test_of_several_faces_the_largest_is_taken_and_it_says_so(tmp_path: Path, url: str) -> None:
    two = photo(tmp_path / "two.png", ("red", 20, 20, 100), ("blue", 200, 100, 250))
    result = run("enroll", "Bo", two, "--url", url)
    assert result.exit_code == 0
    assert "took the largest of its 2 faces, 250×250 pixels at (200, 100)" in result.output
    with Gallery(url) as gallery:
        (embedding,) = gallery.snapshot().by_network[DIGEST].embeddings
    assert embedding.argmax() == 2


def test_what_cannot_be_used_is_named_and_the_rest_is_enrolled(tmp_path: Path, url: str) -> None:
    good = photo(tmp_path / "good.png", ("red", 100, 100, 200))
    empty = photo(tmp_path / "empty.png")
    faint = photo(tmp_path / "faint.png", ("red", 100, 100, 40))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    missing = tmp_path / "missing.jpg"
    result = run("enroll", "Ada", empty, faint, broken, missing, good, "--url", url)
    assert result.exit_code == 1
    assert f"{empty}: not enrolled: no face was found in it" in result.output
    assert f"{faint}: not enrolled: no face was found in it" in result.output
    assert f"{broken}: not enrolled: " in result.output
    assert f"{missing}: not enrolled: No such file or directory" in result.output
    assert "4 of 5 photos could not be used" in result.output
    with Gallery(url) as gallery:
        assert gallery.people()[0].embeddings == {DIGEST: 1}


def test_without_any_face_nothing_is_made(tmp_path: Path, url: str) -> None:
    result = run("enroll", "Ada", photo(tmp_path / "empty.png"), "--url", url)
    assert result.exit_code == 1
    assert "nothing was enrolled for 'Ada'" in result.output
    assert not (tmp_path / "gallery.db").exists()


def test_a_face_that_is_known_under_another_name_is_mentioned(tmp_path: Path, url: str) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    run("enroll", "Ada", red, "--url", url)
    result = run("enroll", "Eve", red, "--url", url)
    assert result.exit_code == 0
    assert "a face of 'Eve' looks like 'Ada'" in result.output


def test_embeddings_of_another_network_are_mentioned(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    run("enroll", "Ada", red, "--url", url)
    monkeypatch.setattr(FakeNetworks, "digest", OTHER_DIGEST)
    sentence = (
        "1 person is enrolled for other networks than face_embedder version 1 only, and will not be recognized: Ada"
    )
    result = run("list", "--url", url)
    assert cells(result.output, "Ada")[:3] == ["Ada", "0", "1 for sha256:cccccccccccc"]
    assert sentence in result.output
    result = run("enroll", "Bo", red, "--url", url)
    assert result.exit_code == 0
    assert sentence in result.output
    assert "looks like" not in result.output
    # Enrolled again, she is known to both, and there is nothing to mind.
    result = run("enroll", "Ada", red, red, "--url", url)
    assert "will not be recognized" not in result.output
    result = run("list", "--url", url)
    assert cells(result.output, "Ada")[:3] == ["Ada", "2", "1 for sha256:cccccccccccc"]
    assert "Mind" not in result.output


class TestAnotherEmbedderThanTheOneThatServes:
    @pytest.fixture(autouse=True)
    def _second_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeNetworks, "digest_of_version_2", OTHER_DIGEST)

    def test_people_are_enrolled_again_while_the_old_one_serves(self, tmp_path: Path, url: str) -> None:
        red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
        for name in ("Ada", "Bo"):
            run("enroll", name, red, "--url", url)
        result = run("enroll", "Ada", red, "--with", "face_embedder=2", "--url", url)
        assert result.exit_code == 0, result.output
        assert "Ada: 1 face enrolled for face_embedder version 2 in" in result.output
        assert "Still to enrol for face_embedder version 2: Bo." in result.output
        assert "looks like" not in result.output
        with Gallery(url) as gallery:
            assert gallery_ready_for(gallery, DIGEST, OTHER_DIGEST) == ["Bo"]
            assert gallery_ready_for(gallery, DIGEST, DIGEST) == []
            assert gallery_ready_for(gallery, OTHER_DIGEST, DIGEST) == []
            assert gallery.people()[0].embeddings == {DIGEST: 1, OTHER_DIGEST: 1}
        repository = configure(tmp_path / "models")
        for number in ("1", "2"):
            (repository / "face_embedder" / number).mkdir(parents=True)
        result = run("list", "--url", url, "--model-repository", repository)
        assert cells(result.output, "Ada")[:3] == ["Ada", "1", "1 for face_embedder 2"]
        assert cells(result.output, "Bo")[:3] == ["Bo", "1", ""]

        result = run("enroll", "Bo", red, "--with", "face_embedder=2", "--url", url)
        assert "Everybody whom face_embedder version 1 knows is enrolled for version 2 too." in result.output

    def test_of_the_same_network_nobody_has_to_be_enrolled_again(self, tmp_path: Path, url: str, monkeypatch) -> None:
        monkeypatch.setattr(FakeNetworks, "digest_of_version_2", DIGEST)
        red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
        result = run("enroll", "Ada", red, "--with", "face_embedder=2", "--url", url)
        assert "face_embedder versions 1 and 2 are the same network" in result.output

    def test_many_names_are_cut_short(self, tmp_path: Path, url: str) -> None:
        red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
        with Gallery(url) as gallery:
            for number in range(8):
                gallery.enroll(f"Person {number}", np.eye(3, dtype=np.float32)[:1], DIGEST)
        result = run("enroll", "Person 0", red, "--with", "face_embedder=2", "--url", url)
        assert "version 2: Person 1, Person 2, Person 3, Person 4, Person 5 and 2 more." in result.output

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["face_embedder"], "got 'face_embedder'"),
            (["face_embedder=two"], "got 'face_embedder=two'"),
            (["face_embedder=0"], "got 'face_embedder=0'"),
            (["plate_reader=2"], "expected face_embedder=VERSION or face_detector=VERSION, got 'plate_reader=2'"),
            (["face_embedder=2", "face_embedder=3"], "face_embedder is named twice"),
        ],
    )
    def test_what_is_no_version_is_refused(self, tmp_path: Path, url: str, given: list[str], message: str) -> None:
        options = [word for one in given for word in ("--with", one)]
        result = run("enroll", "Ada", tmp_path / "red.png", *options, "--url", url)
        assert result.exit_code == 2
        assert message in result.output

    def test_a_version_that_is_not_there_is_said(self, tmp_path: Path, url: str, monkeypatch) -> None:
        monkeypatch.setattr(FakeNetworks, "digest_of_version_2", None)
        red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
        assert isinstance(run("enroll", "Ada", red, "--with", "face_embedder=2", "--url", url).exception, SetupError)
        assert not (tmp_path / "gallery.db").exists()


def test_list_works_without_exported_networks(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("enroll", "Ada", photo(tmp_path / "red.png", ("red", 100, 100, 200)), "--url", url)
    monkeypatch.setattr(FakeNetworks, "exported", False)
    result = run("list", "--url", url)
    assert result.exit_code == 0
    assert "Ada" in result.output
    assert "The networks are not exported here" in result.output


@pytest.mark.parametrize("name", ["Bad [/x] tag", "[bold]Ada", "Ada \\[x]"])
def test_names_are_shown_as_they_are(tmp_path: Path, url: str, name: str) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    for arguments in (("enroll", name, red), ("list",), ("forget", name)):
        result = run(*arguments, "--url", url)
        assert result.exit_code == 0, result.exception
        assert name in result.output


def test_a_file_name_with_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    # The title is broken to the table's width: anywhere, so the line breaks are taken out.
    url = f"sqlite:///{tmp_path}/[red].db"
    run("enroll", "Ada", photo(tmp_path / "red.png", ("red", 100, 100, 200)), "--url", url)
    assert "[red].db" in "".join(run("list", "--url", url).output.split())


def test_a_damaged_embedding_does_not_keep_others_from_enrolling(tmp_path: Path, url: str) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    run("enroll", "Ada", red, "--url", url)
    with sqlite3.connect(tmp_path / "gallery.db") as connection:
        connection.execute("UPDATE trident_embeddings SET vector = x'000000'")
    result = run("enroll", "Bo", red, "--url", url)
    assert result.exit_code == 0, result.exception
    assert "Mind: damaged embeddings of 'Ada' are left out" in result.output
    with Gallery(url) as gallery:
        assert gallery.snapshot().by_network[DIGEST].names == ("Bo",)


def test_what_the_server_refuses_is_not_enrolled(tmp_path: Path, url: str) -> None:
    configure(tmp_path / "models")
    config = tmp_path / "models" / "preprocess" / "config.pbtxt"
    limit = 'key: "max_megapixels" value { string_value: "'
    assert f'{limit}50"' in config.read_text()
    config.write_text(config.read_text().replace(f'{limit}50"', f'{limit}0.3"'))
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))

    result = run("enroll", "Ada", red, "--url", url, "--model-repository", tmp_path / "models")

    assert result.exit_code == 1
    assert "640" in result.output
    assert "nothing was enrolled" in result.output


def test_failures_are_the_projects_own(tmp_path: Path, url: str) -> None:
    red = photo(tmp_path / "red.png", ("red", 100, 100, 200))
    assert isinstance(run("forget", "Nobody", "--url", url).exception, InvalidInput)
    assert isinstance(run("enroll", " ", red, "--url", url).exception, InvalidInput)
    inside = f"sqlite:///{REPOSITORY}/gallery.db"
    assert isinstance(run("enroll", "Ada", red, "--url", inside).exception, SetupError)
    assert isinstance(run("enroll", "Ada", red, "--url", url, "--model-repository", tmp_path).exception, SetupError)


def test_the_canonical_pixels_are_those_of_preprocess() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 2000), "red").save(buffer, "PNG")
    pictures = commands._canonical(buffer.getvalue(), Limits())
    assert pictures.size(0) == (4000, 2000)
    assert pictures.detail_of(0).shape == (DETAIL_SIDE // 2, DETAIL_SIDE, 3)
