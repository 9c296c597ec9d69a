"""The labelled pictures: a folder with any of the sets ``imagenet``, ``coco``, ``faces``, ``plates``, ``plate_crops``.

=============  =====================================================================================================
set            labels
=============  =====================================================================================================
imagenet       ``labels.csv``: file, and class_index (0 to 999) or wnid; or a folder for each class, by either name
coco           ``instances.json``: COCO format; categories by their names, or else by COCO's original ids
faces          ``pairs.csv``: file_a, file_b, same (1 or 0); the largest face of a picture counts
plates         ``labels.csv``: file, text; the most prominent plate of a picture counts
plate_crops    ``labels.csv``: file, text; plates cut out and levelled
=============  =====================================================================================================

Pictures lie in ``images/`` beside the labels. Each function takes the folder of its set, and raises SetupError, with
file and line, for labels that are not as they must be and for pictures that are not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.tables import Node, read_json, read_rows
from trident.contract import NUM_CLASSES
from trident.errors import SetupError
from trident.fusion.taxonomy import Taxonomy, load_taxonomy
from trident.rollout.golden import LABELLED_SETS, class_folders, labelled_sets

IMAGES = "images"
PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""Files of a class's folder that count."""


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
    """Contents of an ``instances`` file: COCO's 80 categories under their original ids, annotations of these pictures
    with ``bbox`` (x, y, width, height), ``area`` and ``iscrowd``, their ids counted from 1."""

    def present(self, taxonomy: Taxonomy) -> npt.NDArray[np.bool_]:
        """[N, 80]: whether a picture shows a category. Crowds count: they show it too."""
        row_of = {image_id: row for row, image_id in enumerate(self.image_ids)}
        column_of = {coco_id: column for column, coco_id in enumerate(taxonomy.coco_ids)}
        present = np.zeros((len(self.image_ids), len(taxonomy.categories)), dtype=bool)
        for annotation in self.truth["annotations"]:
            if annotation["image_id"] in row_of:
                present[row_of[annotation["image_id"]], column_of[annotation["category_id"]]] = True
        return present


def described(folder: Path) -> dict[str, str]:
    """What each labelled set of a folder holds, so that two people can tell whether they measured on the same.

    Args:
        folder: Of the sets.

    Returns:
        By the name of the set: its number of files, and one sha256 over the names and digests of all of them.
    """
    found = {}
    for name in labelled_sets(folder):
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        whole = hashlib.sha256()
        for path in files:
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            whole.update(f"{digest}  {path.relative_to(folder / name).as_posix()}\n".encode())
        found[name] = f"{len(files)} files, sha256:{whole.hexdigest()}"
    return found


def imagenet(folder: Path, limit: int | None = None) -> list[LabelledClass]:
    """Pictures of the set ``imagenet``; of folders of classes one of each class in turn, so that a limit is fair."""
    file = folder / LABELLED_SETS["imagenet"]
    indices = {wnid: index for index, wnid in enumerate(load_taxonomy().wnids)}
    if not file.is_file():
        return _of_folders(folder, indices)[:limit]
    rows = read_rows(file, ["file"], limit)
    if not rows[0].values.keys() & {"class_index", "wnid"}:
        got = ", ".join(rows[0].values)
        raise SetupError(f"{file}: line 1: expected the columns file and class_index, or file and wnid, got {got}")
    found = []
    for row in rows:
        if "class_index" in row.values:
            index = row.whole_number("class_index", 0, NUM_CLASSES - 1)
        else:
            wnid = row.text("wnid")
            if wnid not in indices:
                raise row.wrong("wnid", "the WordNet id of one of ImageNet's 1000 classes, as n01443537")
            index = indices[wnid]
        found.append(LabelledClass(row.picture("file", folder / IMAGES), index))
    return found


def _of_folders(folder: Path, indices: Mapping[str, int]) -> list[LabelledClass]:
    by_class = []
    for place in class_folders(folder):
        index = int(place.name) if place.name.isdecimal() else indices.get(place.name)
        if index is None or index >= NUM_CLASSES:
            raise SetupError(
                f"{place}: expected the WordNet id of one of ImageNet's 1000 classes or its index, got {place.name!r}"
            )
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURE_ENDINGS)
        by_class.append([LabelledClass(path, index) for path in files])
    found = [one for one in chain.from_iterable(zip_longest(*by_class)) if one is not None]
    if not found:
        raise SetupError(f"{folder}: expected pictures in folders named after their classes, got no picture")
    return found


def coco(folder: Path, limit: int | None = None) -> CocoSet:
    """Pictures of the set ``coco``, by their ids."""
    root = read_json(folder / LABELLED_SETS["coco"])
    paths, image_ids = _images(root, folder / IMAGES, limit)
    taxonomy = load_taxonomy()
    known, category_of = set(image_ids), _categories(root, taxonomy)
    everywhere = {image["id"].value for image in root["images"]}
    annotations: list[dict[str, Any]] = []
    for node in root["annotations"]:
        image_id = node["image_id"].one_of(everywhere, "the id of one of the images")
        if image_id not in known:
            continue
        category = node["category_id"].one_of(category_of, "the id of one of the categories")
        box = [side.number() for side in node["bbox"]]
        if len(box) != 4 or min(box[2:]) < 0:
            raise node["bbox"].wrong("x, y, width and height in pixels")
        area = node["area"].number() if node.has("area") else box[2] * box[3]
        if area < 0:
            raise node["area"].wrong("an area in square pixels")
        annotations.append(
            {
                # From 1: pycocotools takes a match with number 0 for none.
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category_of[category],
                "bbox": box,
                # Of the mask, where there is one: by it COCO tells small, medium and large.
                "area": area,
                "iscrowd": int(node.has("iscrowd") and bool(node["iscrowd"].value)),
            }
        )
    if all(one["iscrowd"] for one in annotations):
        raise SetupError(f"{root.file}: expected objects on the {len(paths)} pictures that are taken, got none")
    truth = {
        "images": [{"id": image_id, "file_name": path.name} for image_id, path in zip(image_ids, paths, strict=True)],
        "categories": [
            {"id": coco_id, "name": name} for coco_id, name in zip(taxonomy.coco_ids, taxonomy.categories, strict=True)
        ],
        "annotations": annotations,
    }
    return CocoSet(paths, image_ids, truth)


def _images(root: Node, folder: Path, limit: int | None) -> tuple[list[Path], list[int]]:
    found: dict[int, Path] = {}
    for node in sorted(root["images"], key=lambda image: image["id"].whole_number())[:limit]:
        image_id = node["id"].whole_number()
        if image_id in found:
            raise node["id"].wrong("a number that no other image has")
        found[image_id] = folder / node["file_name"].text()
        if not found[image_id].is_file():
            raise node["file_name"].wrong(f"a picture in {folder}")
    if not found:
        raise root["images"].wrong("at least one image")
    return list(found.values()), list(found)


def _categories(root: Node, taxonomy: Taxonomy) -> dict[int, int]:
    """COCO's original id of each id that the file uses: by the category's name, where the file has names."""
    if not root.has("categories"):
        return {coco_id: coco_id for coco_id in taxonomy.coco_ids}
    return {
        node["id"].whole_number(): taxonomy.coco_ids[
            taxonomy.index(node["name"].one_of(taxonomy.categories, "the name of one of COCO's 80"))
        ]
        for node in root["categories"]
    }


def faces(folder: Path, limit: int | None = None) -> list[FacePair]:
    """Pairs of the set ``faces``."""
    images = folder / IMAGES
    return [
        FacePair(row.picture("file_a", images), row.picture("file_b", images), row.choice("same", _SAME))
        for row in read_rows(folder / LABELLED_SETS["faces"], ["file_a", "file_b", "same"], limit)
    ]


_SAME = {"1": True, "0": False}


def plates(folder: Path, limit: int | None = None) -> list[LabelledPlate]:
    """Pictures of the set ``plates``."""
    return _plates(folder / LABELLED_SETS["plates"], limit)


def plate_crops(folder: Path, limit: int | None = None) -> list[LabelledPlate]:
    """Pictures of the set ``plate_crops``."""
    return _plates(folder / LABELLED_SETS["plate_crops"], limit)


def _plates(file: Path, limit: int | None) -> list[LabelledPlate]:
    return [
        LabelledPlate(row.picture("file", file.parent / IMAGES), row.text("text"))
        for row in read_rows(file, ["file", "text"], limit)
    ]
