"""What the load shows: photos with a face and a plate, so that every component has something to do."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from trident.sample_pictures import PLATE, PLATE_CORNERS, Corners, photo, with_plate

# Low in the astronaut's photo, left of her hands.
_ASTRONAUT_PLATE: Corners = ((20.0, 430.0), (190.0, 430.0), (190.0, 484.0), (20.0, 484.0))
_COFFEE_PLATE: Corners = ((30.0, 320.0), (170.0, 332.0), (168.0, 378.0), (30.0, 364.0))


def write_pictures(folder: Path) -> list[Path]:
    """Write the pictures as JPEG files into ``folder``: two with a face and a plate, two with a plate."""
    with Image.open(photo("astronaut.png")) as opened:
        astronaut = opened.convert("RGB")
    with Image.open(photo("motorcycle_left.png")) as opened:
        motorcycle = opened.convert("RGB")
    with Image.open(photo("coffee.png")) as opened:
        coffee = opened.convert("RGB")
    mirrored = ImageEnhance.Brightness(ImageOps.mirror(astronaut)).enhance(0.8)
    pictures = {
        "astronaut": with_plate(astronaut, PLATE, _ASTRONAUT_PLATE),
        "mirrored": with_plate(mirrored, "京B·20318", _ASTRONAUT_PLATE),
        "motorcycle": with_plate(motorcycle, PLATE, PLATE_CORNERS),
        "coffee": with_plate(coffee, "沪C·77041", _COFFEE_PLATE),
    }
    written = []
    for name, picture in pictures.items():
        file = folder / f"{name}.jpg"
        picture.save(file, quality=90)
        written.append(file)
    return written
