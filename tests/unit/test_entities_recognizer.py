from __future__ import annotations

import asyncio
import json
from collections import Counter

import numpy as np
import pytest

from trident.contract import (
    CALLED,
    CANVAS_SIDE,
    DETAIL_SIDE,
    ENTITY_PROVENANCE_ORDER,
    FACE_SIDE,
    MAX_BOXES,
    MAX_CHARACTERS,
    PLATE_HEIGHT,
    PLATE_WIDTH,
)
from trident.entities.called_networks import Networks
from trident.entities.gallery import KnownFaces, Snapshot
from trident.entities.pictures import Pictures
from trident.entities.recognizer import recognize
from trident.entities.second_look import TILE_SIDE, TILES_PER_CANVAS
from trident.entities.settings import Settings
from trident.entities.types import entities_to_json
from trident.errors import InvalidInput, SetupError
from trident.geometry import fitted_size
from trident.provenance import Provenance, pack, unpack

PARAMETERS = {
    "min_score": "0.05",
    "min_face_score": "0.3",
    "min_plate_candidate": "0.02",
    "max_crops_per_call": "64",
    "max_canvases_per_call": "8",
    "gallery_url": "",
    "gallery_poll_seconds": "1",
}
NETWORKS = Networks(dict.fromkeys(CALLED, 1) | {"face_embedder": 2}, identity_threshold=0.64)
SETTINGS = Settings.from_parameters(PARAMETERS, NETWORKS)
DIGESTS = {name: f"sha256:{index:064x}" for index, name in enumerate(CALLED, 1)}
FACE_SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class FakeNetworks:
    """Networks with known answers.

    At first they find what they are told; looking again, the plate detector finds what is not black on each tile. The
    embedder gives a face's mean colour, the reader a plate's red.
    """

    def __init__(self, faces: list[list] = (), plates: list[list] = ()) -> None:
        self.faces, self.plates = faces, plates
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self.running = self.most_running = 0
        self.failing: set[str] = set()

    async def infer(self, network, inputs):
        assert list(inputs) == ["PIXELS"]
        pixels = inputs["PIXELS"]
        assert pixels.dtype == np.uint8
        self.calls.append((network, pixels.shape))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        if network in self.failing:
            raise ConnectionError(network)
        answer = getattr(self, network)(pixels)
        answer["PROVENANCE"] = np.tile(pack(Provenance(SETTINGS.versions[network], DIGESTS[network])), (len(pixels), 1))
        return answer

    def face_detector(self, canvas):
        return self._detect(self.faces, "LANDMARKS", (5, 2), lambda box: box[:2] + FACE_SHAPE * (box[2:] - box[:2]))

    def plate_detector(self, canvas):
        found = self.plates if self.count()["plate_detector"] == 1 else [self._look_again(item) for item in canvas]
        return self._detect(found, "CORNERS", (4, 2), lambda box: box[[[0, 1], [2, 1], [2, 3], [0, 3]]])

    @staticmethod
    def _look_again(canvas):
        found = []
        for top, left in ((0, 0), (0, TILE_SIDE), (TILE_SIDE, 0), (TILE_SIDE, TILE_SIDE)):
            rows, columns = canvas[top : top + TILE_SIDE, left : left + TILE_SIDE].any(axis=2).nonzero()
            if len(rows):
                x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                found.append((1.0, left + x1, top + y1, left + x2, top + y2))
        return found

    @staticmethod
    def _detect(found, points_name, points_shape, points_of):
        boxes = np.zeros((len(found), MAX_BOXES, 4), np.float32)
        scores = np.zeros((len(found), MAX_BOXES), np.float32)
        points = np.zeros((len(found), MAX_BOXES, *points_shape), np.float32)
        for picture, rows in enumerate(found):
            for row, (score, *box) in enumerate(rows):
                boxes[picture, row] = box
                scores[picture, row] = score
                points[picture, row] = points_of(boxes[picture, row])
        counts = np.array([[len(rows)] for rows in found], np.int32)
        return {"BOXES": boxes, "SCORES": scores, points_name: points, "NUM_BOXES": counts}

    @staticmethod
    def face_embedder(faces):
        assert faces.shape[1:] == (FACE_SIDE, FACE_SIDE, 3)
        return {"EMBEDDING": faces[:, 90:130, 90:130].mean(axis=(1, 2)).astype(np.float32) + 1}

    @staticmethod
    def plate_reader(plates):
        assert plates.shape[1:] == (PLATE_HEIGHT, PLATE_WIDTH, 3)
        characters = np.zeros((len(plates), MAX_CHARACTERS), np.int32)
        scores = np.zeros((len(plates), MAX_CHARACTERS), np.float32)
        counts = np.zeros((len(plates), 1), np.int32)
        for row, plate in enumerate(plates):
            text = f"皖A·{round(float(plate[24, 24, 0])):03}"
            characters[row, : len(text)] = [ord(character) for character in text]
            scores[row, : len(text)] = 0.81
            counts[row] = len(text)
        return {"CHARACTERS": characters, "CHARACTER_SCORES": scores, "NUM_CHARACTERS": counts}

    def count(self) -> Counter[str]:
        return Counter(network for network, _ in self.calls)


def make_pictures(*sizes: tuple[int, int]) -> Pictures:
    details = [fitted_size(*size, DETAIL_SIDE, enlarge=False) for size in sizes]
    width, height = (max(sides) for sides in zip(*details, strict=True))
    return Pictures(
        np.zeros((len(sizes), CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8),
        np.zeros((len(sizes), height, width, 3), np.uint8),
        np.array(sizes, np.int32).reshape(-1, 2),
    )


def nobody(embeddings, network):
    return [None] * len(embeddings)


def draw(pictures: Pictures, picture: int, box, red: int) -> None:
    """Put a plate into a picture's detail; the box is in the detail's pixels."""
    x1, y1, x2, y2 = (round(value) for value in box)
    pictures.detail[picture, y1:y2, x1:x2, 0] = red


async def ask(pictures, networks, match=nobody, settings=SETTINGS):
    return await recognize(pictures, networks.infer, match, settings)


def rows_called(recognition, picture: int) -> set[str]:
    rows = zip(ENTITY_PROVENANCE_ORDER, recognition.provenance[picture], strict=True)
    return {name for name, row in rows if unpack(row) is not None}


async def test_none() -> None:
    networks = FakeNetworks([[], []], [[], []])
    recognition = await ask(make_pictures((640, 480), (100, 900)), networks)
    assert recognition.entities == [[], []]
    assert networks.count() == {"face_detector": 1, "plate_detector": 1}
    assert networks.most_running == 2
    for picture in range(2):
        assert rows_called(recognition, picture) == {"face_detector", "plate_detector"}
    assert entities_to_json(recognition.entities[0]) == b"[]"


async def test_one_of_each_in_picture_pixels() -> None:
    # 1280 x 960 on the canvas is 640 x 480: everything doubles.
    networks = FakeNetworks([[(0.99, 100, 100, 200, 220)]], [[(0.9, 302, 399, 404, 431)]])
    pictures = make_pictures((1280, 960))
    draw(pictures, 0, (600, 800, 800, 860), 123)
    recognition = await ask(pictures, networks)
    face, plate = json.loads(entities_to_json(recognition.entities[0]))
    assert face == {
        "type": "face",
        "score": 0.99,
        "box": [200, 200, 400, 440],
        "landmarks": [[260, 296], [340, 296], [300, 344], [270, 392], [330, 392]],
        "identity": None,
    }
    assert list(plate) == ["type", "score", "box", "corners", "text", "text_score"]
    # The second look saw where the plate really is.
    assert plate["box"] == pytest.approx([600, 800, 800, 860], abs=1.5)
    assert np.array(plate["corners"]) == pytest.approx(
        np.array([[600, 800], [800, 800], [800, 860], [600, 860]]), abs=1.5
    )
    assert plate["text"] == "皖A123"
    assert plate["text_score"] == pytest.approx(0.81)
    assert plate["score"] == pytest.approx((0.9 + 1.0) / 2 * 0.81)
    assert rows_called(recognition, 0) == set(CALLED)
    assert unpack(recognition.provenance[0, 2]) == Provenance(2, DIGESTS["face_embedder"])


async def test_fifty_entities_in_four_pictures_take_one_call_each() -> None:
    faces = [
        [(0.5 + row / 100, 60 * row, 10 + 100 * picture, 60 * row + 50, 70 + 100 * picture) for row in range(6)]
        for picture in range(4)
    ]
    plates = [[(0.9, 90 * row, 500, 90 * row + 80, 525) for row in range(7)] for _ in range(4)]
    faces[2], plates[3] = [], []
    networks = FakeNetworks(faces, plates)
    pictures = make_pictures((640, 640), (1280, 1280), (3000, 3000), (320, 320))
    for picture, rows in enumerate(plates):
        for _, *box in rows:
            draw(pictures, picture, np.array(box) * pictures.detail_size(picture)[0] / CANVAS_SIDE, 99)
    recognition = await ask(pictures, networks)
    assert networks.count() == dict.fromkeys(CALLED, 1) | {"plate_detector": 2}
    assert dict(networks.calls)["face_embedder"] == (18, FACE_SIDE, FACE_SIDE, 3)
    assert dict(networks.calls)["plate_reader"] == (21, PLATE_HEIGHT, PLATE_WIDTH, 3)
    assert dict(networks.calls)["plate_detector"][0] == -(-21 // TILES_PER_CANVAS)
    assert [len(found) for found in recognition.entities] == [13, 13, 7, 6]
    for found in recognition.entities:
        scores = [entity.score for entity in found]
        assert scores == sorted(scores, reverse=True)
    assert "face_embedder" not in rows_called(recognition, 2)
    assert "plate_reader" not in rows_called(recognition, 3)
    assert rows_called(recognition, 0) == set(CALLED)


async def test_more_than_a_network_takes_is_split_and_stays_in_order() -> None:
    settings = Settings.from_parameters(
        PARAMETERS | {"max_crops_per_call": "4", "max_canvases_per_call": "3"}, NETWORKS
    )
    pictures = make_pictures((640, 640))
    corners = [(64 * (row % 10), 120 * (row // 10)) for row in range(50)]
    plates = [(0.9, x, y, x + 40, y + 20) for x, y in corners]
    for row, (_, *box) in enumerate(plates):
        draw(pictures, 0, box, 50 + 3 * row)
    networks = FakeNetworks([[]], [plates])
    recognition = await ask(pictures, networks, settings=settings)
    assert networks.count()["plate_reader"] == 13
    assert networks.count()["plate_detector"] == 1 + 5
    assert max(shape[0] for network, shape in networks.calls if network == "plate_reader") == 4
    assert max(shape[0] for network, shape in networks.calls if network == "plate_detector") == 3
    texts = {(round(entity.box[0] / 64), round(entity.box[1] / 120)): entity.text for entity in recognition.entities[0]}
    assert texts == {(row % 10, row // 10): f"皖A{50 + 3 * row:03}" for row in range(50)}


async def test_crops_come_from_the_detail_of_their_own_picture() -> None:
    # In a batch, the smaller picture's detail is padded: its crops must not move with the padding.
    pictures = make_pictures((400, 400), (1280, 640))
    draw(pictures, 0, (100, 100, 200, 150), 111)
    draw(pictures, 1, (100, 100, 200, 150), 222)
    boxes = [[(0.9, 160, 160, 320, 240)], [(0.9, 50, 50, 100, 75)]]
    recognition = await ask(pictures, FakeNetworks([[], []], boxes))
    assert [entity.text for (entity,) in recognition.entities] == ["皖A111", "皖A222"]


async def test_known_faces_get_their_names() -> None:
    pictures = make_pictures((640, 640))
    pictures.detail[0, :, :320] = (250, 0, 0)
    pictures.detail[0, :, 320:] = (0, 0, 250)
    known = KnownFaces(("Rosa",), np.array([[251, 1, 1]], np.float32) / np.float32(np.sqrt(251**2 + 2)))
    boxes = [[(0.9, 20, 20, 220, 220), (0.8, 400, 20, 600, 220), (0.2, 40, 300, 240, 500)]]

    def match_in(network: str):
        return lambda embeddings, made_by: Snapshot("1", {network: known}).match(embeddings, made_by, 0.9)

    recognition = await ask(pictures, FakeNetworks(boxes, [[]]), match_in(DIGESTS["face_embedder"]))
    red, blue, faint = recognition.entities[0]
    assert red.identity is not None
    assert red.identity.name == "Rosa"
    assert red.identity.similarity == pytest.approx(1.0, abs=1e-5)
    assert blue.identity is None
    assert faint.identity is None, "a face that the detector doubts is not identified"

    recognition = await ask(pictures, FakeNetworks(boxes, [[]]), match_in("sha256:" + "f" * 64))
    assert all(face.identity is None for face in recognition.entities[0]), "another network's embeddings"


async def test_low_scores_and_second_finds_of_a_plate_are_left_out() -> None:
    pictures = make_pictures((640, 640))
    draw(pictures, 0, (100, 100, 200, 130), 200)
    plates = [[(0.9, 100, 100, 200, 130), (0.7, 120, 98, 230, 140), (0.019, 300, 300, 400, 330)]]
    networks = FakeNetworks([[(0.04, 10, 10, 90, 90)]], plates)
    recognition = await ask(pictures, networks)
    (plate,) = recognition.entities[0]
    assert plate.box == pytest.approx((100, 100, 200, 130), abs=1)
    assert "face_embedder" not in networks.count()


async def test_what_the_second_look_does_not_find_loses_half_its_score() -> None:
    pictures = make_pictures((640, 640))
    recognition = await ask(pictures, FakeNetworks([[]], [[(0.9, 100, 100, 200, 130)]]))
    (plate,) = recognition.entities[0]
    assert plate.box == (100, 100, 200, 130)
    assert plate.score == pytest.approx(0.45 * 0.81)


async def test_the_second_look_can_lift_a_faint_plate() -> None:
    pictures = make_pictures((640, 640))
    draw(pictures, 0, (100, 100, 200, 130), 200)
    recognition = await ask(pictures, FakeNetworks([[]], [[(0.03, 100, 100, 200, 130)]]))
    (plate,) = recognition.entities[0]
    assert plate.score == pytest.approx(0.515 * 0.81)


async def test_a_face_without_an_extent_is_kept_but_not_embedded() -> None:
    networks = FakeNetworks([[(0.9, 50, 50, 50, 50)]], [[]])
    recognition = await ask(make_pictures((640, 640)), networks)
    assert [face.identity for face in recognition.entities[0]] == [None]
    assert "face_embedder" not in networks.count()


@pytest.mark.parametrize("failing", CALLED)
async def test_a_failure_is_raised_when_nothing_is_left_running(failing: str) -> None:
    networks = FakeNetworks([[(0.9, 100, 100, 200, 220)]], [[(0.95, 300, 400, 400, 430)]])
    networks.failing = {failing}
    with pytest.raises(ConnectionError, match=failing):
        await ask(make_pictures((640, 640)), networks)
    assert networks.running == 0


async def test_an_empty_batch_calls_nothing() -> None:
    networks = FakeNetworks()
    pictures = Pictures(
        np.zeros((0, CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8),
        np.zeros((0, 1, 1, 3), np.uint8),
        np.zeros((0, 2), np.int32),
    )
    recognition = await ask(pictures, networks)
    assert recognition.entities == []
    assert recognition.provenance.shape == (0, 5, 36)
    assert not networks.calls


class TestPictures:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param({"sizes": np.array([[0, 5]])}, "IMAGE_SIZE: .* values above 0", id="no width"),
            pytest.param({"sizes": np.array([[5]])}, r"IMAGE_SIZE: expected shape \(N, 2\)", id="one side"),
            pytest.param({"canvas": np.zeros((1, 64, 64, 3), np.uint8)}, "CANVAS_PIXELS: .* got", id="small canvas"),
            pytest.param(
                {"detail": np.zeros((1, 479, 640, 3), np.uint8)},
                r"DETAIL_PIXELS: expected shape \(1, >= 480, >= 640, 3\), got \(1, 479, 640, 3\)",
                id="detail cut off",
            ),
        ],
    )
    def test_tensors_that_do_not_fit_are_refused(self, change: dict, message: str) -> None:
        good = make_pictures((640, 480))
        tensors = {"canvas": good.canvas, "detail": good.detail, "sizes": good.sizes} | change
        with pytest.raises(InvalidInput, match=message):
            Pictures(**tensors)


class TestSettings:
    def test_values_are_typed(self) -> None:
        assert SETTINGS.versions["face_embedder"] == 2
        assert SETTINGS.identity_threshold == 0.64
        assert SETTINGS.max_crops_per_call == 64

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param({"min_score": "high"}, "min_score: expected 0 to 1, got 'high'", id="no number"),
            pytest.param({"min_score": "nan"}, "min_score: expected 0 to 1, got 'nan'", id="not a number"),
            pytest.param({"min_face_score": "64"}, "min_face_score: expected 0 to 1", id="out of range"),
            pytest.param({"max_crops_per_call": "0"}, "max_crops_per_call: expected 1 to", id="too few"),
            pytest.param({"min_scroe": "0.1"}, "unknown parameters: min_scroe", id="misspelt"),
        ],
    )
    def test_wrong_values_are_refused(self, change: dict[str, str], message: str) -> None:
        with pytest.raises(SetupError, match=message):
            Settings.from_parameters(PARAMETERS | change, NETWORKS)

    def test_missing_ones_are_named(self) -> None:
        with pytest.raises(SetupError, match="has no parameter min_score"):
            Settings.from_parameters({k: v for k, v in PARAMETERS.items() if k != "min_score"}, NETWORKS)

    def test_the_backends_own_parameters_are_left_alone(self) -> None:
        assert Settings.from_parameters(PARAMETERS | {"EXECUTION_ENV_PATH": "/env.tar.gz"}, NETWORKS) == SETTINGS
