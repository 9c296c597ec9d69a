"""What ``trident versions`` tells, of a small repository and a server that is only its bookkeeping."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tests.fake_triton import FakeTriton
from tests.stub_process import stub_process
from tests.tiny_trident import digests_of, write_repository
from trident.contract import ENSEMBLE, STABLE
from trident.layout import RECORD_FILE
from trident.rollout import canary
from trident.rollout.disk import Repository
from trident.rollout.journal import Journal
from trident.rollout.memory import memory_of, processes_of, pss_mb
from trident.rollout.routing import Settings
from trident.rollout.versions import Versions, survey_versions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "models")


@pytest.fixture
def triton(folder: Path) -> FakeTriton:
    return FakeTriton(folder)


def survey(triton: FakeTriton, component: str) -> Versions:
    return survey_versions(Repository(triton.repository), triton, Journal(triton.repository), component)


def standings(found: Versions) -> dict[int, str]:
    return {one.version: one.standing for one in found.versions}


def route(triton: FakeTriton) -> None:
    """Put a canary in the ensemble's place."""
    settings = Settings(STABLE, "trident_candidate", "run", "salt", 0.1, 0.0, 0.0, triton.repository / "canary.jsonl")
    base, first = triton.config(ENSEMBLE), triton.config("preprocess")
    triton.ensembles[STABLE] = canary.ensemble_config(base, STABLE, Repository(triton.repository).release())
    triton.ensembles[ENSEMBLE] = canary.router_config(base, first, settings)


def test_a_network_s_versions_have_state_digest_and_source(triton: FakeTriton) -> None:
    found = survey(triton, "detector")
    digests = digests_of(triton.repository, "detector")

    assert [(one.version, one.state, one.digest) for one in found.versions] == [
        (1, "READY", digests[1]),
        (2, "not loaded", digests[2]),
    ]
    assert {one.source for one in found.versions} == {"constant detector, own: tiny_trident.py"}
    assert standings(found) == {1: "pinned, answers", 2: ""}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("component", "source"),
    [
        pytest.param("fusion", "fusion/1/model.py", id="a step"),
        pytest.param(
            "entity_recognizer",
            "entity_recognizer/1/model.py; calls face_detector 1, face_embedder 1, plate_detector 1, plate_reader 1",
            id="the recognizer",
        ),
    ],
)
def test_sources_of_python_components(triton: FakeTriton, component: str, source: str) -> None:
    first = survey(triton, component).versions[0]

    assert first.source == source
    assert first.digest.startswith("sha256:")


def test_a_version_that_a_rollout_has_made_says_from_which(triton: FakeTriton) -> None:
    made = Repository(triton.repository).recognizer_for(
        {"face_detector": 1, "face_embedder": 1, "plate_detector": 1, "plate_reader": 2}, code_of=1
    )
    found = {one.version: one.source for one in survey(triton, "entity_recognizer").versions}

    assert found[made].startswith("code of version 1; calls ")
    assert found[made].endswith("plate_reader 2")


@pytest.mark.parametrize("component", ["classifier", "plate_reader"])
def test_what_is_pinned_on_disk_need_not_be_what_answers(triton: FakeTriton, component: str) -> None:
    repository = Repository(triton.repository)
    repository.serve(component, (1, 2))
    if component == "classifier":
        repository.pin({component: 2})
    else:
        networks = repository.networks(1).versions | {component: 2}
        recognizer = repository.recognizer_for(networks, code_of=1)
        repository.serve("entity_recognizer", (1, recognizer))
        repository.pin({"entity_recognizer": recognizer})
    found = survey(triton, component)

    assert standings(found) == {1: "answers", 2: "pinned"}
    triton.kill()
    triton.start()
    assert standings(survey(triton, component)) == {1: "", 2: "pinned, answers"}


def test_without_a_server_what_answers_is_unknown(triton: FakeTriton) -> None:
    triton.kill()
    found = survey(triton, "fusion")

    assert [(one.version, one.state, one.answers, one.standing) for one in found.versions] == [
        (1, "unknown", None, "pinned"),
        (2, "unknown", None, ""),
    ]
    assert found.notes == ("what is loaded is unknown: no server answers at fake:8001",)


def test_a_canary_is_mentioned(triton: FakeTriton) -> None:
    route(triton)
    found = survey(triton, "plate_reader")

    assert standings(found) == {1: "pinned, answers", 2: ""}
    assert found.notes == ("a canary runs: 10% of the requests are for trident_candidate, not for what answers here",)


def test_what_is_neither_ensemble_nor_canary_answers_with_nothing_that_is_known(triton: FakeTriton) -> None:
    triton.ensembles[ENSEMBLE] = ModelConfig(name=ENSEMBLE, backend="python")

    assert standings(survey(triton, "fusion")) == {1: "pinned", 2: ""}


@pytest.mark.parametrize("component", ["entity_recognizer", "plate_reader", "fusion"])
def test_a_damaged_recognizer_takes_only_its_own_row(triton: FakeTriton, component: str) -> None:
    (triton.repository / "entity_recognizer" / "1" / "networks.json").write_text("{")
    found = survey(triton, component)

    assert [one.version for one in found.versions] == [1, 2]
    assert {one.state for one in found.versions} == {"READY", "not loaded"}
    if component == "entity_recognizer":
        assert found.versions[0].source.startswith("unknown: ")
        assert "networks.json" in found.versions[0].source
        assert found.versions[1].source.endswith("plate_reader 1")
        assert standings(found) == {1: "pinned, answers", 2: ""}
    elif component == "plate_reader":
        assert [note.partition(":")[0] for note in found.notes] == [
            "which version of plate_reader is pinned is unknown",
            "which version of plate_reader answers is unknown",
        ]
    else:
        assert found.notes == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "cannot be read: No such file", id="missing"),
        pytest.param("{", "is not JSON", id="torn"),
        pytest.param("[1]", "expected a JSON object", id="another kind"),
        pytest.param('{"digest": "sha256:0"}', "is not a record as export writes it", id="another make"),
    ],
)
def test_a_damaged_record_takes_only_its_own_row(triton: FakeTriton, content: str | None, reason: str) -> None:
    record = triton.repository / "classifier" / "2" / RECORD_FILE
    record.unlink()
    if content is not None:
        record.write_text(content)
    first, second = survey(triton, "classifier").versions

    assert first.source == "constant classifier, own: tiny_trident.py"
    assert second.source.startswith("unknown: ")
    assert reason in second.source


def test_a_version_that_is_pinned_and_not_there_is_said(triton: FakeTriton) -> None:
    (triton.repository / "classifier" / "1" / "model.onnx").unlink()
    found = survey(triton, "classifier")

    assert found.versions[0].source == "not on disk"
    assert found.versions[0].digest == ""
    assert "classifier 1 is to answer, and is not on disk" in found.notes[0]


def test_the_last_rollouts_and_retirements_newest_first(triton: FakeTriton) -> None:
    journal, release = Journal(triton.repository), Repository(triton.repository).release()
    facts = {"who": "ann@host", "before": release}
    moved = release | {"detector": 2}
    journal.append("1", "started", kind="rollout", targets={"detector": 2}, after=moved, **facts)
    journal.append("1", "ended", outcome="done", sentence="detector 1 → 2")
    journal.append("2", "retired", who="bob@host", retired=["detector 1", "fusion 1"])
    journal.append("3", "retired", who="bob@host", retired=["face_detector 1"])
    journal.append("4", "started", kind="rollout", targets={"fusion": 2}, after=release | {"fusion": 2}, **facts)
    journal.append("4", "ended", outcome="stopped", sentence="no")
    journal.append("5", "started", kind="rollback", targets={"detector": 1}, before=moved, after=release)
    found = survey(triton, "detector")

    assert [(one.kind, one.what, one.who, one.outcome) for one in found.rollouts] == [
        ("rollback", "rollback of detector=1", "somebody", None),
        ("retire", "retire of detector 1, fusion 1", "bob@host", "done"),
        ("rollout", "rollout of detector=2", "ann@host", "done"),
    ]
    assert json.loads(found.dumps())["rollouts"][2]["sentence"] == "detector 1 → 2"
    assert json.loads(found.dumps())["versions"][0]["answers"] is True


@pytest.fixture
def stub(folder: Path) -> Iterator[int]:
    """The id of a process that looks like the Python backend's for version 1 of fusion."""
    with stub_process(folder / "fusion" / "1") as pid:
        yield pid


def test_the_memory_of_a_version_is_that_of_its_processes(folder: Path, stub: int) -> None:
    assert processes_of(folder, "fusion", 1) == [stub]
    assert memory_of(folder, "fusion", 1) == pytest.approx(pss_mb(stub), rel=0.2)
    assert pss_mb(stub) > 1
    assert memory_of(folder, "fusion", 2) is None


def test_a_repository_behind_a_link_is_the_same(folder: Path, stub: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)

    assert processes_of(tmp_path / "link", "fusion", 1) == [stub]


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert pss_mb(2**22 + 1) == 0
