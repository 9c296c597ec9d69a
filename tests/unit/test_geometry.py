import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trident import geometry

SIDES = st.integers(1, 60_000)


def test_docstring_examples_hold():
    assert doctest.testmod(geometry).failed == 0


@given(width=SIDES, height=SIDES, side=st.integers(1, 4096), enlarge=st.booleans())
def test_fitted_size_fits_and_keeps_the_aspect(width, height, side, enlarge):
    w, h = geometry.fitted_size(width, height, side, enlarge=enlarge)
    assert 1 <= w <= max(side, 1) and 1 <= h <= max(side, 1)
    if enlarge:
        assert max(w, h) == side
    if not enlarge and max(width, height) <= side:
        assert (w, h) == (width, height)
    elif min(w, h) > 1:
        scale = max(w, h) / max(width, height)
        assert abs(w - width * scale) <= 0.5 + 1e-6
        assert abs(h - height * scale) <= 0.5 + 1e-6


@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_the_whole_fitted_picture_maps_to_the_whole_picture(width, height):
    fitted = geometry.fitted_size(width, height, 640, enlarge=True)
    box = geometry.boxes_from_fitted(np.array([[0, 0, *fitted]]), (width, height), fitted)
    np.testing.assert_allclose(box, [[0, 0, width, height]], rtol=1e-6)


def test_boxes_outside_the_picture_are_clipped_to_it():
    boxes = geometry.boxes_from_fitted(np.array([[-5, -5, 700, 700]]), (1280, 640), (640, 320))
    np.testing.assert_array_equal(boxes, [[0, 0, 1280, 640]])


def test_no_boxes_map_to_no_boxes():
    assert geometry.boxes_from_fitted(np.zeros((0, 4)), (10, 10), (5, 5)).shape == (0, 4)
    assert geometry.iou_matrix(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param([0, 0, 10, 10], [0, 0, 10, 10], 1.0, id="the same box"),
        pytest.param([0, 0, 10, 10], [10, 10, 20, 20], 0.0, id="boxes that touch in a corner"),
        pytest.param([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3, id="half of each"),
        pytest.param([3, 3, 3, 3], [3, 3, 3, 3], 0.0, id="empty boxes"),
        pytest.param([5, 5, 1, 1], [0, 0, 10, 10], 0.0, id="a box turned inside out"),
    ],
)
def test_iou(a, b, expected):
    assert geometry.iou_matrix(np.array([a]), np.array([b]))[0, 0] == pytest.approx(expected)
