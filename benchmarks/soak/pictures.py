"""What the soak shows: good pictures in several sizes and formats, and some that must be refused."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pictures import pictures_in, write_pictures

ENROLLED = "astronaut.jpg"
"""The sample picture whose face is enrolled and forgotten."""
_FORMATS = ("png", "webp", "tiff", "bmp")
_CONVERTED = "small.jpg"
"""The sample picture that is sent in the other formats too: the decoders differ."""
_FORGED_SIDE = 30_000


def good_pictures(chosen: Path | None, samples: Sequence[Path], folder: Path) -> list[Path]:
    """The good ones: those of a chosen folder, or else the samples, one of them in every format.

    Args:
        chosen: Somebody's folder; None for the samples.
        samples: What ``write_samples`` gave.
        folder: Where further formats are written to; made where it is missing.

    Raises:
        SetupError: The chosen folder holds no pictures.
    """
    if chosen is not None:
        return pictures_in(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    written = list(samples)
    (source,) = (path for path in samples if path.name == _CONVERTED)
    with Image.open(source) as opened:
        for kind in _FORMATS:
            file = folder / f"{source.stem}.{kind}"
            opened.save(file)
            written.append(file)
    return written


def write_samples(folder: Path) -> list[Path]:
    """Write the sample pictures into ``folder``. Raises SetupError if the photos are not installed."""
    return write_pictures(folder)


def bad_pictures(folder: Path) -> list[Path]:
    """Write what is no good picture into ``folder``: each has to be refused with INVALID_ARGUMENT."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = random.Random(7).randbytes(120 * 160 * 3)  # noqa: S311 - no secret
    picture = Image.fromarray(np.frombuffer(noise, dtype=np.uint8).reshape(120, 160, 3))
    whole = _encoded(picture, "JPEG")
    contents = {
        "nothing": b"",
        "noise": noise[:5000],
        "text": b"<html><body>404 Not Found</body></html>",
        "cut.jpg": whole[: len(whole) // 2],
        "animation.gif": _encoded(picture, "GIF"),
        "forged.png": _forged(_encoded(picture, "PNG")),
    }
    written = []
    for name, content in contents.items():
        file = folder / name
        file.write_bytes(content)
        written.append(file)
    return written


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _forged(png: bytes) -> bytes:
    """The PNG, with a header that promises 900 megapixels."""
    begin = png.index(b"IHDR")
    header = b"IHDR" + struct.pack(">LL", _FORGED_SIDE, _FORGED_SIDE) + png[begin + 12 : begin + 17]
    return png[:begin] + header + struct.pack(">L", zlib.crc32(header)) + png[begin + 21 :]
