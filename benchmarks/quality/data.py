"""The labelled pictures: a folder with any of the sets ``imagenet``, ``coco``, ``faces``, ``plates``, ``plate_crops``.

=============  =====================================================================================================
set            labels
=============  =====================================================================================================
imagenet       ``labels.csv``: file, class_index (0 to 999)
coco           ``instances.json``: COCO format, original category ids
faces          ``pairs.csv``: file_a, file_b, same (1 or 0); the largest face of a picture counts
plates         ``labels.csv``: file, text; the most prominent plate of a picture counts
plate_crops    ``labels.csv``: file, text; plates cut out and levelled
=============  =====================================================================================================

Pictures lie in ``images/`` beside the labels. Each function takes the folder of its set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.fusion.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class LabelledClass:
    """A picture of one ImageNet class."""

    path: Path
    class_index: int


@dataclass(frozen=True, slots=True)
class FacePair:
    """Two pictures, and whether their largest faces are the same person's."""

    a: Path
    b: Path
    same: bool


@dataclass(frozen=True, slots=True)
class LabelledPlate:
    """A picture of a plate and what is on it."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class CocoSet:
    """COCO pictures with their boxes."""

    paths: Sequence[Path]
    image_ids: Sequence[int]
    truth: Mapping[str, Any]
    """Contents of the ``instances`` file."""

    def present(self, taxonomy: Taxonomy) -> npt.NDArray[np.bool_]:
        """[N, 80]: whether a picture shows a category. Crowds count: they show it too."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        column_of = {coco_id: column for column, coco_id in enumerate(taxonomy.coco_ids)}
        present = np.zeros((len(self.image_ids), len(taxonomy.categories)), dtype=bool)
        for annotation in self.truth["annotations"]:
            if annotation["image_id"] in row_of:
                present[row_of[annotation["image_id"]], column_of[annotation["category_id"]]] = True
        return present


def imagenet(folder: Path, limit: int | None = None) -> list[LabelledClass]:
    """Pictures of the set ``imagenet``."""
    return [
        LabelledClass(folder / "images" / row["file"], int(row["class_index"]))
        for row in _rows(folder / "labels.csv")[:limit]
    ]


def coco(folder: Path, limit: int | None = None) -> CocoSet:
    """Pictures of the set ``coco``."""
    truth = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    images = sorted(truth["images"], key=lambda image: int(image["id"]))[:limit]
    return CocoSet(
        paths=[folder / "images" / image["file_name"] for image in images],
        image_ids=[int(image["id"]) for image in images],
        truth=truth,
    )


def faces(folder: Path, limit: int | None = None) -> list[FacePair]:
    """Pairs of the set ``faces``."""
    return [
        FacePair(folder / "images" / row["file_a"], folder / "images" / row["file_b"], row["same"] == "1")
        for row in _rows(folder / "pairs.csv")[:limit]
    ]


def plates(folder: Path, limit: int | None = None) -> list[LabelledPlate]:
    """Pictures of the set ``plates``."""
    return _plates(folder, limit)


def plate_crops(folder: Path, limit: int | None = None) -> list[LabelledPlate]:
    """Pictures of the set ``plate_crops``."""
    return _plates(folder, limit)


def _plates(folder: Path, limit: int | None) -> list[LabelledPlate]:
    return [LabelledPlate(folder / "images" / row["file"], row["text"]) for row in _rows(folder / "labels.csv")[:limit]]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
