"""Cutting faces and plates out: whatever points a network gave, a crop of the contract's size or none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.pictures import photo_like
from trident.contract import FACE_SIDE, NUM_LANDMARKS, PLATE_HEIGHT, PLATE_WIDTH
from trident.entities.align import align_face
from trident.entities.crop import part_around
from trident.entities.plates import level_plate

PICTURE = photo_like(96, 64)
ANY = st.floats(width=32)
NEAR = st.floats(-50, 150, width=32)


def points(count, coordinates=NEAR):
    return arrays(np.float32, (count, 2), elements=coordinates)


@given(points(NUM_LANDMARKS, ANY) | points(NUM_LANDMARKS))
def test_any_landmarks_give_a_face_or_none(landmarks):
    with np.errstate(all="ignore"):
        face = align_face(PICTURE, landmarks)
    if not np.isfinite(landmarks).all():
        assert face is None
    if face is not None:
        assert face.shape == (FACE_SIDE, FACE_SIDE, 3)
        assert face.dtype == np.uint8


@given(points(4, ANY) | points(4))
def test_any_corners_give_a_plate_or_none(corners):
    with np.errstate(all="ignore"):
        plate = level_plate(PICTURE, corners)
    if not np.isfinite(corners).all():
        assert plate is None
    if plate is not None:
        assert plate.shape == (PLATE_HEIGHT, PLATE_WIDTH, 3)
        assert plate.dtype == np.uint8


@given(points(3), st.floats(0, 40), st.floats(0.05, 4))
def test_a_part_holds_its_points_where_the_picture_does(found, margin, scale):
    part, moved = part_around(PICTURE, found, margin, scale)
    height, width = part.shape[:2]
    assert 1 <= height <= PICTURE.shape[0]
    assert 1 <= width <= PICTURE.shape[1]
    inside = ((found >= 0) & (found <= [PICTURE.shape[1] - 1, PICTURE.shape[0] - 1])).all(axis=1)
    assert (moved[inside] >= -0.5).all()
    assert (moved[inside] <= [width - 0.5, height - 0.5]).all()


@given(points(3), st.floats(0, 40), st.integers(0, 30), st.integers(0, 30))
def test_a_part_is_the_same_wherever_the_picture_lies_in_a_larger_one(found, margin, right, down):
    """Where the margin stays within the smaller picture."""
    found = 30 + np.abs(found) % 4
    margin = min(margin, 25)
    larger = np.zeros((PICTURE.shape[0] + down, PICTURE.shape[1] + right, 3), np.uint8)
    larger[down:, right:] = PICTURE
    part, moved = part_around(PICTURE, found, margin, 1.0)
    there, moved_there = part_around(larger, found + np.array([right, down], np.float32), margin, 1.0)
    assert np.array_equal(part, there)
    np.testing.assert_allclose(moved, moved_there, atol=1e-4)
