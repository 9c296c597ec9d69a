"""Suppression of doubles, the exported networks' and the plates': what stays, and why the rest does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.suppression import select
from trident.contract import MAX_BOXES
from trident.entities.plates import distinct
from trident.geometry import intersection_matrix, iou_matrix

MINIMUM, IOU = 0.25, 0.5
GRID = st.integers(0, 30)


@st.composite
def candidates(draw, classes=3, most=12):
    """Boxes on whole pixels, scores that all differ, and classes."""
    rows = draw(st.lists(st.tuples(GRID, GRID, GRID, GRID, st.integers(0, classes - 1)), min_size=1, max_size=most))
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows], dtype=np.float32)
    order = draw(st.permutations(range(len(rows))))
    scores = (np.array(order, dtype=np.float32) + 1) / len(rows)
    return boxes, scores, np.array([kind for *_, kind in rows], dtype=np.float32)


def kept(boxes, scores, classes):
    """Rows that the graph's suppression keeps, told by their scores, which all differ."""
    found = select(boxes[None], scores[None], minimum=MINIMUM, iou=IOU, classes_BN=classes[None])
    count = found["NUM_BOXES"][0, 0]
    assert not found["SCORES"][0, count:].any()
    return [int(np.flatnonzero(scores == score)[0]) for score in found["SCORES"][0, :count]]


class TestNetworks:
    @given(candidates())
    def test_what_stays_is_among_the_candidates_best_first(self, found):
        scores = found[1]
        rows = kept(*found)
        assert len(set(rows)) == len(rows) <= MAX_BOXES
        assert sorted(rows, key=lambda row: -scores[row]) == rows
        assert all(scores[row] > MINIMUM for row in rows)

    @given(candidates())
    def test_no_two_that_stay_are_doubles(self, found):
        boxes, _, classes = found
        rows = kept(*found)
        overlaps = iou_matrix(boxes[rows], boxes[rows])
        same = classes[rows][:, None] == classes[rows][None]
        np.fill_diagonal(overlaps, 0)
        assert overlaps[same].max(initial=0) <= IOU

    @given(candidates())
    def test_whatever_goes_is_the_double_of_a_better_one(self, found):
        boxes, scores, classes = found
        rows = kept(*found)
        for row in set(range(len(boxes))) - set(rows):
            better = [one for one in rows if scores[one] > scores[row] and classes[one] == classes[row]]
            doubles = iou_matrix(boxes[[row]], boxes[better]).max(initial=0) > IOU
            assert doubles or scores[row] <= MINIMUM

    @given(candidates(), st.randoms(use_true_random=False))
    def test_the_order_of_the_candidates_counts_for_nothing(self, found, random):
        order = list(range(len(found[0])))
        random.shuffle(order)
        assert [order[row] for row in kept(*(column[order] for column in found))] == kept(*found)

    @given(candidates())
    def test_once_is_enough(self, found):
        rows = kept(*found)
        assert [rows[row] for row in kept(*(column[rows] for column in found))] == rows if rows else True

    @given(candidates(classes=1), candidates(classes=1))
    def test_pictures_of_a_batch_do_not_meet(self, one, other):
        count = min(len(one[0]), len(other[0]))
        boxes, scores = (np.stack([one[column][:count], other[column][:count]]) for column in (0, 1))
        together = select(boxes, scores, minimum=MINIMUM, iou=IOU)
        for item in range(2):
            alone = select(boxes[[item]], scores[[item]], minimum=MINIMUM, iou=IOU)
            for name, values in alone.items():
                np.testing.assert_array_equal(together[name][item], values[0])

    @given(st.integers(MAX_BOXES - 3, MAX_BOXES + 30))
    def test_of_more_than_fit_the_best_stay(self, count):
        apart = np.arange(count, dtype=np.float32)[:, None] * 40 + np.array([0, 0, 10, 10], dtype=np.float32)
        scores = np.linspace(0.3, 1, count, dtype=np.float32)
        rows = kept(apart, scores, np.zeros(count, np.float32))
        assert rows == list(range(count - 1, max(-1, count - 1 - MAX_BOXES), -1))


class TestPlates:
    @staticmethod
    def covered(boxes):
        shared = intersection_matrix(boxes, boxes)
        area = np.diagonal(shared)
        return shared / np.maximum(np.minimum(area[:, None], area[None]), 1e-9)

    @given(candidates(), st.sampled_from([0.3, 0.6, 0.9]))
    def test_what_stays_is_distinct_and_what_goes_is_covered(self, found, overlap):
        boxes, scores, _ = found
        rows = distinct(boxes, scores, overlap).tolist()
        covered = self.covered(boxes) > overlap
        assert sorted(rows, key=lambda row: -scores[row]) == rows
        assert rows[0] == scores.argmax()
        assert not any(covered[one, other] for one in rows for other in rows if one != other)
        for row in set(range(len(boxes))) - set(rows):
            assert any(covered[row, one] and scores[one] > scores[row] for one in rows)

    @given(candidates(), st.randoms(use_true_random=False))
    def test_the_order_of_the_candidates_counts_for_nothing(self, found, random):
        boxes, scores, _ = found
        order = list(range(len(boxes)))
        random.shuffle(order)
        assert [order[row] for row in distinct(boxes[order], scores[order], 0.6)] == distinct(
            boxes, scores, 0.6
        ).tolist()


@pytest.mark.parametrize("count", [0, 1])
def test_few_candidates(count):
    boxes, scores = np.full((count, 4), [0, 0, 5, 5], np.float32), np.ones(count, np.float32)
    found = select(boxes[None], scores[None], minimum=MINIMUM, iou=IOU)
    assert found["NUM_BOXES"].tolist() == [[count]]
    assert len(distinct(boxes, scores, 0.6)) == count
