"""Which parts of a picture a score rests on, without gradients: parts are hidden, and the score is watched.

It tells what a network went by, not whether that was right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from trident.explain.masks import Mask, hiding, occlusion_masks, rise_masks, window_grid

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float64]

Score = Callable[[Pixels], npt.NDArray[np.float64]]
"""Pictures, UINT8 [N, H, W, 3], to the score of each, [N]."""
T = TypeVar("T")
Advance = Callable[[int], None]
"""Is told after each call how many more pictures have been scored."""

CHECKED_SHARE = 0.1
"""Part of the picture that is hidden to check a map: once the hottest, once the coldest."""
_COSTS = 0.1
"""Of a score: what hiding the hottest part has to cost at least."""

_ROUNDING = 1e-6


class Method(StrEnum):
    """How parts are hidden."""

    OCCLUSION = "occlusion"
    RISE = "rise"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a map is made."""

    method: Method
    masks: int
    """Most masked pictures."""
    seed: int = 0
    """Of ``rise``."""
    batch: int = 8
    """Pictures in one call."""

    def count(self, size: tuple[int, int]) -> int:
        """Masked pictures for a map of this height and width."""
        return self.masks if self.method is Method.RISE else math.prod(window_grid(self.masks, size))

    def made(self, size: tuple[int, int], cell: int) -> Iterator[Mask]:
        """The masks for a map of this height and width; ``cell`` is the side of a cell of ``rise``, in pixels."""
        if self.method is Method.RISE:
            return rise_masks(self.masks, size, cell, self.seed)
        return occlusion_masks(self.masks, size)


@dataclass(frozen=True, eq=False, slots=True)
class Saliency:
    """How much a score rests on each pixel."""

    values: Map
    """[H, W], in units of the score: by how much higher it was, on average over the masked pictures, where the pixel
    was visible than where it was hidden. With ``occlusion``, "visible" is the whole picture."""
    noise: Map
    """[H, W]: standard error of ``values``, from the choice of random masks; 0 with ``occlusion``, which has none."""
    base: float
    """The score of the whole picture."""
    mean: float
    """Mean score of the masked pictures."""
    count: int
    """How many there were."""
    hottest_hidden: float
    """The score with the hottest tenth hidden: far below ``base`` if the map is true to the network."""
    coldest_hidden: float
    """The score with the coldest tenth hidden."""

    @property
    def hottest(self) -> tuple[float, float]:
        """The middle of the patch of the highest value, of the first if there are several: x and y, pixels of the map.

        Windows leave all pixels of a patch with one value, whose first is a corner of it.
        """
        row, column = divmod(int(self.values.argmax()), self.values.shape[1])
        _, patches = cv2.connectedComponents((self.values == self.values[row, column]).astype(np.uint8))
        rows_N, columns_N = np.nonzero(patches == patches[row, column])
        return float(columns_N.mean()) + 0.5, float(rows_N.mean()) + 0.5

    @property
    def checked(self) -> bool:
        """Whether the network goes by what is hot: hiding it costs a tenth of the score, the cold less."""
        return self.hottest_hidden <= (1 - _COSTS) * min(self.base, self.coldest_hidden)

    @property
    def shown(self) -> Map:
        """The values, 0 where they are within two standard errors of 0."""
        return np.where(np.abs(self.values) > 2 * self.noise, self.values, 0.0)


class _Sums:
    """What the masked pictures add up to, pixel by pixel: no mask is kept."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.count = 0
        self.score = self.score_2 = 0.0
        self.mask, self.mask_2, self.mask_score = np.zeros(size), np.zeros(size), np.zeros(size)

    def add(self, mask: Mask, score: float) -> None:
        """One masked picture and its score."""
        self.count += 1
        self.score += score
        self.score_2 += score * score
        self.mask += mask
        self.mask_2 += np.square(mask)
        self.mask_score += mask * score

    def hidden(self) -> Map:
        """Mean score where a pixel was hidden, the masks being weights; NaN where it never was."""
        weight = self.count - self.mask
        return _ratio(self.score - self.mask_score, weight)

    def visible(self) -> Map:
        """Mean score where a pixel was visible; NaN where it never was."""
        return _ratio(self.mask_score, self.mask)

    def noise(self) -> Map:
        """Standard error of ``visible() - hidden()``, if the scores had nothing to do with the pixel.

        The difference is ``Σ aᵢ sᵢ`` with ``aᵢ = Mᵢ / ΣM − (1 − Mᵢ) / Σ(1 − M)``, and its variance ``σ² Σ aᵢ²``.
        """
        mean = self.score / self.count
        variance = max(0.0, self.score_2 / self.count - mean * mean)
        on, off = self.mask, self.count - self.mask
        squares_off = self.count - 2 * self.mask + self.mask_2
        both = _ratio(self.mask - self.mask_2, on * off)
        squares = _ratio(self.mask_2, on**2) + _ratio(squares_off, off**2) - 2 * both
        return np.asarray(np.sqrt(variance * np.maximum(squares, 0.0)))


def _ratio(above: Map, below: Map) -> Map:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > _ROUNDING)


def saliency(
    score: Score, pixels: Pixels, size: tuple[int, int], plan: Plan, *, cell: int, advance: Advance = lambda _: None
) -> Saliency:
    """Find out which pixels a score rests on.

    What a mask hides is filled with the picture's mean colour. Scored are the whole picture, the masked ones, and two
    that check the map: its hottest tenth hidden, and its coldest.

    Args:
        score: The network, and which of its answers is meant.
        pixels: One picture as the network takes it, [H, W, 3].
        size: Height and width of the part at the top left that holds the picture; the rest is never touched.
        plan: How many masks of which sort.
        cell: Side of a cell of ``rise``, in pixels.
        advance: See ``Advance``. In all, ``plan.count(size) + 3`` pictures are scored.
    """
    height, width = size
    fill = pixels[:height, :width].reshape(-1, 3).mean(axis=0).astype(np.float32)
    (base,) = _scored(score, [pixels], plan.batch, advance)
    sums = _Sums(size)
    for group in _batches(plan.made(size, cell), plan.batch):
        scores = _scored(score, [masked(pixels, mask, fill) for mask in group], plan.batch, advance)
        for mask, one in zip(group, scores, strict=True):
            sums.add(mask, one)
    if plan.method is Method.RISE:
        values, noise = sums.visible() - sums.hidden(), sums.noise()
    else:
        values, noise = base - sums.hidden(), np.zeros(size)
    # Where all of few random masks agree there is nothing to compare; masks are FP32, so a difference may be rounding.
    values, noise = np.nan_to_num(values, nan=0.0), np.nan_to_num(noise, nan=0.0)
    values[np.abs(values) < _ROUNDING] = 0.0
    checks = [masked(pixels, hiding(values, CHECKED_SHARE, hottest=hottest), fill) for hottest in (True, False)]
    hottest_hidden, coldest_hidden = _scored(score, checks, plan.batch, advance)
    return Saliency(values, noise, base, sums.score / sums.count, sums.count, hottest_hidden, coldest_hidden)


def masked(pixels: Pixels, mask: Mask, fill: npt.NDArray[np.float32]) -> Pixels:
    """The picture with the top left part that ``mask`` covers faded to the colour ``fill`` [3] where the mask is 0."""
    height, width = mask.shape
    picture = pixels.copy()
    visible = pixels[:height, :width].astype(np.float32)
    picture[:height, :width] = np.rint(fill + (visible - fill) * mask[..., None]).astype(np.uint8)
    return picture


def _scored(score: Score, pictures: Sequence[Pixels], batch: int, advance: Advance) -> list[float]:
    scores: list[float] = []
    for group in _batches(pictures, batch):
        scores += score(np.stack(group)).tolist()
        advance(len(group))
    return scores


def _batches(items: Iterable[T], batch: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, batch)):
        yield group
