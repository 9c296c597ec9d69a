"""The pictures of one request, as the entity recognizer gets them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trident.contract import CANVAS_SIDE, DETAIL_SIDE
from trident.errors import InvalidInput
from trident.geometry import fitted_size

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of one request, as ``preprocess`` makes them."""

    canvas: Pixels
    """RGB UINT8 ``[N, CANVAS_SIDE, CANVAS_SIDE, 3]``."""
    detail: Pixels
    """RGB UINT8 ``[N, H, W, 3]``, each picture at the top left of its item."""
    sizes: npt.NDArray[np.int32]
    """Width and height of the pictures as a viewer shows them, ``[N, 2]``."""

    def __post_init__(self) -> None:
        count = len(self.sizes)
        if self.sizes.shape != (count, 2) or (self.sizes < 1).any():
            raise InvalidInput(f"IMAGE_SIZE: expected shape (N, 2) and values above 0, got {self.sizes.tolist()}")
        if self.canvas.shape != (count, CANVAS_SIDE, CANVAS_SIDE, 3):
            raise InvalidInput(
                f"CANVAS_PIXELS: expected shape ({count}, {CANVAS_SIDE}, {CANVAS_SIDE}, 3), got {self.canvas.shape}"
            )
        widths_heights = [self.detail_size(index) for index in range(count)]
        width, height = (max(sides, default=0) for sides in zip(*widths_heights, strict=True)) if count else (0, 0)
        shape = self.detail.shape
        if len(shape) != 4 or shape[0] != count or shape[1] < height or shape[2] < width or shape[3] != 3:
            raise InvalidInput(f"DETAIL_PIXELS: expected shape ({count}, >= {height}, >= {width}, 3), got {shape}")

    def __len__(self) -> int:
        return len(self.sizes)

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of one picture."""
        return int(self.sizes[index, 0]), int(self.sizes[index, 1])

    def canvas_size(self, index: int) -> tuple[int, int]:
        """Width and height that the picture has on its canvas."""
        return fitted_size(*self.size(index), CANVAS_SIDE, enlarge=True)

    def detail_size(self, index: int) -> tuple[int, int]:
        """Width and height that the picture has in ``detail``, without the padding."""
        return fitted_size(*self.size(index), DETAIL_SIDE, enlarge=False)

    def detail_of(self, index: int) -> Pixels:
        """One picture's detail ``[h, w, 3]``, without the padding."""
        width, height = self.detail_size(index)
        return self.detail[index, :height, :width]
