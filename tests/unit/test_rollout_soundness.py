"""Answers that are none."""

import numpy as np
import pytest

from tests.shadowed import BEFORE, FakeServing, classified, fused_like, row
from trident.contract import ENTITY_PROVENANCE_ORDER, MODELS
from trident.rollout.soundness import unsound, versions_of


def whole(model, version=1):
    """A good answer of a model."""
    tensors = {spec.name: np.zeros((1, *(max(side, 1) for side in spec.dims))) for spec in MODELS[model].inputs}
    if model == "preprocess":
        from tests.pictures import corners, encode

        tensors = {"IMAGE": np.array([[encode(corners())]], dtype=np.object_)}
    return FakeServing().infer(model, tensors, version=version if model != "trident" else None)


@pytest.mark.parametrize("model", MODELS)
def test_a_good_answer_is_sound(model):
    assert unsound(model, whole(model), 1) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"PROBABILITIES": None}, "got none", id="missing"),
        pytest.param({"PROBABILITIES": np.full((1, 1000), np.nan, "f4")}, "1000 that are NaN", id="NaN"),
        pytest.param({"PROBABILITIES": np.full((1, 1000), np.inf, "f4")}, "NaN or infinite", id="infinite"),
        pytest.param({"PROBABILITIES": np.full((1, 1000), 2.0, "f4")}, r"scores in \[0, 1\]", id="above 1"),
        pytest.param({"PROBABILITIES": np.full((1, 1000), -0.5, "f4")}, r"scores in \[0, 1\]", id="below 0"),
        pytest.param({"PROBABILITIES": np.zeros((1, 1001), "f4")}, r"expected shape \(1, 1000\)", id="too many"),
        pytest.param({"PROBABILITIES": np.zeros((2, 1000), "f4")}, r"got \(2, 1000\)", id="another batch"),
        pytest.param({"TOP_CLASSES": np.zeros((1, 5), "f4")}, "expected INT32, got float32", id="another type"),
    ],
)
def test_a_classifiers_answer_that_is_none(change, message):
    import re

    assert re.search(message, unsound("classifier", whole("classifier") | change, 1))


@pytest.mark.parametrize(
    ("model", "tensor", "value", "message"),
    [
        pytest.param("detector", "NUM_BOXES", 101, "expected 0 to 100", id="too many boxes"),
        pytest.param("detector", "NUM_BOXES", -1, "expected 0 to 100", id="fewer than none"),
        pytest.param("detector", "CLASSES", 80, "expected 0 to 79", id="no such category"),
        pytest.param("plate_reader", "NUM_CHARACTERS", 41, "expected 0 to 40", id="too many characters"),
        pytest.param("face_embedder", "EMBEDDING", 0.0, "expected a length above 0", id="no direction"),
    ],
)
def test_values_that_cannot_be(model, tensor, value, message):
    answer = whole(model)
    answer[tensor] = np.full_like(answer[tensor], value)
    assert message in unsound(model, answer, 1)


@pytest.mark.parametrize(
    ("model", "tensor", "text", "message"),
    [
        pytest.param("trident", "RESULT", b"{}", "RESULT.schema", id="a result without anything"),
        pytest.param("trident", "RESULT", b"\xff", "UTF-8 JSON", id="no text"),
        pytest.param("entity_recognizer", "ENTITIES", b"[", "UTF-8 JSON", id="no JSON"),
        pytest.param("entity_recognizer", "ENTITIES", b'{"a": 1}', "a JSON list", id="no list"),
        pytest.param("entity_recognizer", "ENTITIES", b'[{"type": "dog"}]', "faces and plates", id="no entity"),
        pytest.param("entity_recognizer", "ENTITIES", b'[{"type": "face"}]', "without box", id="no box"),
    ],
)
def test_texts_that_say_nothing(model, tensor, text, message):
    answer = whole(model) | {tensor: np.array([[text]], dtype=np.object_)}
    assert message in unsound(model, answer, 1)


def test_only_what_was_asked_for_is_looked_at():
    assert unsound("trident", {"RESULT": whole("trident")["RESULT"]}, 1, only=("RESULT",)) == ""


def test_versions_name_themselves():
    assert versions_of("classifier", classified() | {"PROVENANCE": row("classifier", 7)[None]}) == {"classifier": 7}
    assert versions_of("trident", fused_like({**BEFORE, "fusion": 3}))["fusion"] == 3
    recognized = whole("entity_recognizer")
    recognized["PROVENANCE"][:, ENTITY_PROVENANCE_ORDER.index("plate_reader")] = 0
    assert set(versions_of("entity_recognizer", recognized)) == set(ENTITY_PROVENANCE_ORDER) - {"plate_reader"}
