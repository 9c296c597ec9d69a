"""What fusion's steps hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False, slots=True)
class Objects:
    """The detector's N boxes of one picture."""

    boxes: Floats
    """[N, 4] x1, y1, x2, y2."""
    scores: Floats
    """[N] in [0, 1]."""
    classes: Integers
    """[N] COCO categories, 0 to 79."""

    def __post_init__(self) -> None:
        """Raises ValueError if the three do not fit together."""
        count = len(self.scores)
        shapes = (self.boxes.shape, self.scores.shape, self.classes.shape)
        if shapes != ((count, 4), (count,), (count,)):
            raise ValueError(f"objects: expected shapes (N, 4), (N,), (N,), got {shapes}")

    def __len__(self) -> int:
        return len(self.scores)

    def ordered(self, order: Integers) -> Objects:
        """The boxes of the given indices, in that order."""
        return Objects(self.boxes[order], self.scores[order], self.classes[order])
