"""What ``status`` finds out, and what it says where it may not ask."""

from __future__ import annotations

import json

import pytest
from fake_server import DIGEST, Answer, FakeTriton, result, running

from trident_client import AsyncTridentClient, Retries, ServerUnreachable, TridentClient
from trident_client.origins import known_origins

INDEX = [
    ("trident", "1", "READY", ""),
    ("detector", "2", "READY", ""),
    ("detector", "1", "UNAVAILABLE", "unloaded"),
    ("face_embedder", "1", "READY", ""),
    ("classifier", "1", "READY", ""),
    ("plate_reader", "", "", ""),
    ("another", "3", "READY", ""),
]


@pytest.fixture
def fake():
    with running(FakeTriton()) as server:
        server.index = INDEX
        yield server


@pytest.fixture
def client(fake):
    with TridentClient(fake.url, retries=Retries(first_backoff=0.01), timeout=5) as client:
        yield client


def by_name(status):
    return {model.name: model for model in status.models}


def test_models_versions_pins_and_digests(fake, client):
    status = client.status()
    assert (status.name, status.version, status.live, status.ready) == ("triton", "2.51.0", True, True)
    assert [model.name for model in status.models] == [
        "trident", "classifier", "detector", "face_embedder", "plate_reader", "another",
    ]  # fmt: skip
    models = by_name(status)
    assert [(one.version, one.state) for one in models["detector"].versions] == [(1, "UNAVAILABLE"), (2, "READY")]
    assert (models["detector"].pinned, models["detector"].pinned_by) == (2, "trident")
    assert (models["face_embedder"].pinned, models["face_embedder"].pinned_by) == (1, "entity_recognizer")
    assert (models["plate_reader"].versions, models["plate_reader"].ready) == ((), False)
    assert models["another"].pinned is None
    # From the answer to the probe picture, and from the network itself; what is not ready is not asked.
    assert models["classifier"].versions[0].digest == DIGEST
    assert models["detector"].versions[1].digest == "sha256:" + "02" * 32
    assert models["detector"].versions[0].digest is None
    assert models["face_embedder"].versions[0].digest == "sha256:" + "01" * 32
    assert status.notes == ()


def test_a_pin_that_is_not_ready_is_no_ready_model(fake, client):
    fake.index = [("detector", "1", "READY", ""), ("detector", "2", "UNAVAILABLE", "no such file")]
    assert by_name(client.status())["detector"].ready is False


def test_without_probe_no_picture_is_sent(fake, client):
    status = client.status(probe=False)
    assert "ModelInfer" not in fake.calls
    assert by_name(status)["classifier"].versions[0].digest is None


def test_a_restricted_index_becomes_a_note(fake, client):
    fake.restricted = {"RepositoryIndex"}
    status = client.status()
    assert fake.calls.count("RepositoryIndex") == 1  # not retried, though Triton says UNAVAILABLE
    assert len(status.notes) == 1
    assert "the repository index is unknown" in status.notes[0]
    assert by_name(status)["detector"].versions[0].version == 1


def test_restricted_configurations_become_notes(fake, client):
    fake.restricted = {"ModelConfig"}
    status = client.status()
    assert [note.partition(":")[0] for note in status.notes] == [
        "the ensemble's pins are unknown",
        "the pins of entity_recognizer are unknown",
    ]
    assert by_name(status)["detector"].pinned is None


def test_a_failing_probe_becomes_a_note(fake, client):
    fake.otherwise = lambda picture: Answer(result=result(schema=9))
    status = client.status()
    assert any("digests are unknown" in note for note in status.notes)
    assert by_name(status)["trident"].ready


def test_no_server_is_an_error():
    with TridentClient("127.0.0.1:1", retries=Retries(attempts=1)) as client, pytest.raises(ServerUnreachable):
        client.status()


async def test_the_same_for_asyncio(fake, client):
    async with AsyncTridentClient(fake.url) as asynchronous:
        assert await asynchronous.status() == client.status()
        assert await asynchronous.is_ready()


def test_json_says_the_same(fake, client):
    document = client.status().to_json()
    assert document["server"]["ready"] is True
    detector = next(model for model in document["models"] if model["name"] == "detector")
    assert detector["pinned"] == 2
    assert detector["versions"][0] == {"version": 1, "state": "UNAVAILABLE", "reason": "unloaded", "digest": None}


def record(**changes):
    asset = {"registry": "npm", "package": "@someone/nets", "package_version": "1.2.3", "file": "net.bin"}
    return {"name": "A-Net", "digest": DIGEST, "assets": [asset, asset], **changes}


def test_origins_are_known_by_digest(tmp_path):
    for version, content in ((1, record()), (2, record(digest="sha256:ff", assets=[]))):
        folder = tmp_path / "detector" / str(version)
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps(content))
    assert known_origins(tmp_path) == {DIGEST: "A-Net, npm @someone/nets 1.2.3", "sha256:ff": "A-Net"}


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"torch": "my_networks:classifier"}, "Mine, own: my_networks:classifier"),
        ({"file": "mine.onnx", "sha256": "ab" * 32}, "Mine, own: mine.onnx"),
    ],
)
def test_a_network_of_ones_own_is_named_with_what_it_was_made_from(tmp_path, source, origin):
    (tmp_path / "classifier/9").mkdir(parents=True)
    content = {"name": "Mine", "digest": DIGEST, "own": source}
    (tmp_path / "classifier/9/model.json").write_text(json.dumps(content))
    assert known_origins(tmp_path) == {DIGEST: origin}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"digest": "x"}',
        '{"digest": "x", "name": "y", "assets": [1]}',
        '{"digest": "x", "name": "y", "own": {}}',
    ],
)
def test_records_that_cannot_be_read_are_passed_over(tmp_path, content):
    (tmp_path / "detector/1").mkdir(parents=True)
    (tmp_path / "detector/1/model.json").write_text(content)
    assert known_origins(tmp_path) == {}


def test_without_a_repository_nothing_is_known(tmp_path):
    assert known_origins(tmp_path / "none") == {}
