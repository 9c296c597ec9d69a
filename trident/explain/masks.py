"""What is hidden of a picture, picture after picture: masks in [0, 1], 1 where it stays visible.

``rise`` keeps random parts (RISE; Petsiuk, Das and Saenko, BMVC 2018), ``occlusion`` hides one window after the other
(Zeiler and Fergus, ECCV 2014).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Mask = npt.NDArray[np.float32]

KEPT = 0.5
"""Probability with which ``rise`` keeps a cell visible, as in the paper."""


def rise_masks(count: int, size: tuple[int, int], cell: int, seed: int) -> Iterator[Mask]:
    """Random masks: a coarse grid of cells, each kept or hidden, enlarged smoothly and shifted by less than a cell.

    The same seed gives the same masks, also where fewer of them are taken.

    Args:
        count: How many.
        size: Height and width of the masks, in pixels.
        cell: Side of a cell, in pixels.
        seed: Of the choice of cells and shifts.
    """
    chance = np.random.default_rng(seed)
    height, width = size
    # One cell more than fits, so that there is something to shift.
    rows, columns = math.ceil(height / cell) + 1, math.ceil(width / cell) + 1
    for _ in range(count):
        kept = chance.random((rows, columns)) < KEPT
        top, left = chance.integers(0, cell, size=2).tolist()
        coarse = Image.fromarray(kept.astype(np.float32))
        smooth = coarse.resize((columns * cell, rows * cell), Image.Resampling.BILINEAR)
        yield np.asarray(smooth, dtype=np.float32)[top : top + height, left : left + width]


def window_grid(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of at most ``count`` windows, about as far apart down as across.

    >>> window_grid(100, (100, 100)), window_grid(100, (50, 200)), window_grid(1, (3, 999))
    ((10, 10), (5, 20), (1, 1))
    """
    height, width = size
    rows = min(count, height, max(1, round(math.sqrt(count * height / width))))
    return rows, max(1, min(width, count // rows))


def occlusion_masks(count: int, size: tuple[int, int]) -> Iterator[Mask]:
    """Masks that hide one window each, twice as wide and high as the windows are apart.

    So all that is not at the edge is hidden by four of them.

    Args:
        count: Most masks; how many there are follows from the grid, see ``window_grid``.
        size: Height and width of the masks, in pixels.
    """
    height, width = size
    rows, columns = window_grid(count, size)
    down, across = height / rows, width / columns
    for row in range(rows):
        for column in range(columns):
            mask = np.ones(size, dtype=np.float32)
            top, bottom = round((row - 0.5) * down), round((row + 1.5) * down)
            left, right = round((column - 0.5) * across), round((column + 1.5) * across)
            mask[max(0, top) : bottom, max(0, left) : right] = 0.0
            yield mask


def hiding(values_HW: npt.NDArray[np.float64], share: float, *, hottest: bool) -> Mask:
    """A mask that hides the part of a picture where a map is highest, or lowest.

    Args:
        values_HW: The map.
        share: How much of the picture to hide, above 0 and below 1.
        hottest: Whether the highest values are hidden, or the lowest.
    """
    count = max(1, round(share * values_HW.size))
    order = np.argsort(values_HW, axis=None, kind="stable")
    mask = np.ones(values_HW.size, dtype=np.float32)
    mask[order[-count:] if hottest else order[:count]] = 0.0
    return mask.reshape(values_HW.shape)
