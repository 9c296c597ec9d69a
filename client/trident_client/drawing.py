"""Draws an analysis on its picture: boxes, names, plates, and a strip below that says what the picture shows."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from trident_client.errors import PictureUnreadable, SettingsError
from trident_client.pictures import Picture
from trident_client.results import Analysis, Box, DetectedObject, FaceEntity, PlateEntity, Point

SHOWN_ABOVE = 0.3
"""Score from which things are shown, unless the caller says otherwise."""

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

FONT = Path(__file__).parent / "fonts" / "noto-sans-sc-chinese-simplified-400-normal.woff2"
_INK, _PAPER, _MUTED, _STRIP = (20, 22, 26), (245, 246, 248), (160, 166, 176), (24, 27, 32)
_FACE, _PLATE = (255, 204, 51), (64, 224, 255)
# Bright enough to be seen on dark pictures, and apart from each other and from the two above.
_PALETTE: tuple[Colour, ...] = (
    (255, 99, 99), (94, 214, 120), (110, 160, 255), (255, 150, 70), (208, 130, 255), (60, 206, 190),
    (255, 128, 190), (176, 214, 70), (150, 140, 255), (236, 168, 130), (90, 190, 235), (214, 100, 160),
)  # fmt: skip
_SUPERSAMPLING = 4
_WORST_OVERLAP = 0.35  # of a label that others already cover
# The built-in font's spaces are so narrow that small words run together: those between words are doubled.
_WORD_SPACE, _SPACE = re.compile(r"(?<! ) (?! )"), "  "
_GAP = "   "
_LEAST_STRIP_WIDTH = 180  # pixels; below that hardly a name fits into the strip
_STRIP_LABELS, _STRIP_CATEGORIES = 3, 12


def draw(
    picture: Picture,
    analysis: Analysis,
    *,
    threshold: float = SHOWN_ABOVE,
    legend: bool = True,
    font: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Draw what an analysis found.

    Lines and letters are sized to the picture. Names of people and plates get their place first, then objects by
    score; an object whose name finds no free place keeps its box, in the colour that the strip gives to its category.

    Args:
        picture: The analysed picture: encoded bytes, a path, a Pillow image or UINT8 pixels [H, W, 3].
        analysis: What was found in it.
        threshold: Things that score less are left out.
        legend: Whether to add a strip below the picture with its scene and categories. A picture that is less than
            180 pixels wide gets none.
        font: A font file for scripts that the built-in Noto Sans SC lacks.

    Returns:
        A new RGB image of the picture's size, higher by the strip if there is one.

    Raises:
        PictureUnreadable: The picture cannot be decoded here.
        ValueError: It has another size than the analysed one.
        SettingsError: The font cannot be read.
    """
    image = _upright_rgb(picture)
    if image.size != (analysis.width, analysis.height):
        expected, got = f"{analysis.width} × {analysis.height}", f"{image.width} × {image.height}"
        raise ValueError(f"picture: expected the analysed one of {expected} pixels, got {got}")
    original = image.copy()
    shown = analysis.above(threshold)
    side = (image.width * image.height) ** 0.5
    pen = _Pen(
        image=image,
        canvas=ImageDraw.Draw(image),
        letters=_font(Path(font or FONT), max(12, round(side / 40))),
        line=max(2, round(side / 260)),
    )
    colours = _colours([one.category for one in shown.objects] + [one.name for one in shown.categories])

    # Weak boxes first, so that strong ones lie on top.
    for thing in reversed(shown.objects):
        pen.box(thing.box, colours[thing.category])
    for face in shown.faces:
        pen.box(face.box, _FACE)
        pen.dots(face.landmarks, face.box.width, _FACE)
    for plate in shown.plates:
        pen.uncover(plate.corners, original)
        pen.outline(plate.corners, _PLATE)

    # Nothing may be written over a face or a plate; least of all its own name.
    labels = [_Label(_plate_name(plate), _bounds(plate.corners), _PLATE) for plate in shown.plates]
    labels += [_Label(_face_name(face), face.box, _FACE) for face in shown.faces]
    kept_free = [label.about for label in labels]
    labels += [_Label(_object_name(thing), thing.box, colours[thing.category]) for thing in shown.objects]
    pen.write(labels, kept_free, needed=len(kept_free))
    if legend and image.width >= _LEAST_STRIP_WIDTH:
        return _with_strip(image, shown, colours, Path(font or FONT))
    return image


def _object_name(thing: DetectedObject) -> str:
    name = thing.category
    if thing.fine_label and thing.fine_label.casefold() != name.casefold():
        name += f": {thing.fine_label}"
    return f"{name}{_GAP}{thing.score:.2f}"


def _face_name(face: FaceEntity) -> str:
    return "face" if face.identity is None else f"{face.identity.name}{_GAP}{face.identity.similarity:.2f}"


def _plate_name(plate: PlateEntity) -> str:
    return plate.text or "plate"


@dataclass(frozen=True, slots=True)
class _Label:
    text: str
    about: Rectangle
    colour: Colour


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws on one image with one size of line and letters."""

    image: Image.Image
    canvas: ImageDraw.ImageDraw
    letters: ImageFont.FreeTypeFont
    line: int

    def box(self, box: Box, colour: Colour) -> None:
        edges = [round(box.x1), round(box.y1), max(round(box.x1), round(box.x2)), max(round(box.y1), round(box.y2))]
        # A thin dark rim keeps the line visible on ground of its own colour.
        self.canvas.rectangle([edges[0] - 1, edges[1] - 1, edges[2] + 1, edges[3] + 1], outline=_INK)
        self.canvas.rectangle(edges, outline=colour, width=self.line)

    def uncover(self, corners: tuple[Point, ...], original: Image.Image) -> None:
        """Take lines that cross a plate off it again, so that it can be read."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners], fill=255)
        self.image.paste(original, (0, 0), mask)

    def outline(self, corners: tuple[Point, ...], colour: Colour) -> None:
        x1, y1, x2, y2 = _bounds(corners)
        # Around what is small the line is thin, and it runs outside: the plate itself is to be read.
        line = min(float(self.line), max(1.0, min(x2 - x1, y2 - y1) / 12))
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        around = tuple(
            Point(x + (line / 2 if x > middle_x else -line / 2), y + (line / 2 if y > middle_y else -line / 2))
            for x, y in corners
        )

        def shape(canvas: ImageDraw.ImageDraw, place: Callable[[Point], tuple[float, float]], scale: int) -> None:
            path = [place(corner) for corner in around]
            canvas.line([*path, path[0], path[1]], fill=255, width=max(1, round(line * scale)), joint="curve")

        self._stamp(_bounds(around), colour, shape)

    def dots(self, points: tuple[Point, ...], across: float, colour: Colour) -> None:
        """Points of something that is ``across`` pixels wide."""
        radius = min(self.line * 0.9, max(1.0, across / 25))

        def shape(canvas: ImageDraw.ImageDraw, place: Callable[[Point], tuple[float, float]], scale: int) -> None:
            for point in points:
                x, y = place(point)
                reach = radius * scale
                canvas.ellipse([x - reach, y - reach, x + reach, y + reach], fill=255)

        self._stamp(_bounds(points), colour, shape)

    def write(self, labels: list[_Label], kept_free: list[Rectangle], *, needed: int) -> None:
        """Write the labels, the first ones first. The first ``needed`` are written wherever there is most room."""
        taken: list[Rectangle] = []
        for place, label in enumerate(labels):
            text, size = self._fitted(label.text)
            spot, overlap = self._spot(label, size, taken, kept_free)
            if place >= needed and overlap > _WORST_OVERLAP:
                continue
            taken.append(spot)
            self._tag(text, spot, label.colour)

    def _tag(self, text: str, spot: Rectangle, colour: Colour) -> None:
        def shape(canvas: ImageDraw.ImageDraw, place: Callable[[Point], tuple[float, float]], scale: int) -> None:
            edges = [place(Point(spot[0], spot[1])), place(Point(spot[2], spot[3]))]
            canvas.rounded_rectangle(edges, radius=self.line * scale, fill=255)

        self._stamp(spot, colour, shape)
        self.canvas.text(
            (spot[0] + self._padding, (spot[1] + spot[3]) / 2), text, font=self.letters, fill=_INK, anchor="lm"
        )

    @property
    def _padding(self) -> int:
        return max(3, round(self.letters.size * 0.3))

    def _fitted(self, text: str) -> tuple[str, tuple[float, float]]:
        """The text, shortened until it fits into the picture, and the size of its label."""
        room = self.image.width - 2 * self._padding
        text = one_line(text, room, self.letters)
        return text, (self.letters.getlength(text) + 2 * self._padding, round(self.letters.size * 1.35))

    def _spot(
        self, label: _Label, size: tuple[float, float], taken: list[Rectangle], kept_free: list[Rectangle]
    ) -> tuple[Rectangle, float]:
        """The least covered place near what the label is about, and the share of it that other labels cover."""
        best: tuple[float, Rectangle, float] | None = None
        area = size[0] * size[1]
        for rank, (x, y) in enumerate(self._candidates(label.about, size)):
            left = min(max(x, 0.0), max(0.0, self.image.width - size[0]))
            top = min(max(y, 0.0), max(0.0, self.image.height - size[1]))
            spot = (left, top, left + size[0], top + size[1])
            overlap = sum(_shared(spot, other) for other in taken) / area
            hidden = sum(_shared(spot, other) for other in kept_free) / area
            cost = 4 * overlap + 2 * hidden + 0.03 * rank
            if best is None or cost < best[0]:
                best = (cost, spot, overlap)
        assert best is not None  # noqa: S101 - there are always candidates
        return best[1], best[2]

    def _candidates(self, about: Rectangle, size: tuple[float, float]) -> Iterable[tuple[float, float]]:
        """Places for a label's top left corner, the best to read first."""
        x1, y1, x2, y2 = about
        width, height = size
        gap = self.line
        yield x1, y1 - height - gap
        yield x1, y2 + gap
        yield x2 - width, y1 - height - gap
        yield x2 - width, y2 + gap
        yield x1 + gap, y1 + gap
        yield x2 + gap, y1
        yield x1 - width - gap, y1
        # Down the inside of the box, then beside it: for crowds.
        for step in range(1, 6):
            yield x1 + gap, y1 + gap + step * (height + gap)
            yield x2 - width - gap, y1 + gap + step * (height + gap)
            yield x1, y1 - (step + 1) * (height + gap)

    def _stamp(self, bounds: Rectangle, colour: Colour, shape: Callable[..., None]) -> None:
        """Draw a shape with smooth edges: large on a mask, the mask shrunk, the colour laid on through it."""
        margin = 2 * self.line
        left, top = int(bounds[0]) - margin, int(bounds[1]) - margin
        width, height = int(bounds[2]) + margin + 1 - left, int(bounds[3]) + margin + 1 - top
        scale = _SUPERSAMPLING if width * height < 2**20 else 1
        mask = Image.new("L", (width * scale, height * scale), 0)

        def place(point: Point) -> tuple[float, float]:
            return (point.x - left) * scale, (point.y - top) * scale

        shape(ImageDraw.Draw(mask), place, scale)
        mask = mask.resize((width, height), Image.Resampling.BOX) if scale > 1 else mask
        self.image.paste(colour, (left, top), mask)


def _with_strip(image: Image.Image, shown: Analysis, colours: dict[str, Colour], font: Path) -> Image.Image:
    """The image with a dark strip below it that names the scene and the categories, in their colours."""
    letters = _font(font, max(12, round(image.width / 52)))
    padding, step = round(letters.size * 0.7), round(letters.size * 1.5)
    room = image.width - 2 * padding
    chips = [(f"{one.label}{_GAP}{one.score:.2f}", _PAPER) for one in shown.scene[:_STRIP_LABELS]]
    found = [(f"{one.name}{_GAP}{one.score:.2f}", colours[one.name]) for one in shown.categories[:_STRIP_CATEGORIES]]
    rows = _rows("scene", chips, letters, room) + _rows("shows", found or [("nothing", _MUTED)], letters, room)

    framed = Image.new("RGB", (image.width, image.height + padding + step * len(rows) + padding), _STRIP)
    framed.paste(image)
    canvas = ImageDraw.Draw(framed)
    for number, row in enumerate(rows):
        middle = image.height + padding + step * (number + 0.5)
        for x, text, colour in row:
            canvas.text((padding + x, middle), text, font=letters, fill=colour, anchor="lm")
    return framed


Placed = tuple[float, str, Colour]


def _rows(
    title: str, chips: list[tuple[str, Colour]], letters: ImageFont.FreeTypeFont, room: float
) -> list[list[Placed]]:
    """The chips after their title, broken into rows of at most ``room`` pixels."""
    indent = letters.getlength("scene") + letters.size * 0.9
    gap = letters.size * 0.9
    rows: list[list[Placed]] = [[(0.0, title, _MUTED)]]
    x = indent
    for text, colour in chips:
        fitted = one_line(text, room - indent, letters)
        width = letters.getlength(fitted)
        if x > indent and x + width > room:
            rows.append([])
            x = indent
        rows[-1].append((x, fitted, colour))
        x += width + gap
    return rows


def one_line(text: str, room: float, letters: ImageFont.FreeTypeFont) -> str:
    """The text on one line, its end replaced by … if it is longer than ``room`` pixels."""
    line = "".join(character if character.isprintable() else " " for character in text)
    line = _WORD_SPACE.sub(_SPACE, line)
    if letters.getlength(line) <= room:
        return line
    while line and letters.getlength(line + "…") > room:
        line = line[:-1]
    return line + "…"


def _colours(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each name: mostly the same in every picture, and different within one while there are enough."""
    colours: dict[str, Colour] = {}
    for name in names:
        if name in colours:
            continue
        start = zlib.crc32(name.encode()) % len(_PALETTE)
        choices = [_PALETTE[(start + step) % len(_PALETTE)] for step in range(len(_PALETTE))]
        colours[name] = next((one for one in choices if one not in colours.values()), choices[0])
    return colours


def _bounds(points: tuple[Point, ...]) -> Rectangle:
    return (
        min(point.x for point in points),
        min(point.y for point in points),
        max(point.x for point in points),
        max(point.y for point in points),
    )


def _shared(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


@lru_cache(maxsize=16)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(path, size)
    except OSError as exc:
        reason = "this Pillow was built without WOFF2" if path.suffix == ".woff2" and path.is_file() else exc
        raise SettingsError(f"font: cannot read {path}: {reason}") from exc


def _upright_rgb(picture: Picture) -> Image.Image:
    """The first frame as a viewer shows it, RGB, a copy of its own."""
    try:
        if isinstance(picture, Image.Image):
            image = picture
        elif isinstance(picture, np.ndarray):
            image = Image.fromarray(picture)
        else:
            source: Any = io.BytesIO(picture) if isinstance(picture, bytes | bytearray | memoryview) else picture
            image = Image.open(source)
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
            # Pillow would clip 16 bits to 8 instead of scaling them.
            upright = Image.fromarray((np.asarray(upright) / 257).clip(0, 255).astype(np.uint8))
        elif "A" in upright.getbands() or "transparency" in upright.info:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, (255, 255, 255, 255)), upright)
        return upright.convert("RGB").copy()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as exc:
        what = picture if isinstance(picture, str | os.PathLike) else "the picture"
        raise PictureUnreadable(f"{what}: cannot be decoded for drawing: {exc}") from exc
