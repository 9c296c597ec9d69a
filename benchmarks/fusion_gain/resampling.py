"""Average precision on pictures that are drawn again and again: how much of a figure is owed to these very pictures.

The percentile bootstrap over pictures (Efron and Tibshirani 1993, ch. 13). All that is compared is compared on the same
draws, so a difference has the interval of the difference, which is narrower than those of the two figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.metrics import average_precision

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and where 95 % of the resamples lie."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below 0, 0 where it includes 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


NO_DIFFERENCE = Estimate(0.0, 0.0, 0.0)
"""Of things that are the same in every resample."""


def estimate(value: float, resampled_R: Floats) -> Estimate:
    """A figure with its 95 % percentile interval. Resamples in which there is none, NaN, do not count."""
    there = resampled_R[~np.isnan(resampled_R)]
    if not len(there):
        return Estimate(value, value, value)
    low, high = np.percentile(there, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def draws(count: int, resamples: int, seed: int) -> Counts:
    """[R, N]: how often each of ``count`` pictures is in each resample."""
    random = np.random.default_rng(seed)
    return np.stack([np.bincount(random.integers(0, count, count), minlength=count) for _ in range(resamples)])


def rows_of(counts_N: Counts) -> Counts:
    """The rows of one resample, each as often as it was drawn."""
    return np.repeat(np.arange(len(counts_N)), counts_N)


def resampled_precision(is_positive_N: Bools, scores_N: Floats, counts_RN: Counts) -> npt.NDArray[np.float64]:
    """[R]: ``metrics.average_precision`` of each resample, all at once; NaN where it has no positive.

    A picture that was drawn k times stands k times in the ranking, with itself as a tie.
    """
    order = np.argsort(-scores_N, kind="stable")
    sorted_scores = scores_N[order]
    last_of_tie = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    drawn_RN = counts_RN[:, order]
    found_RK = np.cumsum(drawn_RN * is_positive_N[order], axis=1)[:, last_of_tie]
    ranks_RK = np.cumsum(drawn_RN, axis=1)[:, last_of_tie]
    precision_RK = np.divide(found_RK, ranks_RK, out=np.zeros(found_RK.shape), where=ranks_RK > 0)
    sums_R = (np.diff(found_RK, prepend=0, axis=1) * precision_RK).sum(axis=1)
    positives_R = found_RK[:, -1]
    return np.asarray(np.divide(sums_R, positives_R, out=np.full(len(sums_R), np.nan), where=positives_R > 0))


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """What one way of scoring the pictures comes to."""

    name: str
    precisions: npt.NDArray[np.float64]
    """[80] average precision; NaN for categories that no picture shows."""
    resampled: npt.NDArray[np.float64]
    """[R, 80] the same on each resample; NaN for categories that none of its pictures shows."""

    @property
    def map(self) -> Estimate:
        """Image-level mAP: the mean over the categories that are there."""
        return estimate(float(_mean(self.precisions)), _mean(self.resampled))

    def gain_over(self, other: Scored) -> Estimate:
        """How much higher the mAP is than another's, on the same draws."""
        value = float(_mean(self.precisions) - _mean(other.precisions))
        return estimate(value, _mean(self.resampled) - _mean(other.resampled))

    def category_gain_over(self, other: Scored, category: int) -> Estimate:
        """The same for the average precision of one category, over the resamples that show it."""
        value = float(self.precisions[category] - other.precisions[category])
        return estimate(value, self.resampled[:, category] - other.resampled[:, category])

    def among(self, categories_C: Bools) -> Scored:
        """The same with the given categories alone."""
        return Scored(
            self.name,
            np.where(categories_C, self.precisions, np.nan),
            np.where(categories_C, self.resampled, np.nan),
        )


class Sample:
    """Pictures whose categories are known, and the draws on which everything about them is compared.

    Args:
        present_NC: [N, 80] whether a picture shows a category.
        resamples: How many draws.
        seed: Of the draws.
    """

    def __init__(self, present_NC: Bools, *, resamples: int, seed: int) -> None:
        self.present_NC = present_NC
        self.counts_RN = draws(len(present_NC), resamples, seed)
        self.categories_C = present_NC.any(axis=0)
        """[80] whether any picture shows a category."""

    def score(self, name: str, *scores_NC: Floats) -> Scored:
        """Rank the pictures by scores [N, 80]; of several, the mean of what they come to."""
        found = [self._score(scores) for scores in scores_NC]
        return Scored(name, np.mean([one for one, _ in found], axis=0), np.mean([many for _, many in found], axis=0))

    def _score(self, scores_NC: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        precision_C = np.full(len(self.categories_C), np.nan)
        precision_RC = np.full((len(self.counts_RN), len(self.categories_C)), np.nan)
        for category in np.flatnonzero(self.categories_C):
            column = (self.present_NC[:, category], scores_NC[:, category])
            precision_C[category] = average_precision(*column)
            precision_RC[:, category] = resampled_precision(*column, self.counts_RN)
        return precision_C, precision_RC


def mean_half_width(
    present_NC: Bools, scores_NC: Floats, other_NC: Floats, count: int, *, subsets: int, resamples: int, seed: int
) -> float:
    """Half of the interval of ``scores`` over ``other`` with ``count`` of the pictures, the mean over random choices.

    NaN where none of these pictures shows anything.
    """
    random = np.random.default_rng(seed)
    widths = []
    for _ in range(1 if count == len(present_NC) else subsets):
        rows = random.permutation(len(present_NC))[:count]
        sample = Sample(present_NC[rows], resamples=resamples, seed=int(random.integers(2**31)))
        gain = sample.score("", scores_NC[rows]).gain_over(sample.score("", other_NC[rows]))
        if not np.isnan(gain.half_width):
            widths.append(gain.half_width)
    return float(np.mean(widths)) if widths else float("nan")


def _mean(precisions: Floats | Sequence[float]) -> npt.NDArray[np.float64]:
    """Mean over the last axis without NaN; NaN where there is nothing else."""
    values = np.asarray(precisions, dtype=np.float64)
    there = ~np.isnan(values)
    sums, counts = np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1)
    return np.asarray(np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0))
