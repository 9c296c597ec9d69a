"""The EXIF orientation: read it from bytes that nobody vouches for, and turn pixels by it.

Only one number of EXIF matters here, so a full reader, with all that hostile files can do to one, is not needed.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

UPRIGHT = 1
"""Orientation of a picture that is stored as it is shown."""

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 512


def read_orientation(exif: bytes | None) -> int:
    r"""Orientation 1 to 8 from an EXIF block (with or without the leading ``Exif\0\0``).

    Whatever is wrong with the block, a missing tag or a value out of range gives 1: metadata never costs an answer.

    >>> read_orientation(b"not EXIF at all")
    1
    """
    if exif is None:
        return UPRIGHT
    tiff = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}L", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(min(entries, _MAX_ENTRIES)):
            tag, kind, count = struct.unpack_from(f"{order}HHL", tiff, directory + 2 + 12 * index)
            if tag == _ORIENTATION_TAG:
                if count != 1 or kind not in {_SHORT, _LONG}:
                    return UPRIGHT
                (value,) = struct.unpack_from(
                    f"{order}{'H' if kind == _SHORT else 'L'}", tiff, directory + 10 + 12 * index
                )
                return checked(value)
    except struct.error:  # an offset that points past the end
        return UPRIGHT
    return UPRIGHT


def checked(value: object) -> int:
    """The value if it is an orientation, else 1."""
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """True if width and height change places when the picture is turned upright."""
    return orientation >= 5


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels [H, W, 3] to what a viewer shows; exact, for orientations 1 to 8 (TIFF 6.0, tag 274)."""
    if swaps_sides(orientation):
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8).reshape(pixels.shape[1], pixels.shape[0], 3)
    # After the transposition that 5 to 8 share, what is left is a flip: across (1), down (0) or both (-1).
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if flip is None else np.asarray(cv2.flip(pixels, flip), dtype=np.uint8).reshape(pixels.shape)
