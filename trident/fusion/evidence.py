"""What each branch says about each category of one picture, and the one fused score that follows.

Evidence f is in [0, 1]. ``SILENT`` (−1) marks a branch that cannot speak of a category: it then takes no part in the
mean, instead of pulling it down.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from trident.contract import BRANCHES, NUM_CATEGORIES, NUM_CLASSES
from trident.fusion.policy import Weights
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Floats, Objects

SILENT = -1.0
CLASSIFIER, DETECTOR, ENTITIES = range(len(BRANCHES))


def classifier_evidence(probabilities_C: Floats, taxonomy: Taxonomy) -> npt.NDArray[np.float64]:
    """[80]: the summed probability of the classes that are a kind of each category.

    The classifier cannot speak of a category that no class is a kind of.

    Raises:
        ValueError: ``probabilities_C`` is not [1000].
    """
    if probabilities_C.shape != (NUM_CLASSES,):
        raise ValueError(f"probabilities: expected shape ({NUM_CLASSES},), got {probabilities_C.shape}")
    mapped = taxonomy.category_of_class >= 0
    evidence = np.full(NUM_CATEGORIES, SILENT)
    spoken = np.unique(taxonomy.category_of_class[mapped])
    sums = np.bincount(taxonomy.category_of_class[mapped], weights=probabilities_C[mapped], minlength=NUM_CATEGORIES)
    evidence[spoken] = np.clip(sums[spoken], 0.0, 1.0)
    return evidence


def detector_evidence(objects: Objects) -> npt.NDArray[np.float64]:
    """[80]: the score of the best box of each category; 0 where there is no box, for the detector knows them all."""
    evidence = np.zeros(NUM_CATEGORIES)
    np.maximum.at(evidence, np.asarray(objects.classes, dtype=np.int64), np.clip(objects.scores, 0.0, 1.0))
    return evidence


def entity_evidence(spoken: Iterable[tuple[int, float]], floor: float) -> npt.NDArray[np.float64]:
    """[80]: the best score among the entities that speak for each category; silent where none does.

    A picture without a face may well hold a person, seen from behind or from afar: that no entity was found says
    nothing, so the branch is silent rather than against.

    Args:
        spoken: category and score of every entity.
        floor: the least score that counts.
    """
    evidence = np.full(NUM_CATEGORIES, SILENT)
    for category, score in spoken:
        if score >= floor:
            evidence[category] = max(evidence[category], min(score, 1.0))
    return evidence


def fuse(evidence_C3: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """[80]: ``z = Σ wᵢ fᵢ / Σ wᵢ`` over the branches that speak of each category; 0 where none with a weight does.

    >>> evidence = np.array([[0.6, 0.9, SILENT], [SILENT, 0.5, SILENT]])
    >>> fuse(evidence, Weights(classifier=0.5, detector=1.0, entities=1.0)).round(6).tolist()
    [0.8, 0.5]
    """
    speaks = evidence_C3 != SILENT
    weights_C3 = speaks * np.array([weights.classifier, weights.detector, weights.entities])
    total = weights_C3.sum(axis=1)
    weighted = (weights_C3 * np.where(speaks, evidence_C3, 0.0)).sum(axis=1)
    return np.asarray(np.divide(weighted, total, out=np.zeros_like(total), where=total > 0))
