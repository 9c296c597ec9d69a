"""Parts of a picture for warping, reduced beforehand so that bilinear sampling skips no pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from trident.geometry import Floats

Pixels = npt.NDArray[np.uint8]


def part_around(
    picture_HW3: Pixels, points_P2: Floats, margin: float, scale: float
) -> tuple[Pixels, npt.NDArray[np.float64]]:
    """The part of a picture around some points, halved as often as it then still is larger than wanted.

    Args:
        picture_HW3: RGB UINT8.
        points_P2: points in pixels of the picture, 0 being the centre of the first pixel.
        margin: how far beyond the points the part reaches, in pixels.
        scale: by what the part will be scaled afterwards.

    Returns:
        The part, and the points in its pixels. Where the points lie outside the picture, the part is its nearest edge.
    """
    points = np.asarray(points_P2, dtype=np.float64)
    factor = 1
    while scale * factor * 2 <= 1:
        factor *= 2
    height, width = picture_HW3.shape[:2]
    last = np.array([width - 1, height - 1])
    left, top = np.clip(np.floor(points.min(axis=0) - margin), 0, last).astype(int)
    right, bottom = np.clip(np.ceil(points.max(axis=0) + margin), 0, last).astype(int) + 1
    part = picture_HW3[top:bottom, left:right]
    moved = points - (left, top)
    if factor == 1:
        return part, moved
    size = max(1, round((right - left) / factor)), max(1, round((bottom - top) / factor))
    reduced = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    # Edges of the picture map to edges; pixel centres lie half a pixel inside.
    ratio = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    return np.asarray(reduced, dtype=np.uint8), (moved + 0.5) * ratio - 0.5
