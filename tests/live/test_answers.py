"""Photos in, fused answers out, through a real server."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from PIL import Image

from tests.asking import PHOTOS, Answer, Ask, analyze, image_input
from trident.contract import ENSEMBLE, MODELS
from trident.launcher import TritonServer

Photo = Callable[[str], bytes]
Client = grpcclient.InferenceServerClient

GOLDEN = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


AS_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # a viewer turns it clockwise
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores an upright picture, by the EXIF orientation that it notes."""


def png(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif or Image.Exif())
    return out.getvalue()


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes ``x1, y1, x2, y2``."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def close(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two JSON values are the same but for small differences of their numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key], tolerance) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(close(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= tolerance * max(1.0, abs(one))
    return bool(one == other)


def get(url: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as response:
        return str(response.read().decode())


class TestGoldenPhotos:
    @pytest.mark.parametrize(
        ("name", "category", "scene"),
        [
            pytest.param("chelsea.png", "cat", {"tabby", "tiger cat", "Egyptian cat"}, id="a cat"),
            pytest.param("coffee.png", "cup", {"espresso", "cup", "coffee mug"}, id="a cup of coffee"),
            pytest.param(
                "motorcycle_left.png", "motorcycle", {"moped", "motor scooter", "disk brake"}, id="a motorcycle"
            ),
            pytest.param("astronaut.png", "person", set(), id="an astronaut"),
        ],
    )
    def test_shows_what_it_shows(self, ask: Ask, photo: Photo, name: str, category: str, scene: set[str]) -> None:
        (answer,) = ask(photo(name))

        assert answer["categories"][0]["name"] == category
        assert answer["categories"][0]["score"] > 0.4
        assert answer["objects"][0]["category"] == category
        assert answer["objects"][0]["score"] > 0.4
        if scene:
            assert {label["label"] for label in answer["scene"]} & scene

    def test_a_face_is_found_and_belongs_to_a_person(self, ask: Ask, photo: Photo) -> None:
        (answer,) = ask(photo("astronaut.png"))

        face = answer["entities"][0]
        assert (face["type"], face["identity"]) == ("face", None)
        assert face["score"] > 0.4
        x1, y1, x2, y2 = face["box"]
        assert 150 < x1 < x2 < 300
        assert 30 < y1 < y2 < 230
        assert len(face["landmarks"]) == 5
        assert answer["objects"][face["object"]]["category"] == "person"
        assert 0 in answer["objects"][face["object"]]["entities"]

    def test_a_picture_of_nothing_has_no_objects_and_no_entities(self, ask: Ask) -> None:
        (answer,) = ask(jpeg(Image.new("RGB", (320, 240), (127, 127, 127))))

        assert answer["image"] == {"width": 320, "height": 240}
        assert [thing for thing in answer["objects"] if thing["score"] > 0.3] == []
        assert [entity for entity in answer["entities"] if entity["score"] > 0.3] == []

    @pytest.mark.parametrize("name", GOLDEN)
    def test_every_answer_keeps_the_schema(self, ask: Ask, photo: Photo, name: str) -> None:
        (answer,) = ask(photo(name))
        with Image.open(PHOTOS / name) as image:
            width, height = image.size

        assert list(answer) == ["schema", "image", "scene", "categories", "objects", "entities", "models"]
        assert answer["schema"] == 1
        assert answer["image"] == {"width": width, "height": height}
        assert len(answer["scene"]) == 5
        for ranked in (answer["scene"], answer["categories"], answer["objects"], answer["entities"]):
            scores = [entry["score"] for entry in ranked]
            assert scores == sorted(scores, reverse=True)
            assert all(0 <= score <= 1 for score in scores)
        for box in (entry["box"] for entry in (*answer["objects"], *answer["entities"])):
            assert 0 <= box[0] <= box[2] <= width
            assert 0 <= box[1] <= box[3] <= height
        for index, entity in enumerate(answer["entities"]):
            if entity["object"] is not None:
                assert index in answer["objects"][entity["object"]]["entities"]

    @pytest.mark.parametrize("orientation", AS_STORED)
    def test_orientation_of_the_camera_is_applied(self, ask: Ask, photo: Photo, orientation: int) -> None:
        # The cat sits in a corner, so that its box tells every orientation from every other.
        upright = Image.new("RGB", (700, 450), (90, 90, 90))
        with Image.open(io.BytesIO(photo("chelsea.png"))) as image:
            upright.paste(image.convert("RGB"), (249, 150))
        turn = AS_STORED[orientation]
        stored = upright if turn is None else upright.transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation

        (answer,) = ask(png(stored, exif))
        (expected,) = ask(png(upright))

        cat = expected["objects"][0]
        x1, y1, x2, y2 = cat["box"]
        for mirrored in ([700 - x2, y1, 700 - x1, y2], [x1, 450 - y2, x2, 450 - y1]):
            assert overlap(cat["box"], mirrored) < 0.5
        assert answer["image"] == expected["image"] == {"width": 700, "height": 450}
        assert answer["objects"][0]["category"] == cat["category"] == "cat"
        assert overlap(answer["objects"][0]["box"], cat["box"]) >= 0.8


class TestBatches:
    @pytest.mark.parametrize("size", [1, 3, 8])
    def test_a_batch_is_answered_as_its_pictures_alone(self, ask: Ask, photo: Photo, size: int) -> None:
        names = [GOLDEN[index % len(GOLDEN)] for index in range(size)]

        together = ask(*(photo(name) for name in names))

        for name, answer in zip(names, together, strict=True):
            (alone,) = ask(photo(name))
            assert close(answer, alone, 2e-3), name

    def test_more_than_eight_are_refused(self, ask: Ask, photo: Photo) -> None:
        with pytest.raises(grpcclient.InferenceServerException, match="batch-size must be <= 8") as caught:
            ask(*[photo("chelsea.png")] * 9)
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


class TestManyClients:
    def test_concurrent_requests_get_their_own_answers(self, server: TritonServer, ask: Ask, photo: Photo) -> None:
        expected = {name: ask(photo(name))[0] for name in GOLDEN}

        def request(index: int) -> tuple[tuple[str, ...], list[Answer]]:
            names = tuple(GOLDEN[(index + k) % len(GOLDEN)] for k in range(1 + index % 3))
            with grpcclient.InferenceServerClient(server.grpc_url) as client:
                return names, analyze(client, *(photo(name) for name in names))

        with ThreadPoolExecutor(8) as pool:
            for names, answers in pool.map(request, range(24)):
                for name, answer in zip(names, answers, strict=True):
                    assert close(answer, expected[name], 2e-3), name

    def test_bad_pictures_fail_no_one_else_s_request(self, server: TritonServer, ask: Ask, photo: Photo) -> None:
        expected = ask(photo("chelsea.png"))[0]

        def request(index: int) -> Answer | str:
            with grpcclient.InferenceServerClient(server.grpc_url) as client:
                try:
                    return analyze(client, b"no picture" if index % 2 else photo("chelsea.png"))[0]
                except grpcclient.InferenceServerException as exc:
                    return str(exc.status())

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(request, range(24)))

        assert set(answers[1::2]) == {"StatusCode.INVALID_ARGUMENT"}  # type: ignore[arg-type]
        assert all(close(answer, expected, 2e-3) for answer in answers[::2])

    def test_a_full_queue_answers_at_once_and_all_is_well_afterwards(
        self, server: TritonServer, ask: Ask, photo: Photo
    ) -> None:
        """The queue is limited before the fan-out: what does not fit is refused, and what is accepted is answered.

        How many fit depends on the machine's pace: the number of requests at a time grows until some are refused.
        """

        def request(_: int) -> str:
            with grpcclient.InferenceServerClient(server.grpc_url) as client:
                try:
                    return str(analyze(client, photo("chelsea.png"))[0]["categories"][0]["name"])
                except grpcclient.InferenceServerException as exc:
                    return str(exc.status())

        for at_once in (120, 240, 480, 960):
            with ThreadPoolExecutor(at_once) as pool:
                answers = set(pool.map(request, range(at_once)))
            if answers != {"cat"}:
                break

        assert answers == {"cat", "StatusCode.UNAVAILABLE"}
        assert ask(photo("chelsea.png"))[0]["categories"][0]["name"] == "cat"


class TestBadPictures:
    """Of every kind: ``test_bad_input.py``."""

    def test_one_bad_picture_fails_its_request_and_is_named(self, ask: Ask, photo: Photo) -> None:
        """A caller who wants an answer for every picture sends each in a request of its own, as the client does."""
        with pytest.raises(grpcclient.InferenceServerException, match=r"picture 1 of 3\b") as caught:
            ask(photo("chelsea.png"), b"no picture", photo("coffee.png"))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


class TestPlainProtocol:
    def test_typed_tensors_are_served_on_request(self, client: Client, photo: Photo) -> None:
        result = client.infer(ENSEMBLE, [image_input([photo("astronaut.png")] * 2)])  # all outputs
        answer = json.loads(result.as_numpy("RESULT")[0, 0])

        for spec in MODELS[ENSEMBLE].outputs:
            assert result.as_numpy(spec.name).shape == (2, *spec.dims), spec.name
        probabilities = result.as_numpy("CLASS_PROBABILITIES")[0]
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-3)
        assert probabilities.max() == pytest.approx(answer["scene"][0]["score"], abs=1e-3)
        count = int(result.as_numpy("NUM_BOXES")[0, 0])
        scores = result.as_numpy("BOX_SCORES")[0]
        assert np.all(np.diff(scores[:count]) <= 0)
        assert not scores[count:].any()
        assert result.as_numpy("BOXES")[0, 0] == pytest.approx(answer["objects"][0]["box"], abs=0.1)

    def test_metadata_is_that_of_the_contract(self, client: Client) -> None:
        metadata = client.get_model_metadata(ENSEMBLE, as_json=True)
        spec = MODELS[ENSEMBLE]
        for have, wanted in ((metadata["inputs"], spec.inputs), (metadata["outputs"], spec.outputs)):
            assert [(t["name"], t["datatype"]) for t in have] == [(s.name, s.dtype.wire) for s in wanted]

    def test_http_answers_too(self, server: TritonServer) -> None:
        assert get(f"{server.http_url}/v2/models/{ENSEMBLE}/ready") == ""

    def test_metrics_count_the_requests(self, server: TritonServer, ask: Ask, photo: Photo) -> None:
        ask(photo("chelsea.png"))
        assert f'nv_inference_request_success{{model="{ENSEMBLE}",version="1"}}' in get(server.metrics_url)
