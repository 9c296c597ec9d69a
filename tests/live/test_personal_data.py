"""Names, plates, embeddings and photos leave a server by the answer to whoever asked, and no other way."""

from __future__ import annotations

import json
import logging
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.asking import PHOTOS, eventually, image_input
from tests.tiny_trident import EMBEDDING_SIDE, PLATE, digests_of, write_repository
from trident.contract import ENSEMBLE, MODELS
from trident.entities.gallery import Gallery
from trident.entities.sealing import KEY_VARIABLE, new_key
from trident.launcher import TritonServer
from trident.recorder import Recording
from trident_client import PictureRefused, TridentClient

KNOWN, DAMAGED = "Ada Lovelace of Ockham", "Charles Babbage of Walworth"
KEY = new_key()


@dataclass
class Home:
    server: TritonServer
    gallery: Gallery
    recorded: Path
    stored: bytes
    """The embedding of ``KNOWN``, as it is in the server's memory."""
    lines: list[str] = field(default_factory=list)
    """Everything that the server has written since its start."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("personal")
    repository = write_repository(folder / "models", versions=1)
    # Near to what the tiny embedder answers, and with bytes that stand nowhere else.
    embedding = 0.3 * np.random.default_rng(0).normal(size=EMBEDDING_SIDE).astype(np.float32)
    embedding = embedding / np.linalg.norm(embedding) * np.float32(0.6)
    embedding[0] = 0.8
    embedding /= np.linalg.norm(embedding)
    url = f"sqlite:///{folder}/gallery.db"
    network = digests_of(repository, "face_embedder")[1]
    lines: list[str] = []
    recording = Recording(folder / "recorded", share=1.0, most=5)
    with Gallery(url, keys=KEY) as gallery:
        gallery.enroll(KNOWN, embedding[None], network)
        gallery.enroll(DAMAGED, embedding[None], network)
        with closing(sqlite3.connect(folder / "gallery.db")) as connection, connection:
            connection.execute("UPDATE trident_embeddings SET vector = x'00' WHERE person_id = 2")
        server = TritonServer(
            repository,
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            env={"TRIDENT_GALLERY_URL": url, KEY_VARIABLE: KEY, **recording.to_environment()},
            arguments=["--log-verbose=1"],
            log_sink=lambda entry: lines.append(entry.text),
        )
        with server:
            stored = gallery.snapshot().by_network[network].embeddings[0].tobytes()
            yield Home(server, gallery, recording.folder, stored, lines)


def private(home: Home) -> dict[str, str]:
    """What may stand in no log, in the forms that it would have there."""
    floats = np.frombuffer(home.stored, dtype=np.float32)
    return {
        "name": KNOWN,
        "name of another": DAMAGED,
        "plate": PLATE,
        "plate, escaped": json.dumps(PLATE)[1:-1],
        "plate, in part": PLATE[1:],
        "key": KEY,
        "embedding": f"{abs(floats[1]):.8f}"[2:],
        "stored embedding": home.stored[:9].hex(),
    }


def test_no_line_of_any_log_has_them(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), TridentClient(home.server.grpc_url) as client:
        analysis = client.analyze(PHOTOS / "astronaut.png")
        with pytest.raises(PictureRefused):
            client.analyze(b"no picture, but from Ada Lovelace of Ockham")
        # A change of the gallery is logged too.
        home.gallery.enroll("Mary Somerville", np.ones((1, EMBEDDING_SIDE), np.float32), "sha256:" + "0" * 64)
        assert eventually(lambda: any("2 people" in line for line in home.lines))
    assert [face.identity.name for face in analysis.faces if face.identity] == [KNOWN]
    assert [plate.text for plate in analysis.plates] == [PLATE]

    assert any("damaged embeddings of 1 person are left out" in line for line in home.lines)
    assert len(home.lines) > 100, "a verbose log has more to say"
    for text in ("\n".join(home.lines), caplog.text):
        assert [what for what, content in private(home).items() if content in text] == []
        assert "Mary Somerville" not in text


def test_an_answer_has_a_name_and_a_similarity_and_nothing_to_make_a_face_of(home: Home) -> None:
    picture = (PHOTOS / "astronaut.png").read_bytes()
    outputs = [grpcclient.InferRequestedOutput(spec.name) for spec in MODELS[ENSEMBLE].outputs]
    with grpcclient.InferenceServerClient(home.server.grpc_url) as client:
        answer = client.infer(ENSEMBLE, [image_input([picture])], outputs=outputs, client_timeout=60)
    whole = answer.get_response().SerializeToString()
    assert KNOWN.encode() in whole
    for start in range(0, len(home.stored) - 16, 16):
        assert home.stored[start : start + 16] not in whole
    assert picture[:64] not in whole
    entities = json.loads(answer.as_numpy("RESULT")[0, 0])["entities"]
    (face,) = (entity for entity in entities if entity["type"] == "face")
    assert set(face) == {"type", "score", "box", "landmarks", "identity", "object"}
    assert set(face["identity"]) == {"name", "similarity"}


def test_what_is_recorded_is_the_picture_alone_and_private(home: Home) -> None:
    picture = (PHOTOS / "coffee.png").read_bytes()
    with TridentClient(home.server.grpc_url) as client:
        client.analyze(picture)
    assert eventually(lambda: picture in [file.read_bytes() for file in home.recorded.iterdir()])
    assert stat.S_IMODE(home.recorded.stat().st_mode) == 0o700
    for file in home.recorded.iterdir():
        assert file.name.startswith("picture-")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
