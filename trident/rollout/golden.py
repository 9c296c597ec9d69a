"""The pictures on which two versions are compared.

The default ones come from scikit-image, some in other renditions, some with a drawn licence plate. They are few, so
that a rollout is short, and show something to every component: objects, animals, the same face thrice, plates of
several provinces; and a grey, a tiny and an empty picture. They are no yardstick of quality: for that, bring your own.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from trident.errors import InvalidInput, SetupError
from trident.preprocess import Limits, decode
from trident.sample_pictures import PLATE, PLATE_CORNERS, Corners, drawn_plate, other_rendition, photo, with_plate

_USUAL_LIMITS = Limits()
MOST_PICTURES = 200
"""Pictures that are taken from a folder, unless told otherwise."""

_NO_PICTURES = frozenset({".csv", ".json", ".jsonl", ".md", ".txt"})
"""Endings of files that lie beside pictures and are none: labels, and notes."""
LABELLED_SETS = {
    "imagenet": "labels.csv",
    "coco": "instances.json",
    "faces": "pairs.csv",
    "plates": "labels.csv",
    "plate_crops": "labels.csv",
}
"""The sets that ``benchmarks/quality`` can measure, and the file without which there is no such set.
Pictures of ImageNet's classes may also lie in a folder for each class."""
_CLASS_FOLDER = re.compile(r"n\d{8}|\d{1,3}")
"""A WordNet id, or an index from 0 to 999."""

_OTHER_PLATES: tuple[tuple[str, Corners], ...] = (
    ("苏E·5K7B2", ((300.0, 30.0), (440.0, 24.0), (441.0, 68.0), (301.0, 75.0))),
    ("粤B·8D31F", ((520.0, 395.0), (660.0, 408.0), (657.0, 454.0), (518.0, 440.0))),
)
_DARK_PLATES: tuple[tuple[str, Corners], ...] = (
    ("浙C·Q4907", ((100.0, 228.0), (220.0, 240.0), (219.0, 280.0), (100.0, 267.0))),
    ("京N·3J86P", ((430.0, 30.0), (590.0, 40.0), (588.0, 92.0), (428.0, 81.0))),
)
_FAR_PLATES = (
    *("皖A·06725", "苏E·5K7B2", "浙C·Q4907"),
    *("豫D·K62Q8", "沪F·90B4Z", "浙G·Z2185"),
    *("沪B·8M417", "苏D·0F395"),
)
"""Small and blurred, as plates from afar are: where readers begin to differ. The first published one reads them all."""


@dataclass(frozen=True, slots=True)
class GoldenPicture:
    """One picture to compare on."""

    name: str
    """What it is called in reports: in a folder, its path there."""
    encoded: bytes


@lru_cache(maxsize=1)
def default_pictures() -> tuple[GoldenPicture, ...]:
    """The project's own golden pictures.

    Raises:
        SetupError: scikit-image, whose photos they are, is not installed.
    """
    try:
        astronaut, motorcycle, beside = (_open(name) for name in ("astronaut.png", *_MOTORCYCLES))
        cat, coffee = _open("chelsea.png"), _open("coffee.png")
        rocket, cameraman, grass = _open("rocket.jpg"), _open("camera.png"), _open("grass.png")
    except SetupError as error:
        raise SetupError(
            "the default golden pictures are photos of scikit-image, which is not installed here: name a folder of "
            "pictures with --golden, or run pip install '.[serve]' in a clone of the repository"
        ) from error
    made: dict[str, Image.Image] = {
        "astronaut": astronaut,
        "astronaut, another print": other_rendition(astronaut),
        "astronaut, small": astronaut.resize((200, 200), Image.Resampling.LANCZOS),
        "motorcycle": with_plate(motorcycle, PLATE, PLATE_CORNERS),
        "motorcycle, two plates": _with_plates(beside, _OTHER_PLATES),
        "motorcycle, dark": _darker(_with_plates(ImageOps.mirror(motorcycle), _DARK_PLATES)),
        "plates from afar": _plates_from_afar(_open("gravel.png")),
        "cat": cat,
        "cat, turned": cat.rotate(-15, Image.Resampling.BICUBIC),
        "coffee": coffee,
        "coffee, mirrored and dark": _darker(ImageOps.mirror(coffee)),
        "rocket": rocket,
        "cameraman, grey": cameraman.convert("L"),
        "grass": grass,
        "cat, tiny": cat.resize((45, 30), Image.Resampling.LANCZOS),
        "nothing": Image.new("RGB", (640, 480), (124, 128, 126)),
    }
    return tuple(GoldenPicture(name, _encoded(picture)) for name, picture in made.items())


_MOTORCYCLES = ("motorcycle_left.png", "motorcycle_right.png")


def folder_pictures(
    folder: Path, limit: int = MOST_PICTURES, accepted: Limits = _USUAL_LIMITS
) -> tuple[GoldenPicture, ...]:
    """The pictures in a folder and in those below it, sorted by name; a recording of live traffic for one.

    Files whose name starts with a dot, and those with labels or notes, are passed over. Where there are more than the
    limit, every so many-th is taken, so that a folder of several sets is seen in all its parts.

    Args:
        folder: Any folder.
        limit: Most pictures that are taken, 1 or more.
        accepted: What the server's preprocess refuses.

    Raises:
        SetupError: The folder is not there, holds no picture, or one of its files is none that is served.
    """
    if limit < 1:
        raise SetupError(f"limit of golden pictures: expected 1 or more, got {limit}")
    if not folder.is_dir():
        raise SetupError(f"golden pictures: expected a folder of pictures, got {folder}, which is none")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix.lower() not in _NO_PICTURES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise SetupError(f"golden pictures: expected a folder of pictures, got {folder}, in which there is no file")
    if len(files) > limit:
        files = [files[index * len(files) // limit] for index in range(limit)]
    return tuple(_read(path, folder, accepted) for path in files)


def labelled_sets(folder: Path) -> tuple[str, ...]:
    """Names of the labelled sets in a folder, laid out as ``benchmarks/README.md`` says; none for other folders."""
    return tuple(
        name
        for name, labels in LABELLED_SETS.items()
        if (folder / name / labels).is_file() or (name == "imagenet" and class_folders(folder / name))
    )


def class_folders(folder: Path) -> tuple[Path, ...]:
    """The folders in a folder that are named after a class of ImageNet, by its WordNet id or its index, sorted."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if _CLASS_FOLDER.fullmatch(path.name) and path.is_dir()))


def _read(path: Path, folder: Path, accepted: Limits) -> GoldenPicture:
    try:
        encoded = path.read_bytes()
        decode(encoded, accepted)
    except OSError as error:
        raise SetupError(f"golden picture {path}: cannot be read: {error.strerror or error}") from error
    except InvalidInput as error:
        raise SetupError(f"golden picture {path}: {error}; take it out of the folder, or mend it") from error
    return GoldenPicture(os.fsdecode(path.relative_to(folder)), encoded)


def _open(name: str) -> Image.Image:
    with Image.open(photo(name)) as opened:
        return opened.convert("RGB")


def _with_plates(picture: Image.Image, plates: tuple[tuple[str, Corners], ...]) -> Image.Image:
    for text, corners in plates:
        picture = with_plate(picture, text, corners)
    return picture


def _plates_from_afar(ground: Image.Image) -> Image.Image:
    """Eight plates, 22 pixels high, on gravel, out of focus."""
    picture = ImageEnhance.Brightness(ground.resize((640, 480))).enhance(0.7)
    for place, text in enumerate(_FAR_PLATES):
        plate = drawn_plate(text)
        plate = plate.resize((round(22 * plate.width / plate.height), 22), Image.Resampling.BOX)
        # As dark as what lies around it.
        plate = ImageEnhance.Brightness(plate).enhance(0.85)
        picture.paste(plate, (70 + place % 3 * 200, 60 + place // 3 * 150))
    return picture.filter(ImageFilter.GaussianBlur(1.2))


def _darker(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(0.55)


def _encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()
