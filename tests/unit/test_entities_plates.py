from __future__ import annotations

import cv2
import numpy as np
import pytest

from trident.contract import PLATE_HEIGHT, PLATE_WIDTH
from trident.entities.plates import LEAST_WIDTH, PADDING, distinct, level_plate, plate_score, plate_text


def slanted_plate(width: int = 220, height: int = 70):
    """A striped plate, drawn straight and then put into a picture in perspective; gives its corners there."""
    plate = np.zeros((height, width, 3), np.uint8)
    plate[:, : width // 2] = (200, 30, 30)
    plate[:, width // 2 :] = (30, 30, 200)
    corners = np.array([[300, 200], [500, 240], [490, 320], [295, 265]], np.float32)
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    picture = cv2.warpPerspective(
        plate,
        cv2.getPerspectiveTransform(flat, corners),
        (800, 600),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(9, 9, 9),
    )
    return picture, corners


class TestLevelPlate:
    def test_a_slanted_plate_comes_out_straight(self) -> None:
        picture, corners = slanted_plate()
        levelled = level_plate(picture, corners)
        assert levelled is not None
        assert levelled.shape == (PLATE_HEIGHT, PLATE_WIDTH, 3)
        inner = levelled[6:-6, :LEAST_WIDTH].astype(int)
        assert np.abs(inner[:, 15 : LEAST_WIDTH // 2 - 4] - (200, 30, 30)).max() < 12
        assert np.abs(inner[:, LEAST_WIDTH // 2 + 4 : LEAST_WIDTH - 15] - (30, 30, 200)).max() < 12
        assert (levelled[:, LEAST_WIDTH:] == PADDING).all()

    def test_a_little_of_the_surroundings_is_kept(self) -> None:
        picture = np.zeros((200, 600, 3), np.uint8)
        picture[50:100, 100:350] = 255
        levelled = level_plate(picture, np.array([[100, 50], [350, 50], [350, 100], [100, 100]]))
        assert levelled is not None
        # 262.5 x 52.5 with the surroundings, so 240 wide.
        assert not levelled[0].any(axis=1)[:240].any()
        assert (levelled[6:-6, 10:230] == 255).all()
        assert (levelled[:, 240:] == PADDING).all()
        assert not (levelled[:, 239] == PADDING).all()

    def test_a_very_wide_plate_is_squeezed(self) -> None:
        picture = np.full((200, 2000, 3), 90, np.uint8)
        levelled = level_plate(picture, np.array([[10, 50], [1900, 50], [1900, 100], [10, 100]]))
        assert levelled is not None
        assert (levelled == 90).all()

    @pytest.mark.parametrize(
        "corners",
        [
            pytest.param(np.full((4, 2), 5.0), id="one point"),
            pytest.param(np.array([[0, 0], [9, 0], [9, 0], [0, 0]]), id="a line"),
            pytest.param(np.full((4, 2), np.inf), id="infinite"),
        ],
    )
    def test_corners_without_an_area_give_none(self, corners: np.ndarray) -> None:
        assert level_plate(np.zeros((50, 50, 3), np.uint8), corners) is None

    def test_shape_error_says_expected_and_got(self) -> None:
        with pytest.raises(ValueError, match=r"corners_42: expected shape \(4, 2\), got \(2, 2\)"):
            level_plate(np.zeros((50, 50, 3), np.uint8), np.zeros((2, 2)))


def read(text: str, *scores: float) -> tuple[str, float]:
    codes = np.zeros(40, np.int32)
    codes[: len(text)] = [ord(character) for character in text]
    values = np.zeros(40, np.float32)
    values[: len(scores)] = scores
    return plate_text(codes, values, len(text))


class TestPlateText:
    @pytest.mark.parametrize(
        ("raw", "text"),
        [
            pytest.param("皖A06725D", "皖A06725D", id="as it is"),
            pytest.param("皖A·06725D", "皖A06725D", id="middle dot"),
            pytest.param("AB 12-34.x", "AB1234X", id="separators and case"),
            pytest.param("ＡＢ１２", "AB12", id="full width"),
            pytest.param("·", "", id="only a separator"),
            pytest.param("", "", id="nothing"),
        ],
    )
    def test_text(self, raw: str, text: str) -> None:
        assert read(raw, *[1.0] * len(raw))[0] == text

    def test_score_is_the_mean_of_the_characters_that_are_kept(self) -> None:
        assert read("A·1", 0.5, 0.0, 1.0)[1] == pytest.approx(0.75)

    def test_no_text_has_no_score(self) -> None:
        assert read("") == ("", 0.0)
        assert read("·", 0.9) == ("", 0.0)


class TestDistinct:
    BOXES = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [2, 2, 5, 5], [30, 30, 40, 40]], np.float32)

    def test_the_better_of_two_stays(self) -> None:
        assert distinct(self.BOXES, np.array([0.5, 0.9, 0.3, 0.6]), 0.6).tolist() == [1, 3]

    def test_a_box_inside_another_counts_as_the_same(self) -> None:
        assert distinct(self.BOXES, np.array([0.5, 0.1, 0.9, 0.2]), 0.6).tolist() == [2, 3]

    def test_none(self) -> None:
        assert distinct(np.zeros((0, 4)), np.zeros(0), 0.6).tolist() == []

    def test_empty_boxes_do_not_hide_others(self) -> None:
        boxes = np.array([[5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
        assert distinct(boxes, np.array([0.9, 0.8]), 0.6).tolist() == [0, 1]


def test_what_does_not_read_like_a_plate_sinks() -> None:
    plate = plate_score(0.9, "皖A06725D", 0.95)
    assert plate == pytest.approx(0.9 * 0.95)
    assert plate > plate_score(0.9, "A1", 0.95) > plate_score(0.9, "AB", 0.95) > plate_score(0.9, "", 0.0)
    assert plate_score(0.9, "", 0.0) == pytest.approx(0.09)
    assert plate_score(1.0, "AB1234", 1.0) == 1.0
