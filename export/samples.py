"""Pictures for the parity check: photos that scikit-image ships, cut to what a component takes, and noise."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from export.sources import Pixels
from trident.contract import MODELS
from trident.geometry import fitted_size

_SEED = 20240229


def photos() -> tuple[npt.NDArray[np.uint8], ...]:
    """RGB photos of different sizes, UINT8 ``[H, W, 3]``: a portrait, a cup of coffee, a cat, a motorcycle."""
    data: Any = import_module("skimage.data")  # slow to import, and not needed when all is up to date
    return (data.astronaut(), data.coffee(), data.chelsea(), data.stereo_motorcycle()[0])


def of_component(component: str) -> Pixels:
    """Photos for a component, as its contract wants them.

    Square inputs as large as the detectors' get the whole picture, top left, the rest black; others the largest centre
    cut of the input's aspect ratio.
    """
    height, width, _ = MODELS[component].input("PIXELS").dims
    whole = component in ("detector", "face_detector", "plate_detector")
    fit = _whole if whole else _centre
    return np.stack([fit(photo, height, width) for photo in photos()])


def noise(component: str) -> Pixels:
    """Two pictures of noise: one over the whole range, one dark and faint."""
    generator = np.random.default_rng(_SEED)
    dims = MODELS[component].input("PIXELS").dims
    loud = generator.integers(0, 256, dims, dtype=np.uint8)
    faint = generator.integers(0, 24, dims, dtype=np.uint8)
    return np.stack([loud, faint])


def _whole(photo: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    fitted_width, fitted_height = fitted_size(photo.shape[1], photo.shape[0], min(height, width), enlarge=True)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[:fitted_height, :fitted_width] = _resized(photo, fitted_height, fitted_width)
    return canvas


def _centre(photo: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    scale = min(photo.shape[0] / height, photo.shape[1] / width)
    cut_height, cut_width = max(1, int(height * scale)), max(1, int(width * scale))
    top, left = (photo.shape[0] - cut_height) // 2, (photo.shape[1] - cut_width) // 2
    return _resized(photo[top : top + cut_height, left : left + cut_width], height, width)


def _resized(photo: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    from PIL import Image  # noqa: PLC0415

    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
