"""Decoded pixels to the canonical pixels that ``trident.contract`` names.

Everything is cut from one picture, the detail: resizing is paid once at the larger size, and turning it upright, which
is exact, touches the fewest pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trident.contract import CANVAS_SIDE, DETAIL_SIDE, SCENE_SIDE
from trident.geometry import fitted_size
from trident.preprocess.decode import Decoded
from trident.preprocess.orientation import swaps_sides, turn_upright

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Canonical:
    """What every branch sees of one picture: UINT8 RGB, upright."""

    width: int
    """Width of the picture at full resolution, as a viewer shows it."""
    height: int
    """Height of the picture at full resolution, as a viewer shows it."""
    scene: Pixels
    """[SCENE_SIDE, SCENE_SIDE, 3], the centre square of the short side."""
    canvas: Pixels
    """[CANVAS_SIDE, CANVAS_SIDE, 3], the whole picture anchored top left, the rest black."""
    detail: Pixels
    """[H, W, 3], the whole picture, longest side at most DETAIL_SIDE."""


def canonicalize(decoded: Decoded) -> Canonical:
    """Make the canonical pixels of a decoded picture. Sizes follow ``geometry.fitted_size`` of the full picture."""
    stored = decoded.pixels
    detail = turn_upright(
        resize(stored, *fitted_size(decoded.width, decoded.height, DETAIL_SIDE, enlarge=False)), decoded.orientation
    )
    # A long, narrow picture has more of its centre square left before it is shrunk to the detail.
    narrow = min(detail.shape[:2]) < min(SCENE_SIDE, *stored.shape[:2])
    square = turn_upright(centre_square(stored), decoded.orientation) if narrow else centre_square(detail)

    sides = (decoded.width, decoded.height)
    width, height = reversed(sides) if swaps_sides(decoded.orientation) else sides
    canvas = np.zeros((CANVAS_SIDE, CANVAS_SIDE, 3), np.uint8)
    fitted = resize(detail, *fitted_size(width, height, CANVAS_SIDE, enlarge=True))
    canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
    return Canonical(width, height, resize(square, SCENE_SIDE, SCENE_SIDE), canvas, detail)


def stack_details(details: Sequence[Pixels]) -> Pixels:
    """Details of different sizes as one [N, H, W, 3], padded with black at the bottom and the right.

    Raises:
        ValueError: There are none.
    """
    if not details:
        raise ValueError("details: expected at least 1, got 0")
    batch = np.zeros(
        (len(details), max(d.shape[0] for d in details), max(d.shape[1] for d in details), 3), dtype=np.uint8
    )
    for row, detail in zip(batch, details, strict=True):
        row[: detail.shape[0], : detail.shape[1]] = detail
    return batch


def centre_square(pixels: Pixels) -> Pixels:
    """The centre square of the short side, a view."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize [H, W, 3]: means over whole pixels down to less than twice the size, the rest bilinear.

    That is within 2 dB of area means, as near to Lanczos below a ratio of 1.5, and six times as fast. Where a side is
    no multiple of the whole factor, the far edge moves by less than one pixel of the larger picture.
    """
    across, down = pixels.shape[1] // width, pixels.shape[0] // height
    if max(across, down) > 1:
        fx, fy = 1 / max(1, across), 1 / max(1, down)
        pixels = np.asarray(cv2.resize(pixels, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
