"""Boxes against labelled ones: COCO's figures, what goes with what, and what is mistaken for what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality import boxes, metrics
from trident.fusion.taxonomy import load_taxonomy
from trident.fusion.types import Objects

PERSON, CAR, DOG = 0, 2, 16
TAXONOMY = load_taxonomy()


def objects(*rows):
    """Objects of (x1, y1, x2, y2, category[, score])."""
    return Objects(
        np.array([row[:4] for row in rows], dtype=float).reshape(-1, 4),
        np.array([row[5] if len(row) > 5 else 1.0 for row in rows], dtype=float),
        np.array([row[4] for row in rows], dtype=np.int64),
    )


def annotation(number, image_id, category, box, **more):
    x1, y1, x2, y2 = box
    return {
        "id": number,
        "image_id": image_id,
        "category_id": TAXONOMY.coco_ids[category],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        **more,
    }


def truth(*annotations, images=(1, 2)):
    return {
        "images": [{"id": image_id, "file_name": f"{image_id}.jpg"} for image_id in images],
        "categories": [
            {"id": coco_id, "name": name} for coco_id, name in zip(TAXONOMY.coco_ids, TAXONOMY.categories, strict=True)
        ],
        "annotations": list(annotations),
    }


TRUTH = truth(
    annotation(1, 1, CAR, (10, 10, 60, 60)),
    annotation(2, 1, PERSON, (70, 10, 90, 40)),
    annotation(3, 2, CAR, (0, 0, 300, 300)),
    annotation(4, 2, PERSON, (300, 0, 400, 100), iscrowd=1),
)
FOUND = [
    objects((10, 10, 60, 60, CAR, 0.9), (71, 10, 90, 40, DOG, 0.8), (0, 80, 20, 95, CAR, 0.35)),
    objects((0, 0, 300, 290, CAR, 0.7), (310, 10, 350, 60, PERSON, 0.6), (0, 0, 9, 9, PERSON, 0.01)),
]


def quality(found=FOUND):
    return boxes.box_quality(TRUTH, boxes.as_detections([1, 2], found, TAXONOMY.coco_ids), [1, 2])


class TestQuality:
    def test_the_mean_is_that_of_the_categories(self):
        found = quality()
        assert set(found.ap) == {TAXONOMY.coco_ids[PERSON], TAXONOMY.coco_ids[CAR]}
        assert found.stats["mAP@[.5:.95]"] == pytest.approx(np.mean(list(found.ap.values())))
        assert found.stats["AP50"] == pytest.approx(np.mean(list(found.ap50.values())))
        assert found.ap50 == {coco_id: pytest.approx(curve.mean()) for coco_id, curve in found.precision.items()}
        detections = boxes.as_detections([1, 2], FOUND, TAXONOMY.coco_ids)
        assert metrics.coco_map(TRUTH, detections, [1, 2]) == (found.stats["mAP@[.5:.95]"], found.stats["AP50"])

    def test_sizes_that_there_are_not_have_no_figure(self):
        found = quality()
        # Areas: 2500 and 600, and 90000 square pixels.
        assert found.stats["AP small"] == 0.0
        assert found.stats["AP medium"] == found.stats["AP large"] == pytest.approx(1.0)
        only_large = truth(annotation(1, 1, CAR, (0, 0, 200, 200)), images=(1,))
        assert boxes.box_quality(only_large, [], [1]).stats["AP small"] is None

    def test_what_lies_on_a_crowd_is_neither_right_nor_wrong(self):
        found = quality()
        # Six boxes; the one on the crowd does not count.
        assert sorted(found.scores.tolist(), reverse=True) == pytest.approx([0.9, 0.8, 0.7, 0.35, 0.01])
        assert sorted(found.scores[found.right].tolist()) == pytest.approx([0.7, 0.9])

    def test_nothing_found_is_nothing_right(self):
        found = quality([objects(), objects()])
        assert found.stats["mAP@[.5:.95]"] == 0.0
        assert len(found.scores) == len(found.right) == 0
        assert found.ap == dict.fromkeys(found.ap, 0.0)


class TestMatch:
    def test_its_own_category_comes_first(self):
        """A dog that scores more does not take the car's place from the car."""
        found = boxes.match(
            objects((0, 0, 10, 10, DOG, 0.9), (0, 0, 10, 11, CAR, 0.8)), objects((0, 0, 10, 10, CAR)), objects()
        )
        assert (found.pairs, found.false, found.missed, found.confused) == ([(1, 0)], [0], [], [])

    def test_what_is_left_is_matched_across_categories(self):
        found = boxes.match(objects((0, 0, 10, 10, DOG)), objects((0, 0, 10, 10, CAR)), objects())
        assert (found.pairs, found.confused, found.errors) == ([(0, 0)], [(0, 0)], 1)

    def test_an_object_is_found_once(self):
        found = boxes.match(
            objects((0, 0, 10, 10, CAR, 0.9), (0, 0, 10, 10, CAR, 0.8)), objects((0, 0, 10, 10, CAR)), objects()
        )
        assert (found.pairs, found.false, found.missed) == ([(0, 0)], [1], [])

    def test_too_little_overlap_is_false_and_missed(self):
        found = boxes.match(objects((0, 0, 10, 10, CAR)), objects((0, 0, 10, 21, CAR)), objects())
        assert (found.pairs, found.false, found.missed, found.errors) == ([], [0], [0], 2)

    def test_a_crowd_swallows_boxes_of_its_category_alone(self):
        found = boxes.match(
            objects((0, 0, 10, 10, PERSON, 0.9), (0, 0, 10, 10, PERSON, 0.8), (0, 0, 10, 10, CAR, 0.7)),
            objects(),
            objects((0, 0, 100, 100, PERSON)),
        )
        assert (found.pairs, found.false, found.missed) == ([], [2], [])

    @given(
        st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2)), max_size=6),
        st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2)), max_size=6),
    )
    @settings(max_examples=100, deadline=None)
    def test_everything_is_accounted_for(self, shown, true):
        found = boxes.match(
            objects(*((x, y, x + 6, y + 6, category) for x, y, category in shown)),
            objects(*((x, y, x + 6, y + 6, category) for x, y, category in true)),
            objects(),
        )
        assert sorted([row for row, _ in found.pairs] + list(found.false)) == list(range(len(shown)))
        assert sorted([row for _, row in found.pairs] + list(found.missed)) == list(range(len(true)))
        assert np.array_equal(
            boxes.confusion([found])[:-1].sum(axis=1),
            np.bincount(np.array([category for *_, category in true], dtype=int), minlength=80),
        )


class TestConfusion:
    def test_rows_are_true_and_columns_were_said(self):
        matchings = boxes.match_all(TRUTH, [1, 2], FOUND, TAXONOMY)
        counts = boxes.confusion(matchings)
        assert {(row, column): counts[row, column] for row, column in np.argwhere(counts).tolist()} == {
            (CAR, CAR): 2,
            (PERSON, DOG): 1,
            (boxes.BACKGROUND, CAR): 1,
        }

    def test_only_boxes_that_are_shown_count(self):
        shown = sum(len(one.shown) for one in boxes.match_all(TRUTH, [1, 2], FOUND, TAXONOMY))
        assert shown == sum((found.scores >= boxes.SHOWN_FROM).sum() for found in FOUND) == 5
