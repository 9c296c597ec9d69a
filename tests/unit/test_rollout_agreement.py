"""How much two answers agree: pure functions, on answers made by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident.contract import MAX_BOXES, NUM_CATEGORIES
from trident.rollout import agreement
from trident.rollout.agreement import Boxes, Reading, pool_boxes

PERSON, CAR = 0, 2


def found(*boxes, points=None):
    """A detector's answer for one picture: (x1, y1, x2, y2, score, class) each."""
    answer = {
        "BOXES": np.zeros((1, MAX_BOXES, 4), np.float32),
        "SCORES": np.zeros((1, MAX_BOXES), np.float32),
        "CLASSES": np.zeros((1, MAX_BOXES), np.int32),
        "NUM_BOXES": np.array([[len(boxes)]], np.int32),
    }
    for row, (*box, score, kind) in enumerate(boxes):
        answer["BOXES"][0, row] = box
        answer["SCORES"][0, row] = score
        answer["CLASSES"][0, row] = kind
    if points is not None:
        answer["CORNERS"] = np.zeros((1, MAX_BOXES, 4, 2), np.float32)
        answer["CORNERS"][0, : len(boxes)] = points
    return answer


def fused(scores, *boxes):
    answer = found(*boxes)
    category_scores = np.zeros((1, NUM_CATEGORIES), np.float32)
    for category, score in scores.items():
        category_scores[0, category] = score
    return {
        "CATEGORY_SCORES": category_scores,
        "BOXES": answer["BOXES"],
        "BOX_SCORES": answer["SCORES"],
        "BOX_CLASSES": answer["CLASSES"],
        "NUM_BOXES": answer["NUM_BOXES"],
    }


def plate(text, box=(0, 0, 10, 4), score=0.9):
    return {"type": "plate", "score": score, "box": list(box), "corners": [], "text": text, "text_score": 1.0}


def face(name=None, box=(20, 20, 30, 30), score=0.9):
    identity = None if name is None else {"name": name, "similarity": 0.9}
    return {"type": "face", "score": score, "box": list(box), "landmarks": [], "identity": identity}


class TestClasses:
    def test_the_distance_is_half_of_the_absolute_difference(self):
        one = agreement.compare_classes(np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.2, 0.3]))
        assert one.distance == pytest.approx(0.2)
        assert one.same_top
        assert one.sure

    def test_another_best_class(self):
        one = agreement.compare_classes(np.array([0.6, 0.4]), np.array([0.3, 0.7]))
        assert (one.same_top, one.old_top, one.new_top) == (False, 0, 1)

    def test_nobody_is_sure_of_low_scores(self):
        assert not agreement.compare_classes(np.full(10, 0.1), np.full(10, 0.1)).sure

    @given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8), st.randoms(use_true_random=False))
    def test_the_distance_is_a_distance(self, weights, random):
        p = np.array(weights) / sum(weights)
        q = p.copy()
        random.shuffle(q)
        there = agreement.compare_classes(p, q).distance
        assert 0 <= there <= 1
        assert there == pytest.approx(agreement.compare_classes(q, p).distance)
        assert agreement.compare_classes(p, p).distance == 0


class TestBoxes:
    def test_the_same_boxes_agree_wholly(self):
        answer = found((0, 0, 10, 10, 0.9, CAR), (20, 0, 30, 10, 0.5, PERSON))
        one = agreement.compare_boxes(answer, answer, 0, classes="CLASSES")
        assert (one.f1, one.precision, one.recall, one.overlaps) == (1.0, 1.0, 1.0, (1.0, 1.0))

    def test_two_empty_answers_agree(self):
        one = agreement.compare_boxes(found(), found(), 0)
        assert (one.f1, one.precision, one.recall) == (1.0, 1.0, 1.0)

    def test_one_empty_answer_agrees_in_nothing(self):
        one = agreement.compare_boxes(found((0, 0, 10, 10, 0.9, CAR)), found(), 0)
        assert (one.f1, one.recall, one.old, one.new) == (0.0, 0.0, 1, 0)

    def test_another_class_is_another_thing(self):
        old, new = found((0, 0, 10, 10, 0.9, CAR)), found((0, 0, 10, 10, 0.9, PERSON))
        assert agreement.compare_boxes(old, new, 0, classes="CLASSES").f1 == 0.0
        assert agreement.compare_boxes(old, new, 0).f1 == 1.0

    @pytest.mark.parametrize(
        ("shift", "same"), [pytest.param(3.3, True, id="IoU above a half"), pytest.param(3.4, False, id="below")]
    )
    def test_half_of_the_union_is_the_same_thing(self, shift, same):
        old, new = found((0, 0, 10, 10, 0.9, CAR)), found((shift, 0, 10 + shift, 10, 0.9, CAR))
        assert (agreement.compare_boxes(old, new, 0).f1 == 1.0) is same

    def test_boxes_are_matched_one_to_one_the_best_overlap_first(self):
        old = found((0, 0, 10, 10, 0.9, CAR))
        new = found((1, 0, 11, 10, 0.9, CAR), (0, 0, 10, 10, 0.5, CAR))
        one = agreement.compare_boxes(old, new, 0)
        assert (one.old_confirmed, one.new_confirmed, one.overlaps) == (1, 1, (1.0,))
        assert one.f1 == pytest.approx(2 / 3)

    def test_a_score_just_below_the_limit_still_confirms(self):
        old, new = found((0, 0, 10, 10, 0.31, CAR)), found((0, 0, 10, 10, 0.16, CAR))
        one = agreement.compare_boxes(old, new, 0)
        assert (one.old, one.new, one.f1) == (1, 0, 1.0)

    def test_a_faint_score_confirms_nothing(self):
        old, new = found((0, 0, 10, 10, 0.31, CAR)), found((0, 0, 10, 10, 0.14, CAR))
        assert agreement.compare_boxes(old, new, 0).f1 == 0.0

    def test_what_neither_shows_does_not_count(self):
        old, new = found((0, 0, 10, 10, 0.2, CAR)), found((50, 50, 60, 60, 0.29, CAR))
        one = agreement.compare_boxes(old, new, 0)
        assert (one.old, one.new, one.f1) == (0, 0, 1.0)

    def test_rows_beyond_the_used_ones_do_not_count(self):
        old = found((0, 0, 10, 10, 0.9, CAR))
        old["NUM_BOXES"][:] = 0
        assert agreement.compare_boxes(old, old, 0).old == 0

    def test_points_are_measured_in_sides_of_the_box(self):
        corners = np.array([(0, 0), (20, 0), (20, 5), (0, 5)], np.float32)
        old = found((0, 0, 20, 5, 0.9, 0), points=corners)
        new = found((0, 0, 20, 5, 0.9, 0), points=corners + np.array([3, 4]))
        one = agreement.compare_boxes(old, new, 0, points="CORNERS")
        assert one.distances == (pytest.approx(5 / 10),)

    def test_pooling_counts_every_box_the_same(self):
        whole = pool_boxes([Boxes(1, 1, 1, 1, (0.9,)), Boxes(3, 0, 0, 0), Boxes(0, 0, 0, 0)])
        assert (whole.old, whole.new, whole.recall, whole.precision) == (4, 1, 0.25, 1.0)
        assert whole.f1 == pytest.approx(2 / 5)


class TestReadings:
    @pytest.mark.parametrize(
        ("old", "new", "distance"),
        [
            pytest.param("", "", 0.0, id="nothing twice"),
            pytest.param("皖A06725", "A06725", 1 / 7, id="the province is lost"),
            pytest.param("", "AB", 1.0, id="something out of nothing"),
        ],
    )
    def test_the_distance_is_over_the_longer_text(self, old, new, distance):
        assert Reading(old, new).distance == pytest.approx(distance)
        assert Reading(new, old).distance == pytest.approx(distance)


class TestFaces:
    SAME = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def test_the_same_verdicts_in_another_space(self):
        # Three dimensions, and all turned: the embeddings differ, the verdicts do not.
        other = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        assert agreement.compare_verdicts(self.SAME, other, 0.6, 0.6) == agreement.Verdicts(3, 3)

    def test_each_network_has_its_own_threshold(self):
        close = np.array([[1.0, 0.0], [0.8, 0.6]])
        assert agreement.compare_verdicts(close, close, 0.7, 0.9) == agreement.Verdicts(0, 1)
        assert agreement.compare_verdicts(close, close, 0.7, 0.7) == agreement.Verdicts(1, 1)

    def test_cosines_need_the_same_dimension(self):
        assert agreement.cosines(self.SAME, np.ones((3, 5))) == ()
        assert agreement.cosines(self.SAME, 2 * self.SAME) == pytest.approx((1.0, 1.0, 1.0))


class TestPixels:
    @staticmethod
    def canonical(level, size=(640, 480), detail=(480, 640)):
        return {
            "IMAGE_SIZE": np.array([size], np.int32),
            "SCENE_PIXELS": np.full((1, 8, 8, 3), level, np.uint8),
            "CANVAS_PIXELS": np.full((1, 8, 8, 3), level, np.uint8),
            "DETAIL_PIXELS": np.full((1, *detail, 3), level, np.uint8),
        }

    def test_levels_are_told_apart_without_wrapping(self):
        one = agreement.compare_pixels(self.canonical(250), self.canonical(4))
        assert (one.same_size, one.mean, one.largest) == (True, 246.0, 246)

    def test_the_worst_of_the_three_counts(self):
        new = self.canonical(10)
        new["SCENE_PIXELS"][:] = 12
        assert agreement.compare_pixels(self.canonical(10), new).mean == 2.0

    @pytest.mark.parametrize("change", [{"size": (480, 640)}, {"detail": (240, 320)}])
    def test_another_size_differs_in_everything(self, change):
        assert not agreement.compare_pixels(self.canonical(1), self.canonical(1, **change)).same_size


class TestEntities:
    def test_matched_by_type_and_box(self):
        one = agreement.compare_entities([plate("A1"), face("Ann")], [plate("A1"), face("Ann")])
        assert (one.boxes.f1, one.readings, one.names) == (1.0, (Reading("A1", "A1"),), (("Ann", "Ann"),))

    def test_a_face_is_no_plate(self):
        box = (0, 0, 10, 10)
        assert agreement.compare_entities([plate("A1", box)], [face("Ann", box)]).boxes.f1 == 0.0

    def test_nobody_has_no_name(self):
        assert agreement.compare_entities([face("Ann")], [face()]).names == (("Ann", ""),)

    def test_two_empty_lists_agree(self):
        assert agreement.compare_entities([], []).boxes.f1 == 1.0


class TestFused:
    def test_only_categories_that_either_speaks_of_count(self):
        one = agreement.compare_fused(fused({CAR: 0.9, PERSON: 0.01}), fused({CAR: 0.7, PERSON: 0.02}))
        assert one.distance == pytest.approx(0.2)
        assert (one.worst, one.worst_category) == (pytest.approx(0.2), CAR)
        assert one.same_top

    def test_another_best_category(self):
        one = agreement.compare_fused(fused({CAR: 0.9}), fused({PERSON: 0.8}))
        assert (one.same_top, one.old_top, one.new_top) == (False, CAR, PERSON)
        assert one.distance == pytest.approx(0.85)

    def test_of_nothing_any_category_may_be_the_best(self):
        assert agreement.compare_fused(fused({CAR: 0.02}), fused({PERSON: 0.02})).same_top

    def test_two_empty_answers_agree(self):
        one = agreement.compare_fused(fused({}), fused({}))
        assert (one.distance, one.worst, one.same_top, one.objects.f1) == (0.0, 0.0, True, 1.0)

    def test_objects_are_matched_by_category(self):
        one = agreement.compare_fused(fused({}, (0, 0, 9, 9, 0.9, CAR)), fused({}, (0, 0, 9, 9, 0.9, PERSON)))
        assert one.objects.f1 == 0.0
