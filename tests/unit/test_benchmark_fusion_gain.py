"""What fusion gains, worked out from made-up answers of the branches: resampling, boxes, links, labels, the report."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fit_fusion, report
from benchmarks.fusion_gain import categories, fine, links, measure, page, words
from benchmarks.fusion_gain.__main__ import main
from benchmarks.fusion_gain.asked import Asked, Pictures, check_served, read_pictures, served_policy_file
from benchmarks.fusion_gain.boxes import BoxEvaluation, detections
from benchmarks.fusion_gain.resampling import (
    NO_DIFFERENCE,
    Estimate,
    Sample,
    draws,
    estimate,
    mean_half_width,
    resampled_precision,
    rows_of,
)
from benchmarks.quality import data, metrics
from trident.contract import MODELS
from trident.errors import SetupError
from trident.fusion import assignment
from trident.fusion.answer import fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.evidence import SILENT
from trident.fusion.policy import Weights, load_policy
from trident.fusion.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
POLICY_FILE = Path(__file__).parents[2] / "model_repository" / "fusion" / "1" / "policy.json"
# The weight is on the curve: whatever the next fit gives need not be.
POLICY = replace(load_policy(POLICY_FILE), weights=Weights(0.3, 1.0, 1.0))
PERSON, CAR, DOG, BUS = (TAXONOMY.index(name) for name in ("person", "car", "dog", "bus"))
MINIVAN, PUG = (TAXONOMY.names.index(name) for name in ("minivan", "pug"))
NUMPY = {"FP32": np.float32, "INT32": np.int32, "UINT8": np.uint8}


def branches(*, seen=(), found=(), entities=()):
    """Fusion's inputs for a picture of 640 × 640: (class, probability), (category, score, box), entities."""
    tensors = {
        spec.name: np.zeros((1, *spec.dims), NUMPY[spec.dtype.value])
        for spec in MODELS["fusion"].inputs
        if spec.name != "ENTITIES"
    }
    tensors["IMAGE_SIZE"][0] = 640, 640
    for index, probability in seen:
        tensors["CLASS_PROBABILITIES"][0, index] = probability
    top = np.argsort(-tensors["CLASS_PROBABILITIES"][0], kind="stable")[:5]
    tensors["TOP_CLASSES"][0], tensors["TOP_SCORES"][0] = top, tensors["CLASS_PROBABILITIES"][0, top]
    tensors["DETECTOR_NUM_BOXES"][0] = len(found)
    for row, (category, score, box) in enumerate(found):
        tensors["DETECTOR_CLASSES"][0, row], tensors["DETECTOR_SCORES"][0, row] = category, score
        tensors["DETECTOR_BOXES"][0, row] = box
    tensors["ENTITIES"] = np.array([[json.dumps(list(entities)).encode()]], dtype=object)
    return tensors


def face(score, box):
    return {"type": "face", "score": score, "box": box, "landmarks": [[0, 0]] * 5, "identity": None}


def coco_set(labels):
    """Labelled pictures: for each a list of (category, box as x1, y1, x2, y2)."""
    annotations = [
        {
            "id": 0,
            "image_id": image_id,
            "category_id": TAXONOMY.coco_ids[category],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for image_id, boxes in enumerate(labels, 1)
        for category, (x1, y1, x2, y2) in boxes
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    truth = {
        "images": [{"id": image_id, "width": 640, "height": 640} for image_id in range(1, len(labels) + 1)],
        "categories": [
            {"id": coco_id, "name": name} for coco_id, name in zip(TAXONOMY.coco_ids, TAXONOMY.categories, strict=True)
        ],
        "annotations": annotations,
    }
    image_ids = list(range(1, len(labels) + 1))
    return data.CocoSet(paths=[Path(f"{number}.jpg") for number in image_ids], image_ids=image_ids, truth=truth)


BOXES = {PERSON: [100, 50, 300, 600], CAR: [50, 300, 600, 600], DOG: [200, 350, 420, 620]}
KIND = {CAR: MINIVAN, DOG: PUG}


def made_up(count=24, seed=0):
    """Pictures of persons, cars and dogs, an unsure detector, a classifier that helps, and faces on most persons."""
    random = np.random.default_rng(seed)
    labels, answers = [], []
    for number in range(count):
        shown = [category for place, category in enumerate(BOXES) if number % 3 == place or random.uniform() < 0.2]
        labels.append([(category, BOXES[category]) for category in shown])
        found = [
            (category, float(random.uniform(0.2, 0.9) if category in shown else random.uniform(0.05, 0.6)), box)
            for category, box in BOXES.items()
        ]
        seen = [(index, 0.6 if category in shown else 0.1) for category, index in KIND.items()]
        entities = [face(0.9, [170, 60, 230, 140])] if PERSON in shown and number % 2 else []
        answers.append(branches(seen=seen, found=sorted(found, key=lambda one: -one[1]), entities=entities))
    return coco_set(labels), answers


@pytest.fixture(scope="module")
def asked():
    coco, answers = made_up()
    classes = [data.LabelledClass(Path("pug.jpg"), PUG), data.LabelledClass(Path("minivan.jpg"), MINIVAN)]
    return Asked(
        pictures=Pictures(
            coco=coco, classes=classes, with_entities=[Path("crowd.jpg"), Path("far.jpg")], left_out=["plates"]
        ),
        coco=answers,
        served=[],
        classes=[
            branches(seen=[(PUG, 0.8)], found=[(DOG, 0.7, BOXES[DOG])]),
            branches(seen=[(PUG, 0.8)], found=[(DOG, 0.7, BOXES[DOG])]),
        ],
        with_entities=[TWO_FACES, branches(entities=[face(0.2, [10, 10, 20, 20])])],
        models={"fusion": {"version": 1, "digest": "sha256:0"}},
    )


# Both faces fit the left person better; only one of them fits the right person at all.
TWO_FACES = branches(
    found=[(PERSON, 0.9, [100, 100, 300, 600]), (PERSON, 0.7, [180, 100, 380, 600])],
    entities=[face(0.9, [190, 120, 250, 200]), face(0.8, [120, 150, 175, 220])],
)


@pytest.fixture(scope="module")
def figures(asked):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fit_fusion, "RESCORING", (0.0, 0.3))  # fewer to choose from: it is the choosing that takes long
        return measure.work_out(
            asked,
            TAXONOMY,
            POLICY,
            policy_file=POLICY_FILE,
            largest_difference=1e-7,
            settings=measure.Settings(Path("labelled"), resamples=60, box_resamples=12),
            tell=lambda line: None,
        )


class TestResampling:
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=25), st.integers(0, 1000))
    @settings(max_examples=100, deadline=None)
    def test_precision_is_that_of_the_drawn_pictures(self, rows, seed):
        positive, scores = np.array([row[0] for row in rows]), np.array([row[1] / 4 for row in rows])
        counts_RN = draws(len(rows), 5, seed)
        found = resampled_precision(positive, scores, counts_RN)
        for counts_N, one in zip(counts_RN, found, strict=True):
            drawn = rows_of(counts_N)
            assert len(drawn) == len(rows)
            if positive[drawn].any():
                assert one == pytest.approx(metrics.average_precision(positive[drawn], scores[drawn]))
            else:
                assert np.isnan(one)

    def test_the_interval_is_that_of_the_quality_measures(self):
        random = np.random.default_rng(1)
        present = random.uniform(size=(40, 6)) < 0.2
        present[0] = True
        good, bad = present + random.normal(0, 0.6, present.shape), random.normal(0, 0.6, present.shape)
        sample = Sample(present, resamples=80, seed=5)
        gain = sample.score("good", good).gain_over(sample.score("bad", bad))
        expected = metrics.image_level_map(present, good) - metrics.image_level_map(present, bad)
        assert gain.value == pytest.approx(expected)
        assert (gain.low, gain.high) == pytest.approx(metrics.bootstrap_interval(present, good, bad, rounds=80, seed=5))

    def test_several_scores_count_as_their_mean(self):
        present = np.array([[True], [False]])
        right, wrong = np.array([[0.9], [0.1]]), np.array([[0.1], [0.9]])
        assert Sample(present, resamples=10, seed=0).score("both", right, wrong).map.value == pytest.approx(0.75)

    def test_categories_can_be_left_out(self):
        present = np.array([[True, True], [False, False]])
        scores = np.array([[0.9, 0.1], [0.1, 0.9]])
        scored = Sample(present, resamples=20, seed=0).score("x", scores)
        assert scored.map.value == pytest.approx(0.75)
        assert scored.among(np.array([True, False])).map.value == 1
        assert np.isnan(scored.among(np.array([False, False])).map.value)

    def test_an_estimate_leaves_out_what_is_not_there(self):
        found = estimate(0.1, np.array([np.nan, 0.2, 0.2, np.nan]))
        assert found == Estimate(0.1, 0.2, 0.2) and found.sign == 1 and found.half_width == 0
        assert estimate(0.1, np.array([np.nan])) == Estimate(0.1, 0.1, 0.1)
        assert [Estimate(0, *ends).sign for ends in ((-1, 1), (0, 1), (-2, -1))] == [0, 0, -1]

    def test_more_pictures_narrow_the_interval(self):
        random = np.random.default_rng(2)
        present = random.uniform(size=(200, 3)) < 0.3
        scores, other = present + random.normal(0, 1, present.shape), present + random.normal(0, 1, present.shape)
        few, all_of_them = (
            mean_half_width(present, scores, other, count, subsets=4, resamples=50, seed=0) for count in (30, 200)
        )
        assert 0 < all_of_them < few


class TestBoxes:
    def test_is_coco_s_measure_on_any_pictures(self):
        coco, answers = made_up()
        found = detections(answers, coco.image_ids, TAXONOMY, POLICY)
        evaluation = BoxEvaluation(coco.truth, found, coco.image_ids)
        assert evaluation.measure() == pytest.approx(metrics.coco_map(coco.truth, found, coco.image_ids)[:2])
        rows = [1, 4, 7, 2, 11]
        some = [coco.image_ids[row] for row in rows]
        assert evaluation.measure(rows) == pytest.approx(metrics.coco_map(coco.truth, found, some)[:2])
        assert 0 < evaluation.measure(rows)[0] < 1

    def test_a_picture_that_is_drawn_twice_counts_twice(self):
        coco, answers = made_up(8)
        rows = [0, 0, 3, 5, 5, 5, 6, 7]
        drawn = coco_set(
            [
                [
                    (TAXONOMY.coco_ids.index(one["category_id"]), [x, y, x + wide, y + high])
                    for one in coco.truth["annotations"]
                    if one["image_id"] == row + 1
                    for x, y, wide, high in [one["bbox"]]
                ]
                for row in rows
            ]
        )
        whole = BoxEvaluation(coco.truth, detections(answers, coco.image_ids, TAXONOMY, POLICY), coco.image_ids)
        again = detections([answers[row] for row in rows], drawn.image_ids, TAXONOMY, POLICY)
        assert whole.measure(rows) == pytest.approx(BoxEvaluation(drawn.truth, again, drawn.image_ids).measure())
        counts = np.bincount(rows, minlength=8)[None]
        assert whole.resampled(counts)[0] == whole.measure(rows)[0]

    def test_without_labels_there_is_no_measure(self):
        coco = coco_set([[], [(DOG, BOXES[DOG])]])
        answers = [branches(found=[(DOG, 0.9, BOXES[DOG])])] * 2
        evaluation = BoxEvaluation(coco.truth, detections(answers, [1, 2], TAXONOMY, POLICY), [1, 2])
        assert np.isnan(evaluation.measure([0])).all()
        assert evaluation.measure([1]) == pytest.approx((1, 1))

    def test_nothing_found_and_pictures_out_of_order(self):
        coco, _ = made_up(4)
        assert BoxEvaluation(coco.truth, [], coco.image_ids).measure() == (0, 0)
        with pytest.raises(ValueError, match="rising order"):
            BoxEvaluation(coco.truth, [], [2, 1])


class TestCategories:
    def worked_out(self, classifier, *, silent=False):
        """Two categories, each on half of 20 pictures; a detector that knows nothing, and no entities."""
        present = np.zeros((20, 80), dtype=bool)
        present[:10, CAR] = present[10:, DOG] = True
        evidence = np.full((20, 80, 3), SILENT)
        evidence[..., 1] = 0.5
        if not silent:
            evidence[..., 0] = classifier(present)
        sample = Sample(present, resamples=40, seed=0)
        weights = Weights(0.3, 1.0, 1.0)
        options = {"fitted": None, "names": TAXONOMY.categories, "seed": 0}
        return categories.work_out(sample, evidence_NC3=evidence, unlinked_NC3=evidence, weights=weights, **options)

    def parts(self, found):
        return {part.name: part.gain for part in found.parts}

    def test_a_classifier_that_knows_is_what_fusion_gains(self):
        found = self.worked_out(lambda present: present.astype(float))
        ways = {way.name: way for way in found.ways}
        assert ways[categories.DETECTOR_ALONE].map.value == pytest.approx(0.5)
        assert ways[categories.CLASSIFIER_ALONE].map.value == ways[categories.FUSED].map.value == 1
        assert ways["fused without the detector"].map.value == 1
        parts = self.parts(found)
        assert parts["the classifier's voice"].value == pytest.approx(0.5)
        assert parts["the classifier's voice"].sign == 1
        assert parts["the detector's voice"] == parts["the entities' voice"] == NO_DIFFERENCE

    def test_a_classifier_that_is_wrong_costs(self):
        # Row by row a little less, since those of one tie would count as one threshold.
        found = self.worked_out(lambda present: 0.9 - 0.8 * present - 0.001 * np.arange(20)[:, None])
        assert self.parts(found)["fusion, over the detector"].sign == -1
        assert [one.gain.sign for one in found.by_category] == [-1, -1]

    def test_a_silent_classifier_changes_nothing(self):
        found = self.worked_out(None, silent=True)
        assert self.parts(found)["the classifier's voice"] == NO_DIFFERENCE
        assert all(point.gain == NO_DIFFERENCE for point in found.curve)
        assert [one.classifier for one in found.by_category] == [None, None]
        assert found.groups == []

    def test_too_few_pictures_cannot_be_held_out(self):
        with pytest.raises(SetupError, match=r"at least 16 pictures .* got 15"):
            categories.held_out(np.ones((15, 80), dtype=bool), np.zeros((15, 80, 3)), Weights(0.3, 1.0, 1.0))

    def test_no_gain_needs_no_pictures(self):
        assert categories.pictures_needed(Estimate(0.0, -0.01, 0.01), 64) is None
        assert categories.pictures_needed(Estimate(0.02, 0.0, 0.03), 64) == 64


class TestAssignment:
    def test_rules_differ_where_two_faces_want_one_person(self):
        given = {
            name: [link.thing and link.thing[1][0] for link in links.links_of([TWO_FACES], TAXONOMY, POLICY, rule)[0]]
            for name, rule in links.RULES.items()
        }
        assert given == {
            links.SERVED_RULE: [180.0, 100.0],
            "greedy, best pair first": [100.0, None],
            "nearest, objects shared": [100.0, 100.0],
            "none": [None, None],
        }

    def test_the_served_rule_is_back_afterwards(self):
        served = assignment.assign
        with pytest.raises(ZeroDivisionError), links.assigned_by(links.nobody):
            assert assignment.assign is links.nobody
            raise ZeroDivisionError
        assert assignment.assign is served

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_greedy_gives_each_object_once_and_never_more_in_all(self, seed):
        random = np.random.default_rng(seed)
        fit = random.uniform(size=(4, 5)) * (random.uniform(size=(4, 5)) < 0.6)
        greedy, best = links.greedy(fit), assignment.assign(fit)
        assert max(Counter(greedy.values()).values(), default=0) <= 1
        totals = [sum(fit[pair] for pair in found.items()) for found in (greedy, best)]
        assert all(fit[pair] > 0 for pair in greedy.items()) and totals[0] <= totals[1] + 1e-9

    def test_persons_hold_faces(self):
        box = [110, 110, 130, 130]
        persons = [person(300, 300, 50, 50), person(100, 100, 50, 50), person(90, 90, 80, 80), person(120, 100, 50, 50)]
        assert links.holders(box, persons, 0.6) == [1, 2]
        assert links.holders(box, [], 0.6) == []

    def test_an_object_is_the_person_that_it_overlaps_most(self):
        persons = [person(0, 0, 100, 100), person(10, 0, 100, 100)]
        assert links.person_of([12, 0, 112, 100], persons) == 1
        assert links.person_of([200, 0, 300, 100], persons) is None
        assert links.person_of([0, 0, 1, 1], []) is None

    def test_links_are_judged_by_the_person_s_box(self):
        persons = [person(100, 100, 100, 300), person(400, 100, 100, 300)]
        mine, other = ("person", (100, 105, 200, 400)), ("person", (400, 100, 500, 400))
        found = [link(mine), link(other), link(None), links.Link("plate", (0, 0, 1, 1), 1, mine)]
        assert links.judge(found, persons, 0.6) == {"right": 1, "wrong": 1, "unlinked": 1, "own": 1}

    def test_faces_between_persons_are_only_counted_as_somebody_s(self):
        persons = [person(100, 100, 100, 300), person(110, 100, 150, 300)]
        mine, other = ("person", (100, 100, 200, 400)), ("person", (110, 100, 260, 400))
        assert links.judge([link(mine), link(other)], persons, 0.6) == {"own": 2}
        assert links.judge([link(mine), link(mine)], persons, 0.6) == {"own": 1}
        assert links.judge([link(mine)], [person(100, 100, 100, 300, crowd=1)], 0.6) == {"own": 0}
        assert links.judge([link(mine)], [], 0.6) == {"own": 0}


def person(*box, crowd=0):
    """A labelled person: x, y, width, height."""
    return {"bbox": list(box), "iscrowd": crowd}


def link(thing):
    """A face in one place, linked to ``thing``."""
    return links.Link("face", (120, 110, 160, 160), 0.9, thing)


class TestFineLabels:
    def test_counts_right_wrong_and_none(self, asked):
        found = fine.work_out(asked, TAXONOMY, POLICY)
        # The second picture is a minivan, and shows no car: a dog's label says nothing of it.
        assert (found.pictures, found.with_object, found.scene_right) == (2, 1, 1)
        served = found.rules[0]
        assert (served.name, served.labelled, served.right, served.wrong) == (fine.SERVED_RULE, 1, 1, 0)
        by_name = {rule.name: rule for rule in found.rules}
        assert by_name["no thresholds"].labelled == 1
        assert len(found.rules) == len(fine.LEAST_PROBABILITIES) + 1

    def test_shares(self):
        assert fine.share(0, 0) is None
        half = fine.share(5, 10)
        assert half is not None and 0 < half.low < half.value == 0.5 < half.high < 1


class TestServed:
    def served(self, asked, policy):
        fused = [fuse_answers(read_answers(one, 0), TAXONOMY, policy) for one in asked.coco]
        tensors = [SimpleNamespace(category_scores=one.category_scores, box_scores=one.box_scores) for one in fused]
        return replace(asked, served=[SimpleNamespace(tensors=one) for one in tensors])

    def test_the_same_policy_gives_the_same_scores(self, asked):
        assert check_served(self.served(asked, POLICY), TAXONOMY, POLICY, POLICY_FILE) == 0

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"weights": Weights(0.5, 1.0, 1.0)}, id="categories"),
            pytest.param({"rescoring": replace(POLICY.rescoring, classifier=0.0)}, id="boxes"),
        ],
    )
    def test_another_policy_is_told(self, asked, changes):
        with pytest.raises(SetupError, match=r"policy: expected .* gives for 1\.jpg, got others, by up to 0\.\d+"):
            check_served(self.served(asked, replace(POLICY, **changes)), TAXONOMY, POLICY, POLICY_FILE)

    def test_the_policy_is_that_of_the_served_version(self):
        assert served_policy_file({"fusion": {"version": 1}}).samefile(POLICY_FILE)

    def test_without_links_nothing_is_linked(self):
        result = fuse_answers(read_answers(TWO_FACES, 0), TAXONOMY, measure.without_links(POLICY)).result
        assert [entity["object"] for entity in result["entities"]] == [None, None]


class TestFittedOn:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            pytest.param({}, measure.FittedOn.THESE, id="the same figures"),
            pytest.param({"pictures": 25}, measure.FittedOn.OTHERS, id="another number of pictures"),
            pytest.param({"map_detector_alone": 0.1}, measure.FittedOn.UNKNOWN, id="other figures"),
            pytest.param({"map_classifier_alone": None}, measure.FittedOn.UNKNOWN, id="no figures"),
            pytest.param({"pictures": None}, measure.FittedOn.UNKNOWN, id="says nothing"),
        ],
    )
    def test_is_told_by_the_fit_s_figures(self, figures, changes, expected):
        by_name = {way.name: way.map.value for way in figures.categories.ways}
        fit = {
            "pictures": 24,
            "categories": 3,
            "map_detector_alone": round(by_name[categories.DETECTOR_ALONE], 4),
            "map_classifier_alone": round(by_name[categories.CLASSIFIER_ALONE], 4),
        }
        assert measure.fitted_on(fit | changes, 24, figures.categories) is expected

    def test_a_policy_without_a_fit_says_nothing(self, tmp_path):
        file = tmp_path / "policy.json"
        file.write_text('{"schema": 1}', encoding="utf-8")
        assert measure.recorded_fit(file) == {}
        assert measure.recorded_fit(POLICY_FILE)["pictures"] > 0


class TestFigures:
    def test_add_up(self, figures):
        found = figures.categories
        assert figures.pictures == 24 and [one.name for one in found.by_category] == ["person", "car", "dog"]
        ways = {way.name: way for way in found.ways}
        gains = [one.gain.value for one in found.by_category]
        assert np.mean(gains) == pytest.approx(ways[categories.FUSED].gain.value)
        assert np.mean([one.held_out for one in found.by_category]) == pytest.approx(
            ways[categories.HELD_OUT].gain.value
        )
        assert ways[categories.FUSED].gain.value > 0  # the classifier of these pictures helps
        for part in figures.parts:
            assert part.gain.value == pytest.approx(part.served - part.without)

    def test_the_curve_goes_through_what_is_known(self, figures):
        curve = {point.weight: point for point in figures.categories.curve}
        ways = {way.name: way for way in figures.categories.ways}
        assert curve[0.0].map == pytest.approx(ways["fused without the classifier"].map.value)
        assert curve[POLICY.weights.classifier].map == pytest.approx(ways[categories.FUSED].map.value)
        assert curve[1.0].map == pytest.approx(ways[categories.EQUAL].map.value)

    def test_no_assignment_is_no_lift_by_entities(self, figures):
        ways = {way.name: way.map.value for way in figures.boxes.ways}
        parts = {part.name: part for part in figures.parts}
        assert parts["optimal assignment, over none"].without == pytest.approx(ways["lifted by the classifier alone"])
        assert parts["rescoring by entities"].without == pytest.approx(ways["lifted by the classifier alone"])
        assert figures.boxes.held_out["coco_map_detector_alone"] == pytest.approx(ways["detector alone"], abs=1e-4)

    def test_rules_judge_the_same_faces(self, figures):
        served, *_, none = figures.links.rules
        assert (served.otherwise, served.pictures, none.faces, none.right) == (0, 0, 0, 0)
        assert served.right > 0
        assert len({rule.right + rule.wrong + rule.unlinked for rule in figures.links.rules}) == 1
        assert none.otherwise == served.faces + served.plates
        assert served.faces <= figures.links.faces and figures.links.weaker == 1

    def test_the_report_says_it_all(self, figures, tmp_path):
        facts = report.circumstances(".venv/bin/python -m benchmarks.fusion_gain --data labelled")
        settings = measure.Settings(Path("labelled"))
        server = {"flags": None, "triton": "triton 2", "release": {}, "notes": []}
        html = page.to_html(figures, settings, facts, server)
        content = page.to_json(figures, settings, facts, server)
        _, as_json = report.write(report.report_stem(page.WHAT, facts), html, content, tmp_path)
        written = json.loads(as_json.read_text(encoding="utf-8"))
        assert written["what"] == "fusion-gain" and written["settings"]["data"] == "labelled"
        assert len(written["parts"]) == len(figures.parts) and written["not_held_out"] is None
        assert len(written["summary"]["tables"][1]["rows"]) == len(figures.parts)
        assert html.count("<img ") == 4
        for sentence in words.sentences(figures):
            assert report.paragraph(sentence) in html

    def test_what_cannot_be_held_out_is_said(self, asked):
        few = replace(
            asked,
            pictures=replace(asked.pictures, coco=made_up(6)[0], classes=[], with_entities=[]),
            coco=made_up(6)[1],
            classes=[],
            with_entities=[],
        )
        found = measure.work_out(
            few,
            TAXONOMY,
            POLICY,
            policy_file=POLICY_FILE,
            largest_difference=0.0,
            settings=measure.Settings(Path("few"), resamples=20, box_resamples=10),
            tell=lambda line: None,
        )
        said = " ".join(words.sentences(found))
        assert "at least 16 pictures to hold some of them out, got 6" in said
        assert "nothing was held out: the pictures are too few" in said
        assert "Fine labels: no labelled picture" in said
        json.dumps(words.summary(found).to_json())


class TestWords:
    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            pytest.param(Estimate(0.01, 0.005, 0.02), "gains", id="above"),
            pytest.param(Estimate(-0.01, -0.02, -0.005), "costs", id="below"),
            pytest.param(Estimate(0.01, -0.005, 0.02), "cannot be told from nothing", id="around"),
            pytest.param(NO_DIFFERENCE, "changes nothing", id="none"),
            pytest.param(Estimate(0.0001, 0.00001, 0.0003), "cannot be told from nothing", id="shown to begin at 0"),
            pytest.param(Estimate(0.00001, -0.00001, 0.00002), "changes nothing", id="shown as 0"),
        ],
    )
    def test_verdict(self, found, expected):
        assert words.verdict(found) == expected

    def test_points(self):
        assert words.gained(Estimate(0.0139, -0.0073, 0.0249)) == "+1.39 (−0.73 to +2.49)"
        assert words.signed(-0.001) == "0.00"


class TestCommand:
    def test_help_says_how_long_it_takes(self):
        outcome = CliRunner().invoke(main, ["--help"])
        assert outcome.exit_code == 0 and "minutes" in outcome.output

    def test_a_folder_without_coco_is_an_error(self, tmp_path):
        outcome = CliRunner().invoke(main, ["--data", str(tmp_path), "--url", "127.0.0.1:1"])
        assert outcome.exit_code == 1
        assert "fusion_gain:" in outcome.output and "instances.json" in outcome.output

    def test_only_this_machine_is_asked(self, tmp_path, monkeypatch):
        monkeypatch.setattr("benchmarks.fusion_gain.__main__.read_pictures", lambda *_: None)
        outcome = CliRunner().invoke(main, ["--data", str(tmp_path), "--url", "192.0.2.1:8001"])
        assert outcome.exit_code == 1 and "expected this machine" in outcome.output.replace("\n", " ")

    def test_pictures_without_labels_are_an_error(self, tmp_path):
        (tmp_path / "coco" / "images").mkdir(parents=True)
        (tmp_path / "coco" / "images" / "a.jpg").write_bytes(b"x")
        content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}
        (tmp_path / "coco" / "instances.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(SetupError, match=r"instances\.json: expected objects"):
            read_pictures(tmp_path, TAXONOMY)
