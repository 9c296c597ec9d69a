"""The fused scores, split into what each branch added: ``z = Σ wᵢ fᵢ / Σ wᵢ``, term by term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trident.contract import BRANCHES, NUM_CATEGORIES
from trident.fusion.evidence import SILENT, fuse
from trident.fusion.policy import Weights
from trident.fusion.types import Floats


@dataclass(frozen=True, slots=True)
class Part:
    """What one branch has to do with the score of one category."""

    branch: str
    says: float
    """Its evidence f."""
    share: float
    """Its share ``wᵢ / Σ w`` of the mean, over the branches that speak of the category."""
    adds: float
    """Its term ``wᵢ fᵢ / Σ w`` of the score."""
    without: float
    """What the score would be if the branch had been silent. Above the score: the branch pulled it down."""


@dataclass(frozen=True, eq=False, slots=True)
class Contributions:
    """How the fused scores of one picture are made up. Rows are COCO's categories, columns ``BRANCHES``."""

    evidence: npt.NDArray[np.float64]
    """f, [80, 3]; −1 where a branch is silent."""
    shares: npt.NDArray[np.float64]
    """``wᵢ / Σ w``, [80, 3]; 0 where a branch is silent. A row sums to 1, or to 0
    where no branch with a weight speaks."""
    terms: npt.NDArray[np.float64]
    """``wᵢ fᵢ / Σ w``, [80, 3]; 0 where a branch is silent."""
    without: npt.NDArray[np.float64]
    """The scores with one branch silent, [80, 3]."""

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The fused scores, [80]: the sums of the terms."""
        return np.asarray(self.terms.sum(axis=1))

    def parts(self, category: int) -> tuple[Part, ...]:
        """The branches that speak of a category, in the order of ``BRANCHES``."""
        return tuple(
            Part(
                branch,
                says=float(self.evidence[category, column]),
                share=float(self.shares[category, column]),
                adds=float(self.terms[category, column]),
                without=float(self.without[category, column]),
            )
            for column, branch in enumerate(BRANCHES)
            if self.evidence[category, column] != SILENT
        )


def split(evidence_C3: Floats, weights: Weights) -> Contributions:
    """Split the fused scores into the branches' terms.

    Args:
        evidence_C3: f of each branch, [80, 3]; −1 where it is silent (``CATEGORY_EVIDENCE``).
        weights: Those of the policy that fused; only their ratios count.

    Raises:
        ValueError: ``evidence_C3`` has another shape.

    >>> evidence = np.full((80, 3), SILENT)
    >>> evidence[0] = 0.6, 0.9, SILENT
    >>> found = split(evidence, Weights(classifier=0.5, detector=1.0, entities=1.0))
    >>> [(part.branch, round(part.share, 3), round(part.adds, 3), part.without) for part in found.parts(0)]
    [('classifier', 0.333, 0.2, 0.9), ('detector', 0.667, 0.6, 0.6)]
    """
    evidence = np.asarray(evidence_C3, dtype=np.float64)
    if evidence.shape != (NUM_CATEGORIES, len(BRANCHES)):
        raise ValueError(f"evidence: expected shape ({NUM_CATEGORIES}, {len(BRANCHES)}), got {evidence.shape}")
    speaks = evidence != SILENT
    weights_C3 = speaks * np.array([getattr(weights, branch) for branch in BRANCHES], dtype=np.float64)
    total_C1 = weights_C3.sum(axis=1, keepdims=True)
    shares = np.divide(weights_C3, total_C1, out=np.zeros_like(weights_C3), where=total_C1 > 0)
    without = np.empty_like(evidence)
    for column in range(len(BRANCHES)):
        silenced = evidence.copy()
        silenced[:, column] = SILENT
        without[:, column] = fuse(silenced, weights)
    return Contributions(evidence, shares, shares * np.where(speaks, evidence, 0.0), without)


@dataclass(frozen=True, slots=True)
class CategorySplit:
    """One category's score and what it is made of."""

    name: str
    score: float
    """The fused score: the sum of what the parts add."""
    parts: tuple[Part, ...]
    """The branches that speak of it."""


def splits_above(found: Contributions, names: tuple[str, ...], threshold: float) -> tuple[CategorySplit, ...]:
    """The categories that score at least ``threshold``, the best first; at least the best one.

    Args:
        found: The split scores.
        names: What the categories are called, in the order of the rows.
        threshold: Least score.
    """
    order = np.argsort(-found.scores, kind="stable").tolist()
    return tuple(
        split_of(found, names, category)
        for place, category in enumerate(order)
        if place == 0 or found.scores[category] >= threshold
    )


def split_of(found: Contributions, names: tuple[str, ...], category: int) -> CategorySplit:
    """One category's."""
    return CategorySplit(names[category], float(found.scores[category]), found.parts(category))
