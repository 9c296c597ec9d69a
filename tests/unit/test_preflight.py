"""The preflight of whole releases, on a small repository; what a network is tried for is in test_preflight_trial."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple

import numpy as np
import pytest

from tests import faulty_networks as faulty
from tests.tiny_trident import write_repository
from trident.entities.gallery import Gallery
from trident.entities.sealing import new_key
from trident.layout import MODEL_FILE, RECORD_FILE
from trident.rollout import preflight, preflight_networks
from trident.rollout.disk import Repository
from trident.rollout.findings import Verdict
from trident.rollout.preflight import examine
from trident.rollout.preflight_limits import PreflightLimits
from trident.rollout.trial import Trial


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_repository(tmp_path_factory.mktemp("preflight") / "models", differing=("face_embedder",))


@pytest.fixture
def repository(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "models")


@pytest.fixture(autouse=True)
def own_gallery(monkeypatch, tmp_path):
    """Nothing of the tests looks into the gallery of whoever runs them."""
    monkeypatch.setenv("TRIDENT_GALLERY_URL", f"sqlite:///{tmp_path}/gallery.db")


@pytest.fixture
def tried(monkeypatch):
    """Which networks were tried; nothing is, so that the tests of the rest are quick."""
    subjects = []

    def instead(subject, limits=None):
        subjects.append(subject)
        return Trial((), {"ms": 10.0, "ms_before": 10.0, "memory_mib": 5.0})

    monkeypatch.setattr(preflight_networks, "try_network", instead)
    return subjects


def look(repository, targets, **more):
    before = Repository(repository).release()
    url = f"sqlite:///{repository.parent}/gallery.db"
    return examine(repository, before, {**before, **targets}, targets, gallery_url=url, **more)


def said(examination, verdict=Verdict.REFUSED):
    return [
        (finding.component, finding.check, finding.sentence)
        for finding in examination.findings
        if finding.verdict is verdict
    ]


def edit_json(file, **changes):
    content = json.loads(file.read_text())
    for key, value in changes.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    file.write_text(json.dumps(content))


def test_a_good_network_is_let_through_with_its_facts(repository):
    stages = []
    examination = look(repository, {"classifier": 2}, tell=stages.append)
    assert said(examination) == []
    assert examination.passed
    assert stages == ["configurations", "classifier 2"]
    record = json.loads((repository / "classifier" / "2" / RECORD_FILE).read_text())
    facts = examination.facts()["classifier"]
    assert facts["digest"] == record["digest"]
    assert facts["sha256"] == record["sha256"]
    assert facts["bytes"] == record["bytes"]
    assert {"ms", "ms_before", "slower", "memory_mib", "opset"} <= facts.keys()
    checks = [finding.check for finding in examination.findings if finding.component == "classifier"]
    assert checks == [
        *("configuration", "record", "classes", "graph", "signature", "answers", "answers", "provenance", "speed")
    ]
    # The journal takes them.
    assert json.loads(json.dumps(examination.facts()))["classifier"] == dict(facts)


def test_everything_is_looked_at_and_everything_is_said(repository, tried):
    faulty.corrupt(repository / "classifier", 3)
    faulty.python_version(repository / "fusion", 3, fault=faulty.SYNTAX)
    examination = look(repository, {"classifier": 3, "detector": 2, "fusion": 3})
    assert [(component, check) for component, check, _ in said(examination)] == [
        ("classifier", "files"),
        ("fusion", "code"),
    ]
    assert [subject.component for subject in tried] == ["detector"]


def test_a_network_is_tried_with_what_stands_in_its_record_and_beside_the_old_one(repository, tried):
    look(repository, {"classifier": 2})
    (subject,) = tried
    record = json.loads((repository / "classifier" / "2" / RECORD_FILE).read_text())
    assert (subject.component, subject.version, subject.digest) == ("classifier", 2, record["digest"])
    assert subject.file == repository / "classifier" / "2" / MODEL_FILE
    assert subject.beside == repository / "classifier" / "1" / MODEL_FILE
    assert subject.config["max_batch_size"] == 8


def test_what_a_trial_refuses_is_refused(repository):
    faulty.nan_output(repository / "detector", 3)
    examination = look(repository, {"detector": 3})
    ((component, check, sentence),) = said(examination)
    assert (component, check) == ("detector", "answers")
    assert "SCORES: expected numbers, got 100 that are NaN" in sentence
    assert "`python -m export.own detector 3 … --replace`" in sentence
    assert not examination.passed
    assert "speed" not in [finding.check for finding in examination.findings]


# Versions


def test_a_version_that_serves_already_is_nothing_to_roll_out(repository, tried):
    ((component, check, sentence),) = said(look(repository, {"classifier": 1}))
    assert (component, check) == ("classifier", "version")
    assert sentence.endswith("got 1: nothing to do")


def test_beside_one_that_moves_it_is_a_warning(repository, tried):
    examination = look(repository, {"classifier": 1, "detector": 2})
    assert examination.passed
    assert ("classifier", "version") in [(c, check) for c, check, _ in said(examination, Verdict.WARNING)]


# Files and records


def test_a_missing_network_is_named(repository, tried):
    ((_, check, sentence),) = said(look(repository, {"classifier": 9}))
    assert check == "files"
    assert sentence.startswith(f"classifier 9: expected {repository}/classifier/9/model.onnx, got no such file; ")
    assert "`python -m export classifier=9`" in sentence
    assert tried == []


def swapped(folder):
    file = folder / MODEL_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        pytest.param(
            lambda f: (f / RECORD_FILE).unlink(), "record", "expected the record that `make export`", id="none"
        ),
        pytest.param(lambda f: (f / RECORD_FILE).write_text("{"), "record", "expected a JSON object", id="no JSON"),
        pytest.param(lambda f: (f / RECORD_FILE).write_text("[]"), "record", "a JSON object, got list", id="a list"),
        pytest.param(
            lambda f: edit_json(f / RECORD_FILE, component="detector"),
            "record",
            "component: expected classifier, got 'detector'",
            id="component",
        ),
        pytest.param(
            lambda f: edit_json(f / RECORD_FILE, version=1), "record", "version: expected 2, got 1", id="version"
        ),
        pytest.param(
            lambda f: edit_json(f / RECORD_FILE, digest="sha256:12"),
            "record",
            "digest: expected sha256:<64",
            id="digest",
        ),
        pytest.param(swapped, "files", "SHA-256 of", id="changed"),
        pytest.param(
            lambda f: edit_json(f / RECORD_FILE, sha256=None), "files", "expected None, its record's", id="no hash"
        ),
        pytest.param(
            lambda f: (f / MODEL_FILE).write_bytes((f / MODEL_FILE).read_bytes()[:-9]),
            "files",
            "it is cut off",
            id="cut",
        ),
    ],
)
def test_a_file_that_is_not_what_its_record_says_is_not_run(repository, tried, change, check, words):
    change(repository / "classifier" / "2")
    ((_, found, sentence),) = said(look(repository, {"classifier": 2}))
    assert found == check
    assert words in sentence
    assert "write it again" in sentence
    assert tried == []


@pytest.mark.parametrize(
    ("classes", "verdict", "words"),
    [
        pytest.param("imagenet-1k", Verdict.OK, "class list imagenet-1k", id="the same"),
        pytest.param("imagenet-21k", Verdict.REFUSED, "expected 'imagenet-1k', that of version 1, got", id="another"),
        pytest.param(None, Verdict.WARNING, "got none in its record", id="an own network that does not say"),
    ],
)
def test_the_class_list_is_that_of_the_version_that_serves(repository, tried, classes, verdict, words):
    edit_json(repository / "classifier" / "2" / RECORD_FILE, classes=classes)
    (finding,) = (one for one in look(repository, {"classifier": 2}).findings if one.check == "classes")
    assert finding.verdict is verdict
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        pytest.param(19.0, Verdict.OK, id="less than twice"),
        pytest.param(21.0, Verdict.WARNING, id="twice"),
        pytest.param(49.0, Verdict.WARNING, id="less than 5 times"),
        pytest.param(51.0, Verdict.REFUSED, id="5 times"),
    ],
)
def test_how_much_longer_it_may_take(repository, monkeypatch, ms, verdict):
    monkeypatch.setattr(preflight_networks, "try_network", lambda *_: Trial((), {"ms": ms, "ms_before": 10.0}))
    (finding,) = (one for one in look(repository, {"classifier": 2}).findings if one.check == "speed")
    assert finding.verdict is verdict
    assert f"{ms:.1f} ms of processor time a picture" in finding.sentence
    assert finding.facts["slower"] == ms / 10


def test_the_limits_of_time_are_arguments(repository, monkeypatch):
    monkeypatch.setattr(preflight_networks, "try_network", lambda *_: Trial((), {"ms": 51.0, "ms_before": 10.0}))
    limits = PreflightLimits(slower=7, slower_warning=6)
    assert look(repository, {"classifier": 2}, limits=limits).passed


def test_nobody_notices_a_fraction_of_a_millisecond(repository, monkeypatch):
    monkeypatch.setattr(preflight_networks, "try_network", lambda *_: Trial((), {"ms": 0.9, "ms_before": 0.01}))
    assert look(repository, {"classifier": 2}).passed


def test_without_onnx_it_says_what_to_install(repository, monkeypatch):
    monkeypatch.setattr(preflight_networks.importlib.util, "find_spec", lambda name: None)
    ((_, check, sentence),) = said(look(repository, {"classifier": 2}))
    assert check == "trial"
    assert sentence.startswith("classifier 2: expected the packages onnx and onnxruntime")
    assert "without onnx and onnxruntime: run `make install`" in sentence


# Python components


@pytest.mark.parametrize("component", ["preprocess", "entity_recognizer", "fusion"])
def test_a_good_copy_of_a_python_component_passes(repository, component):
    faulty.python_version(repository / component, 3)
    examination = look(repository, {component: 3})
    assert examination.passed
    assert examination.facts()[component]["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("component", "fault", "check", "words"),
    [
        pytest.param(
            "preprocess", faulty.RAISE_AT_LOAD, "load", "while being loaded: RuntimeError", id="raises at load"
        ),
        pytest.param("fusion", faulty.EXIT_AT_LOAD, "trial", "ended its process with code 1", id="exits at load"),
        pytest.param("fusion", faulty.EXIT_IN_EXECUTE, "trial", "while answering its warm-up", id="exits in execute"),
        pytest.param("fusion", faulty.RAISE_IN_EXECUTE, "load", "this version cannot answer", id="raises in execute"),
        pytest.param("fusion", faulty.GARBAGE, "answers", "RESULT: expected UTF-8 JSON", id="garbage"),
    ],
)
def test_a_python_component_that_does_not_serve_is_refused(repository, component, fault, check, words):
    faulty.python_version(repository / component, 3, fault=fault, after=0)
    found = [(what, sentence) for _, what, sentence in said(look(repository, {component: 3}))]
    assert [what for what, _ in found] == [check]
    assert words in found[0][1]


def test_a_python_component_is_tried_without_onnx(repository, tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('it is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    faulty.python_version(repository / "fusion", 3)
    assert look(repository, {"fusion": 3}).passed


def test_a_python_component_that_needs_more_than_is_stood_in_for_is_a_warning(repository):
    folder = faulty.python_version(repository / "preprocess", 3)
    code = folder / "model.py"
    code.write_text(code.read_text() + "\npb_utils.get_model_dir()\n")
    examination = look(repository, {"preprocess": 3})
    assert examination.passed
    assert any(
        "not tried, since it uses triton_python_backend_utils.get_model_dir" in one[2]
        for one in said(examination, Verdict.WARNING)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("class TritonPythonModel(:\n", "line 1: expected Python code", id="syntax"),
        pytest.param("return 1\n", "line 1: expected Python code", id="return outside of a function"),
        pytest.param("import os\n", "expected a class TritonPythonModel, got none", id="no class"),
        pytest.param("class TritonPythonModel:\n    x = 1\n", "expected TritonPythonModel.execute", id="no execute"),
        pytest.param(None, "got a file that cannot be read", id="missing"),
    ],
)
def test_code_that_is_no_model_is_refused(repository, text, words):
    code = repository / "preprocess" / "2" / "model.py"
    code.unlink() if text is None else code.write_text(text)
    found = {check: sentence for _, check, sentence in said(look(repository, {"preprocess": 2}))}
    assert words in found["code"]


def test_a_policy_that_cannot_be_read_is_refused(repository):
    edit_json(repository / "fusion" / "2" / "policy.json", schema=7)
    ((component, check, sentence),) = said(look(repository, {"fusion": 2}))
    assert (component, check) == ("fusion", "policy")
    assert "schema: expected 1, got 7" in sentence


def test_a_setting_of_preprocess_that_cannot_be_read_is_refused(repository):
    config = repository / "preprocess" / "config.pbtxt"
    config.write_text(config.read_text().replace('string_value: "50"', 'string_value: "many"'))
    ((component, check, sentence),) = said(look(repository, {"preprocess": 2}))
    assert (component, check) == ("preprocess", "settings")
    assert "max_megapixels" in sentence


def test_a_setting_of_the_recognizer_that_cannot_be_read_is_refused(repository):
    config = repository / "entity_recognizer" / "config.pbtxt"
    config.write_text(
        config.read_text().replace(
            '"min_score" value { string_value: "0.05" }', '"min_score" value { string_value: "5" }'
        )
    )
    ((component, check, sentence),) = said(look(repository, {"entity_recognizer": 2}))
    assert (component, check) == ("entity_recognizer", "settings")
    assert "min_score: expected 0 to 1, got '5'" in sentence


def test_a_recognizer_that_calls_other_networks_than_the_release_is_refused(repository):
    file = repository / "entity_recognizer" / "2" / "networks.json"
    file.write_text(file.read_text().replace('"plate_reader": {"version": 1}', '"plate_reader": {"version": 2}'))
    ((_, check, sentence),) = said(look(repository, {"entity_recognizer": 2}))
    assert check == "networks"
    assert "version of plate_reader: expected 1, which is to serve, got 2" in sentence


def test_a_recognizer_that_calls_a_network_that_is_not_there_is_refused(repository, tried):
    for number in ("1", "2"):
        file = repository / "entity_recognizer" / number / "networks.json"
        if number == "2":
            file.write_text(
                file.read_text().replace('"plate_reader": {"version": 1}', '"plate_reader": {"version": 9}')
            )
    found = said(look(repository, {"entity_recognizer": 2, "plate_reader": 9}))
    assert ("entity_recognizer", "networks") in [(component, check) for component, check, _ in found]


def fitted_for(repository, fusion, classifier, detector):
    """Have a policy say which networks its weights were fitted for."""
    digests = {}
    for name, version in (("classifier", classifier), ("detector", detector)):
        record = json.loads((repository / name / str(version) / RECORD_FILE).read_text())
        digests[name] = {"version": version, "digest": record["digest"]}
    edit_json(repository / "fusion" / str(fusion) / "policy.json", fit={"networks": digests})


def fit_findings(repository, targets):
    return [
        (finding.verdict, finding.sentence)
        for finding in look(repository, targets).findings
        if (finding.component, finding.check) == ("fusion", "fit")
    ]


def test_weights_that_were_fitted_for_other_branches_are_a_warning(repository, tried):
    fitted_for(repository, 1, 1, 1)
    ((verdict, sentence),) = fit_findings(repository, {"classifier": 2})
    assert verdict is Verdict.WARNING
    assert "fitted for other networks than classifier 2" in sentence
    assert "benchmarks.fit_fusion" in sentence
    assert "detector" not in sentence


def test_a_fusion_that_moves_with_its_branches_fits(repository, tried):
    fitted_for(repository, 1, 1, 1)
    fitted_for(repository, 2, 2, 2)
    ((verdict, _),) = fit_findings(repository, {"classifier": 2, "detector": 2, "fusion": 2})
    assert verdict is Verdict.OK


def test_a_rollout_of_something_else_says_nothing_of_the_fit(repository, tried):
    fitted_for(repository, 1, 2, 2)
    assert fit_findings(repository, {"plate_detector": 2}) == []
    restamp = faulty.restamped(repository / "classifier", 5)
    assert fit_findings(repository, {"classifier": int(restamp.name)}) == []


# Dependents


def test_a_configuration_that_does_not_fit_is_refused_whosever_it_is(repository, tried):
    config = repository / "trident" / "config.pbtxt"
    config.write_text(config.read_text().replace('key: "PIXELS" value: "SCENE_PIXELS"', 'key: "PIXELS" value: "LOST"'))
    found = said(look(repository, {"classifier": 2}))
    assert {(component, check) for component, check, _ in found} == {("trident", "configuration")}
    assert any("classifier.PIXELS reads LOST: no step gives it" in sentence for _, _, sentence in found)


def test_a_configuration_that_cannot_be_parsed_is_said_once(repository, tried):
    (repository / "classifier" / "config.pbtxt").write_text("name: classifier {")
    before = Repository(repository).release()
    examination = examine(repository, before, {**before, "classifier": 2}, {"classifier": 2})
    refused = [one for one in said(examination) if one[0] == "classifier"]
    assert len(refused) == 1
    assert "is not a valid model configuration" in refused[0][2]


# The gallery


def enrol(repository, name, version):
    record = json.loads((repository / "face_embedder" / str(version) / RECORD_FILE).read_text())
    with Gallery(f"sqlite:///{repository.parent}/gallery.db") as gallery:
        gallery.enroll(name, np.eye(1, 1024, dtype=np.float32), record["digest"])


def gallery_finding(repository, version=2):
    (finding,) = (one for one in look(repository, {"face_embedder": version}).findings if one.check == "gallery")
    return finding


def test_an_empty_gallery_fits_any_embedder(repository, tried):
    finding = gallery_finding(repository)
    place = repository.parent / "gallery.db"
    assert finding.verdict is Verdict.OK
    assert finding.sentence == f"gallery {place}: nobody is enrolled in it"
    assert finding.facts == {"gallery": str(place), "people": 0, "not_enrolled": 0}
    assert not place.exists()


def test_an_empty_gallery_that_need_not_be_the_servers_is_a_warning(repository, tried):
    before = Repository(repository).release()
    examination = examine(repository, before, {**before, "face_embedder": 2}, {"face_embedder": 2})
    (finding,) = (one for one in examination.findings if one.check == "gallery")
    assert finding.verdict is Verdict.WARNING
    assert f"gallery {repository.parent}/gallery.db: expected the gallery that the server looks at" in finding.sentence
    assert "--gallery-url" in finding.sentence
    assert examination.passed


def test_a_gallery_that_the_new_embedder_does_not_know_is_refused_without_names(repository, tried):
    for number in range(7):
        enrol(repository, f"Person {number}", 1)
    enrol(repository, "Person 0", 2)
    finding = gallery_finding(repository)
    assert finding.verdict is Verdict.REFUSED
    assert f"gallery {repository.parent}/gallery.db: " in finding.sentence
    assert "got none of 6 of 7 people" in finding.sentence
    assert "Person" not in finding.sentence
    assert "`trident gallery enroll NAME PHOTO --with face_embedder=2`" in finding.sentence
    assert finding.facts == {"gallery": f"{repository.parent}/gallery.db", "people": 7, "not_enrolled": 6}


def test_a_gallery_that_was_enrolled_anew_fits(repository, tried):
    for version in (1, 2):
        enrol(repository, "Person", version)
    enrol(repository, "Known to the new one alone", 2)
    finding = gallery_finding(repository)
    assert finding.verdict is Verdict.OK
    assert finding.sentence == f"gallery {repository.parent}/gallery.db: everybody in it is known to face_embedder 2"
    assert finding.facts == {"gallery": f"{repository.parent}/gallery.db", "people": 2, "not_enrolled": 0}


def test_the_same_network_under_another_number_needs_no_enrolment(repository, tried):
    enrol(repository, "Person", 1)
    faulty.restamped(repository / "face_embedder", 3)
    assert gallery_finding(repository, 3).verdict is Verdict.OK


def test_a_gallery_that_cannot_be_read_is_refused(repository, tried):
    (repository.parent / "gallery.db").write_bytes(b"no database" * 1000)
    finding = gallery_finding(repository)
    assert finding.verdict is Verdict.REFUSED
    assert "gallery" in finding.sentence


def test_an_encrypted_gallery_is_looked_at_with_its_key(repository, tried):
    key = new_key()
    record = json.loads((repository / "face_embedder" / "1" / RECORD_FILE).read_text())
    with Gallery(f"sqlite:///{repository.parent}/gallery.db", keys=key) as gallery:
        gallery.enroll("Person", np.eye(1, 1024, dtype=np.float32), record["digest"])
    finding = gallery_finding(repository)
    assert finding.verdict is Verdict.REFUSED
    assert "expected its key in TRIDENT_GALLERY_KEY, got none" in finding.sentence
    found = look(repository, {"face_embedder": 2}, gallery_keys=key).findings
    (finding,) = (one for one in found if one.check == "gallery")
    assert finding.facts["not_enrolled"] == 1
    assert key not in finding.sentence


# Room


def test_a_full_disk_is_refused(repository, tried, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(0, 0, 63 * 2**20))
    ((_, check, sentence),) = said(look(repository, {"classifier": 2}))
    assert check == "space"
    assert sentence.endswith("expected at least 64 MiB free, got 63: make room first")


def test_a_folder_that_cannot_be_written_is_refused(repository, tried, monkeypatch):
    # Not by its mode: the tests may run as root, whom no mode keeps out.
    monkeypatch.setattr(preflight.os, "access", lambda path, mode: path != repository / "classifier")
    ((component, check, sentence),) = said(look(repository, {"classifier": 2}))
    assert (component, check) == ("classifier", "space")
    assert "got a read-only one" in sentence
