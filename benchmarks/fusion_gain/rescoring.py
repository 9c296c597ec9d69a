"""The boxes: what rescoring by the classifier and by linked entities does to COCO's mAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import fit_fusion
from benchmarks.fusion_gain.asked import Asked
from benchmarks.fusion_gain.boxes import BoxEvaluation, detections
from benchmarks.fusion_gain.categories import DETECTOR_ALONE, Part
from benchmarks.fusion_gain.resampling import NO_DIFFERENCE, Counts, Estimate, estimate
from trident.fusion.policy import Policy, Rescoring
from trident.fusion.taxonomy import Taxonomy

MEASURE = "box mAP"
RESCORED = "rescored, as served"
FEWEST_PICTURES = 8
"""With fewer, none are held out: a half would be a handful."""


@dataclass(frozen=True, slots=True)
class BoxWay:
    """One way of scoring the detector's boxes."""

    name: str
    map: Estimate
    """mAP@[.5:.95]."""
    ap50: float
    gain: Estimate
    """In mAP, over the detector's own scores."""


@dataclass(frozen=True, eq=False, slots=True)
class BoxFigures:
    """All that there is to say of the boxes."""

    ways: Sequence[BoxWay]
    parts: Sequence[Part]
    held_out: dict[str, Any] | None
    """What ``fit_fusion.fit_rescoring`` says of λ that were fitted on other pictures; None with too few of them."""


class Boxes:
    """Boxes of the COCO pictures, measured on the same resamples as the categories.

    Args:
        asked: What the branches said.
        taxonomy: What it is called.
        policy: The served one.
        counts_RN: How often each picture is in each resample.
    """

    def __init__(self, asked: Asked, taxonomy: Taxonomy, policy: Policy, counts_RN: Counts) -> None:
        self.asked = asked
        self.taxonomy = taxonomy
        self.policy = policy
        self._counts_RN = counts_RN
        self.served = self.measured(RESCORED, policy)

    def measured(self, name: str, policy: Policy) -> MeasuredBoxes:
        """The boxes under a policy."""
        found = detections(self.asked.coco, self.asked.pictures.coco.image_ids, self.taxonomy, policy)
        evaluation = BoxEvaluation(self.asked.pictures.coco.truth, found, self.asked.pictures.coco.image_ids)
        return MeasuredBoxes(name, found, *evaluation.measure(), evaluation.resampled(self._counts_RN))


@dataclass(frozen=True, eq=False, slots=True)
class MeasuredBoxes:
    """Boxes, and their measure on all pictures and on each resample."""

    name: str
    found: Sequence[dict[str, Any]]
    """COCO results."""
    map: float
    ap50: float
    resampled: npt.NDArray[np.float64]
    """[R] mAP of each resample."""

    def gain_over(self, other: MeasuredBoxes) -> Estimate:
        """The difference in mAP, on the same draws."""
        if self.found == other.found:
            return NO_DIFFERENCE
        return estimate(self.map - other.map, self.resampled - other.resampled)

    def part(self, name: str, without: MeasuredBoxes) -> Part:
        """What makes the difference to boxes that lack it."""
        return Part(name, MEASURE, without.map, self.map, self.gain_over(without))


def work_out(boxes: Boxes, tell: Callable[[str], None]) -> BoxFigures:
    """Take the rescoring apart."""
    tell("Rescoring of the boxes")
    served, policy = boxes.served, boxes.policy
    lift = policy.rescoring

    def under(name: str, rescoring: Rescoring) -> MeasuredBoxes:
        return boxes.measured(name, replace(policy, rescoring=rescoring))

    detector = under(DETECTOR_ALONE, Rescoring(0.0, 0.0))
    classifier = under("lifted by the classifier alone", Rescoring(lift.classifier, 0.0))
    entities = under("lifted by entities alone", Rescoring(0.0, lift.entity))
    held_out: dict[str, Any] | None = None
    if len(boxes.asked.coco) >= FEWEST_PICTURES:
        tell("Rescoring fitted on one half of the pictures and measured on the other")
        fitted, report = fit_fusion.fit_rescoring(boxes.asked.coco, boxes.asked.pictures.coco, boxes.taxonomy, policy)
        if _finite(report):
            held_out = {**report, "fitted_on_all": [fitted.rescoring.classifier, fitted.rescoring.entity]}
    return BoxFigures(
        ways=[
            BoxWay(one.name, estimate(one.map, one.resampled), one.ap50, one.gain_over(detector))
            for one in (detector, classifier, entities, served)
        ],
        parts=[
            served.part("rescoring, over none", detector),
            served.part("rescoring by the classifier", entities),
            served.part("rescoring by entities", classifier),
        ],
        held_out=held_out,
    )


def _finite(report: dict[str, Any]) -> bool:
    return bool(np.isfinite([value for value in report.values() if isinstance(value, float)]).all())
