"""The shadow, on a server made of functions."""

import json
import re
from datetime import datetime

import numpy as np
import pytest

from tests.pictures import corners, encode
from tests.shadowed import (
    BEFORE,
    SETTINGS,
    TEXT,
    FakeServing,
    boxes_like,
    classified,
    entities,
    fused_like,
    read_as,
    row,
)
from trident.contract import CALLED, COMPONENTS, ENSEMBLE
from trident.entities.gallery import KnownFaces, Snapshot
from trident.rollout import shadow
from trident.rollout.golden import GoldenPicture
from trident.rollout.limits import Limits
from trident.rollout.report import render, write_report
from trident.rollout.serving import ServerLost, ServingError


class Clock:
    """Time that passes only when somebody sleeps: a busy machine makes no version slow."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(shadow, "time", clock)
    return clock


PICTURES = tuple(GoldenPicture(name, encode(corners(64, 48))) for name in ("one", "two", "three"))


def compare(after, instead=None, pictures=PICTURES, **options):
    """Shadow a release on a server in which ``instead`` replaces what some versions answer."""
    serving = FakeServing(after)
    serving.instead = instead or {}
    options = {"limits": Limits(), "settings": SETTINGS, "rest": 0.0} | options
    return shadow.compare(serving, BEFORE, serving.after, pictures, **options), serving


def failing(message="out of range", code="INTERNAL"):
    def answer(tensors):
        raise ServingError(message, code)

    return answer


def value_of(result, component, about):
    (found,) = [one for one in result.metrics if one.component == component and about in one.name]
    return found


def one_after(component):
    """A release in which one component moves; with a called one, the recognizer too."""
    return {component: 2, **({"entity_recognizer": 2} if component in CALLED else {})}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_version_that_answers_the_same_agrees_wholly(component):
    result, serving = compare(one_after(component))
    assert result.passed, result.complaints
    assert result.worst == ()
    assert {one.component for one in result.metrics} == {*one_after(component), ENSEMBLE}
    shares = [one for one in result.metrics if one.option and one.at_least and one.value is not None]
    assert shares
    assert all(one.value == 1.0 for one in shares), shares
    assert {version for model, version in serving.calls if model == component} == {1, 2}
    assert json.loads(json.dumps(result.to_json()))["passed"] is True


def test_both_versions_get_the_same_input_in_turn():
    given = []

    def recorded(tensors):
        given.append(tensors["PIXELS"].copy())
        return classified()

    instead = {("classifier", version): recorded for version in (1, 2)}
    result, serving = compare({"classifier": 2}, instead, PICTURES[:1])
    # One of each to warm up, then old, new, new, old.
    assert [version for model, version in serving.calls if model == "classifier"] == [1, 2, 1, 2, 2, 1]
    assert all((pixels == given[0]).all() for pixels in given)
    assert next(one.calls for one in result.latencies if one.component == "classifier") == 2


def test_only_what_changes_is_asked_directly():
    _, serving = compare({"classifier": 2})
    assert {model for model, _ in serving.calls} == {"preprocess", "classifier", ENSEMBLE, shadow.CANDIDATE}


def test_another_class_falls_short():
    result, _ = compare({"classifier": 2}, {("classifier", 2): lambda tensors: classified(best=8)})
    assert not result.passed
    assert value_of(result, "classifier", "best class").value == 0.0
    assert result.worst[0].badness > 0.5
    assert "--limit classifier_top1" in result.complaints[0]
    assert "classifier 1 → 2" in result.sentence


def test_a_wider_limit_lets_it_through():
    limits = Limits().changed(["classifier_top1=0", "classifier_distance=1"])
    result, _ = compare({"classifier": 2}, {("classifier", 2): lambda tensors: classified(best=8)}, limits=limits)
    assert result.passed
    assert result.worst


def test_other_boxes_fall_short():
    elsewhere = boxes_like(1, BOXES=(400.0, 400.0, 500.0, 500.0), SCORES=0.7, CLASSES=2)
    result, _ = compare({"detector": 2}, {("detector", 2): lambda tensors: dict(elsewhere)})
    assert value_of(result, "detector", "share of boxes").value == 0.0
    assert not result.passed


def test_crops_that_the_reader_gets_are_those_of_the_serving_networks():
    result, _ = compare(
        {"plate_reader": 2, "entity_recognizer": 2},
        {("plate_reader", 2): lambda tensors: read_as("A06725", len(tensors["PIXELS"]))},
    )
    exact = value_of(result, "plate_reader", "read the same")
    assert (exact.value, exact.samples) == (0.0, len(PICTURES))
    assert value_of(result, "plate_reader", "edit distance").value == pytest.approx(1 / len(TEXT))
    worst = result.worst[0]
    assert any(f"{TEXT} → A06725" in detail for detail in worst.details)
    # What was read is for the report; the journal is kept longer, and by others.
    assert TEXT not in json.dumps(result.to_json(), ensure_ascii=False)
    assert TEXT not in result.sentence


def test_illegible_plates_do_not_count():
    reading = {("plate_reader", version): lambda tensors: read_as("X", len(tensors["PIXELS"])) for version in (1, 2)}
    result, _ = compare({"plate_reader": 2, "entity_recognizer": 2}, reading)
    exact = value_of(result, "plate_reader", "read the same")
    assert (exact.value, exact.samples, exact.passed) == (None, 0, True)
    assert any("no legible plates" in warning for warning in result.warnings)


def embedding_by(count):
    """Embeddings that differ from call to call."""
    calls = iter(range(1000))

    def answer(tensors):
        rows = np.zeros((len(tensors["PIXELS"]), count), np.float32)
        rows[:, next(calls) % count] = 1.0
        return {"EMBEDDING": rows}

    return answer


def test_faces_that_become_strangers_fall_short():
    result, _ = compare({"face_embedder": 2, "entity_recognizer": 2}, {("face_embedder", 2): embedding_by(5)})
    verdicts = value_of(result, "face_embedder", "verdict")
    assert verdicts.samples == 3
    assert verdicts.value == 0.0
    # Two dimensions and five: no cosine, and that alone stops nothing.
    assert value_of(result, "face_embedder", "cosine").value is None


def test_the_gallery_names_faces_where_it_knows_both_networks():
    own = row("face_embedder", 1)[4:].tobytes().hex()
    known = KnownFaces(("Ann",), np.array([[0.6, 0.8]], np.float32))
    for digest, samples in ((f"sha256:{own}", 3), ("sha256:" + "f" * 64, 0)):
        gallery = Snapshot("x", {digest: known})
        result, _ = compare({"face_embedder": 2, "entity_recognizer": 2}, gallery=gallery)
        names = [one for one in result.metrics if (one.component, one.option) == ("face_embedder", "identity_names")]
        assert [(one.samples, one.value) for one in names] == ([(samples, 1.0)] if samples else [])


def test_a_face_with_another_name_falls_short():
    def named(tensors):
        found = json.dumps(entities(name="Somebody")).encode()
        return {"ENTITIES": np.array([[found]], dtype=np.object_)}

    result, _ = compare({"entity_recognizer": 2}, {("entity_recognizer", 2): named})
    assert value_of(result, "entity_recognizer", "same name").value == 0.0
    assert "Somebody" not in json.dumps(result.to_json())


def test_fusion_is_given_the_branches_serving_answers():
    result, serving = compare(
        {"fusion": 2, "detector": 2},
        {("fusion", 2): lambda tensors: fused_like({**BEFORE, "fusion": 2}, CATEGORY_SCORES=np.zeros((1, 80), "f4"))},
    )
    assert value_of(result, "fusion", "mean difference").value == pytest.approx(0.8)
    assert not result.passed
    assert ("entity_recognizer", 1) in serving.calls


def test_another_size_of_the_picture_falls_short():
    def smaller(tensors):
        answer = FakeServing().answer("preprocess", tensors, 2)
        return answer | {"IMAGE_SIZE": answer["IMAGE_SIZE"] // 2}

    result, _ = compare({"preprocess": 2}, {("preprocess", 2): smaller})
    assert value_of(result, "preprocess", "same size").value == 0.0
    assert not result.passed


class TestFaults:
    def test_a_new_version_that_fails_is_a_fault_and_no_crash(self):
        result, _ = compare({"classifier": 2}, {("classifier", 2): failing()})
        assert not result.passed
        assert "classifier 2, the new version, failed on 'one': INTERNAL: out of range" in result.complaints[0]
        assert result.worst[0].badness == 2.0

    def test_a_version_that_keeps_failing_is_asked_no_more(self):
        pictures = [GoldenPicture(str(number), PICTURES[0].encoded) for number in range(20)]
        result, serving = compare({"classifier": 2}, {("classifier", 2): failing()}, pictures)
        assert serving.calls.count(("classifier", 2)) == 3
        assert any("not asked about all pictures" in warning for warning in result.warnings)

    def test_one_that_does_not_answer_in_time_is_asked_once(self):
        result, serving = compare({"detector": 2}, {("detector", 2): failing("late", "DEADLINE_EXCEEDED")})
        assert serving.calls.count(("detector", 2)) == 1
        assert len(result.faults) == 1

    def test_the_old_versions_failure_is_said_to_be_its_own(self):
        result, _ = compare({"classifier": 2}, {("classifier", 1): failing()})
        assert not result.passed
        assert "classifier 1, the version that serves now, failed on 'one'" in result.complaints[0]

    def test_a_failing_component_does_not_keep_the_others_from_being_compared(self):
        result, _ = compare({"classifier": 2, "detector": 2}, {("classifier", 2): failing()})
        assert value_of(result, "detector", "share of boxes").value == 1.0

    def test_a_serving_network_behind_the_recognizer_that_fails(self):
        after = {"plate_reader": 2, "entity_recognizer": 2}
        result, _ = compare(after, {("face_detector", 1): failing()})
        assert any("face_detector 1, the version that serves now" in one for one in result.complaints)

    def test_a_candidate_that_fails_is_a_fault(self):
        result, _ = compare({"classifier": 2}, {(shadow.CANDIDATE, None): failing()})
        assert [fault.component for fault in result.faults] == [ENSEMBLE] * len(result.faults)
        assert not result.passed
        assert all(one.new_result is None for one in result.pictures)

    def test_nan_is_a_fault(self):
        def broken(tensors):
            answer = classified()
            answer["PROBABILITIES"][0, 3] = np.nan
            return answer

        result, _ = compare({"classifier": 2}, {("classifier", 2): broken})
        assert "PROBABILITIES: expected numbers, got 1 that are NaN or infinite" in result.complaints[0]

    def test_an_output_that_does_not_come_is_a_fault(self):
        result, _ = compare({"detector": 2}, {("detector", 2): lambda tensors: {"BOXES": None}})
        assert "BOXES: expected it among the outputs, got none" in result.complaints[0]

    def test_another_version_than_was_asked_is_a_fault(self):
        stale = classified() | {"PROVENANCE": row("classifier", 1)[None]}
        result, _ = compare({"classifier": 2}, {("classifier", 2): lambda tensors: dict(stale)})
        assert "expected an answer of classifier 2, got one of 1" in result.complaints[0]

    def test_a_candidate_of_mixed_versions_is_a_fault(self):
        mixed = {**BEFORE, "classifier": 2}
        result, _ = compare(
            {"classifier": 2, "detector": 2}, {(shadow.CANDIDATE, None): lambda tensors: fused_like(mixed)}
        )
        assert any("expected an answer of detector 2, got one of 1" in one for one in result.complaints)

    def test_a_server_that_is_gone_ends_it(self):
        def gone(tensors):
            raise ServerLost("no server answers", "UNAVAILABLE")

        with pytest.raises(ServerLost):
            compare({"classifier": 2}, {("classifier", 2): gone})


class TestTimes:
    @pytest.fixture
    def taking(self, clock):
        """``taking(old, new)``: classifiers that take so many milliseconds."""

        def of(milliseconds):
            def answer(tensors):
                clock.sleep(milliseconds / 1000)
                return classified()

            return answer

        return lambda old, new: {("classifier", 1): of(old), ("classifier", 2): of(new)}

    def test_a_slow_version_falls_short(self, taking):
        result, _ = compare({"classifier": 2}, taking(10, 21))
        assert any(one.startswith("classifier: ") and "(--limit latency=…)" in one for one in result.complaints)
        (latency,) = [one for one in result.latencies if one.component == "classifier"]
        assert (latency.old_ms, latency.new_ms, latency.calls) == (pytest.approx(10), pytest.approx(21), 6)

    def test_one_that_is_slow_enough_does_not(self, taking):
        assert compare({"classifier": 2}, taking(10, 19))[0].passed

    def test_one_that_is_hopelessly_slow_is_not_asked_to_the_end(self, taking):
        pictures = [GoldenPicture(str(number), PICTURES[0].encoded) for number in range(12)]
        result, serving = compare({"classifier": 2}, taking(10, 61), pictures)
        # One to warm up, and two for each of two pictures.
        assert serving.calls.count(("classifier", 2)) == 5
        assert not result.passed
        assert "classifier was not asked about all pictures, being 6.1 times as slow" in result.warnings

    def test_a_slow_ensemble_falls_short(self, clock):
        def slow(tensors):
            clock.sleep(0.1)
            return fused_like({**BEFORE, "classifier": 2})

        result, _ = compare({"classifier": 2}, {(shadow.CANDIDATE, None): slow})
        assert any("latency_whole" in one for one in result.complaints)

    def test_a_millisecond_is_noise(self, taking):
        assert compare({"classifier": 2}, taking(0.5, 1.5))[0].passed

    def test_it_rests_between_calls(self, taking, clock):
        compare({"classifier": 2}, taking(20, 20), PICTURES[:1], rest=0.5)
        assert clock.now == pytest.approx(6 * 0.02 * 1.5)  # the ensembles answer in no time


def test_progress_is_told():
    told = []
    compare({"classifier": 2}, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_progress_counts_the_labelled_pictures(monkeypatch, tmp_path):
    def measured(url, folder, sides, *, progress, **_):
        assert (url, folder, [one.model for one in sides]) == ("127.0.0.1:0", tmp_path, [ENSEMBLE, shadow.CANDIDATE])
        for done in (1, 2, 3, 4):
            progress(done, 4)
        return ()

    monkeypatch.setattr(shadow, "count_labelled", lambda folder: 2)
    monkeypatch.setattr(shadow, "compare_quality", measured)
    told = []
    compare({"classifier": 2}, labels=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 7) for done in (0, 1, 2, 3, 4, 5, 6, 7, 7)]


def test_a_release_that_fails_is_not_measured_on_labelled_pictures(monkeypatch, tmp_path):
    monkeypatch.setattr(shadow, "count_labelled", lambda folder: 2)
    monkeypatch.setattr(shadow, "compare_quality", lambda *_, **__: pytest.fail("it was measured"))
    told = []
    broken = {("classifier", 2): failing()}
    compare({"classifier": 2}, broken, labels=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)


class TestReport:
    @staticmethod
    def falling_short():
        hostile = GoldenPicture("<script>alert(1)</script>", PICTURES[0].encoded)
        return compare(
            {"plate_reader": 2, "entity_recognizer": 2},
            {("plate_reader", 2): lambda tensors: read_as("A<B>1", len(tensors["PIXELS"]))},
            [hostile, *PICTURES],
        )[0]

    def test_it_stands_alone_and_escapes_what_it_shows(self, tmp_path):
        path = write_report(self.falling_short(), tmp_path / "reports")
        text = path.read_text(encoding="utf-8")
        assert path.stat().st_mode & 0o777 == 0o600
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert not re.search(r"(src|href)=\"?(?!data:)", text.replace('src="data:', ""))
        assert "falls short" in text

    def test_the_worst_pictures_are_drawn_old_and_new(self, tmp_path):
        result = self.falling_short()
        text = write_report(result, tmp_path).read_text(encoding="utf-8")
        assert text.count("data:image/jpeg;base64,") == 2 * len(result.worst)
        assert "reader_exact" in text

    def test_one_that_agrees_says_so(self):
        result, _ = compare({"classifier": 2})
        text = render(result, datetime(2026, 1, 2))
        assert "both versions agree on all" in text
        assert "<img" not in text

    def test_a_failing_candidate_has_no_picture(self, tmp_path):
        result, _ = compare({"classifier": 2}, {(shadow.CANDIDATE, None): failing()})
        text = write_report(result, tmp_path).read_text(encoding="utf-8")
        assert "no answer" in text
