"""Answers that are none."""

import json
import re

import numpy as np
import pytest

from tests.shadowed import BEFORE, TEXT, FakeServing, classified, entities, fused_like, result_of, row
from trident.contract import ENTITY_PROVENANCE_ORDER, MODELS
from trident.rollout.soundness import inconsistencies, unsound, versions_of


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
        pytest.param({"PROBABILITIES": np.zeros((1, 1000))}, "expected FP32, got float64", id="a wider type"),
        pytest.param({"TOP_CLASSES": np.zeros((1, 5), "i8")}, "expected INT32, got int64", id="wider numbers"),
    ],
)
def test_a_classifiers_answer_that_is_none(change, message):
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
        pytest.param("entity_recognizer", "ENTITIES", b'{"a": 1}', "ENTITIES: expected a list", id="no list"),
        pytest.param(
            "entity_recognizer", "ENTITIES", b'[{"type": "dog"}]', "ENTITIES[0].score: expected a number", id="no score"
        ),
        pytest.param(
            *("entity_recognizer", "ENTITIES", b'[{"type": "dog", "score": 1, "box": [0, 0, 1, 1]}]'),
            "ENTITIES[0].type: expected face or plate",
            id="no entity",
        ),
        pytest.param(
            *("entity_recognizer", "ENTITIES", b'[{"type": "face", "score": 1}]'),
            "ENTITIES[0].box: expected a list of 4, got nothing",
            id="no box",
        ),
        pytest.param("entity_recognizer", "ENTITIES", None, "ENTITIES: expected text, got NoneType", id="nothing"),
    ],
)
def test_texts_that_say_nothing(model, tensor, text, message):
    answer = whole(model) | {tensor: np.array([[text]], dtype=np.object_)}
    assert message in unsound(model, answer, 1)


def places(value, *, inside=()):
    """The way to every value in a JSON document, that to itself included."""
    yield inside
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, inside=(*inside, key))


def put(document, place, value):
    """A copy of a document with another value in one place."""
    if not place:
        return value
    copied = json.loads(json.dumps(document))
    node = copied
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return copied


NAME = "Wilhelmina"
LIKE_A_PLATE = 60725


@pytest.mark.parametrize("misplaced", [NAME, TEXT, [NAME], {NAME: TEXT}, {"name": {NAME: 1}}], ids=str)
def test_what_is_wrong_is_said_without_what_was_read(misplaced):
    """Names and plates in every place of an answer: no complaint repeats one, since complaints reach the journal."""
    read = [{**entities(text=TEXT, name=NAME)[0], "object": 0}, *entities(text=TEXT)[1:]]
    result = json.loads(result_of({"classifier": 1})) | {"entities": read}
    complaints = []
    for model, tensor, document in (("trident", "RESULT", result), ("entity_recognizer", "ENTITIES", read)):
        good = whole(model)
        for place in places(document):
            text = json.dumps(put(document, place, misplaced), ensure_ascii=False).encode()
            complaints.append(unsound(model, good | {tensor: np.array([[text]], dtype=np.object_)}, 1))
        # A name or a plate in text that is no JSON.
        cut = f'[{{"name": "{NAME}", "text": "{TEXT}'.encode()
        complaints.append(unsound(model, good | {tensor: np.array([[cut]], dtype=np.object_)}, 1))
    assert sum(map(bool, complaints)) > 50
    for complaint in complaints:
        assert NAME not in complaint
        assert TEXT not in complaint
        assert TEXT.encode("unicode_escape").decode() not in complaint


def test_a_plate_that_came_as_a_number_is_not_said():
    read = entities()
    read[1]["text"] = LIKE_A_PLATE
    answer = whole("entity_recognizer") | {"ENTITIES": np.array([[json.dumps(read).encode()]], dtype=np.object_)}
    assert unsound("entity_recognizer", answer, 1) == "ENTITIES[1].text: expected text, got a number"


def test_only_what_was_asked_for_is_looked_at():
    assert unsound("trident", {"RESULT": whole("trident")["RESULT"]}, 1, only=("RESULT",)) == ""


def test_versions_name_themselves():
    assert versions_of("classifier", classified() | {"PROVENANCE": row("classifier", 7)[None]}) == {"classifier": 7}
    assert versions_of("trident", fused_like({**BEFORE, "fusion": 3}))["fusion"] == 3
    recognized = whole("entity_recognizer")
    recognized["PROVENANCE"][:, ENTITY_PROVENANCE_ORDER.index("plate_reader")] = 0
    assert set(versions_of("entity_recognizer", recognized)) == set(ENTITY_PROVENANCE_ORDER) - {"plate_reader"}


def test_scores_come_best_first():
    scores = np.zeros((1, 100), np.float32)
    scores[0, :2] = (0.2, 0.8)
    problems = inconsistencies({"SCORES": scores, "NUM_BOXES": np.array([[2]], np.int32)})
    assert problems == ["SCORES: expected the best first, got another order"]


def test_the_most_probable_class_comes_first():
    probabilities = np.zeros((1, 1000), np.float32)
    probabilities[0, :2] = (0.7, 0.3)
    answer = {
        "PROBABILITIES": probabilities,
        "TOP_CLASSES": np.array([[1, 0, 2, 3, 4]], np.int32),
        "TOP_SCORES": np.array([[0.3, 0.7, 0, 0, 0]], np.float32),
    }
    assert inconsistencies(answer) == ["TOP_CLASSES: expected the most probable class first, got another"]
