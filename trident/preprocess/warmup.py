"""The picture that Triton warms ``preprocess`` up with, drawn by code.

``python -m trident.preprocess.warmup FILE`` writes it anew.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt


def draw_photo(width: int, height: int, *, grain: float = 6.0, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A street scene of sorts, UINT8 RGB [height, width, 3]: sky, road, a car with a plate, and a sensor's grain.

    It compresses about as well as a photo of that size, which plain noise and plain surfaces do not.

    Args:
        width: In pixels, at least 1.
        height: In pixels, at least 1.
        grain: Standard deviation of the noise, in grey levels.
        seed: Of the noise.
    """
    down = np.linspace(0.0, 1.0, height)[:, None, None]
    sky, road = np.array([120.0, 170.0, 230.0]), np.array([90.0, 88.0, 84.0])
    picture = np.broadcast_to(sky + (road - sky) * (down > 0.6) + 30 * down, (height, width, 3)).copy()

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * width), round(y * height)

    cv2.rectangle(picture, at(0.25, 0.45), at(0.75, 0.8), (170, 30, 40), -1)
    cv2.rectangle(picture, at(0.35, 0.3), at(0.65, 0.47), (60, 80, 90), -1)
    for x in (0.33, 0.67):
        cv2.circle(picture, at(x, 0.8), max(1, width // 16), (25, 25, 25), -1)
    cv2.rectangle(picture, at(0.43, 0.66), at(0.57, 0.74), (240, 240, 240), -1)
    cv2.putText(picture, "TR 2024", at(0.435, 0.72), cv2.FONT_HERSHEY_SIMPLEX, width / 750, (20, 20, 20), 2)
    picture += np.random.default_rng(seed).normal(0.0, grain, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def encode_jpeg(pixels: npt.NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encode RGB [H, W, 3] as a JPEG."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def bytes_element(value: bytes) -> bytes:
    """One element of a BYTES tensor as Triton serialises it: 4 bytes of length, little endian, then the value."""
    return struct.pack("<I", len(value)) + value


def main() -> None:
    """Write the warm-up data file that the first argument names."""
    Path(sys.argv[1]).write_bytes(bytes_element(encode_jpeg(draw_photo(640, 480), quality=75)))


if __name__ == "__main__":
    main()
