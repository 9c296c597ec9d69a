"""Names of faces, and which networks answered."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageEnhance

from tests.asking import PHOTOS, Ask
from trident.component_digest import digest_of_component
from trident.layout import DEFAULT_REPOSITORY
from trident.provenance import unpack
from trident.rollout.disk import Repository

Photo = Callable[[str], bytes]

TRIDENT = Path(sys.executable).parent / "trident"
NOTICED_WITHIN_S = 5.0
ASTRONAUT = "Eileen Collins"


def gallery(url: str, *arguments: str) -> str:
    result = subprocess.run(
        [TRIDENT, "gallery", arguments[0], "--url", url, *arguments[1:]], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def name_of_the_face(ask: Ask, picture: bytes) -> str | None:
    (answer,) = ask(picture)
    identity = answer["entities"][0]["identity"]
    return identity["name"] if identity else None


def name_becomes(ask: Ask, picture: bytes, expected: str | None) -> bool:
    deadline = time.monotonic() + NOTICED_WITHIN_S
    while time.monotonic() < deadline:
        if name_of_the_face(ask, picture) == expected:
            return True
        time.sleep(0.2)
    return False


def another_picture_of_her() -> bytes:
    """The photo as another camera might have taken it: smaller, darker, mirrored, compressed."""
    with Image.open(PHOTOS / "astronaut.png") as image:
        changed = ImageEnhance.Brightness(image.convert("RGB").resize((400, 400))).enhance(0.8)
    out = io.BytesIO()
    changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(out, "JPEG", quality=80)
    return out.getvalue()


def test_a_running_server_learns_and_forgets_a_name(ask: Ask, photo: Photo, gallery_url: str) -> None:
    assert name_of_the_face(ask, photo("astronaut.png")) is None

    gallery(gallery_url, "enroll", ASTRONAUT, str(PHOTOS / "astronaut.png"))
    try:
        assert name_becomes(ask, photo("astronaut.png"), ASTRONAUT)
        assert name_becomes(ask, another_picture_of_her(), ASTRONAUT)  # each instance looks for itself
        assert ASTRONAUT in gallery(gallery_url, "list")
    finally:
        gallery(gallery_url, "forget", ASTRONAUT)

    assert name_becomes(ask, photo("astronaut.png"), None)


def test_answers_name_the_versions_and_digests_that_are_in_the_files(ask: Ask, photo: Photo) -> None:
    repository = DEFAULT_REPOSITORY
    pins = Repository(repository).release()
    (answer,) = ask(photo("astronaut.png"))

    assert {name: entry["version"] for name, entry in answer["models"].items()}.items() <= pins.items()
    # A face is there, so both of its networks were called.
    networks = {"classifier", "detector", "face_detector", "face_embedder", "plate_detector"}
    assert networks | {"preprocess", "entity_recognizer", "fusion"} <= answer["models"].keys()
    for name in networks:
        assert answer["models"][name]["digest"] == digest_in_the_file(repository, name, pins[name]), name
    for name in ("preprocess", "entity_recognizer", "fusion"):
        assert answer["models"][name]["digest"] == digest_of_component(name, repository / name / str(pins[name])), name


def test_networks_that_were_not_called_are_not_named(ask: Ask) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    (answer,) = ask(out.getvalue())

    assert "face_detector" in answer["models"]
    assert not {"face_embedder", "plate_reader"} & answer["models"].keys()


def digest_in_the_file(repository: Path, name: str, version: int) -> str:
    session = onnxruntime.InferenceSession(
        repository / name / str(version) / "model.onnx", providers=["CPUExecutionProvider"]
    )
    shape = [1, *session.get_inputs()[0].shape[1:]]
    (row,) = session.run(["PROVENANCE"], {"PIXELS": np.zeros(shape, dtype=np.uint8)})[0]
    provenance = unpack(row)
    assert provenance is not None
    return provenance.digest
