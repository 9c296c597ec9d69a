"""What the other branches change about a detector's box: its score, and a finer name for what is in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trident.fusion.evidence import SILENT
from trident.fusion.policy import FineLabel, Rescoring
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Floats, Objects
from trident.geometry import intersection_matrix


def rescore(
    objects: Objects, classifier_C: Floats, entity_scores_N: Floats, policy: Rescoring
) -> npt.NDArray[np.float64]:
    """[N]: scores of the boxes after the other branches were heard: ``s ** ((1 − λf) (1 − λₑfₑ))``.

    Other branches only lift: a classifier that names the whole scene says nothing against a small object in it. A power
    lifts what is in doubt and leaves the nearly certain and the nearly impossible where they are, and boxes of one
    category keep their order unless an entity speaks for one of them.

    Args:
        objects: the boxes with the detector's scores.
        classifier_C: [80] the classifier's evidence f; silent is no evidence.
        entity_scores_N: fₑ, the score of the entity linked to each box, 0 for none.
        policy: λ of the classifier and λₑ of an entity.
    """
    evidence_N = np.where(classifier_C == SILENT, 0.0, classifier_C)[objects.classes]
    powers_N = (1.0 - policy.classifier * evidence_N) * (1.0 - policy.entity * np.asarray(entity_scores_N))
    scores_N = np.clip(np.asarray(objects.scores, dtype=np.float64), 0.0, 1.0)
    return np.asarray(np.power(scores_N, powers_N), dtype=np.float64)


def fine_labels(
    probabilities_C: Floats,
    objects: Objects,
    size: tuple[int, int],
    taxonomy: Taxonomy,
    policy: FineLabel,
) -> dict[int, int]:
    """ImageNet classes of boxes: keys are boxes, values classes.

    The classifier sees the centre square of the picture and has one answer. For each category, its best class among the
    kinds of the category names the one box that it must have looked at: the one with the largest product of score and
    area inside that square.

    Args:
        probabilities_C: [1000] the classifier's softmax.
        objects: boxes in picture pixels with their fused scores.
        size: width and height of the picture.
        taxonomy: which class is a kind of which category.
        policy: how sure the classifier and the detector must be.
    """
    width, height = size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square_14 = np.array([[left, top, left + side, top + side]])
    weight_N = objects.scores * intersection_matrix(objects.boxes, square_14)[:, 0]
    weight_N = np.where(objects.scores >= policy.min_score, weight_N, 0.0)
    labels: dict[int, int] = {}
    for category in np.unique(objects.classes):
        kinds = taxonomy.kinds[category]
        if not len(kinds):
            continue
        best = int(kinds[probabilities_C[kinds].argmax()])
        share = probabilities_C[best] / max(float(probabilities_C[kinds].sum()), 1e-12)
        box = int(np.where(objects.classes == category, weight_N, -1.0).argmax())
        if weight_N[box] > 0 and probabilities_C[best] >= policy.min_probability and share >= policy.min_share:
            labels[box] = best
    return labels
