"""The worst pictures of a kind in one grid: what was said against what is true."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from trident_client.drawing import FONT

TRUE, SAID = (0, 114, 178), (213, 94, 0)
"""Blue for what is true, vermilion for what was said: Okabe and Ito's, which colour-blind people can tell apart."""
MOST = 12
"""Pictures in one grid."""

_PAPER, _FRAME = (255, 255, 255), (235, 238, 241)
_CELL, _LETTERS, _GAP, _ACROSS = (300, 225), 13, 8, 3
_LINE_HEIGHT = round(_LETTERS * 1.4)
_QUALITY = 82

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something in a picture."""

    outline: Sequence[tuple[float, float]]
    """Its corners, in pixels of the picture."""
    colour: Colour
    name: str = ""


def box_mark(box: Sequence[float], colour: Colour, name: str = "") -> Mark:
    """A mark around a box x1, y1, x2, y2."""
    x1, y1, x2, y2 = (float(side) for side in box)
    return Mark(((x1, y1), (x2, y1), (x2, y2), (x1, y2)), colour, name)


@dataclass(frozen=True, slots=True)
class View:
    """A picture as a cell shows it."""

    path: Path
    marks: Sequence[Mark] = ()
    around: Sequence[float] | None = None
    """Only this box x1, y1, x2, y2 of it, and as much again around it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One or two pictures, and lines of text below."""

    views: Sequence[View]
    lines: Sequence[tuple[str, Colour]]


def true_line(text: str) -> tuple[str, Colour]:
    """What is true, in its colour."""
    return f"true: {text}", TRUE


def said_line(text: str) -> tuple[str, Colour]:
    """What was said, in its colour."""
    return f"said: {text}", SAID


def grid(cells: Sequence[Cell], about: str) -> str:
    """The cells, three in a row, as one JPEG in HTML; empty without any."""
    if not cells:
        return ""
    buffer = io.BytesIO()
    compose(cells).save(buffer, "JPEG", quality=_QUALITY)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<p><img alt="{escape(about)}" src="data:image/jpeg;base64,{encoded}"></p>'


def compose(cells: Sequence[Cell]) -> Image.Image:
    """The cells as one RGB picture."""
    width, height = _CELL
    full = height + _LINE_HEIGHT * max(len(cell.lines) for cell in cells)
    across = min(_ACROSS, len(cells))
    rows = -(-len(cells) // across)
    sheet = Image.new("RGB", (across * (width + _GAP) - _GAP, rows * (full + _GAP) - _GAP), _PAPER)
    for number, cell in enumerate(cells):
        left, top = (number % across) * (width + _GAP), (number // across) * (full + _GAP)
        part = (width - (len(cell.views) - 1) * 2) // max(1, len(cell.views))
        for place, view in enumerate(cell.views):
            sheet.paste(_drawn(view, (part, height)), (left + place * (part + 2), top))
        canvas = ImageDraw.Draw(sheet)
        for line, (text, colour) in enumerate(cell.lines):
            middle = top + height + (line + 0.5) * _LINE_HEIGHT
            canvas.text((left, middle), _shortened(text, width), font=_letters(_LETTERS), fill=colour, anchor="lm")
    return sheet


def _drawn(view: View, room: tuple[int, int]) -> Image.Image:
    """A picture in the middle of its room, with its marks in lines that do not shrink with it."""
    with Image.open(view.path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    left, top, right, bottom = _part(view, picture.size)
    scale = min(room[0] / (right - left), room[1] / (bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    shown = picture.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    cell = Image.new("RGB", room, _FRAME)
    corner = (room[0] - size[0]) // 2, (room[1] - size[1]) // 2
    cell.paste(shown, corner)
    canvas = ImageDraw.Draw(cell)
    letters = _letters(_LETTERS - 3)
    for mark in view.marks:
        path = [(corner[0] + (x - left) * scale, corner[1] + (y - top) * scale) for x, y in mark.outline]
        canvas.line([*path, path[0]], fill=_PAPER, width=4)
        canvas.line([*path, path[0]], fill=mark.colour, width=2)
        if mark.name:
            x, y = max(0.0, min(x for x, _ in path)), max(0.0, min(y for _, y in path))
            text = canvas.textbbox((x + 3, y + 2), mark.name, font=letters)
            canvas.rectangle((text[0] - 2, text[1] - 1, text[2] + 2, text[3] + 1), fill=mark.colour)
            canvas.text((x + 3, y + 2), mark.name, font=letters, fill=_PAPER)
    return cell


def _part(view: View, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What is shown of a picture of that size: left, top, right, bottom."""
    if view.around is None:
        return 0.0, 0.0, float(size[0]), float(size[1])
    x1, y1, x2, y2 = (float(side) for side in view.around)
    margin = max(x2 - x1, y2 - y1, 8.0) / 2
    left, top = min(max(0.0, x1 - margin), size[0] - 1.0), min(max(0.0, y1 - margin), size[1] - 1.0)
    return left, top, max(left + 1.0, min(size[0], x2 + margin)), max(top + 1.0, min(size[1], y2 + margin))


def _shortened(text: str, room: float) -> str:
    letters = _letters(_LETTERS)
    while text and letters.getlength(text) > room:
        text = text.rstrip("…")[:-1] + "…" if len(text) > 2 else ""
    return text


@lru_cache(maxsize=4)
def _letters(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size)
