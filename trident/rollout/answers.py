"""Whether the tensors of one network's answer fit each other: counts and rows, best classes and probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_SLACK = 1e-3
"""Room for rounding."""
_COUNTED = {"NUM_BOXES": "SCORES", "NUM_CHARACTERS": "CHARACTERS"}
"""Counts of used rows, with a tensor whose unused rows are 0."""


def inconsistencies(outputs: Mapping[str, Array]) -> list[str]:
    """What does not fit in an answer whose every tensor is sound by itself; see ``trident.rollout.soundness``.

    Args:
        outputs: By name, as a network gave them, batch first.

    Returns:
        One sentence a problem: the tensor, what was expected, what it holds.
    """
    problems = []
    if "PROBABILITIES" in outputs:
        problems += _of_classes(outputs)
    if "EMBEDDING" in outputs:
        lengths = np.linalg.norm(outputs["EMBEDDING"].astype(np.float64), axis=-1)
        if np.abs(lengths - 1).max() > _SLACK:
            problems.append(f"EMBEDDING: expected vectors of length 1, got {lengths.min():.4g} to {lengths.max():.4g}")
    for count, rows in _COUNTED.items():
        if count in outputs:
            used = np.arange(outputs[rows].shape[1]) < outputs[count]
            if np.any(outputs[rows][~used] != 0):
                problems.append(f"{rows}: expected 0 in the rows that {count} does not count, got other values")
    if "SCORES" in outputs and np.any(np.diff(outputs["SCORES"], axis=1) > _SLACK):
        problems.append("SCORES: expected the best first, got another order")
    if "BOXES" in outputs:
        x1, y1, x2, y2 = np.moveaxis(outputs["BOXES"], -1, 0)
        if np.any(x2 < x1 - _SLACK) or np.any(y2 < y1 - _SLACK):
            problems.append("BOXES: expected x1 ≤ x2 and y1 ≤ y2, got boxes with their corners exchanged")
    return problems


def _of_classes(outputs: Mapping[str, Array]) -> list[str]:
    probabilities, best, scores = (outputs[name] for name in ("PROBABILITIES", "TOP_CLASSES", "TOP_SCORES"))
    sums = probabilities.sum(axis=-1, dtype=np.float64)
    if np.abs(sums - 1).max() > 10 * _SLACK:
        return [f"PROBABILITIES: expected a sum of 1, got {sums.min():.4g} to {sums.max():.4g}"]
    classes = probabilities.shape[-1]
    if best.min() < 0 or best.max() >= classes:
        return [f"TOP_CLASSES: expected 0 to {classes - 1}, got {best.min()} to {best.max()}"]
    if np.abs(np.take_along_axis(probabilities, best.astype(np.int64), axis=-1) - scores).max() > _SLACK:
        return ["TOP_SCORES: expected the PROBABILITIES of TOP_CLASSES, got other values"]
    if np.abs(probabilities.max(axis=-1) - scores[:, 0]).max() > _SLACK:
        return ["TOP_CLASSES: expected the most probable class first, got another"]
    return []
