"""The measures, each a pure function of answers and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest  # type: ignore[import-untyped]

from benchmarks.quality import boxes
from trident.text import edit_distance

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


def top_k_accuracy(
    ranked_classes_NK: npt.NDArray[np.integer[Any]], labels_N: npt.NDArray[np.integer[Any]], k: int
) -> float:
    """Part of the pictures whose label is among the first ``k`` classes."""
    return float((ranked_classes_NK[:, :k] == labels_N[:, None]).any(axis=1).mean())


def average_precision(is_positive_N: Bools, scores_N: Floats) -> float:
    """Area under the precision-recall curve as ``Σ (Rₙ − Rₙ₋₁) Pₙ``; equal scores count as one threshold.

    The same as scikit-learn's ``average_precision_score``, some ten times as fast on short lists.

    >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    order = np.argsort(-scores_N, kind="stable")
    found = np.cumsum(is_positive_N[order])
    sorted_scores = scores_N[order]
    last_of_tie = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    found, ranks = found[last_of_tie], np.flatnonzero(last_of_tie) + 1
    if not found[-1]:
        raise ValueError("average precision: expected at least one positive, got none")
    return float((np.diff(found, prepend=0) * (found / ranks)).sum() / found[-1])


def image_level_map(present_NC: Bools, scores_NC: Floats) -> float:
    """Mean over the categories with positives of the average precision over pictures ranked by the score."""
    categories = np.flatnonzero(present_NC.any(axis=0))
    return float(np.mean([average_precision(present_NC[:, c], scores_NC[:, c]) for c in categories]))


def text_accuracy(read: Sequence[str], labels: Sequence[str]) -> tuple[float, float]:
    """Part of the texts read exactly, and part of the labels' characters read right (1 − edits / characters)."""
    exact = float(np.mean([text == label for text, label in zip(read, labels, strict=True)]))
    edits = sum(min(edit_distance(text, label), len(label)) for text, label in zip(read, labels, strict=True))
    return exact, 1.0 - edits / sum(map(len, labels))


def coco_map(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], image_ids: Sequence[int]
) -> tuple[float, float]:
    """COCO's mAP@[.5:.95] and AP50 on the given pictures.

    Args:
        truth: contents of a COCO ``instances`` file.
        detections: COCO results: ``image_id``, ``category_id`` (original), ``bbox`` (x, y, width, height), ``score``.
        image_ids: the pictures to count.
    """
    stats = boxes.evaluated(truth, detections, image_ids).stats
    return max(0.0, float(stats[0])), max(0.0, float(stats[1]))


def bootstrap_interval(
    present_NC: Bools, scores_NC: Floats, other_NC: Floats, rounds: int = 500, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the difference in image-level mAP between two scores, over resampled pictures."""
    random = np.random.default_rng(seed)
    differences = []
    for _ in range(rounds):
        rows = random.integers(0, len(present_NC), len(present_NC))
        if not present_NC[rows].any():
            continue  # nothing to find: of a few pictures, some may show nothing
        differences.append(
            image_level_map(present_NC[rows], scores_NC[rows]) - image_level_map(present_NC[rows], other_NC[rows])
        )
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def interval(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927).

    >>> low, high = interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    found = binomtest(successes, count).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def sign_test(only_first: int, only_second: int) -> float:
    """How probable it is that two sides that are equally good differ at least so much by chance, two-sided.

    McNemar's exact test: what both get right, or both get wrong, tells nothing; each of the others is a coin's toss.

    Args:
        only_first: What the first side alone gets right.
        only_second: What the second side alone gets right.

    >>> sign_test(0, 5), sign_test(3, 3), sign_test(0, 0)
    (0.0625, 1.0, 1.0)
    """
    tosses = only_first + only_second
    return float(binomtest(only_first, tosses).pvalue) if tosses else 1.0
