"""An explanation as pictures: heat maps over the photo, stacked bars, and one sheet that holds all of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from trident.contract import BRANCHES
from trident.explain.contributions import CategorySplit, Part
from trident.explain.explanation import View
from trident.explain.saliency import Map, Pixels
from trident.explain.sheet import Sheet
from trident_client.drawing import FONT, Colour, one_line
from trident_client.results import Box

# Told apart by all eyes (Okabe and Ito, Color Universal Design, 2008), in lightness too.
BRANCH_COLOURS: dict[str, Colour] = dict(zip(BRANCHES, ((0, 114, 178), (240, 175, 40), (0, 158, 115)), strict=True))
_MORE, _LESS = (255, 120, 0), (0, 110, 255)
_INK, _SOFT, _LINE, _PAPER, _GROUND = (28, 33, 40), (91, 102, 114), (216, 221, 227), (255, 255, 255), 110.0

WIDTH, HEIGHT = 620, 560
"""Most that a photo takes on the sheet, in pixels."""
_MARGIN, _GAP = 36, 40
_SHEET = 2 * _MARGIN + 2 * WIDTH + _GAP
_TITLE, _TEXT, _SMALL = 24, 17, 15
_STEP = 1.5
"""Height of a line in heights of its letters."""

_STRONGEST = 0.85
"""Opacity of the highest value."""
_OUTSIDE = 0.35
"""Brightness of what the network does not see."""
_SCALE_HEIGHT = 46
_NAMES, _SCORES, _ROW = 190, 80, 62
_SLIVER = 0.5
"""Pixels below which a segment is not drawn."""

WORDS = "  "
"""Between words: the font's spaces are narrow, see ``drawing.one_line``."""


def view_image(photo: Pixels, view: View, size: tuple[int, int]) -> Image.Image:
    """The photo in grey under the heat of one network, with the scale of the colours below it.

    Orange: the score falls where this is hidden. Blue: it rises. A ring marks the hottest point.

    Args:
        photo: The upright photo, UINT8 RGB [H, W, 3], in any scale.
        view: What the network went by.
        size: Width and height of the photo in the pixels that ``view`` counts in.
    """
    scale = min(WIDTH / size[0], HEIGHT / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    grey = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS).convert("L"), np.float64)
    left, top, right, bottom = (round(edge * scale) for edge in view.place)
    right, bottom = max(left + 1, min(right, width)), max(top + 1, min(bottom, height))
    seen = np.full(grey.shape, _OUTSIDE)
    seen[top:bottom, left:right] = 1.0
    heat = np.zeros(grey.shape)
    shown = Image.fromarray(view.saliency.shown.astype(np.float32))
    smooth = shown.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    heat[top:bottom, left:right] = np.asarray(smooth)
    strongest = float(np.abs(view.saliency.shown).max())
    image = Image.fromarray(_tinted(grey * seen, heat, strongest))
    canvas = ImageDraw.Draw(image)
    if view.box is not None:
        _frame(canvas, view.box, scale)
    if strongest > 0:
        x, y = (edge * scale for edge in view.hottest)
        for radius, colour, line in ((9, _INK, 5), (8, _PAPER, 3)):
            canvas.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=line)
    framed = Image.new("RGB", (WIDTH, height + _SCALE_HEIGHT), _PAPER)
    framed.paste(image)
    framed.paste(_scale_image(strongest, has_less=bool((view.saliency.shown < 0).any())), (0, height))
    return framed


def bars_image(splits: Sequence[CategorySplit], width: int) -> Image.Image:
    """A stacked bar for each category: the branches' terms, which add up to the score."""
    letters, small = _letters(_TEXT), _letters(_SMALL)
    room = width - _NAMES - _SCORES
    head = round(_TEXT * 2)
    image = Image.new("RGB", (width, head + _ROW * len(splits) + round(_SMALL * 2)), _PAPER)
    canvas = ImageDraw.Draw(image)
    x = float(_NAMES)
    for branch, colour in BRANCH_COLOURS.items():
        canvas.rectangle([x, 6, x + 16, 22], fill=colour)
        canvas.text((x + 24, 14), branch, font=letters, fill=_INK, anchor="lm")
        x += 24 + letters.getlength(branch) + 30
    floor = head + _ROW * len(splits)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _NAMES + tick * room
        canvas.line([x, head, x, floor], fill=_LINE)
        canvas.text((x, floor + _SMALL), f"{tick:g}", font=small, fill=_SOFT, anchor="mm")
    for place, row in enumerate(splits):
        top = head + place * _ROW + 8
        middle = top + 12
        name = one_line(row.name, _NAMES - 16, letters)
        canvas.text((_NAMES - 12, middle), name, font=letters, fill=_INK, anchor="rm")
        x = float(_NAMES)
        for part in row.parts:
            end = x + part.adds * room
            colour = BRANCH_COLOURS[part.branch]
            if end - x >= _SLIVER:
                canvas.rectangle([x, top, end, top + 24], fill=colour)
            figure = f"{part.adds:.2f}"
            if small.getlength(figure) + 6 < end - x:
                canvas.text(((x + end) / 2, middle), figure, font=small, fill=_ink_on(colour), anchor="mm")
            x = end
        canvas.text((x + 8, middle), f"{row.score:.3f}", font=letters, fill=_INK, anchor="lm")
        about = one_line("; ".join(map(told, row.parts)), room + _SCORES, small)
        canvas.text((_NAMES, top + 35), about, font=small, fill=_SOFT, anchor="lm")
    return image


def told(part: Part) -> str:
    """One branch's part in a few words."""
    return f"{part.branch} {part.says:.3f} × {part.share:.0%}, without it {part.without:.3f}"


def sheet_image(sheet: Sheet, photo: Pixels) -> Image.Image:
    """All of an explanation on one sheet; ``photo`` as of ``view_image``."""
    blocks = [_paragraphs([(sheet.photo, _TITLE, _INK), (sheet.lead, _TEXT, _SOFT)], _SHEET - 2 * _MARGIN)]
    columns = [_column(view, photo, sheet.size) for view in sheet.views]
    if columns:
        beside = Image.new("RGB", (_SHEET - 2 * _MARGIN, max(column.height for column in columns)), _PAPER)
        for place, column in enumerate(columns):
            beside.paste(column, (place * (WIDTH + _GAP), 0))
        blocks.append(beside)
    explained = [("What each branch added", _TITLE, _INK), (sheet.weighed, _SMALL, _SOFT)]
    blocks.append(_paragraphs(explained, _SHEET - 2 * _MARGIN))
    blocks.append(bars_image(sheet.splits, _SHEET - 2 * _MARGIN))
    if sheet.notes:
        blocks.append(_paragraphs([(note, _SMALL, _SOFT) for note in sheet.notes], _SHEET - 2 * _MARGIN))
    return _stacked(blocks, _SHEET, margin=_MARGIN, gap=24)


def _column(view: View, photo: Pixels, size: tuple[int, int]) -> Image.Image:
    """One view: its title, its picture and its sentences."""
    title = _paragraphs([(view.heading, _TITLE, _INK)], WIDTH)
    said = _paragraphs([(sentence, _SMALL, _SOFT) for sentence in view.sentences], WIDTH)
    return _stacked([title, view_image(photo, view, size), said], WIDTH, margin=0, gap=8)


def _stacked(blocks: Sequence[Image.Image], width: int, *, margin: int, gap: int) -> Image.Image:
    height = 2 * margin + sum(block.height for block in blocks) + gap * (len(blocks) - 1)
    image = Image.new("RGB", (width, height), _PAPER)
    y = margin
    for block in blocks:
        image.paste(block, (margin, y))
        y += block.height + gap
    return image


def _paragraphs(texts: Sequence[tuple[str, int, Colour]], width: int) -> Image.Image:
    """Paragraphs of a text, the height of its letters and its colour, broken into lines."""
    lines = [
        (line, height, colour) for text, height, colour in texts for line in _wrapped(text, width, _letters(height))
    ]
    image = Image.new("RGB", (width, max(1, round(sum(height * _STEP for _, height, _ in lines)))), _PAPER)
    canvas = ImageDraw.Draw(image)
    y = 0.0
    for line, height, colour in lines:
        canvas.text((0, y + height * _STEP / 2), line, font=_letters(height), fill=colour, anchor="lm")
        y += height * _STEP
    return image


def _wrapped(text: str, room: float, letters: ImageFont.FreeTypeFont) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]}{WORDS}{word}" if lines else word
        if lines and letters.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(one_line(word, room, letters))
    return lines


def _tinted(grey: npt.NDArray[np.float64], heat: Map, strongest: float) -> Pixels:
    """Grey [H, W] under a colour that is as opaque as the heat is strong: UINT8 [H, W, 3]."""
    opacity = np.zeros_like(heat) if strongest <= 0 else _STRONGEST * np.clip(np.abs(heat) / strongest, 0.0, 1.0)
    colour = np.where((heat > 0)[..., None], np.array(_MORE, np.float64), np.array(_LESS, np.float64))
    mixed = grey[..., None] * (1 - opacity[..., None]) + colour * opacity[..., None]
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _scale_image(strongest: float, *, has_less: bool) -> Image.Image:
    """What the colours mean, in units of the score."""
    image = Image.new("RGB", (WIDTH, _SCALE_HEIGHT), _PAPER)
    if strongest <= 0:
        return image
    canvas, letters = ImageDraw.Draw(image), _letters(_SMALL)
    wide, high = 200, 14
    lowest = -strongest if has_less else 0.0
    heat = np.tile(np.linspace(lowest, strongest, wide), (high, 1))
    before = f"{lowest:.3f}" if has_less else "0"
    about = "score lost where hidden" + (", blue: gained" if has_less else "")
    x, middle = letters.getlength(before) + 8, 24
    canvas.text((0, middle), before, font=letters, fill=_SOFT, anchor="lm")
    image.paste(Image.fromarray(_tinted(np.full(heat.shape, _GROUND), heat, strongest)), (round(x), middle - high // 2))
    canvas.text((x + wide + 8, middle), f"{strongest:.3f}", font=letters, fill=_SOFT, anchor="lm")
    about = one_line(about, WIDTH - x - wide - 80, letters)
    canvas.text((x + wide + 72, middle), about, font=letters, fill=_SOFT, anchor="lm")
    return image


def _frame(canvas: ImageDraw.ImageDraw, box: Box, scale: float) -> None:
    left, top = round(box.x1 * scale), round(box.y1 * scale)
    right, bottom = max(left, round(box.x2 * scale)), max(top, round(box.y2 * scale))
    canvas.rectangle([left - 1, top - 1, right + 1, bottom + 1], outline=_INK, width=5)
    canvas.rectangle([left, top, right, bottom], outline=_PAPER, width=3)


def _ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour: by its luma (ITU-R BT.601)."""
    return _INK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 else _PAPER


@lru_cache(maxsize=8)
def _letters(height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, height)
