"""Pictures to show what Trident sees: photos that scikit-image ships, and licence plates drawn into them.

None of the photos shows a plate, so plates are drawn, with invented numbers. The demo, the golden pictures of a
rollout, the picture of ``trident status`` and the load of the benchmarks are made of these.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from trident.errors import SetupError
from trident_client.drawing import FONT

PLATE = "皖A·06725"
"""An invented number, in the form of the blue plates."""
PLATE_CORNERS = ((112.0, 235.0), (212.0, 249.0), (211.0, 282.0), (111.0, 267.0))
"""Where the plate hangs in the picture of the motorcycle: top left, top right, bottom right, bottom left, in pixels."""

Corners = tuple[tuple[float, float], ...]

_PLATE_SIZE = (880, 280)  # 440 mm × 140 mm, two pixels a millimetre
_PLATE_MARGIN, _LETTER_HEIGHT = 34, 190
_BLUE, _WHITE = (12, 66, 168), (244, 246, 250)


def photo(name: str) -> Path:
    """A photo that scikit-image ships. Raises SetupError if it is not installed."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise SetupError("the sample pictures are photos of scikit-image, which is not installed: run `make install`")
    path = Path(package.origin).parent / "data" / name
    if not path.is_file():
        raise SetupError(f"the installed scikit-image has no {path}: run `make install`, which installs the right one")
    return path


def drawn_plate(text: str) -> Image.Image:
    """A clean blue licence plate with white characters, RGB, 880 × 280."""
    width, height = _PLATE_SIZE
    plate = Image.new("RGB", _PLATE_SIZE, _BLUE)
    ImageDraw.Draw(plate).rounded_rectangle([8, 8, width - 9, height - 9], radius=22, outline=_WHITE, width=6)
    letters = ImageFont.truetype(FONT, _LETTER_HEIGHT)
    shares = [0.4 if character == "·" else 1.0 for character in text]
    slot = (width - 2 * _PLATE_MARGIN) / sum(shares)
    left = float(_PLATE_MARGIN)
    for character, share in zip(text, shares, strict=True):
        glyph = _glyph(character, letters)
        # Every stamped character fills the same width, Chinese ones too.
        wide = round(min(slot * share * 0.84, glyph.width))
        glyph = glyph.resize((wide, glyph.height), Image.Resampling.LANCZOS)
        plate.paste(_WHITE, (round(left + (slot * share - wide) / 2), (height - glyph.height) // 2), glyph)
        left += slot * share
    return plate


def _glyph(character: str, letters: ImageFont.FreeTypeFont) -> Image.Image:
    """One character as a mask, as wide as its ink; the stroke makes it as heavy as stamped letters are."""
    room = 2 * _LETTER_HEIGHT
    mask = Image.new("L", (room, room), 0)
    ImageDraw.Draw(mask).text((room / 2, room / 2), character, font=letters, fill=255, anchor="mm", stroke_width=4)
    left, _, right, _ = mask.getbbox() or (0, 0, 1, 1)
    return mask.crop((left, 0, right, room))


def with_plate(picture: Image.Image, text: str, corners: Corners) -> Image.Image:
    """The picture with a plate hung into it in perspective.

    Args:
        picture: RGB.
        text: What the plate says.
        corners: Where its corners go, in pixels: top left, top right, bottom right, bottom left.
    """
    plate = drawn_plate(text)
    # Drawn four times as large and then shrunk: the edges and letters become as soft as the photo is.
    scale = 4
    large = (picture.width * scale, picture.height * scale)
    targets = [(x * scale, y * scale) for x, y in corners]
    coefficients = _perspective(targets, [(0, 0), (plate.width, 0), (plate.width, plate.height), (0, plate.height)])
    how = (large, Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BICUBIC)
    layer = plate.transform(*how).resize(picture.size, Image.Resampling.BOX)
    mask = Image.new("L", plate.size, 255).transform(*how).resize(picture.size, Image.Resampling.BOX)
    # A little darker than paper white, as the garage around it is.
    return Image.composite(ImageEnhance.Brightness(layer).enhance(0.85), picture, mask)


def _perspective(sources: list[tuple[float, float]], targets: list[tuple[float, float]]) -> npt.NDArray[np.float64]:
    """The eight coefficients of the perspective that takes four source points to four target points.

    ``x' = (ax + by + c) / (gx + hy + 1)``, ``y' = (dx + ey + f) / (gx + hy + 1)``: two linear equations a point.
    """
    rows, values = [], []
    for (x, y), (u, v) in zip(sources, targets, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, dtype=np.float64), np.array(values, dtype=np.float64))


def other_rendition(picture: Image.Image) -> Image.Image:
    """The astronaut's photo as another print of it might look: cut, smaller, mirrored and darker."""
    face = picture.crop((90, 20, 370, 300)).resize((230, 230), Image.Resampling.LANCZOS)
    return ImageEnhance.Brightness(ImageOps.mirror(face)).enhance(0.75)
