"""The figures of each labelled set, with the floors that they have to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import data, metrics
from benchmarks.quality.asking import (
    ClassAnswers,
    CocoAnswers,
    FaceAnswers,
    PlateAnswers,
    Progress,
    Server,
    ask_coco,
    ask_faces,
    ask_imagenet,
    ask_plate_crops,
    ask_plates,
    face_pictures,
)
from trident.fusion.evidence import CLASSIFIER, DETECTOR
from trident.fusion.taxonomy import load_taxonomy


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure, and the floor that it has to reach."""

    name: str
    value: float
    pictures: int
    floor: float | None = None
    unit: str = ""
    note: str = ""
    interval: tuple[float, float] | None = None
    """95 % of what chance in the choice of pictures would give, where that is known."""

    @property
    def reached(self) -> bool:
        """Whether the figure reaches its floor; one without a floor always does."""
        return self.floor is None or self.value >= self.floor


def imagenet_measures(answers: ClassAnswers) -> list[Measure]:
    """Top-1 and top-5 of ``scene``."""
    count = len(answers.pictures)
    found = []
    for k, floor in ((1, 0.88), (5, 0.96)):
        value = metrics.top_k_accuracy(answers.ranked, answers.labels, k)
        interval = metrics.interval(round(value * count), count)
        found.append(Measure(f"ImageNet top-{k}", value, count, floor, interval=interval))
    return found


def coco_measures(answers: CocoAnswers) -> list[Measure]:
    """Boxes and image-level categories."""
    pictures = answers.pictures
    count = len(pictures.paths)
    listed_map, _ = metrics.coco_map(pictures.truth, answers.detections(answers.listed), pictures.image_ids)
    box_stats = answers.quality.stats

    present_NC = pictures.present(load_taxonomy())
    fused_NC = answers.category_scores
    # A silent branch ranks a picture last.
    evidence_NC3 = np.maximum(answers.evidence, 0.0)
    fused = metrics.image_level_map(present_NC, fused_NC)
    alone = {
        "detector": metrics.image_level_map(present_NC, evidence_NC3[..., DETECTOR]),
        "classifier": metrics.image_level_map(present_NC, evidence_NC3[..., CLASSIFIER]),
    }
    better = DETECTOR if alone["detector"] >= alone["classifier"] else CLASSIFIER
    low, high = metrics.bootstrap_interval(present_NC, fused_NC, evidence_NC3[..., better])
    categories = int(present_NC.any(axis=0).sum())
    return [
        Measure(
            "COCO mAP@[.5:.95]",
            box_stats["mAP@[.5:.95]"] or 0.0,
            count,
            0.34,
            note="typed boxes, up to 100 a picture",
        ),
        Measure("COCO AP50", box_stats["AP50"] or 0.0, count),
        Measure("COCO mAP of RESULT objects", listed_map, count, note="mAP@[.5:.95], scores of at least 0.05"),
        Measure("Categories, image-level mAP", fused, count, note=f"{categories} categories"),
        Measure("Categories, detector alone", alone["detector"], count),
        Measure("Categories, classifier alone", alone["classifier"], count),
        Measure(
            "Categories, gain in points",
            100 * (fused - max(alone.values())),
            count,
            1.0,
            unit="points",
            note=f"over the better branch alone; 95 % of resamples: {100 * low:+.1f} to {100 * high:+.1f}",
            interval=(100 * low, 100 * high),
        ),
    ]


def faces_measures(answers: FaceAnswers) -> list[Measure]:
    """Pairs of faces: the same person exactly where the similarity reaches the recognizer's threshold."""
    right = answers.right
    share, count = float(right.mean()), len(answers.faces)
    return [
        Measure(
            "Faces, pairs right",
            share,
            count,
            0.98,
            note=f"{len(answers.pairs)} pairs, similarity {answers.threshold:g}, {answers.missing} without a face; "
            "served face_detector and face_embedder; pairs share pictures, so the interval is that of as many as there "
            "are pictures",
            interval=metrics.interval(round(share * count), count),
        )
    ]


def plates_measures(answers: PlateAnswers) -> list[Measure]:
    """Plates in whole photos: the one with the best score."""
    return _plates(answers, "Plates in photos", 0.80, 0.96)


def plate_crops_measures(answers: PlateAnswers) -> list[Measure]:
    """Plates that are cut out and levelled already."""
    return _plates(answers, "Cut-out plates", 0.97, None, note="served plate_reader")


def _plates(
    answers: PlateAnswers, name: str, exact_floor: float, characters_floor: float | None, note: str = ""
) -> list[Measure]:
    exact, characters = metrics.text_accuracy(answers.read, answers.labels)
    count, right = len(answers.pictures), int(answers.right.sum())
    return [
        Measure(f"{name}, exact", exact, count, exact_floor, note=note, interval=metrics.interval(right, count)),
        Measure(f"{name}, characters", characters, count, characters_floor, note=note),
    ]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """One of the sets that can be measured, for those who want its figures alone."""

    name: str
    """One of ``trident.rollout.golden.LABELLED_SETS``."""
    count: Callable[[Path, int | None], int]
    """How many pictures will be asked for."""
    measure: Callable[[Server, Path, int | None, Progress], list[Measure]]


@dataclass(frozen=True, slots=True)
class Subject:
    """How a labelled set is asked about, and what figures follow from the answers."""

    name: str
    count: Callable[[Path, int | None], int]
    ask: Callable[[Server, Path, int | None, Progress], Any]
    figures: Callable[[Any], list[Measure]]

    def measure(self, server: Server, folder: Path, limit: int | None, progress: Progress) -> list[Measure]:
        """Both at once."""
        return self.figures(self.ask(server, folder, limit, progress))


SUBJECTS: tuple[Subject, ...] = (
    Subject("imagenet", lambda folder, limit: len(data.imagenet(folder, limit)), ask_imagenet, imagenet_measures),
    Subject("coco", lambda folder, limit: len(data.coco(folder, limit).paths), ask_coco, coco_measures),
    Subject("faces", lambda folder, limit: len(face_pictures(data.faces(folder, limit))), ask_faces, faces_measures),
    Subject("plates", lambda folder, limit: len(data.plates(folder, limit)), ask_plates, plates_measures),
    Subject(
        "plate_crops", lambda folder, limit: len(data.plate_crops(folder, limit)), ask_plate_crops, plate_crops_measures
    ),
)

SETS: tuple[LabelledSet, ...] = tuple(LabelledSet(one.name, one.count, one.measure) for one in SUBJECTS)
