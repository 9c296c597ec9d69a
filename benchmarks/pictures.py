"""What a load shows: photos with a face or a plate, so that every component has something to do, or a folder's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from trident.errors import SetupError
from trident.sample_pictures import PLATE, PLATE_CORNERS, Corners, photo, with_plate

# Low in the astronaut's photo, left of her hands.
_ASTRONAUT_PLATE: Corners = ((20.0, 430.0), (190.0, 430.0), (190.0, 484.0), (20.0, 484.0))
_COFFEE_PLATE: Corners = ((30.0, 320.0), (170.0, 332.0), (168.0, 378.0), (30.0, 364.0))

# Photos as cameras and web pages have them; scikit-image ships none of 6 megapixels, so this one is enlarged.
_LARGE, _SMALL = (3000, 2024), (240, 160)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def write_pictures(folder: Path, *, other_sizes: bool = True) -> list[Path]:
    """Write the pictures as JPEG files into ``folder``, which is made where it is missing.

    Four of 0.2 to 0.4 megapixels, two of them with a face and a plate, two with a plate; and two of other sizes, which
    cost preprocess more and less: one of 6 megapixels and a thumbnail of 240 × 160 pixels.

    Args:
        folder: Where to. Files of the same names are overwritten.
        other_sizes: Whether to write the last two.

    Returns:
        The files, always in the same order.

    Raises:
        SetupError: The photos are not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    astronaut, motorcycle, coffee = (_opened(name) for name in ("astronaut.png", "motorcycle_left.png", "coffee.png"))
    mirrored = ImageEnhance.Brightness(ImageOps.mirror(astronaut)).enhance(0.8)
    pictures = {
        "astronaut": with_plate(astronaut, PLATE, _ASTRONAUT_PLATE),
        "mirrored": with_plate(mirrored, "京B·20318", _ASTRONAUT_PLATE),
        "motorcycle": with_plate(motorcycle, PLATE, PLATE_CORNERS),
        "coffee": with_plate(coffee, "沪C·77041", _COFFEE_PLATE),
    }
    if other_sizes:
        pictures["large"] = pictures["motorcycle"].resize(_LARGE, Image.Resampling.BICUBIC)
        pictures["small"] = pictures["coffee"].resize(_SMALL, Image.Resampling.LANCZOS)
    written = []
    for name, picture in pictures.items():
        file = folder / f"{name}.jpg"
        picture.save(file, quality=90)
        written.append(file)
    return written


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name: files that end as JPEG, PNG, WebP, BMP or TIFF do, not those of folders in it.

    Raises:
        SetupError: ``folder`` is not a folder, holds no picture, or holds an empty file that is named like one.
    """
    if not folder.is_dir():
        raise SetupError(
            f"pictures: expected a folder, got {folder}: give the folder that holds the pictures themselves"
        )
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise SetupError(
            f"pictures: expected files that end in {', '.join(sorted(_SUFFIXES))} in {folder}, got none of them: "
            "give another folder; folders within it are not searched"
        )
    empty = [file.name for file in files if not file.stat().st_size]
    if empty:
        raise SetupError(
            f"pictures: expected encoded pictures in {folder}, got empty files: {', '.join(empty)}: remove them"
        )
    return files


def pictures_for(chosen: Path | None, folder: Path) -> list[Path]:
    """The pictures of the chosen folder, or else the sample ones, written into ``folder``. Raises SetupError."""
    return write_pictures(folder) if chosen is None else pictures_in(chosen)


def first_pictures(pictures: Sequence[Path], count: int, folder: Path) -> Path:
    """A new folder with copies of the first ``count`` of them."""
    folder.mkdir()
    for picture in pictures[:count]:
        shutil.copy(picture, folder)
    return folder


def _opened(name: str) -> Image.Image:
    with Image.open(photo(name)) as opened:
        return opened.convert("RGB")
