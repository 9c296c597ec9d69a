"""What `trident status` finds out of a real server: normally, while a candidate is looked at, and during a canary."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import server_ended_at_once
from tests.tiny_trident import write_repository
from trident.access.restrictions import Access
from trident.component_digest import digest_of_component
from trident.contract import CALLED, CANDIDATE, COMPONENTS, ENSEMBLE, RECOGNIZER, STABLE
from trident.launcher import TritonServer
from trident.launcher.installation import compile_models
from trident.layout import DEFAULT_REPOSITORY
from trident.rollout import canary
from trident.rollout.disk import Repository
from trident.rollout.serving import TritonServing
from trident_client import ModelStatus, ServerStatus, TridentClient, probe


def by_name(status: ServerStatus) -> dict[str, ModelStatus]:
    return {model.name: model for model in status.models}


def pins(status: ServerStatus) -> dict[str, int | None]:
    return {model.name: model.pinned for model in status.models if model.name in COMPONENTS}


def test_every_component_has_a_part_in_the_answer_to_the_probe(server: TritonServer) -> None:
    with TridentClient(server.grpc_url, sticky="somebody") as client:
        analysis = client.analyze(probe.picture())
        status = client.status()
    assert set(analysis.models) == set(COMPONENTS)
    # With room to spare, so that another version of a network still finds them.
    assert max(face.score for face in analysis.faces) > 0.8
    assert [plate.text for plate in analysis.plates if plate.score > 0.8] == ["皖A06725"]
    assert status.notes == ()
    assert pins(status) == Repository(DEFAULT_REPOSITORY).release()
    assert all(model.ready for model in status.models)
    for model in status.models:
        if model.name != ENSEMBLE:
            assert [one.digest for one in model.versions if one.version == model.pinned] != [None], model.name


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = write_repository(tmp_path / "models")
    repository = Repository(path)
    # A second recognizer, with another reader: what a rollout of the reader makes.
    shutil.rmtree(path / RECOGNIZER / "2", ignore_errors=True)
    made = repository.recognizer_for({**dict.fromkeys(CALLED, 1), "plate_reader": 2}, code_of=1)
    assert made == 2
    repository.serve("plate_reader", (1, 2))
    repository.serve(RECOGNIZER, (1, 2))
    compile_models(path)
    # What a rollout leaves that is killed while it writes: a server starts all the same.
    (path / RECOGNIZER / ".unfinished-left").mkdir()
    (path / RECOGNIZER / ".unfinished-left" / "model.py").write_text("half of it")
    (path / ".trident.config.pbtxt.left").write_text("half of it")
    return repository


@pytest.fixture
def tiny(repository: Repository, tmp_path: Path) -> Iterator[TritonServer]:
    gallery = {"TRIDENT_GALLERY_URL": f"sqlite:///{tmp_path}/gallery.db"}
    with server_ended_at_once(repository.path, env=gallery, access=Access()) as running:
        yield running


def test_a_candidate_and_a_canary_are_shown_and_gone_afterwards(
    tiny: TritonServer, repository: Repository, tmp_path: Path
) -> None:
    before = repository.release()
    after = {**before, RECOGNIZER: 2, "plate_reader": 2}
    digests = [digest_of_component(RECOGNIZER, repository.folder(RECOGNIZER, version)) for version in (1, 2)]
    with TritonServing(tiny.grpc_url) as serving, TridentClient(tiny.grpc_url) as client:
        status = client.status()
        assert pins(status) == before
        assert not {STABLE, CANDIDATE} & by_name(status).keys()

        canary.load_ensemble(serving, repository.config(ENSEMBLE), CANDIDATE, after)
        status = client.status()
        assert by_name(status)[CANDIDATE].ready
        assert pins(status) == before
        assert [one.digest for one in by_name(status)[RECOGNIZER].versions] == digests
        with TridentClient(tiny.grpc_url, model=CANDIDATE) as candidate:
            assert candidate.analyze(probe.picture()).models["plate_reader"].version == 2
            assert pins(candidate.status()) == after

        configs = repository.config(ENSEMBLE), repository.config("preprocess")
        watch_file = tmp_path / "canary.jsonl"
        canary.begin(serving, *configs, before, after, share=0.5, seconds=60, watch_file=watch_file, salt="salt")
        try:
            status = client.status()
            assert status.ready
            assert pins(status) == before
            assert {STABLE, CANDIDATE} <= by_name(status).keys()
            assert by_name(status)["classifier"].pinned_by == STABLE
            assert by_name(status)["plate_reader"].pinned_by == RECOGNIZER
            assert status.notes[0].startswith("a canary runs")
            # One user is on one side, whatever the pictures; of many users, some are on either.
            sides = {
                user: {client.analyze(probe.picture(), sticky=user).models[RECOGNIZER].version for _ in range(3)}
                for user in map(str, range(20))
            }
            assert {len(versions) for versions in sides.values()} == {1}
            assert set().union(*sides.values()) == {1, 2}
        finally:
            canary.end(serving)

        # What the recognizer calls moves with its pin, in one step.
        repository.pin({RECOGNIZER: 2})
        serving.load(ENSEMBLE)
        status = client.status()
        assert pins(status) == after == repository.release()
        assert not {STABLE, CANDIDATE} & by_name(status).keys()
        assert status.notes == ()
