"""Pictures that callers send and should not, broken and hostile ones, and odd ones that are served all the same.

Everything is made by code, when it is asked for.
"""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests import pictures

Make = Callable[[], bytes]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that is refused, and a part of the sentence that says why."""

    make: Make
    says: str

    @property
    def by_header(self) -> bool:
        """Whether its beginning tells, so that neither its pixels nor its end need be there."""
        return self.says not in (_DAMAGED, _CUT, _LONG)


@dataclass(frozen=True, slots=True)
class Served:
    """An odd picture that is served all the same."""

    make: Make
    shows: Callable[[], Pixels]
    """Its pixels as a viewer shows them, RGB [H, W, 3]."""
    lossy: bool = False
    """Its coding does not keep every one of them."""


def _noise(length: int) -> bytes:
    return random.Random(7).randbytes(length)


def _solid_bomb(kind: str, side: int) -> bytes:
    """A real file of one colour, ``side`` pixels each way and a bit each, that packs to little."""
    return pictures.encode(Image.new("1", (side, side)), kind, **({"compression": "group4"} if kind == "TIFF" else {}))


def _gif_bomb(frames: int) -> bytes:
    first, *rest = (Image.new("P", (2000, 2000), index) for index in range(frames))
    return pictures.encode(first, "GIF", save_all=True, append_images=rest)


def _svg_bomb() -> bytes:
    """Entities that multiply, as XML parsers know them."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x"}">' for n in range(9))
    return f'<?xml version="1.0"?><!DOCTYPE svg [{entities}]><svg>&e8;</svg>'.encode()


def _polyglot() -> bytes:
    """A JPEG that is a ZIP archive as well."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside.txt", "a file inside a picture")
    return pictures.encode(_photo(), "JPEG") + archive.getvalue()


def _zero_sized(kind: str) -> bytes:
    return pictures.forged(kind, 0, 10)


def _twelve_bits() -> bytes:
    encoded = bytearray(pictures.encode(pictures.corners(), "JPEG"))
    encoded[encoded.index(b"\xff\xc0") + 4] = 12
    return bytes(encoded)


def _cut(kind: str, share: float, **options: Any) -> bytes:
    return pictures.cut(pictures.encode(pictures.photo_like(320, 240), kind, **options), share)


def _short_png() -> bytes:
    """Its data end in good order, some rows too early."""
    row = b"\0" + bytes(96)
    return pictures.png_of_filtered_rows(32, 24, 8, 2, row * 12)


_SPARE = 200


def _png_with_spare_data() -> bytes:
    """A hundred megabytes of data behind the pixels of a small picture."""
    return pictures.png(8, 8, 8, 2, [*[bytes([_SPARE] * 24)] * 8, bytes(100 << 20)])


def _tiff_that_unpacks_to_much() -> bytes:
    data = zlib.compress(bytes([_SPARE]) * (200 << 20), 9)
    return pictures.plain_tiff(
        np.frombuffer(data, np.uint8).reshape(1, -1),
        t256=("L", [16]),
        t257=("L", [16]),
        t259=("H", [8]),
        t279=("L", [len(data)]),
        t278=("L", [16]),
    )


_DAMAGED, _CUT, _PIXELS = "cut short or damaged", "premature end", "at most 50 megapixels"
_GIF, _LONG = "got a GIF picture", "expected at most 64 MiB"

REFUSED: Mapping[str, Refused] = {
    "no bytes": Refused(lambda: b"", "got no bytes"),
    "noise": Refused(partial(_noise, 5000), "JPEG, PNG, WebP, BMP or TIFF"),
    **{
        f"not a picture: {name}": Refused(lambda encoded=encoded: encoded, says)
        for name, (encoded, says) in pictures.NOT_PICTURES.items()
    },
    "XML bomb": Refused(_svg_bomb, "SVG drawing"),
    "GIF": Refused(lambda: pictures.encode(pictures.corners(), "GIF"), _GIF),
    "GIF bomb": Refused(partial(_gif_bomb, 4), _GIF),
    "GIF with a forged size": Refused(partial(pictures.forged, "GIF", 65535, 65535), _GIF),
    **{
        f"JPEG cut at {100 * share:.0f} %": Refused(partial(_cut, "JPEG", share), _DAMAGED)
        for share in (0.1, 0.5, 0.9, 0.99)
    },
    **{f"{kind} cut": Refused(partial(_cut, kind, 0.5), _DAMAGED) for kind in ("PNG", "WEBP", "TIFF", "BMP")},
    "progressive JPEG cut": Refused(partial(_cut, "JPEG", 0.7, progressive=True), _DAMAGED),
    "JPEG cut, end marker glued on": Refused(lambda: _cut("JPEG", 0.7) + b"\xff\xd9", _CUT),
    "PNG with rows missing": Refused(_short_png, _DAMAGED),
    **{
        f"{kind} with a forged size": Refused(partial(pictures.forged, kind, 30000, 30000), _PIXELS)
        for kind in pictures.FORMATS[:2] + pictures.FORMATS[3:]
    },
    "WEBP with a forged size": Refused(partial(pictures.forged, "WEBP", 16384, 16384), _PIXELS),
    **{
        f"{kind} with a forged size below the limit": Refused(partial(pictures.forged, kind, 640, 480), _DAMAGED)
        for kind in pictures.FORMATS
    },
    **{
        f"{kind} without width": Refused(partial(_zero_sized, kind), says)
        for kind, says in {
            "JPEG": "expected at least 1 x 1 pixels, got a JPEG of 0 x 10",
            "PNG": "expected at least 1 x 1 pixels, got a PNG of 0 x 10",
            "BMP": "expected a whole BMP",
            "TIFF": "expected a whole TIFF",
        }.items()
    },
    "PNG bomb": Refused(partial(_solid_bomb, "PNG", 20000), _PIXELS),
    "TIFF bomb": Refused(partial(_solid_bomb, "TIFF", 20000), _PIXELS),
    "JPEG bomb": Refused(partial(pictures.flat_progressive_jpeg, 16000, 16000), _PIXELS),
    "WEBP bomb": Refused(partial(pictures.webp_of_one_colour, 16383, 16383), _PIXELS),
    "JPEG of a thousand scans": Refused(partial(pictures.progressive_with_scans, 1000), "more than 64 scans"),
    "JPEG of 12 bits": Refused(_twelve_bits, "8 bits a sample"),
    "TIFF of floats": Refused(
        lambda: pictures.plain_tiff(np.ones((4, 4), np.float32), sample_format=3), "whose range nobody states"
    ),
    "TIFF whose tile is a text": Refused(pictures.tiff_whose_tile_is_a_text, "no whole numbers"),
    "TIFF of a million strips": Refused(partial(pictures.tiff_of_strips, 1 << 20), "has 1048576 values"),
    "TIFF in LAB": Refused(lambda: pictures.encode(Image.new("LAB", (4, 4)), "TIFF"), "got one in LAB"),
    "65 MiB of a JPEG": Refused(lambda: pictures.encode(pictures.corners(), "JPEG") + bytes(65 << 20), _LONG),
}
"""Each has to be answered INVALID_ARGUMENT."""


def _photo() -> Pixels:
    return _pixels(pictures.photo_like(160, 120))


def _grey() -> Pixels:
    return np.repeat(_photo()[..., :1], 3, axis=2)


def _pixels(rgb: Any) -> Pixels:
    return np.asarray(rgb, np.uint8)


def _corners() -> Pixels:
    return _pixels(pictures.corners())


def _line(width: int, height: int) -> Pixels:
    return np.linspace((250, 0, 90), (0, 250, 90), width * height).astype(np.uint8).reshape(height, width, 3)


def _palette() -> Image.Image:
    return Image.fromarray(_photo()).quantize(16)


def _black_and_white() -> Image.Image:
    return Image.fromarray(_photo()[..., 0] > 128)


def _alpha() -> Pixels:
    """From nothing at the left to opaque at the right."""
    return np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))


def _over_white() -> Pixels:
    alpha = _alpha()[..., None] / 255
    return (_photo() * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


SERVED: Mapping[str, Served] = {
    "CMYK JPEG, Adobe's": Served(lambda: pictures.cmyk_jpeg(_photo(), adobe=True), _photo, lossy=True),
    "CMYK JPEG": Served(lambda: pictures.cmyk_jpeg(_photo(), adobe=False), _photo, lossy=True),
    "16-bit grey PNG": Served(lambda: pictures.grey16_png(_photo()[..., 0].astype(np.uint16) * 257), _grey),
    "16-bit RGB PNG": Served(lambda: pictures.rgb16_png(_photo().astype(np.uint16) * 257), _photo),
    "palette PNG": Served(lambda: pictures.encode(_palette()), lambda: _pixels(_palette().convert("RGB"))),
    "PNG with alpha": Served(lambda: pictures.encode(np.dstack([_photo(), _alpha()])), _over_white),
    "1-bit PNG": Served(
        lambda: pictures.encode(_black_and_white()), lambda: _pixels(_black_and_white().convert("RGB"))
    ),
    **{
        f"EXIF orientation {orientation}": Served(
            lambda orientation=orientation: pictures.oriented(_photo(), orientation), _photo, lossy=True
        )
        for orientation in range(1, 9)
    },
    **{
        f"hostile EXIF: {name}": Served(
            lambda block=block: pictures.encode(_photo(), "JPEG", exif=block), _photo, lossy=True
        )
        for name, block in pictures.HOSTILE_EXIF.items()
    },
    "one pixel": Served(lambda: pictures.encode(_line(1, 1)), partial(_line, 1, 1)),
    "1 x 10000": Served(lambda: pictures.encode(_line(1, 10000)), partial(_line, 1, 10000)),
    "10000 x 1": Served(lambda: pictures.encode(_line(10000, 1), "JPEG"), partial(_line, 10000, 1), lossy=True),
    "animated WebP": Served(lambda: pictures.animated_webp([_corners(), pictures.ramp(160, 120)]), _corners),
    "animated PNG": Served(lambda: pictures.animated_png([_corners(), pictures.ramp(160, 120)]), _corners),
    "TIFF of two pages": Served(lambda: pictures.pages_tiff([_corners(), pictures.ramp(160, 120)]), _corners),
    "JPEG that is a ZIP": Served(_polyglot, _photo, lossy=True),
    "trailing bytes": Served(lambda: pictures.encode(_photo()) + _noise(5000), _photo),
    "PNG with a text bomb": Served(pictures.png_with_text_bomb, _corners),
    "PNG with a profile bomb": Served(pictures.png_with_profile_bomb, _corners),
    # What comes after the pixels is not unpacked.
    "PNG with spare data": Served(_png_with_spare_data, lambda: np.full((8, 8, 3), _SPARE, np.uint8)),
    "TIFF that unpacks to much": Served(_tiff_that_unpacks_to_much, lambda: np.full((16, 16, 3), _SPARE, np.uint8)),
}
"""Each has to be answered, as the plain picture that it shows."""
