"""What is true of any boxes and points: overlaps, and the ways between picture, detail, canvas and tile."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from trident.contract import CANVAS_SIDE, DETAIL_SIDE
from trident.entities.second_look import TILE_SIDE, compose
from trident.geometry import boxes_from_fitted, fitted_size, intersection_matrix, iou_matrix, points_from_fitted

SIDES = st.integers(1, 20_000)
GRID = st.integers(0, 60)
"""Whole pixels: every area is exact, so that equal means equal."""


@st.composite
def box_lists(draw, least=0, most=6):
    """Boxes [N, 4] on whole pixels, some of them empty."""
    starts_and_sides = draw(st.lists(st.tuples(GRID, GRID, GRID, GRID), min_size=least, max_size=most))
    return np.array([(x, y, x + w, y + h) for x, y, w, h in starts_and_sides], dtype=np.float64).reshape(-1, 4)


def areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


class TestOverlap:
    @given(box_lists(), box_lists())
    def test_it_is_a_share_and_goes_both_ways(self, boxes, others):
        overlaps = iou_matrix(boxes, others)
        assert overlaps.shape == (len(boxes), len(others))
        assert ((overlaps >= 0) & (overlaps <= 1)).all()
        assert np.array_equal(overlaps, iou_matrix(others, boxes).T)

    @given(box_lists(least=1))
    def test_a_box_is_one_with_itself_unless_it_is_empty(self, boxes):
        assert np.array_equal(np.diagonal(iou_matrix(boxes, boxes)), (areas(boxes) > 0).astype(float))

    @given(box_lists(least=1), box_lists(least=1))
    def test_only_equal_boxes_are_one(self, boxes, others):
        same = (boxes[:, None] == others[None]).all(axis=2) & (areas(boxes)[:, None] > 0)
        assert np.array_equal(iou_matrix(boxes, others) == 1, same)

    @given(box_lists(), box_lists(), st.integers(-500, 500), st.integers(-500, 500), st.sampled_from([0.25, 2, 64]))
    def test_moving_and_scaling_change_nothing(self, boxes, others, right, down, scale):
        by = np.array([right, down, right, down])
        moved = [(some + by) * scale for some in (boxes, others)]
        assert np.array_equal(iou_matrix(*moved), iou_matrix(boxes, others))

    @given(box_lists(), box_lists())
    def test_mirroring_and_transposing_change_nothing(self, boxes, others):
        mirrored = [-some[:, [2, 1, 0, 3]] * [1, -1, 1, -1] for some in (boxes, others)]
        transposed = [some[:, [1, 0, 3, 2]] for some in (boxes, others)]
        assert np.array_equal(iou_matrix(*mirrored), iou_matrix(boxes, others))
        assert np.array_equal(iou_matrix(*transposed), iou_matrix(boxes, others))

    @given(box_lists(most=3), box_lists(most=3))
    def test_it_is_what_counting_pixels_gives(self, boxes, others):
        rows, columns = np.mgrid[0:120, 0:120]

        def inside(box):
            return (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])

        for i, box in enumerate(boxes):
            for j, other in enumerate(others):
                shared = (inside(box) & inside(other)).sum()
                either = (inside(box) | inside(other)).sum()
                assert intersection_matrix(boxes, others)[i, j] == shared
                assert iou_matrix(boxes, others)[i, j] == (shared / either if either else 0)


class TestBetweenPictures:
    @given(SIDES, SIDES, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5))
    def test_there_and_back_is_where_it_was(self, width, height, shares):
        size, fitted = (width, height), fitted_size(width, height, CANVAS_SIDE, enlarge=True)
        points = np.array(shares) * size
        there = points_from_fitted(points, fitted, size)
        assert (there <= np.array(fitted) * (1 + 1e-6)).all()
        np.testing.assert_allclose(points_from_fitted(there, size, fitted), points, rtol=1e-6, atol=1e-3)

    @given(SIDES, SIDES)
    def test_from_canvas_over_detail_is_from_canvas(self, width, height):
        size = (width, height)
        canvas = fitted_size(*size, CANVAS_SIDE, enlarge=True)
        detail = fitted_size(*size, DETAIL_SIDE, enlarge=False)
        points = np.array([[0, 0], canvas, [canvas[0] / 3, canvas[1] / 7]])
        over = points_from_fitted(points_from_fitted(points, detail, canvas), size, detail)
        np.testing.assert_allclose(over, points_from_fitted(points, size, canvas), rtol=1e-6)

    @given(SIDES, SIDES, st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4), max_size=6))
    def test_boxes_end_up_in_the_picture_whatever_a_network_said(self, width, height, boxes):
        fitted = fitted_size(width, height, CANVAS_SIDE, enlarge=True)
        made = boxes_from_fitted(np.array(boxes).reshape(-1, 4), (width, height), fitted)
        assert made.dtype == np.float32
        x1, y1, x2, y2 = made.T
        assert ((x1 >= 0) & (x1 <= x2) & (x2 <= width)).all()
        assert ((y1 >= 0) & (y1 <= y2) & (y2 <= height)).all()

    @given(SIDES, SIDES, box_lists(least=2, most=2))
    def test_a_box_in_another_stays_in_it(self, width, height, boxes):
        (x1, y1, x2, y2), other = boxes
        inner = np.array([max(x1, other[0]), max(y1, other[1]), min(x2, other[2]), min(y2, other[3])])
        assume(inner[0] <= inner[2] and inner[1] <= inner[3])
        fitted = fitted_size(width, height, CANVAS_SIDE, enlarge=True)
        outside, inside = boxes_from_fitted(np.array([boxes[0], inner]), (width, height), fitted)
        assert (inside[:2] >= outside[:2]).all()
        assert (inside[2:] <= outside[2:]).all()


@given(st.lists(st.tuples(*[st.floats(0, 1000)] * 2, *[st.floats(0.5, 400)] * 2), min_size=1, max_size=6))
def test_the_second_look_shows_each_candidate_in_the_middle_of_its_tile(found):
    boxes = [np.array([x, y, x + width, y + height]) for x, y, width, height in found]
    canvases, tiles = compose([(np.zeros((60, 80, 3), np.uint8), box) for box in boxes])
    assert canvases.shape == (-(-len(boxes) // 4), CANVAS_SIDE, CANVAS_SIDE, 3)
    assert len({(tile.canvas, tile.left, tile.top) for tile in tiles}) == len(boxes)
    for tile, box in zip(tiles, boxes, strict=True):
        middle = np.array([tile.left, tile.top]) + TILE_SIDE / 2
        np.testing.assert_allclose(tile.to_detail(middle), (box[:2] + box[2:]) / 2, rtol=1e-9, atol=1e-9)
        scaled = tile.to_detail(middle + np.array([0, tile.scale])) - tile.to_detail(middle)
        np.testing.assert_allclose(scaled, [0, 1], atol=1e-9)
