"""``RESULT`` from fusion to client: any answers of the branches fuse, and any analysis survives being written."""

import copy
import json

import numpy as np
import pytest
from fake_server import result
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.checks import check_answer, check_fusion, demand_outputs
from tests.fuzz.tensors import bytes_of, tensors_of
from trident.contract import MODELS, NUM_CATEGORIES
from trident.fusion.batch import fuse_batch
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident.provenance import Provenance
from trident_client import AnswerError, parse

TAXONOMY = load_taxonomy()
POLICY = load_policy(DEFAULT_REPOSITORY / "fusion" / "1" / "policy.json")
OWN = Provenance(1, "sha256:" + "0f" * 32)
PERSON, CAR = TAXONOMY.index("person"), TAXONOMY.index("car")
SCORES = st.floats(0, 1, width=32)
NUMBERS = st.floats(-1e6, 1e6)
POINTS = st.lists(NUMBERS, min_size=2, max_size=2)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def boxes(draw):
    x, y, width, height = (draw(st.floats(0, 600)) for _ in range(4))
    return [x, y, x + width, y + height]


FACES = st.fixed_dictionaries(
    {
        "type": st.just("face"),
        "score": st.floats(0, 1),
        "box": boxes(),
        "landmarks": st.lists(POINTS, min_size=5, max_size=5),
        "identity": st.none() | st.fixed_dictionaries({"name": TEXTS, "similarity": st.floats(0, 1)}),
    }
)
PLATES = st.fixed_dictionaries(
    {
        "type": st.just("plate"),
        "score": st.floats(0, 1),
        "box": boxes(),
        "corners": st.lists(POINTS, min_size=4, max_size=4),
        "text": TEXTS,
        "text_score": st.floats(0, 1),
    }
)


@st.composite
def branch_answers(draw, pictures=2):
    """Fusion's inputs, all that the branches may say: anything, or entities on objects that can have them."""
    objects_and_entities = draw(st.one_of(anything(), people_and_cars()))
    return tensors_of(
        bytes_of(
            pictures=draw(st.integers(0, pictures)),
            probabilities=draw(st.lists(SCORES, max_size=7)),
            **objects_and_entities,
        )
    )


@st.composite
def anything(draw):
    """Whatever the types allow."""
    return {
        "size": (draw(st.integers(1, 5000)), draw(st.integers(1, 5000))),
        "boxes": draw(st.integers(0, 30)),
        "places": [number for box in draw(st.lists(boxes(), max_size=10)) for number in box],
        "scores": draw(st.lists(SCORES, min_size=1, max_size=9)),
        "classes": draw(st.lists(st.integers(0, NUM_CATEGORIES - 1), min_size=1, max_size=9)),
        "entities": json.dumps(draw(st.lists(FACES | PLATES, max_size=5)), ensure_ascii=False).encode(),
    }


@st.composite
def people_and_cars(draw):
    """Faces at the heads of persons, and plates where cars have them."""
    corner, side, sure = st.integers(0, 300), st.integers(20, 180), st.floats(0.25, 1, width=32)
    found = draw(st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=6))
    entities = []
    for number, (x, y, width, height) in enumerate(found):
        kind, down = (PLATES, 0.7) if number % 2 else (FACES, 0.15)
        for _ in range(draw(st.integers(0, 2))):
            left, top = x + width / 2, y + height * down
            box = [left, top, left + width / 8, top + height / 8]
            entities.append(draw(kind) | {"score": draw(sure), "box": box})
    return {
        "size": (640, 480),  # in which canvas and picture have the same pixels
        "boxes": len(found),
        "places": [number for x, y, width, height in found for number in (x, y, x + width, y + height)],
        "scores": draw(st.lists(sure, min_size=len(found), max_size=len(found))),
        "classes": [CAR if number % 2 else PERSON for number in range(len(found))],
        "entities": json.dumps(entities, ensure_ascii=False).encode(),
    }


@given(branch_answers())
def test_whatever_the_branches_say_is_fused(tensors):
    """Into sorted lists of finite numbers in range, with links that agree, which the client reads."""
    demand_outputs(tensors, fuse_batch(tensors, TAXONOMY, POLICY, OWN))


@given(branch_answers(pictures=1))
def test_a_picture_is_fused_alike_in_any_company(tensors):
    alone = fuse_batch(tensors, TAXONOMY, POLICY, OWN)
    twice = fuse_batch({name: np.concatenate([array, array]) for name, array in tensors.items()}, TAXONOMY, POLICY, OWN)
    for name, array in alone.items():
        np.testing.assert_array_equal(twice[name], np.concatenate([array, array]))


@given(branch_answers(pictures=1), st.randoms(use_true_random=False))
def test_the_order_of_the_entities_counts_for_nothing(tensors, random):
    if not len(tensors["IMAGE_SIZE"]):
        return
    entities = json.loads(tensors["ENTITIES"][0, 0])
    # Equal scores are left as they came: then the order is all that tells them apart.
    entities = list({one["score"]: one for one in entities}.values())
    shuffled = random.sample(entities, len(entities))
    documents = []
    for some in (entities, shuffled):
        tensors["ENTITIES"][0, 0] = json.dumps(some).encode()
        documents.append(json.loads(fuse_batch(tensors, TAXONOMY, POLICY, OWN)["RESULT"][0, 0]))
    assert documents[0]["categories"] == documents[1]["categories"]
    assert [one | {"object": 0} for one in documents[0]["entities"]] == [
        one | {"object": 0} for one in documents[1]["entities"]
    ]


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are_fusion_refuses_or_answers(data):
    check_fusion(data)


@st.composite
def analyses(draw):
    """A document of schema 1."""
    number_of_objects, number_of_entities = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    links = st.integers(0, number_of_objects - 1) if number_of_objects else st.nothing()
    document = result(
        image={"width": draw(st.integers(1, 10**6)), "height": draw(st.integers(1, 10**6))},
        scene=draw(
            st.lists(st.fixed_dictionaries({"label": TEXTS, "wnid": TEXTS, "score": st.floats(0, 1)}), max_size=5)
        ),
        categories=[
            {"name": draw(TEXTS), "score": draw(st.floats(0, 1)), "evidence": draw(EVIDENCE)}
            for _ in range(draw(st.integers(0, 3)))
        ],
        objects=[
            {
                "category": draw(TEXTS),
                "score": draw(st.floats(0, 1)),
                "box": draw(boxes()),
                "fine_label": draw(st.none() | TEXTS),
                "entities": draw(st.lists(st.integers(0, number_of_entities - 1), max_size=2))
                if number_of_entities
                else [],
            }
            for _ in range(number_of_objects)
        ],
        entities=[draw(FACES | PLATES) | {"object": draw(st.none() | links)} for _ in range(number_of_entities)],
        models=draw(
            st.dictionaries(
                st.sampled_from(sorted(MODELS)),
                st.fixed_dictionaries({"version": st.integers(1, 2**31), "digest": TEXTS}),
                max_size=4,
            )
        ),
    )
    return document


EVIDENCE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("classifier", "detector", "entities"), st.none() | st.floats(0, 1))
)


class TestClient:
    @given(analyses())
    def test_an_analysis_is_what_the_document_says(self, document):
        read = parse(json.dumps(document, ensure_ascii=False).encode())
        assert read.to_json() == document
        assert parse(json.dumps(read.to_json())) == read

    @given(analyses(), st.floats(0, 1), st.floats(0, 1))
    def test_two_thresholds_are_the_higher_one(self, document, one, other):
        read = parse(json.dumps(document))
        assert read.above(one).above(other) == read.above(max(one, other))
        assert read.above(0) == read

    @given(analyses(), st.data())
    def test_any_value_in_any_place_is_read_or_refused(self, document, data):
        """Nothing but the documented error leaves, and it quotes no text: that may be a name."""
        node = document = copy.deepcopy(document)
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
                node = node[key]
            else:
                node[key] = data.draw(VALUES)
                break
        try:
            parse(json.dumps(document))
        except AnswerError as error:
            assert SECRET not in str(error)

    @given(st.recursive(st.none() | st.booleans() | st.floats() | TEXTS, lambda inner: st.lists(inner, max_size=3)))
    def test_json_of_any_kind_is_refused(self, value):
        with pytest.raises(AnswerError, match="RESULT"):
            parse(json.dumps(value))

    @given(st.binary(max_size=60) | st.text('{}[]":,0123456789truefalsnE.+-', max_size=40).map(str.encode))
    def test_any_bytes_are_read_or_refused(self, data):
        check_answer(data)


SECRET = "Rosebud"
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**20),
    st.floats(),
    st.just(SECRET),
    st.just({SECRET: SECRET}),
    st.just([SECRET]),
    st.just([]),
    st.just(10**400),
)


@given(people_and_cars())
def test_entities_on_objects_that_can_have_them_are_linked(scene):
    """Each object that an entity lies on has one; without this the properties above would say nothing of links."""
    outputs = fuse_batch(tensors_of(bytes_of(**scene)), TAXONOMY, POLICY, OWN)
    document = json.loads(outputs["RESULT"][0, 0])
    linked = [one["object"] for one in document["entities"] if one["object"] is not None]
    assert len(linked) == len(set(linked))
    assert bool(linked) == bool(document["entities"])
    kinds = {"person": "face", "car": "plate"}
    for thing in document["objects"]:
        assert all(document["entities"][number]["type"] == kinds[thing["category"]] for number in thing["entities"])
