"""Boxes against labelled ones: COCO's figures by pycocotools, and which box goes with which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask  # type: ignore[import-untyped]
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from trident.contract import NUM_CATEGORIES
from trident.fusion.taxonomy import Taxonomy
from trident.fusion.types import Objects

SHOWN_FROM = 0.3
"""Score from which on a box is shown to people, unless they say otherwise: what the confusion matrix counts."""
LISTED_FROM = 0.05
"""Score from which on ``RESULT`` lists a box: what calibration counts."""
OVERLAP = 0.5
"""Least intersection over union of a box that is right."""
BACKGROUND = NUM_CATEGORIES
"""Row and column of the confusion matrix for what is no object."""

STATS = (
    *("mAP@[.5:.95]", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    *("AR with 1 box", "AR with 10", "AR with 100", "AR small", "AR medium", "AR large"),
)
"""pycocotools' twelve figures, in its order. Small is an area below 32² pixels, large one above 96²."""
_ALL_SIZES, _MOST_BOXES, _AT_50 = 0, -1, 0
"""Indices into pycocotools' areas, numbers of boxes and overlaps."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class BoxQuality:
    """COCO's figures, and what they are made of."""

    stats: Mapping[str, float | None]
    """Those of ``STATS``; None where the pictures hold no object of that size."""
    ap: Mapping[int, float]
    """mAP@[.5:.95] of each category that the pictures hold, by its original id."""
    ap50: Mapping[int, float]
    """AP50 likewise."""
    precision: Mapping[int, Floats]
    """[101] precision at recall 0, 0.01 … 1, IoU 0.5, interpolated as COCO does."""
    scores: Floats
    """Scores of all D boxes that count, [D]: those on crowds do not."""
    right: npt.NDArray[np.bool_]
    """Whether a box is matched to an object of its category with IoU of at least 0.5, [D]."""


def as_detections(
    image_ids: Sequence[int], objects: Sequence[Objects], coco_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Boxes of pictures as COCO results: ``image_id``, original ``category_id``, ``bbox`` and ``score``."""
    return [
        {"image_id": image_id, "category_id": coco_ids[category], "bbox": box, "score": float(score)}
        for image_id, found in zip(image_ids, objects, strict=True)
        for box, score, category in zip(sides(found.boxes).tolist(), found.scores, found.classes, strict=True)
    ]


def sides(boxes_N4: Floats) -> npt.NDArray[np.float64]:
    """[N, 4]: x, y, width, height of boxes x1, y1, x2, y2."""
    boxes = np.asarray(boxes_N4, dtype=np.float64)
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def evaluated(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> Any:
    """The evaluation of boxes by pycocotools, accumulated and summarized; arguments as for ``box_quality``."""
    with _quiet():
        labels = COCO()
        labels.dataset = dict(truth)
        labels.createIndex()
        if detections:
            results = labels.loadRes([dict(detection) for detection in detections])
        else:  # which loadRes does not take
            results = COCO()
            results.dataset = {**truth, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(labels, results, "bbox")
        evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def box_quality(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], image_ids: Sequence[int]
) -> BoxQuality:
    """Hold boxes against the labelled ones of the given pictures.

    Args:
        truth: contents of a COCO ``instances`` file.
        detections: COCO results: ``image_id``, ``category_id`` (original), ``bbox`` (x, y, width, height), ``score``.
        image_ids: the pictures to count.
    """
    evaluation = evaluated(truth, detections, image_ids)
    # [overlap, recall, category, size, number of boxes]; -1 where there is no object.
    precision = evaluation.eval["precision"][..., _ALL_SIZES, _MOST_BOXES]
    there = {coco_id: row for row, coco_id in enumerate(evaluation.params.catIds) if precision[_AT_50, 0, row] > -1}
    scores, right = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    whole = evaluation.params.areaRng[_ALL_SIZES]
    for one in evaluation.evalImgs:
        if one is not None and one["aRng"] == whole:
            counts = ~np.asarray(one["dtIgnore"][_AT_50], dtype=bool)
            scores.append(np.asarray(one["dtScores"], dtype=np.float64)[counts])
            right.append(np.asarray(one["dtMatches"][_AT_50])[counts] > 0)
    return BoxQuality(
        stats={name: float(value) if value > -1 else None for name, value in zip(STATS, evaluation.stats, strict=True)},
        ap={coco_id: float(precision[:, :, row].mean()) for coco_id, row in there.items()},
        ap50={coco_id: float(precision[_AT_50, :, row].mean()) for coco_id, row in there.items()},
        precision={coco_id: precision[_AT_50, :, row].copy() for coco_id, row in there.items()},
        scores=np.concatenate(scores),
        right=np.concatenate(right),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """How the boxes that are shown of one picture go with the true ones."""

    shown: Objects
    truth: Objects
    """Scores are 1. Crowds are not among them."""
    pairs: Sequence[tuple[int, int]]
    """Rows of ``shown`` and ``truth`` that go together, of whatever categories."""
    false: Sequence[int]
    """Rows of ``shown`` where there is nothing; what lies on a crowd of its category is not counted."""
    missed: Sequence[int]
    """Rows of ``truth`` that nothing was shown for."""

    @property
    def confused(self) -> list[tuple[int, int]]:
        """The pairs of different categories."""
        return [(row, true) for row, true in self.pairs if self.shown.classes[row] != self.truth.classes[true]]

    @property
    def errors(self) -> int:
        """How much is wrong: boxes with nothing there, objects that were missed, objects called something else."""
        return len(self.false) + len(self.missed) + len(self.confused)


def match(shown: Objects, truth: Objects, crowds: Objects) -> Matching:
    """Put boxes and objects of one picture together, by IoU of at least 0.5, in the order of the boxes' scores.

    Boxes take objects of their own category first; what is left over is matched across categories. Each takes the free
    object that it overlaps most. A box at least half of which lies on a crowd of its category counts as nothing.

    Args:
        shown: By score, highest first.
        truth: Objects, without crowds.
        crowds: Regions with many objects of a category.
    """
    overlaps_MG = _overlaps(shown, truth, crowd=False)
    same_MG = shown.classes[:, None] == truth.classes[None, :]
    of: dict[int, int] = {}
    for allowed_MG in (same_MG, np.ones_like(same_MG)):
        for row in range(len(shown)):
            if row in of:
                continue
            candidates = np.where(allowed_MG[row], overlaps_MG[row], -1.0)
            candidates[list(of.values())] = -1.0
            if len(truth) and candidates.max() >= OVERLAP:
                of[row] = int(candidates.argmax())
    on_crowd_MG = (_overlaps(shown, crowds, crowd=True) >= OVERLAP) & (
        shown.classes[:, None] == crowds.classes[None, :]
    )
    return Matching(
        shown=shown,
        truth=truth,
        pairs=sorted(of.items()),
        false=[row for row in range(len(shown)) if row not in of and not on_crowd_MG[row].any()],
        missed=[row for row in range(len(truth)) if row not in of.values()],
    )


def _overlaps(shown: Objects, truth: Objects, *, crowd: bool) -> npt.NDArray[np.float64]:
    """[M, G] intersection over union; for crowds over the area of the box."""
    if not len(shown) or not len(truth):
        return np.zeros((len(shown), len(truth)))
    return np.asarray(mask.iou(sides(shown.boxes), sides(truth.boxes), [int(crowd)] * len(truth)))


def match_all(
    truth: Mapping[str, Any], image_ids: Sequence[int], objects: Sequence[Objects], taxonomy: Taxonomy
) -> list[Matching]:
    """A matching for each picture, of the boxes that are shown by default: those that score at least 0.3.

    Args:
        truth: Contents of a COCO ``instances`` file.
        image_ids: The pictures.
        objects: Their boxes, by score, highest first.
        taxonomy: COCO's categories.
    """
    index_of = {coco_id: index for index, coco_id in enumerate(taxonomy.coco_ids)}
    there: dict[tuple[int, bool], list[Mapping[str, Any]]] = {}
    for annotation in truth["annotations"]:
        there.setdefault((annotation["image_id"], bool(annotation["iscrowd"])), []).append(annotation)

    def true_objects(image_id: int, crowd: bool) -> Objects:
        found = there.get((image_id, crowd), [])
        boxes_N4 = np.array([one["bbox"] for one in found], dtype=np.float64).reshape(-1, 4)
        boxes_N4[:, 2:] += boxes_N4[:, :2]
        classes_N = np.array([index_of[one["category_id"]] for one in found], dtype=np.int64)
        return Objects(boxes_N4, np.ones(len(found)), classes_N)

    return [
        match(
            found.ordered(np.flatnonzero(found.scores >= SHOWN_FROM)),
            true_objects(image_id, False),
            true_objects(image_id, True),
        )
        for image_id, found in zip(image_ids, objects, strict=True)
    ]


def confusion(matchings: Sequence[Matching]) -> npt.NDArray[np.int64]:
    """[81, 81] how often an object of a category (row) was shown as one (column); the last of each is background."""
    counts = np.zeros((BACKGROUND + 1, BACKGROUND + 1), dtype=np.int64)
    for one in matchings:
        for row, true in one.pairs:
            counts[one.truth.classes[true], one.shown.classes[row]] += 1
        for row in one.false:
            counts[BACKGROUND, one.shown.classes[row]] += 1
        for true in one.missed:
            counts[one.truth.classes[true], BACKGROUND] += 1
    return counts


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(StringIO()):
        yield
