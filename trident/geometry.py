"""Where things are: from canvas pixels to picture pixels and back, and how boxes overlap.

The letterbox is a pure function of the picture's size, so no scale has to travel between models.
Boxes are ``[x1, y1, x2, y2]`` in pixels, x right, y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def fitted_size(width: int, height: int, side: int, *, enlarge: bool) -> tuple[int, int]:
    """Width and height of a picture scaled so that its longest side is ``side``, at least 1 pixel each.

    With ``enlarge`` false, a picture that already fits keeps its size.

    >>> fitted_size(1280, 853, 640, enlarge=True)
    (640, 427)
    >>> fitted_size(300, 200, 1280, enlarge=False)
    (300, 200)
    """
    longest = max(width, height)
    if longest <= side and not enlarge:
        return width, height
    # Integer arithmetic, rounded half up: every process must come to the same size.
    return (
        max(1, (2 * width * side + longest) // (2 * longest)),
        max(1, (2 * height * side + longest) // (2 * longest)),
    )


def points_from_fitted(points_2: Floats, size: tuple[int, int], fitted: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Map points ``[..., 2]`` from a scaled picture of size ``fitted`` to the picture of ``size`` (width, height)."""
    scale = np.array([size[0] / fitted[0], size[1] / fitted[1]], dtype=np.float64)
    return (np.asarray(points_2, dtype=np.float64) * scale).astype(np.float32)


def boxes_from_fitted(boxes_N4: Floats, size: tuple[int, int], fitted: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Map boxes ``[N, 4]`` from a scaled picture of size ``fitted`` to the picture of ``size``, clipped to it.

    A box turned inside out, as a network may give one that it is unsure of, comes back empty.
    """
    corners = points_from_fitted(np.asarray(boxes_N4).reshape(-1, 2, 2), size, fitted)
    corners = np.clip(corners, 0.0, np.array(size, dtype=np.float32))
    corners[:, 1] = np.maximum(corners[:, 0], corners[:, 1])
    return corners.reshape(-1, 4)


def iou_matrix(boxes_N4: Floats, others_M4: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair, ``[N, M]``; 0 where both boxes are empty."""
    intersection = intersection_matrix(boxes_N4, others_M4)
    union = _areas(boxes_N4)[:, None] + _areas(others_M4)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def intersection_matrix(boxes_N4: Floats, others_M4: Floats) -> npt.NDArray[np.float64]:
    """Area, in square pixels, that every pair of boxes shares, ``[N, M]``."""
    a = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(others_M4, dtype=np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(np.clip(sides, 0.0, None).prod(axis=-1), dtype=np.float64)


def _areas(boxes_N4: Floats) -> npt.NDArray[np.float64]:
    boxes = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None).prod(axis=-1), dtype=np.float64)
