"""A second look at what may be a plate, magnified.

On the canvas a plate is often so small that its corners are known to a pixel or two, too little for reading, and its
score says little. So each candidate is cut from the detail with its surroundings, four of them are put on one canvas,
and the plate detector looks again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trident.contract import CANVAS_SIDE
from trident.entities.crop import Pixels, part_around
from trident.geometry import Floats, iou_matrix

TILES_PER_SIDE = 2
TILE_SIDE = CANVAS_SIDE // TILES_PER_SIDE
TILES_PER_CANVAS = TILES_PER_SIDE**2
SURROUNDINGS = 2.0
"""Side of the part that is shown, in plate widths: a plate is then half a tile wide, where the detector does best."""
SAME_OVERLAP = 0.2
"""IoU from which a find of the second look is the candidate of the first."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Where one candidate is shown magnified."""

    canvas: int
    """Index of its canvas."""
    left: int
    top: int
    """Where the tile begins on its canvas."""
    origin: tuple[float, float]
    """The detail's point at the tile's top left."""
    scale: float
    """Tile pixels a detail pixel."""

    def to_detail(self, points: Floats) -> npt.NDArray[np.float64]:
        """Map points ``[..., 2]`` from canvas pixels to the detail's."""
        return (np.asarray(points, dtype=np.float64) - (self.left, self.top)) / self.scale + self.origin

    def find(
        self, candidate_4: Floats, boxes_N4: Floats, scores_N: Floats, corners_N42: Floats
    ) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """The best find on this tile's canvas that is the candidate: score, box and corners in the detail's pixels.

        Args:
            candidate_4: the candidate's box in the detail's pixels.
            boxes_N4: all boxes that were found on the canvas.
            scores_N: their scores.
            corners_N42: their corners.
        """
        boxes = self.to_detail(np.asarray(boxes_N4).reshape(-1, 2, 2)).reshape(-1, 4)
        same = iou_matrix(np.asarray(candidate_4)[None], boxes)[0] > SAME_OVERLAP
        if not same.any():
            return None
        best = int(np.argmax(np.where(same, scores_N, -1.0)))
        return float(scores_N[best]), boxes[best], self.to_detail(corners_N42[best])


def compose(candidates: Sequence[tuple[Pixels, Floats]]) -> tuple[Pixels, list[Tile]]:
    """Put candidates on as few canvases as they need.

    Args:
        candidates: each with its picture's detail ``[h, w, 3]`` and its box ``[4]`` in the detail's pixels.

    Returns:
        Canvases UINT8 ``[M, CANVAS_SIDE, CANVAS_SIDE, 3]``, and the tile of each candidate.
    """
    count = -(-len(candidates) // TILES_PER_CANVAS)
    canvases = np.zeros((count, CANVAS_SIDE, CANVAS_SIDE, 3), dtype=np.uint8)
    tiles = []
    for (detail_HW3, box_4), (canvas, left, top) in zip(candidates, _places(), strict=False):
        x1, y1, x2, y2 = (float(value) for value in box_4)
        # A plate seen from the side is narrow: its height says how large it is.
        side = SURROUNDINGS * max(x2 - x1, 2 * (y2 - y1), 1.0)
        tile = Tile(canvas, left, top, ((x1 + x2 - side) / 2, (y1 + y2 - side) / 2), TILE_SIDE / side)
        canvases[canvas, top : top + TILE_SIDE, left : left + TILE_SIDE] = _magnified(detail_HW3, tile, side)
        tiles.append(tile)
    return canvases, tiles


def _places() -> Iterator[tuple[int, int, int]]:
    canvas = 0
    while True:
        for place in range(TILES_PER_CANVAS):
            row, column = divmod(place, TILES_PER_SIDE)
            yield canvas, column * TILE_SIDE, row * TILE_SIDE
        canvas += 1


def _magnified(detail_HW3: Pixels, tile: Tile, side: float) -> Pixels:
    # Three corners of the square, as pixel centres: those lie half a pixel inside the edges.
    left, top = tile.origin
    corners_32 = np.array([[left, top], [left + side, top], [left, top + side]]) - 0.5
    part_HW3, moved_32 = part_around(detail_HW3, corners_32, 1.0, tile.scale)
    target_32 = np.array([[0, 0], [TILE_SIDE, 0], [0, TILE_SIDE]], dtype=np.float32) - 0.5
    matrix_23 = cv2.getAffineTransform(moved_32.astype(np.float32), target_32.astype(np.float32))
    shown = cv2.warpAffine(part_HW3, matrix_23, (TILE_SIDE, TILE_SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(shown, dtype=np.uint8)
