"""Fine labels: how often an object gets the right finer name, on pictures whose ImageNet class is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.stats import binomtest  # type: ignore[import-untyped]

from benchmarks.fusion_gain.asked import Asked
from benchmarks.fusion_gain.boxes import Answers
from benchmarks.fusion_gain.resampling import Estimate
from trident.fusion.answer import fuse_answers
from trident.fusion.batch import read_answers
from trident.fusion.policy import FineLabel, Policy
from trident.fusion.taxonomy import Taxonomy

SERVED_RULE = "as served"
LEAST_PROBABILITIES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)
"""Thresholds that are tried in the place of the policy's."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """What one rule for fine labels did to the objects of the labelled category."""

    name: str
    labelled: int
    """Pictures in which one of them got a fine label."""
    right: int
    """Pictures in which that is the picture's class."""

    @property
    def wrong(self) -> int:
        """Pictures in which it is another."""
        return self.labelled - self.right


@dataclass(frozen=True, eq=False, slots=True)
class FineFigures:
    """Fine labels on pictures of one ImageNet class each."""

    pictures: int
    """Pictures whose class is a kind of a COCO category."""
    with_object: int
    """Those among them with an object of that category: only these can get a right label."""
    scene_right: int
    """Those of the second kind whose first scene label is right, with no fine labels at all."""
    rules: Sequence[LabelFigures]
    coco_pictures: int
    coco_labels: int
    """Fine labels on COCO pictures, which nothing tells whether they are right."""


def share(part: int, whole: int) -> Estimate | None:
    """A part of a count with Wilson's 95 % interval (Wilson 1927); None of nothing."""
    if not whole:
        return None
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return Estimate(part / whole, float(interval.low), float(interval.high))


def work_out(asked: Asked, taxonomy: Taxonomy, policy: Policy) -> FineFigures:
    """Count the labels under the served policy, under other thresholds, and under none."""
    rules = {SERVED_RULE: policy.fine_label} | {
        f"least probability {value:g}": replace(policy.fine_label, min_probability=value)
        for value in LEAST_PROBABILITIES
        if value != policy.fine_label.min_probability
    }
    rules["no thresholds"] = FineLabel(0.0, 0.0, 0.0)
    counted = {name: _count(asked, taxonomy, replace(policy, fine_label=rule)) for name, rule in rules.items()}
    with_object, scene_right = _without_labels(asked, taxonomy, policy)
    return FineFigures(
        pictures=len(asked.classes),
        with_object=with_object,
        scene_right=scene_right,
        rules=[LabelFigures(name, *counts) for name, counts in counted.items()],
        coco_pictures=len(asked.coco),
        coco_labels=_labels(asked.coco, taxonomy, policy),
    )


def _count(asked: Asked, taxonomy: Taxonomy, policy: Policy) -> tuple[int, int]:
    """In how many pictures an object of the class's category got a label, and in how many the right one."""
    labelled = right = 0
    for one, answers in zip(asked.pictures.classes, asked.classes, strict=True):
        category = taxonomy.categories[taxonomy.category_of_class[one.class_index]]
        objects = fuse_answers(read_answers(answers, 0), taxonomy, policy).result["objects"]
        # At most one: fusion labels one box of a category.
        labels = [thing["fine_label"] for thing in objects if thing["category"] == category and thing["fine_label"]]
        labelled += bool(labels)
        right += labels == [taxonomy.names[one.class_index]]
    return labelled, right


def _without_labels(asked: Asked, taxonomy: Taxonomy, policy: Policy) -> tuple[int, int]:
    """Pictures with an object of the class's category, and those of them whose first scene label is right."""
    with_object = scene_right = 0
    for one, answers in zip(asked.pictures.classes, asked.classes, strict=True):
        category = taxonomy.categories[taxonomy.category_of_class[one.class_index]]
        result = fuse_answers(read_answers(answers, 0), taxonomy, policy).result
        if any(thing["category"] == category for thing in result["objects"]):
            with_object += 1
            scene_right += result["scene"][0]["wnid"] == taxonomy.wnids[one.class_index]
    return with_object, scene_right


def _labels(answers: Answers, taxonomy: Taxonomy, policy: Policy) -> int:
    results = (fuse_answers(read_answers(one, 0), taxonomy, policy).result for one in answers)
    return sum(thing["fine_label"] is not None for result in results for thing in result["objects"])
