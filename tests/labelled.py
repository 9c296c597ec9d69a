"""Labelled pictures to measure on: small ones, made of the photos that scikit-image ships and of drawn plates.

They say nothing about quality: a test that uses them looks at whether figures add up.
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageOps

from trident.sample_pictures import PLATE, PLATE_CORNERS, drawn_plate, other_rendition, photo, with_plate

MOTORCYCLE_BOX = [120.0, 38.0, 560.0, 410.0]
"""x, y, width, height of the motorcycle in ``motorcycle_left.png``, by eye."""


def write_set(folder: Path, labels: str, text: str, *pictures: str) -> Path:
    """Write a labelled set whose pictures are empty files; gives ``folder``."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / labels).write_text(text, encoding="utf-8")
    for name in pictures:
        (folder / "images" / name).touch()
    return folder


def write_labelled(folder: Path) -> Path:
    """Write all five sets, two to four pictures each, real ones; gives ``folder``."""
    astronaut, motorcycle, coffee, cat = (
        _open(name) for name in ("astronaut.png", "motorcycle_left.png", "coffee.png", "chelsea.png")
    )
    # Chelsea and the cup, as folders of classes: a tabby cat and an espresso.
    for name, picture in (("n02123045", cat), ("967", coffee)):
        _save(picture, folder / "imagenet" / name / "picture.jpg")
    _write_coco(folder / "coco", {"astronaut.jpg": astronaut, "motorcycle.jpg": motorcycle, "cat.jpg": cat})
    faces = {"astronaut.jpg": astronaut, "again.jpg": other_rendition(astronaut), "cat.jpg": cat}
    for name, picture in faces.items():
        _save(picture, folder / "faces" / "images" / name)
    write_set(
        folder / "faces",
        "pairs.csv",
        "file_a,file_b,same\nastronaut.jpg,again.jpg,1\nastronaut.jpg,cat.jpg,0\nagain.jpg,cat.jpg,0\n",
    )
    plates = {"motorcycle.jpg": with_plate(motorcycle, PLATE, PLATE_CORNERS), "none.jpg": coffee}
    for name, picture in plates.items():
        _save(picture, folder / "plates" / "images" / name)
    text = PLATE.replace("·", "")
    write_set(folder / "plates", "labels.csv", f"file,text\nmotorcycle.jpg,{text}\nnone.jpg,京B20318\n")
    for name in (PLATE, "沪C·77041"):
        _save(drawn_plate(name), folder / "plate_crops" / "images" / f"{name[-3:]}.jpg")
    write_set(folder / "plate_crops", "labels.csv", f"file,text\n725.jpg,{text}\n041.jpg,沪C77042\n")
    return folder


def _write_coco(folder: Path, pictures: dict[str, Image.Image]) -> None:
    for name, picture in pictures.items():
        _save(picture, folder / "images" / name)
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [10.0, 5.0, 450.0, 500.0], "iscrowd": 0},
        {"image_id": 2, "category_id": 4, "bbox": MOTORCYCLE_BOX, "iscrowd": 0},
        {"image_id": 3, "category_id": 17, "bbox": [0.0, 0.0, 450.0, 300.0], "iscrowd": 0},
        # What is not there: to be missed.
        {"image_id": 3, "category_id": 18, "bbox": [5.0, 5.0, 20.0, 20.0], "iscrowd": 0},
    ]
    truth = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(pictures, start=1)],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
        "categories": [
            {"id": 1, "name": "person"},
            {"id": 4, "name": "motorcycle"},
            {"id": 17, "name": "cat"},
            {"id": 18, "name": "dog"},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(truth), encoding="utf-8")


def _open(name: str) -> Image.Image:
    with Image.open(photo(name)) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, quality=90)
