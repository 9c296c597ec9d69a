"""Reading RESULT: strict about what schema 1 says, tolerant of what it does not."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest
from fake_server import result
from hypothesis import given
from hypothesis import strategies as st

from trident_client import AnswerError, Box, FaceEntity, PlateEntity, Point, UnknownSchema, parse
from trident_client.frozen import FrozenMapping


def read(document):
    return parse(json.dumps(document), request_id="r1")


def test_everything_is_read():
    analysis = read(result())
    assert (analysis.width, analysis.height, analysis.request_id) == (640, 480, "r1")
    assert analysis.scene[0].wnid == "n03770679"
    assert analysis.categories[0].evidence == {"classifier": 0.71, "detector": 0.98, "entities": None}
    assert "entities" not in analysis.categories[1].evidence
    assert analysis.objects[0].box == Box(10, 40.5, 300, 220)
    assert (analysis.objects[0].box.width, analysis.objects[0].box.height) == (290, 179.5)
    assert analysis.objects[1].fine_label is None
    (plate,), (face,) = analysis.plates, analysis.faces
    assert isinstance(plate, PlateEntity) and plate.text == "皖A06725D" and plate.corners[3] == Point(80, 180)
    assert isinstance(face, FaceEntity) and face.identity.name == "Eileen Collins" and face.landmarks[0].y == 3
    assert analysis.models["classifier"].version == 1


def test_results_cannot_be_changed():
    analysis = read(result())
    with pytest.raises(dataclasses.FrozenInstanceError):
        analysis.width = 1
    with pytest.raises(TypeError):
        analysis.models["classifier"] = None
    with pytest.raises(TypeError):
        analysis.categories[0].evidence["detector"] = 1.0
    assert not hasattr(analysis, "__dict__")


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda analysis: pickle.loads(pickle.dumps(analysis)), id="pickled"),
        pytest.param(copy.copy, id="copied"),
        pytest.param(copy.deepcopy, id="copied to the bottom"),
    ],
)
def test_results_survive(again):
    analysis = read(result())
    other = again(analysis)
    assert other == analysis
    assert other.to_json() == analysis.to_json()
    assert other.request_id == "r1"
    with pytest.raises(TypeError):
        other.models["classifier"] = None


def test_results_can_be_hashed():
    one, same = read(result()), read(result())
    other = read(result(image={"width": 641, "height": 480}))
    assert hash(one) == hash(same)
    assert {one, same, other} == {one, other}


def test_the_order_in_a_frozen_mapping_counts_for_nothing():
    one, other = FrozenMapping({"a": 1, "b": 2}), FrozenMapping({"b": 2, "a": 1})
    assert one == other == {"a": 1, "b": 2}
    assert hash(one) == hash(other)
    assert list(other) == ["b", "a"]
    assert one != {"a": 1}


def test_a_frozen_mapping_is_a_copy():
    content = {"a": 1}
    frozen = FrozenMapping(content)
    content["a"] = 2
    assert frozen == {"a": 1}
    assert repr(frozen) == "FrozenMapping({'a': 1})"


def test_what_was_read_is_written_the_same():
    assert read(result()).to_json() == result()
    assert read(read(result()).to_json()) == read(result())


def test_fields_of_a_newer_server_are_passed_over():
    document = result(weather="rain")
    document["objects"][0]["depth"] = 3
    document["image"]["depth"] = 8
    document["categories"][0]["evidence"]["oracle"] = "yes"
    assert read(document) == read(result())


def test_nothing_found_is_an_answer():
    analysis = read(result(scene=[], categories=[], objects=[], entities=[]))
    assert analysis.objects == analysis.entities == analysis.faces == ()


def test_an_unknown_face_and_missing_links_are_none():
    document = result()
    document["entities"][1] |= {"identity": None, "object": None}
    del document["objects"][1]["fine_label"]
    analysis = read(document)
    assert analysis.faces[0].identity is None
    assert analysis.faces[0].object is None
    assert analysis.objects[1].fine_label is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        pytest.param(2, "expected 1, got 2: this client is older than the server, upgrade it", id="newer"),
        pytest.param(0, "expected 1, got 0: the server is too old", id="older"),
    ],
)
def test_another_schema_is_named(schema, words):
    with pytest.raises(UnknownSchema, match=words) as caught:
        # A later schema may have dropped every field that this one needs.
        read({"schema": schema})
    assert caught.value.request_id == "r1"


def changed(path, value):
    document = copy.deepcopy(result())
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    node[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        pytest.param(["schema"], "1", r"RESULT\.schema: expected a whole number, got text", id="schema is text"),
        pytest.param(
            ["image"], [640, 480], r"RESULT\.image: expected an object, got a list of 2", id="image is a list"
        ),
        pytest.param(["image", "width"], 0, r"RESULT\.image\.width: expected .*at least 1.*, got 0", id="no width"),
        pytest.param(
            ["image", "width"], True, r"RESULT\.image\.width: expected a whole number, got true or false", id="bool"
        ),
        pytest.param(["scene"], None, r"RESULT\.scene: expected a list, got null", id="scene is null"),
        pytest.param(
            ["scene", 0, "score"], 1.5, r"RESULT\.scene\[0\]\.score: expected a score in \[0, 1\]", id="score"
        ),
        pytest.param(["scene", 0, "score"], float("nan"), r"score: expected a finite number, got NaN", id="NaN"),
        pytest.param(["objects", 1, "box"], [1, 2, 3], r"objects\[1\]\.box: expected a list of 4", id="short box"),
        pytest.param(
            ["objects", 1, "box"], [9, 0, 0, 9], r"objects\[1\]\.box: expected a box with x1 <= x2", id="turned"
        ),
        pytest.param(
            ["objects", 0, "entities"], [2], r"entities\[0\]: expected .*below 2, got 2", id="dangling entity"
        ),
        pytest.param(["entities", 0, "object"], 2, r"entities\[0\]\.object: expected .*below 2, got 2", id="dangling"),
        pytest.param(["entities", 0, "text"], None, r"entities\[0\]\.text: expected text, got null", id="no text"),
        pytest.param(["entities", 0, "corners"], [[0, 0]], r"corners: expected a list of 4", id="corners"),
        pytest.param(["entities", 1, "landmarks", 2], [1], r"landmarks\[2\]: expected a list of 2", id="landmark"),
        pytest.param(
            ["entities", 1, "type"], "cow", r"entities\[1\]\.type: expected face or plate, got text", id="type"
        ),
        pytest.param(["objects", 1, "box", 0], 10**400, r"box\[0\]: expected a finite number, got 10", id="too large"),
        pytest.param(["models", "classifier", "version"], "1", r"models\.classifier\.version: expected", id="version"),
    ],
)
def test_what_schema_1_does_not_say_is_refused(path, value, words):
    with pytest.raises(AnswerError, match=words):
        read(changed(path, value))


@pytest.mark.parametrize("key", ["image", "scene", "categories", "objects", "entities", "models", "schema"])
def test_what_is_missing_is_named(key):
    document = result()
    del document[key]
    with pytest.raises(AnswerError, match=rf"RESULT\.{key}: expected .*, got nothing"):
        read(document)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"1" * 5000, b"[" * 100_000], ids=range(7))
def test_other_than_a_json_object_is_refused(text):
    with pytest.raises(AnswerError, match="RESULT: expected"):
        parse(text)


def test_a_threshold_drops_and_renumbers():
    kept = read(result()).above(0.3)
    assert [one.name for one in kept.categories] == ["car"]
    assert [one.category for one in kept.objects] == ["car"]
    # The face stays, its object does not; the plate keeps its own.
    assert [one.object for one in kept.entities] == [0, None]
    assert kept.objects[0].entities == (0,)
    assert kept.scene == read(result()).scene


@given(
    scores=st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9]), min_size=1, max_size=6),
    links=st.lists(st.integers(0, 5), min_size=6, max_size=6),
    threshold=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
)
def test_links_stay_true_under_any_threshold(scores, links, threshold):
    plate = result()["entities"][0]
    entities = [{**plate, "text": f"e{i}", "score": s, "object": links[i] % len(scores)} for i, s in enumerate(scores)]
    objects = [
        {
            "category": f"o{i}",
            "score": score,
            "box": [0, 0, 1, 1],
            "entities": [j for j, entity in enumerate(entities) if entity["object"] == i],
        }
        for i, score in enumerate(reversed(scores))
    ]
    before = read(result(objects=objects, entities=entities))
    after = before.above(threshold)

    def pairs(analysis):
        down = {(one.category, analysis.entities[i].text) for one in analysis.objects for i in one.entities}
        up = {(analysis.objects[one.object].category, one.text) for one in analysis.entities if one.object is not None}
        assert down == up
        return down

    kept_objects = {one.category for one in before.objects if one.score >= threshold}
    kept_entities = {one.text for one in before.entities if one.score >= threshold}
    assert pairs(after) == {(a, b) for a, b in pairs(before) if a in kept_objects and b in kept_entities}
