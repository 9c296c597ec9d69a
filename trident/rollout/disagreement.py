"""How far the candidate's answer to a caller's request is from the stable release's, in a few numbers."""

from __future__ import annotations

import numpy as np

from trident.rollout.agreement import Tensors, compare_fused

COMPARED_OUTPUTS = ("CATEGORY_SCORES", "BOXES", "BOX_SCORES", "BOX_CLASSES", "NUM_BOXES")
"""Outputs of the ensemble that a comparison needs."""


def disagreement(stable: Tensors, candidate: Tensors) -> dict[str, float]:
    """Compare two answers to the same pictures.

    Args:
        stable: ``COMPARED_OUTPUTS``, the batch as the first axis.
        candidate: The same.

    Returns:
        Means over the pictures: ``category_distance``, see ``agreement.Fused``; ``same_top``, the share with the same
        best category; ``objects_f1`` at IoU 0.5.
    """
    each = [compare_fused(stable, candidate, index) for index in range(len(stable["CATEGORY_SCORES"]))]
    return {
        "category_distance": float(np.mean([one.distance for one in each])),
        "same_top": float(np.mean([one.same_top for one in each])),
        "objects_f1": float(np.mean([one.objects.f1 for one in each])),
    }
