from __future__ import annotations

import cv2
import numpy as np
import pytest

from trident.contract import FACE_SIDE
from trident.entities.align import align_face

TEMPLATE = 2 * np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]])


def picture_with_marks(scale: float, degrees: float, centre: tuple[float, float], side: int = 2000):
    """A picture with a coloured disc on every landmark of a face that is scaled, turned and moved."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE - TEMPLATE.mean(axis=0)) @ turn.T * scale + np.array(centre)
    picture = np.full((side, side, 3), 40, np.uint8)
    for point, colour in zip(landmarks, COLOURS.tolist(), strict=True):
        where = tuple(round(float(value)) for value in point)
        cv2.circle(picture, where, max(2, round(6 * scale)), colour, thickness=-1)
    return picture, landmarks


@pytest.mark.parametrize(
    ("scale", "degrees"),
    [
        pytest.param(1.0, 0.0, id="as the template"),
        pytest.param(0.4, 25.0, id="small and turned"),
        pytest.param(2.6, -40.0, id="large, halved first"),
        pytest.param(5.0, 170.0, id="very large, upside down"),
    ],
)
def test_landmarks_come_to_lie_on_the_template(scale: float, degrees: float) -> None:
    picture, landmarks = picture_with_marks(scale, degrees, (1000.0, 1000.0))
    face = align_face(picture, landmarks)
    assert face is not None
    assert face.shape == (FACE_SIDE, FACE_SIDE, 3)
    assert face.dtype == np.uint8
    for (x, y), colour in zip(TEMPLATE, COLOURS, strict=True):
        distance = np.abs(face.astype(int) - colour).sum(axis=2)
        rows, columns = np.nonzero(distance < 150)
        # The discs were drawn at whole pixels.
        assert columns.mean() == pytest.approx(x, abs=0.6 + 0.5 / scale)
        assert rows.mean() == pytest.approx(y, abs=0.6 + 0.5 / scale)


def test_halving_gives_the_same_face_as_the_picture_halved_before() -> None:
    rng = np.random.default_rng(3)
    large = cv2.GaussianBlur(rng.integers(0, 256, (1600, 1600, 3), dtype=np.uint8), (0, 0), 8)
    landmarks = TEMPLATE * 4 + np.array([350.0, 300.0])
    small = cv2.resize(large, (400, 400), interpolation=cv2.INTER_AREA)
    # Centres of pixels: x_small = (x_large + 0.5) / 4 - 0.5.
    expected = align_face(small, (landmarks + 0.5) / 4 - 0.5)
    face = align_face(large, landmarks)
    assert face is not None
    assert expected is not None
    assert np.abs(face.astype(int) - expected.astype(int)).max() <= 2


def test_a_face_beyond_the_edge_is_black_there() -> None:
    picture = np.full((300, 300, 3), 200, np.uint8)
    face = align_face(picture, TEMPLATE + np.array([200.0, 0.0]))
    assert face is not None
    assert (face[:, :90] == 200).all()
    assert (face[:, 110:] == 0).all()


@pytest.mark.parametrize("scale", [1.0, 6.0], ids=["as it is", "halved"])
def test_a_face_outside_the_picture_is_black(scale: float) -> None:
    face = align_face(np.full((50, 50, 3), 200, np.uint8), TEMPLATE * scale + 5000)
    assert face is not None
    assert not face.any()


@pytest.mark.parametrize(
    "landmarks",
    [pytest.param(np.full((5, 2), 7.0), id="one point"), pytest.param(np.full((5, 2), np.nan), id="not a number")],
)
def test_landmarks_without_a_face_give_none(landmarks: np.ndarray) -> None:
    assert align_face(np.zeros((50, 50, 3), np.uint8), landmarks) is None


def test_shape_error_says_expected_and_got() -> None:
    with pytest.raises(ValueError, match=r"landmarks_52: expected shape \(5, 2\), got \(4, 2\)"):
        align_face(np.zeros((50, 50, 3), np.uint8), np.zeros((4, 2)))
