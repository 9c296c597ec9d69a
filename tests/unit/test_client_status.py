"""What ``status`` finds out, and what it says where it may not ask."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from fake_server import DIGEST, FakeServer, result, running

from trident.contract import CANDIDATE, ENSEMBLE, MODELS, STABLE
from trident_client import AsyncTridentClient, Retries, ServerUnreachable, TridentClient, probe
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


RECOGNIZER = "entity_recognizer"
COMPONENTS = [name for name in MODELS if name != ENSEMBLE]


def digest(name, version):
    return "sha256:" + sha256(f"{name} {version}".encode()).hexdigest()


def models(**versions):
    """What RESULT names as having answered: version 1 of everything, but for those given; None for not called."""
    every = dict.fromkeys(COMPONENTS, 1) | {"detector": 2} | versions
    return {name: {"version": version, "digest": digest(name, version)} for name, version in every.items() if version}


@pytest.fixture
def fake():
    with running(FakeServer()) as server:
        server.index = INDEX
        server.results = {ENSEMBLE: result(models=models())}
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
    # From the answer to the probe picture; what is not ready is not asked.
    assert models["classifier"].versions[0].digest == digest("classifier", 1)
    assert models["detector"].versions[1].digest == digest("detector", 2)
    assert models["detector"].versions[0].digest is None
    assert status.notes == ()
    assert fake.pictures == [probe.picture()]


def test_a_version_that_does_not_answer_is_asked_itself(fake, client):
    fake.index = [*INDEX, ("plate_reader", "3", "READY", "")]
    status = client.status()
    assert by_name(status)["plate_reader"].versions[0].digest == "sha256:" + "03" * 32
    assert [request.model_name for request in fake.requests] == [ENSEMBLE, "plate_reader"]


def test_networks_behind_the_recognizer_are_pinned_by_what_answers(fake, client):
    fake.index = [*INDEX, ("plate_reader", "1", "READY", ""), ("plate_reader", "2", "READY", "")]
    fake.results = {ENSEMBLE: result(models=models(plate_reader=2))}
    found = by_name(client.status())
    assert (found["plate_reader"].pinned, found["plate_reader"].pinned_by) == (2, RECOGNIZER)
    assert (found["face_embedder"].pinned, found["face_embedder"].pinned_by) == (1, RECOGNIZER)


def test_a_network_without_a_part_in_the_answer_has_no_known_pin(fake, client):
    fake.results = {ENSEMBLE: result(models=models(face_embedder=None))}
    status = client.status()
    assert by_name(status)["face_embedder"].pinned is None
    assert status.notes == ("face_embedder had no part in the answer to the probe: which version answers is unknown",)


class TestCanary:
    """While one runs, ``trident`` is no ensemble: it hands each request to one of two that have its old name."""

    @pytest.fixture
    def fake(self, fake):
        fake.canary = True
        fake.index = [
            # Those of the rollout are not on disk, so Triton's index does not hold them.
            ("trident", "1", "READY", ""),
            ("preprocess", "1", "READY", ""),
            ("plate_reader", "1", "READY", ""),
            ("plate_reader", "2", "READY", ""),
            (RECOGNIZER, "1", "READY", ""),
            (RECOGNIZER, "2", "READY", ""),
        ]
        fake.results = {
            ENSEMBLE: result(models=models()),
            STABLE: result(models=models()),
            CANDIDATE: result(models=models(entity_recognizer=2, plate_reader=2)),
        }
        return fake

    def test_pins_are_those_of_the_old_versions(self, fake, client):
        status = client.status()
        found = by_name(status)
        assert [model.name for model in status.models][:3] == [ENSEMBLE, STABLE, CANDIDATE]
        assert (found[RECOGNIZER].pinned, found[RECOGNIZER].pinned_by) == (1, STABLE)
        assert (found["plate_reader"].pinned, found["plate_reader"].pinned_by) == (1, RECOGNIZER)
        assert status.notes == ("a canary runs: 'trident' has a share of the requests answered by 'trident_candidate'",)
        # Both sides are asked, so Python components of either have their digest too.
        assert [one.digest for one in found[RECOGNIZER].versions] == [digest(RECOGNIZER, 1), digest(RECOGNIZER, 2)]
        assert [one.digest for one in found["plate_reader"].versions] == [
            digest("plate_reader", 1),
            digest("plate_reader", 2),
        ]

    def test_without_the_old_ensemble_the_answer_alone_tells(self, fake, client):
        del fake.results[STABLE]
        status = client.status()
        found = by_name(status)
        assert STABLE not in found
        assert (found["preprocess"].pinned, found["preprocess"].pinned_by) == (1, ENSEMBLE)
        assert (found["plate_reader"].pinned, found["plate_reader"].pinned_by) == (1, RECOGNIZER)
        assert status.notes[0].startswith("a canary runs")


def test_a_candidate_that_is_being_looked_at_is_listed_and_one_that_was_is_not(fake, client):
    assert not {STABLE, CANDIDATE} & by_name(client.status()).keys()
    fake.index = [*INDEX, ("classifier", "2", "READY", "")]
    fake.results[CANDIDATE] = result(models=models(classifier=2))
    found = by_name(client.status())
    assert found[CANDIDATE].ready
    assert found["classifier"].versions[1].digest == digest("classifier", 2)
    assert found["classifier"].pinned == 1


def test_another_ensemble_can_be_asked(fake):
    fake.results[CANDIDATE] = result(models=models(classifier=2))
    with TridentClient(fake.url, model=CANDIDATE) as other:
        assert other.is_ready()
        status = other.status()
    assert status.models[0].name == CANDIDATE
    assert status.ready


def test_a_pin_that_is_not_ready_is_no_ready_model(fake, client):
    fake.index = [("detector", "1", "READY", ""), ("detector", "2", "UNAVAILABLE", "no such file")]
    assert by_name(client.status())["detector"].ready is False


def test_without_probe_no_picture_is_sent(fake, client):
    status = client.status(probe=False)
    assert "ModelInfer" not in fake.calls
    assert by_name(status)["classifier"].versions[0].digest is None
    assert by_name(status)["detector"].pinned == 2
    assert by_name(status)["face_embedder"].pinned is None
    assert status.notes == ("not probed: which versions of the networks behind entity_recognizer answer is unknown",)


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
    assert [note.partition(":")[0] for note in status.notes] == ["the ensemble's pins are unknown"]
    # What answered says so all the same.
    assert (by_name(status)["detector"].pinned, by_name(status)["detector"].pinned_by) == (2, ENSEMBLE)


def test_a_failing_probe_becomes_a_note(fake, client):
    fake.results = {ENSEMBLE: result(schema=9)}
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
