"""Whether scores mean what they say: reliability diagrams and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
DEFINITION = (
    f"ECE is the expected calibration error: the scores are cut into {BINS} bins of equal width, and the absolute "
    "differences between the mean score and the share that is right are averaged over the bins, weighted by what lies "
    "in them (Naeini et al. 2015; Guo et al. 2017)."
)

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Scores in B bins of equal width, each without its lower end and with its upper one."""

    counts: npt.NDArray[np.int64]
    """How many scores lie in a bin."""
    scores: Floats
    """Their mean; NaN in an empty bin."""
    right: Floats
    """Share of them that is right; NaN in an empty bin."""

    @property
    def count(self) -> int:
        """How many scores there are."""
        return int(self.counts.sum())

    @property
    def ece(self) -> float | None:
        """``Σ n_b / N · |right_b − score_b|``; None of nothing."""
        gaps_B = np.abs(self.right - self.scores)
        return float(np.nansum(self.counts * gaps_B) / self.count) if self.count else None

    def to_json(self) -> dict[str, Any]:
        """As the report's JSON holds it: the bins that are not empty."""
        bins = len(self.counts)
        return {
            "ece": None if self.ece is None else round(self.ece, 5),
            "count": self.count,
            "bins": [
                {
                    "above": round(row / bins, 5),
                    "count": int(self.counts[row]),
                    "score": round(float(self.scores[row]), 5),
                    "right": round(float(self.right[row]), 5),
                }
                for row in np.flatnonzero(self.counts)
            ],
        }


def reliability(scores_N: Floats, right_N: npt.NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Cut scores in [0, 1] into bins, and say how many of each are right.

    >>> found = reliability(np.array([0.8, 0.9, 0.9, 1.0]), np.array([True, False, True, True]), bins=2)
    >>> found.counts.tolist(), round(found.ece, 4)
    ([0, 4], 0.15)
    """
    scores = np.asarray(scores_N, dtype=np.float64)
    # A score of 0 belongs to the first bin all the same.
    bin_N = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    count_B = np.bincount(bin_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        score_B = np.bincount(bin_N, weights=scores, minlength=bins) / count_B
        right_B = np.bincount(bin_N, weights=right_N.astype(np.float64), minlength=bins) / count_B
    return Reliability(count_B, score_B, right_B)
