"""Licence plates: levelled crops for the reader, its characters as text, and what a plate's score is."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
import numpy.typing as npt

from trident.contract import PLATE_HEIGHT, PLATE_WIDTH
from trident.entities.crop import Pixels, part_around
from trident.geometry import Floats, intersection_matrix

GROWTH = 0.05
"""How much a plate is widened and heightened before it is cut out: the reader wants a little air around the text."""
LEAST_WIDTH = 216
"""Narrower plates, most of them seen from the side, are stretched to this: that makes up for what foreshortening took,
and the reader's columns get the characters further apart."""
PADDING = 127
"""Grey right of a short plate, which readers of this family take for nothing; black would be read as an edge."""
USUAL_LENGTH = 5
"""Most countries' plates have at least as many characters."""
NO_DIGITS = 0.5
"""What a text without any digit is worth: plates like that exist, but names on signs and cars are more common."""
ILLEGIBLE = 0.1
"""What a plate without any text is worth."""


def level_plate(picture_HW3: Pixels, corners_42: Floats) -> Pixels | None:
    """Cut one plate out of a picture and level it by a perspective transform.

    Args:
        picture_HW3: RGB UINT8.
        corners_42: top left, top right, bottom right, bottom left in pixels of ``picture_HW3``.

    Returns:
        RGB UINT8 ``[PLATE_HEIGHT, PLATE_WIDTH, 3]``: the plate at the left, as wide as its aspect asks for but at
        least ``LEAST_WIDTH``, the rest grey; None if the corners span no area.

    Raises:
        ValueError: ``corners_42`` has another shape.
    """
    corners = np.asarray(corners_42, dtype=np.float64)
    if corners.shape != (4, 2):
        raise ValueError(f"corners_42: expected shape (4, 2), got {corners.shape}")
    if not np.isfinite(corners).all() or cv2.contourArea(corners.astype(np.float32)) < 1.0:
        return None
    centre = corners.mean(axis=0)
    corners = centre + (corners - centre) * (1 + GROWTH)
    top_left, top_right, bottom_right, bottom_left = corners
    width = float(max(np.linalg.norm(top_right - top_left), np.linalg.norm(bottom_right - bottom_left)))
    height = float(max(np.linalg.norm(bottom_left - top_left), np.linalg.norm(bottom_right - top_right)))
    crop_width = int(np.clip(np.ceil(PLATE_HEIGHT * width / height), LEAST_WIDTH, PLATE_WIDTH))
    target = np.array([[0, 0], [crop_width, 0], [crop_width, PLATE_HEIGHT], [0, PLATE_HEIGHT]], dtype=np.float32)
    part_HW3, corners = part_around(picture_HW3, corners, 2.0, PLATE_HEIGHT / height)
    matrix_33 = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    if not np.isfinite(matrix_33).all():
        return None
    crop = cv2.warpPerspective(
        part_HW3, matrix_33, (crop_width, PLATE_HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    levelled = np.full((PLATE_HEIGHT, PLATE_WIDTH, 3), PADDING, dtype=np.uint8)
    levelled[:, :crop_width] = crop
    return levelled


def plate_text(characters_C: npt.NDArray[np.int32], scores_C: npt.NDArray[np.float32], count: int) -> tuple[str, float]:
    """What a plate reader read, as text.

    Separators (the middle dot, spaces, dashes) are not part of a plate's text. Letters are upper case, full-width
    characters become their ordinary forms.

    Args:
        characters_C: Unicode code points.
        scores_C: their probabilities.
        count: how many of them are used.

    Returns:
        The text and the mean probability of its characters; an empty text has 0.

    >>> plate_text(np.array([0x7696, 0x41, 0xB7, 0x31]), np.array([0.5, 1.0, 0.1, 0.75], np.float32), 4)
    ('皖A1', 0.75)
    """
    text = ""
    kept: list[float] = []
    for code, score in zip(characters_C[:count], scores_C[:count], strict=True):
        character = unicodedata.normalize("NFKC", chr(int(code))).upper()
        if character.isalnum():
            text += character
            kept.append(float(score))
    return text, float(np.clip(np.mean(kept), 0.0, 1.0)) if kept else 0.0


def plate_score(detection: float, text: str, text_score: float) -> float:
    """How sure it is that this is a licence plate: how plate-like it looks, weakened by how little it reads like one.

    The detector takes signs, grilles and animals' flanks for plates now and then; their text gives them away. What
    cannot be read at all keeps a tenth, since a plate may also be too far away to be read.

    >>> plate_score(0.9, "皖A06725D", 1.0)
    0.9
    >>> round(plate_score(0.9, "POLO", 1.0), 2), round(plate_score(0.9, "", 0.0), 2)
    (0.36, 0.09)
    """
    legibility = text_score * min(1.0, len(text) / USUAL_LENGTH)
    if not any(character.isdecimal() for character in text):
        legibility *= NO_DIGITS
    return detection * max(legibility, ILLEGIBLE)


def distinct(boxes_N4: Floats, scores_N: Floats, overlap: float) -> npt.NDArray[np.intp]:
    """Indices of the boxes that remain, best first, when of two that mostly cover each other only the better is kept.

    Overlap is the shared area over the *smaller* box's area, so that a box inside another one counts as the same
    thing, which IoU would miss.
    """
    order = np.argsort(-np.asarray(scores_N, dtype=np.float64), kind="stable")
    boxes = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
    shared_NN = intersection_matrix(boxes, boxes)
    areas_N = np.diagonal(shared_NN)
    smaller_NN = np.minimum(areas_N[:, None], areas_N[None, :])
    covered_NN = shared_NN > overlap * np.maximum(smaller_NN, 1e-9)
    kept: list[int] = []
    for index in order:
        if not covered_NN[index, kept].any():
            kept.append(int(index))
    return np.array(kept, dtype=np.intp)
