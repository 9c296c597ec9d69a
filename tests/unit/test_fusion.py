"""Fusion's steps on small, made-up answers of the branches."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.fuzz.corpus import BAD_JSON, ENTITY_FLAWS
from trident.contract import MODELS
from trident.errors import InvalidInput
from trident.fusion.answer import BranchAnswers, fuse_answers
from trident.fusion.assignment import assign, fit_matrix, link
from trident.fusion.batch import fuse_batch
from trident.fusion.evidence import (
    CLASSIFIER,
    DETECTOR,
    ENTITIES,
    SILENT,
    classifier_evidence,
    detector_evidence,
    entity_evidence,
    fuse,
)
from trident.fusion.policy import Assignment, Evidence, FineLabel, Place, Policy, Rescoring, Weights
from trident.fusion.rescoring import fine_labels, rescore
from trident.fusion.taxonomy import load_taxonomy
from trident.fusion.types import Objects
from trident.provenance import Provenance, pack

TAXONOMY = load_taxonomy()
PERSON, CAR, BUS, TRUCK, DOG, FRISBEE = (
    TAXONOMY.index(name) for name in ("person", "car", "bus", "truck", "dog", "frisbee")
)
MINIVAN, JEEP, PUG = (TAXONOMY.names.index(name) for name in ("minivan", "jeep", "pug"))
POLICY = Policy(
    weights=Weights(classifier=0.5, detector=1.0, entities=1.0),
    evidence=Evidence(entity_floor=0.5),
    rescoring=Rescoring(classifier=0.5, entity=0.5),
    fine_label=FineLabel(min_probability=0.3, min_share=0.5, min_score=0.2),
    assignment=Assignment(min_containment=0.6, min_score=0.05, face=Place(0.5, 0.15, 0.3), plate=Place(0.5, 0.7, 0.3)),
)


def objects(*rows):
    """Objects from (category, score, box)."""
    return Objects(
        np.array([box for _, _, box in rows], dtype=np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], dtype=np.float32),
        np.array([category for category, _, _ in rows], dtype=np.int32),
    )


def probabilities(**by_name):
    """A softmax with the given classes, spaces written as underscores."""
    values = np.zeros(1000, dtype=np.float32)
    for name, value in by_name.items():
        values[TAXONOMY.names.index(name.replace("_", " "))] = value
    return values


def face(score, box):
    return {"type": "face", "score": score, "box": box, "landmarks": [[0, 0]] * 5, "identity": None}


def plate(score, box, text="皖A06725D"):
    return {"type": "plate", "score": score, "box": box, "corners": [[0, 0]] * 4, "text": text, "text_score": 0.9}


def answers(*, seen=None, found=(), entities=(), size=(640, 640)):
    seen = probabilities() if seen is None else seen
    top = np.argsort(-seen, kind="stable")[:5]
    return BranchAnswers(
        size=size,
        probabilities=seen,
        top_classes=top,
        top_scores=seen[top],
        objects=objects(*found),
        entities=list(entities),
    )


def fused(**kwargs):
    return fuse_answers(answers(**kwargs), TAXONOMY, POLICY)


class TestEvidence:
    def test_classifier_sums_the_kinds(self):
        evidence = classifier_evidence(probabilities(minivan=0.3, jeep=0.2, pug=0.4, tench=0.1), TAXONOMY)
        assert evidence[CAR] == pytest.approx(0.5)
        assert evidence[DOG] == pytest.approx(0.4)
        assert evidence[BUS] == 0

    def test_classifier_is_silent_where_it_knows_no_kind(self):
        evidence = classifier_evidence(np.full(1000, 1e-3, dtype=np.float32), TAXONOMY)
        assert evidence[FRISBEE] == SILENT
        assert ((evidence == SILENT) == [len(kinds) == 0 for kinds in TAXONOMY.kinds]).all()

    def test_classifier_wants_all_classes(self):
        with pytest.raises(ValueError, match=r"expected shape \(1000,\), got \(999,\)"):
            classifier_evidence(np.zeros(999), TAXONOMY)

    def test_detector_takes_the_best_box_and_is_never_silent(self):
        evidence = detector_evidence(objects((CAR, 0.2, [0] * 4), (CAR, 0.7, [0] * 4), (DOG, 0.1, [0] * 4)))
        assert evidence[[CAR, DOG, BUS]] == pytest.approx([0.7, 0.1, 0.0])

    def test_entities_speak_only_where_found_and_sure(self):
        evidence = entity_evidence([(PERSON, 0.6), (PERSON, 0.9), (CAR, 0.49)], floor=0.5)
        assert evidence[PERSON] == 0.9
        assert evidence[CAR] == SILENT and evidence[DOG] == SILENT

    def test_fuses_what_speaks(self):
        evidence = np.full((80, 3), SILENT)
        evidence[0] = 0.2, 0.8, 1.0
        evidence[1] = SILENT, 0.8, SILENT
        z = fuse(evidence, Weights(classifier=0.5, detector=1.0, entities=0.5))
        assert z[0] == pytest.approx((0.5 * 0.2 + 0.8 + 0.5 * 1.0) / 2)
        assert z[1] == pytest.approx(0.8)
        assert z[2] == 0

    @given(arrays(np.float64, (80, 3), elements=st.floats(0, 1) | st.just(SILENT)))
    @settings(max_examples=30, deadline=None)
    def test_lies_between_the_branches(self, evidence):
        z = fuse(evidence, POLICY.weights)
        spoken = np.where(evidence == SILENT, np.nan, evidence)
        for row, value in zip(spoken, z, strict=True):
            if np.isnan(row).all():
                assert value == 0
            else:
                assert np.nanmin(row) - 1e-9 <= value <= np.nanmax(row) + 1e-9


class TestAssignment:
    def test_the_total_counts_not_the_first(self):
        # Alone, both entities would take object 0.
        assert assign(np.array([[0.9, 0.8], [0.8, 0.1]])) == {0: 1, 1: 0}

    def test_what_does_not_fit_stays_alone(self):
        assert assign(np.array([[0.0, 0.0], [0.0, 0.4]])) == {1: 1}

    def test_none_and_none(self):
        nothing = link(np.zeros((0, 4)), np.zeros(0), objects((PERSON, 0.9, [0, 0, 9, 9])), *_face_rules())
        assert nothing.own == {} and nothing.nearest == {}
        nothing = link(np.array([[0, 0, 9, 9]]), np.array([0.9]), objects(), *_face_rules())
        assert nothing.own == {}

    def test_outside_or_unsure_objects_do_not_count(self):
        people = objects((PERSON, 0.9, [0, 0, 100, 200]), (PERSON, 0.01, [200, 0, 300, 200]))
        faces = np.array([[90, 0, 130, 40], [230, 10, 270, 50]])
        assert (fit_matrix(faces, people, *_face_rules()) == 0).all()

    def test_a_head_fits_the_person_below_it(self):
        # Both boxes hold the face whole; it is at the top of the second one only.
        people = objects((PERSON, 0.9, [0, 0, 300, 600]), (PERSON, 0.9, [100, 280, 200, 600]))
        assert link(np.array([[130, 290, 170, 340]]), np.array([0.9]), people, *_face_rules()).own == {0: 1}

    def test_of_two_plates_the_surer_one_has_the_car(self):
        cars = objects((CAR, 0.9, [0, 0, 100, 100]))
        links = link(
            np.array([[40, 65, 60, 75], [40, 65, 60, 75]]),
            np.array([0.3, 0.9]),
            cars,
            POLICY.assignment.plate,
            POLICY.assignment,
        )
        assert links.own == {1: 0} and links.nearest == {0: 0, 1: 0}

    def test_empty_boxes_are_harmless(self):
        flat = objects((PERSON, 0.9, [5, 5, 5, 5]))
        assert (fit_matrix(np.array([[5, 5, 5, 5], [0, 0, 9, 9]]), flat, *_face_rules()) == 0).all()


def _face_rules():
    return POLICY.assignment.face, POLICY.assignment


class TestRescoring:
    def test_evidence_lifts_and_silence_leaves(self):
        found = objects((CAR, 0.5, [0] * 4), (FRISBEE, 0.5, [0] * 4), (DOG, 0.5, [0] * 4))
        evidence = classifier_evidence(probabilities(minivan=0.8), TAXONOMY)
        scores = rescore(found, evidence, np.zeros(3), Rescoring(classifier=0.5, entity=0.5))
        assert scores == pytest.approx([0.5 ** (1 - 0.5 * 0.8), 0.5, 0.5], abs=1e-6)

    def test_an_entity_lifts_its_own_box(self):
        found = objects((PERSON, 0.5, [0] * 4), (PERSON, 0.5, [0] * 4))
        scores = rescore(found, np.full(80, SILENT), np.array([0.0, 1.0]), Rescoring(classifier=0.5, entity=0.5))
        assert scores == pytest.approx([0.5, 0.5**0.5])

    @given(
        arrays(np.float32, 6, elements=st.floats(0, 1, width=32)),
        arrays(np.float64, 80, elements=st.floats(0, 1)),
        st.floats(0, 0.99),
    )
    @settings(max_examples=50, deadline=None)
    def test_stays_in_range_and_keeps_the_order(self, scores, evidence, lift):
        found = Objects(np.zeros((6, 4)), np.sort(scores), np.full(6, CAR))
        lifted = rescore(found, evidence, np.zeros(6), Rescoring(classifier=lift, entity=0.0))
        assert ((lifted >= found.scores - 1e-6) & (lifted <= 1)).all()
        assert (np.diff(lifted) >= -1e-12).all()

    def label(self, seen, *found, size=(640, 640), policy=POLICY.fine_label):
        return fine_labels(seen, objects(*found), size, TAXONOMY, policy)

    def test_names_the_largest_box_of_the_category(self):
        labels = self.label(
            probabilities(minivan=0.6), (CAR, 0.9, [0, 0, 50, 50]), (CAR, 0.8, [0, 0, 400, 400]), (DOG, 0.9, [0] * 4)
        )
        assert labels == {1: MINIVAN}

    def test_sees_only_the_centre_square(self):
        # The larger car is in the left part, which the classifier does not see.
        found = (CAR, 0.9, [0, 0, 150, 300]), (CAR, 0.9, [400, 0, 500, 100])
        assert self.label(probabilities(jeep=0.6), *found, size=(900, 300)) == {1: JEEP}

    @pytest.mark.parametrize(
        "seen",
        [
            pytest.param(probabilities(minivan=0.29), id="too little probability"),
            pytest.param(probabilities(minivan=0.35, jeep=0.34, limousine=0.3), id="too small a share"),
            pytest.param(probabilities(pug=0.9), id="another category"),
        ],
    )
    def test_no_name_without_reason(self, seen):
        assert self.label(seen, (CAR, 0.9, [0, 0, 400, 400])) == {}

    def test_no_name_for_an_unsure_box(self):
        assert self.label(probabilities(minivan=0.9), (CAR, 0.19, [0, 0, 400, 400])) == {}


class TestAnswer:
    def test_whole_answer(self):
        result = fused(
            seen=probabilities(minivan=0.61, jeep=0.1, limousine=0.05, pug=0.04, tench=0.03),
            found=[
                (CAR, 0.9, [10, 20, 410, 320]),
                (PERSON, 0.8, [100, 40, 200, 300]),
                (FRISBEE, 0.04, [0, 0, 10, 10]),
            ],
            entities=[plate(0.97, [190, 210, 230, 235]), face(0.99, [130, 50, 170, 90])],
            size=(1280, 1280),
        ).result
        assert result["schema"] == 1 and result["image"] == {"width": 1280, "height": 1280}
        assert result["scene"][0] == {"label": "minivan", "wnid": "n03770679", "score": 0.61}
        assert [entity["type"] for entity in result["entities"]] == ["face", "plate"]
        car, person = result["objects"]
        # The canvas of 640 is half as large as the picture.
        assert (car["category"], car["box"], car["fine_label"]) == ("car", [20.0, 40.0, 820.0, 640.0], "minivan")
        assert person["category"] == "person" and person["fine_label"] is None
        assert car["entities"] == [1] and result["entities"][1]["object"] == 0
        assert person["entities"] == [] and result["entities"][0]["object"] is None

    def test_entities_are_in_picture_pixels(self):
        # The same boxes, the entities now in the pixels of the picture of twice the canvas's side.
        result = fused(
            found=[(CAR, 0.9, [10, 20, 410, 320]), (PERSON, 0.8, [420, 40, 520, 300])],
            entities=[plate(0.97, [380, 460, 460, 500]), face(0.99, [900, 100, 960, 160])],
            size=(1280, 1280),
        ).result
        for number, entity in enumerate(result["entities"]):
            assert number in result["objects"][entity["object"]]["entities"]
        assert [result["objects"][entity["object"]]["category"] for entity in result["entities"]] == ["person", "car"]

    def test_evidence_says_who_spoke(self):
        result = fused(
            seen=probabilities(minivan=0.5),
            found=[(CAR, 0.6, [0, 0, 400, 400]), (FRISBEE, 0.5, [0, 0, 10, 10])],
            entities=[plate(0.9, [180, 260, 220, 280])],
        ).result
        by_name = {category["name"]: category for category in result["categories"]}
        assert by_name["car"]["evidence"] == {"classifier": 0.5, "detector": 0.6, "entities": 0.9}
        assert by_name["car"]["score"] == pytest.approx((0.5 * 0.5 + 0.6 + 0.9) / 2.5, abs=1e-4)
        assert by_name["frisbee"] == {"name": "frisbee", "score": 0.5, "evidence": {"detector": 0.5}}

    def test_a_plate_speaks_for_the_vehicle_that_it_is_on(self):
        evidence = fused(
            found=[(BUS, 0.6, [0, 0, 400, 400])],
            entities=[plate(0.9, [180, 260, 220, 280]), plate(0.8, [180, 240, 220, 260])],
        ).category_evidence
        assert evidence[BUS, ENTITIES] == pytest.approx(0.9)
        assert evidence[CAR, ENTITIES] == SILENT

    def test_a_plate_alone_speaks_for_a_car(self):
        evidence = fused(entities=[plate(0.9, [180, 260, 220, 280])]).category_evidence
        assert evidence[CAR, ENTITIES] == pytest.approx(0.9)
        assert (evidence[[BUS, TRUCK, PERSON], ENTITIES] == SILENT).all()

    def test_nothing_found_is_empty_lists(self):
        answer = fused(seen=np.zeros(1000, dtype=np.float32))
        assert [answer.result[key] for key in ("categories", "objects", "entities")] == [[], [], []]
        assert answer.num_boxes == 0 and not answer.boxes.any() and not answer.category_scores.any()

    def test_thresholds_and_order(self):
        rows = [(CAR, score, [0, 0, 50, 50]) for score in (0.04, 0.05, 0.9, 0.3)]
        entities = [face(0.04, [0, 0, 9, 9]), face(0.06, [0, 0, 9, 9]), face(0.7, [0, 0, 9, 9])]
        answer = fused(found=rows, entities=entities)
        assert [thing["score"] for thing in answer.result["objects"]] == [0.9, 0.3, 0.05]
        assert [entity["score"] for entity in answer.result["entities"]] == [0.7, 0.06]
        # The typed tensors keep them all.
        assert answer.num_boxes == 4
        assert answer.box_scores[:5] == pytest.approx([0.9, 0.3, 0.05, 0.04, 0])

    def test_an_entity_of_a_hidden_object_has_none(self):
        policy = replace(POLICY, assignment=replace(POLICY.assignment, min_score=0.0))
        found = answers(found=[(PERSON, 0.01, [0, 0, 100, 200])], entities=[face(0.06, [40, 20, 60, 40])])
        result = fuse_answers(found, TAXONOMY, policy).result
        assert result["objects"] == [] and result["entities"][0]["object"] is None

    @given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(0, 50))
    @settings(max_examples=40, deadline=None)
    def test_links_agree_both_ways(self, seed, num_boxes, num_entities):
        random = np.random.default_rng(seed)
        starts = random.uniform(0, 500, (num_boxes + num_entities, 2))
        boxes = np.hstack([starts, starts + random.uniform(5, 300, starts.shape)])
        found = [
            (int(random.choice([PERSON, CAR, TRUCK, DOG])), float(random.uniform()), box) for box in boxes[:num_boxes]
        ]
        entities = [
            (face if random.uniform() < 0.5 else plate)(float(random.uniform()), box.tolist())
            for box in boxes[num_boxes:]
        ]
        result = fused(found=found, entities=entities).result
        links = {(e["object"], i) for i, e in enumerate(result["entities"]) if e["object"] is not None}
        assert links == {(j, i) for j, thing in enumerate(result["objects"]) for i in thing["entities"]}
        assert all(len(thing["entities"]) <= 1 for thing in result["objects"])
        for key in ("objects", "entities", "categories"):
            scores = [entry["score"] for entry in result[key]]
            assert scores == sorted(scores, reverse=True)


OWN = Provenance(1, "sha256:" + "0f" * 32)


def batch(*pictures):
    """Fusion's input tensors for some pictures."""
    count = len(pictures)
    tensors = {
        spec.name: np.zeros((count, *spec.dims), dtype={"FP32": "f4", "INT32": "i4", "UINT8": "u1"}[spec.dtype.value])
        for spec in MODELS["fusion"].inputs
        if spec.name != "ENTITIES"
    }
    tensors["ENTITIES"] = np.empty((count, 1), dtype=object)
    for row, one in enumerate(pictures):
        number = len(one.objects)
        tensors["IMAGE_SIZE"][row] = one.size
        tensors["CLASS_PROBABILITIES"][row] = one.probabilities
        tensors["TOP_CLASSES"][row], tensors["TOP_SCORES"][row] = one.top_classes, one.top_scores
        tensors["DETECTOR_BOXES"][row, :number] = one.objects.boxes
        tensors["DETECTOR_SCORES"][row, :number] = one.objects.scores
        tensors["DETECTOR_CLASSES"][row, :number] = one.objects.classes
        tensors["DETECTOR_NUM_BOXES"][row] = number
        tensors["ENTITIES"][row, 0] = json.dumps(one.entities, ensure_ascii=False).encode()
        for name in ("PREPROCESS_PROVENANCE", "CLASSIFIER_PROVENANCE", "DETECTOR_PROVENANCE"):
            tensors[name][row] = pack(Provenance(row + 1, "sha256:" + "ab" * 32))
        tensors["ENTITY_PROVENANCE"][row, 0] = pack(Provenance(3, "sha256:" + "cd" * 32))
    return tensors


class TestBatch:
    def test_gives_what_the_contract_says(self):
        pictures = (
            answers(seen=probabilities(pug=0.9), found=[(DOG, 0.7, [0, 0, 300, 300])]),
            answers(entities=[plate(0.9, [10, 10, 50, 20])], size=(33, 1)),
        )
        outputs = fuse_batch(batch(*pictures), TAXONOMY, POLICY, OWN)
        dtypes = {"FP32": np.float32, "INT32": np.int32, "STRING": np.object_}
        for spec in MODELS["fusion"].outputs:
            assert outputs[spec.name].shape == (2, *spec.dims), spec.name
            assert outputs[spec.name].dtype == dtypes[spec.dtype.value], spec.name
        assert outputs.keys() == {spec.name for spec in MODELS["fusion"].outputs}
        dog, plated = (json.loads(row[0]) for row in outputs["RESULT"])
        assert dog["objects"][0]["fine_label"] == "pug"
        assert outputs["BOX_CLASSES"][0, 0] == DOG and outputs["NUM_BOXES"].tolist() == [[1], [0]]
        assert plated["entities"][0]["text"] == "皖A06725D"
        assert "皖" in outputs["RESULT"][1, 0].decode()
        assert outputs["CATEGORY_EVIDENCE"][0, DOG, [CLASSIFIER, DETECTOR]] == pytest.approx([0.9, 0.7])

    def test_models_are_those_that_were_called(self):
        outputs = fuse_batch(batch(answers(), answers()), TAXONOMY, POLICY, OWN)
        first, second = (json.loads(row[0])["models"] for row in outputs["RESULT"])
        assert list(first) == ["preprocess", "classifier", "detector", "entity_recognizer", "fusion"]
        assert (first["classifier"]["version"], second["classifier"]["version"]) == (1, 2)
        assert first["fusion"] == {"version": 1, "digest": OWN.digest}

    def test_no_pictures(self):
        outputs = fuse_batch(batch(), TAXONOMY, POLICY, OWN)
        assert all(len(array) == 0 for array in outputs.values())

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            pytest.param("IMAGE_SIZE", [0, 5], "IMAGE_SIZE: expected .* at least 1, got 0 and 5", id="no picture"),
            pytest.param("DETECTOR_NUM_BOXES", 101, "DETECTOR_NUM_BOXES: expected 0 to 100, got 101", id="too many"),
            pytest.param("DETECTOR_SCORES", np.nan, "DETECTOR_SCORES: expected finite", id="nan"),
            pytest.param("CLASS_PROBABILITIES", np.inf, "CLASS_PROBABILITIES: expected finite", id="infinity"),
            pytest.param("DETECTOR_CLASSES", 80, "DETECTOR_CLASSES: expected 0 to 79, got 80 to 80", id="no category"),
            pytest.param("TOP_CLASSES", -1, "TOP_CLASSES: expected 0 to 999, got -1 to -1", id="no class"),
        ],
    )
    def test_impossible_answers_are_refused(self, name, value, message):
        tensors = batch(answers(found=[(DOG, 0.7, [0, 0, 300, 300])]))
        tensors[name][0] = value
        with pytest.raises(InvalidInput, match=message):
            fuse_batch(tensors, TAXONOMY, POLICY, OWN)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b'{"type": "face"}', id="no list"),
            pytest.param(b'[{"type": "ghost", "score": 1, "box": [0, 0, 1, 1]}]', id="no face or plate"),
            pytest.param(b'[{"type": "face", "box": [0, 0, 1, 1]}]', id="no score"),
            pytest.param(b'[{"type": "face", "score": 1, "box": [0, 0, 1]}]', id="three numbers"),
            pytest.param(b"\xff[]", id="not UTF-8"),
            pytest.param(b'[{"type": "plate", "text": "AB1234"}]', id="a plate without a place"),
            pytest.param(b'[{"text": "AB1234"}]', id="a plate without a type"),
            pytest.param(b'[{"text": "AB1234', id="a plate that is cut off"),
        ],
    )
    def test_bad_entities_are_refused_and_not_quoted(self, text):
        tensors = batch(answers())
        tensors["ENTITIES"][0, 0] = text
        with pytest.raises(InvalidInput, match="ENTITIES: expected") as refused:
            fuse_batch(tensors, TAXONOMY, POLICY, OWN)
        assert "AB1234" not in str(refused.value)

    @pytest.mark.parametrize("flaw", ENTITY_FLAWS.values(), ids=ENTITY_FLAWS.keys())
    def test_an_entity_that_no_result_can_hold_is_refused(self, flaw):
        tensors = batch(answers())
        tensors["ENTITIES"][0, 0] = json.dumps([face(0.9, [1, 2, 3, 4]) | flaw]).encode()
        with pytest.raises(InvalidInput, match="ENTITIES: expected"):
            fuse_batch(tensors, TAXONOMY, POLICY, OWN)

    @pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON.keys())
    def test_json_of_any_kind_is_refused(self, text):
        tensors = batch(answers())
        tensors["ENTITIES"][0, 0] = text
        with pytest.raises(InvalidInput, match="ENTITIES: expected"):
            fuse_batch(tensors, TAXONOMY, POLICY, OWN)

    def test_a_box_turned_inside_out_is_empty(self):
        outputs = fuse_batch(batch(answers(found=[(DOG, 0.7, [300, 300, 100, 400])])), TAXONOMY, POLICY, OWN)
        assert json.loads(outputs["RESULT"][0, 0])["objects"][0]["box"] == [300, 300, 300, 400]


def test_objects_must_fit_together():
    with pytest.raises(ValueError, match="objects: expected shapes"):
        Objects(np.zeros((2, 4)), np.zeros(3), np.zeros(3, dtype=int))
