"""COCO's measure of boxes, kept picture by picture, so that pictures can be left out or drawn twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from trident.fusion.answer import fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.policy import Policy
from trident.fusion.taxonomy import Taxonomy

Answers = Sequence[Mapping[str, npt.NDArray[Any]]]
"""What the branches said of each picture: the inputs of ``MODELS["fusion"]``, each a batch of one."""

_EVERY_SIZE = [0.0, 1e10]
_MOST_BOXES = 100


def detections(answers: Answers, image_ids: Sequence[int], taxonomy: Taxonomy, policy: Policy) -> list[dict[str, Any]]:
    """COCO results of the fused boxes."""
    found = []
    for image_id, one in zip(image_ids, answers, strict=True):
        fused = fuse_answers(read_answers(one, 0), taxonomy, policy)
        for box, score, category in zip(fused.boxes, fused.box_scores, fused.box_classes, strict=True):
            if score > 0:
                x1, y1, x2, y2 = map(float, box)
                sides = [x1, y1, x2 - x1, y2 - y1]
                coco_id = taxonomy.coco_ids[category]
                found.append({"image_id": image_id, "category_id": coco_id, "bbox": sides, "score": float(score)})
    return found


class BoxEvaluation:
    """How good one set of boxes is, on any choice of the pictures.

    pycocotools holds boxes against labels picture by picture, and makes curves of all of them afterwards. The first,
    which is most of the work, is done here once; the second for every choice of pictures that is asked for.

    Args:
        truth: Contents of a COCO ``instances`` file.
        found: COCO results, as ``detections`` gives them.
        image_ids: The pictures, in rising order.

    Raises:
        ValueError: The pictures are not in rising order, which is pycocotools' own.
    """

    def __init__(self, truth: Mapping[str, Any], found: Sequence[Mapping[str, Any]], image_ids: Sequence[int]) -> None:
        if list(image_ids) != sorted(set(image_ids)):
            raise ValueError(f"image_ids: expected different ones in rising order, got {list(image_ids)[:10]}…")
        self._count = len(image_ids)
        self._evaluation: Any = None
        if not found:
            return  # pycocotools takes no empty results
        with redirect_stdout(StringIO()):
            labels = COCO()
            labels.dataset = dict(truth)
            labels.createIndex()
            evaluation = COCOeval(labels, labels.loadRes([dict(one) for one in found]), "bbox")
            evaluation.params.imgIds = list(image_ids)
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [_EVERY_SIZE], ["all"]
            evaluation.params.maxDets = [_MOST_BOXES]
            evaluation.evaluate()
        self._evaluation = evaluation
        # One entry for each category and picture, None where neither has a box.
        self._entries_CN = np.array(evaluation.evalImgs, dtype=object).reshape(-1, self._count)

    def measure(self, rows: Sequence[int] | npt.NDArray[np.int64] | None = None) -> tuple[float, float]:
        """COCO's mAP@[.5:.95] and AP50.

        Args:
            rows: Indices of the pictures to count, at most as many as there are; one that stands twice counts twice.
                All of them by default.

        Returns:
            Means over the categories that these pictures have labels of; NaN if they have none; 0 if nothing was found.
        """
        if self._evaluation is None:
            return 0.0, 0.0
        entries_CN = self._entries_CN
        if rows is not None:
            entries_CN = np.full_like(self._entries_CN, None)
            entries_CN[:, : len(rows)] = self._entries_CN[:, np.sort(np.asarray(rows, dtype=np.int64))]
        self._evaluation.evalImgs = entries_CN.ravel().tolist()
        with redirect_stdout(StringIO()):
            self._evaluation.accumulate()
        precision_TRC = self._evaluation.eval["precision"][..., 0, 0]
        labelled_C = (precision_TRC > -1).all(axis=(0, 1))
        if not labelled_C.any():
            return float("nan"), float("nan")
        precision_TRC = precision_TRC[..., labelled_C]
        return float(precision_TRC.mean()), float(precision_TRC[0].mean())

    def resampled(self, counts_RN: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """[R]: the mAP@[.5:.95] of each resample, of which ``counts_RN`` says how often it has each picture."""
        pictures = np.arange(self._count)
        return np.array([self.measure(np.repeat(pictures, counts_N))[0] for counts_N in counts_RN], dtype=np.float64)
