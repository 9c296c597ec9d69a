"""Non-maximum suppression in numpy: what the graphs' own, ``Graph.select_boxes``, is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.sources import Answers
from trident.contract import MAX_BOXES

Floats = npt.NDArray[np.float32]

CLASS_SPAN = 4096.0
"""Boxes of different classes are moved this far apart in the graph, which takes some bits from them in float32."""


def select(
    boxes_BN4: Floats,
    scores_BN: Floats,
    *,
    minimum: float,
    iou: float,
    classes_BN: Floats | None = None,
    extras: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Answers:
    """The contract's padded outputs that candidates come to, by greedy suppression picture by picture.

    Args:
        boxes_BN4: Candidates, float32, x1, y1, x2, y2.
        scores_BN: Their scores.
        minimum: A score not above this is left out.
        iou: A box that overlaps a better one of its class by more than this is left out.
        classes_BN: Their classes; None if all are of one.
        extras: Output name to an array ``[B, N, ...]`` that goes with the boxes.

    Returns:
        ``BOXES [B, 100, 4]``, ``SCORES [B, 100]``, ``NUM_BOXES [B, 1]``, with ``classes_BN`` also
        ``CLASSES [B, 100]``, and the ``extras``. Best first, of equals the first; unused rows are 0.
    """
    columns: dict[str, npt.NDArray[Any]] = {"BOXES": boxes_BN4, "SCORES": scores_BN, **(extras or {})}
    apart = boxes_BN4
    if classes_BN is not None:
        columns["CLASSES"] = classes_BN.astype(np.int32)
        # In float32, as the graph does it: an overlap close to the limit depends on that.
        apart = boxes_BN4 + (classes_BN * np.float32(CLASS_SPAN))[..., None]
    made = {
        name: np.zeros((len(values), MAX_BOXES, *values.shape[2:]), values.dtype) for name, values in columns.items()
    }
    counts = np.zeros((len(boxes_BN4), 1), np.int32)
    for item in range(len(boxes_BN4)):
        kept = _kept(apart[item], scores_BN[item], minimum, iou)
        counts[item] = len(kept)
        for name, values in columns.items():
            made[name][item, : len(kept)] = values[item, kept]
    return {**made, "NUM_BOXES": counts}


def _kept(boxes_N4: Floats, scores_N: Floats, minimum: float, iou: float) -> list[int]:
    """Indices of the boxes that stay, best first, at most 100."""
    order = np.argsort(-scores_N, kind="stable")
    order = order[scores_N[order] > np.float32(minimum)]
    kept: list[int] = []
    while len(order) > 0 and len(kept) < MAX_BOXES:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[~(_overlaps(boxes_N4[best], boxes_N4[order]) > np.float32(iou))]
    return kept


def _overlaps(box_4: Floats, others_N4: Floats) -> Floats:
    """Intersection over union in float32; 0 where there is no area."""
    sides_N2 = np.minimum(box_4[2:], others_N4[:, 2:]) - np.maximum(box_4[:2], others_N4[:, :2])
    intersections_N = np.prod(np.maximum(sides_N2, 0), axis=1)
    unions_N = np.prod(box_4[2:] - box_4[:2]) + np.prod(others_N4[:, 2:] - others_N4[:, :2], axis=1) - intersections_N
    overlaps_N: Floats = np.zeros_like(unions_N)
    np.divide(intersections_N, unions_N, out=overlaps_N, where=unions_N > 0)
    return overlaps_N
