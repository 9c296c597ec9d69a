"""What callers send and should not: broken, odd and hostile pictures, and requests that break the protocol.

Everything is made by code, when it is asked for.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from tritonclient.grpc import service_pb2

from tests import pictures
from trident.contract import ENSEMBLE

Make = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that is refused, and a part of the sentence that says why."""

    make: Make
    says: str


@dataclass(frozen=True, slots=True)
class Served:
    """An odd picture that is served all the same, with its size as a viewer shows it."""

    make: Make
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request that breaks the protocol; code and a part of the message."""

    make: Callable[[bytes], Any]
    """Makes the ``ModelInferRequest`` around a good picture."""
    code: str
    says: str


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
    return pictures.encode(pictures.photo_like(160, 120), "JPEG") + archive.getvalue()


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


def _png_with_spare_data() -> bytes:
    """A hundred megabytes of data behind the pixels of a small picture."""
    return pictures.png(8, 8, 8, 2, [*[bytes(24)] * 8, bytes(100 << 20)])


def _tiff_that_unpacks_to_much() -> bytes:
    data = zlib.compress(bytes(200 << 20), 9)
    return pictures.plain_tiff(
        np.frombuffer(data, np.uint8).reshape(1, -1),
        t256=("L", [16]),
        t257=("L", [16]),
        t259=("H", [8]),
        t279=("L", [len(data)]),
        t278=("L", [16]),
    )


_DAMAGED, _PIXELS = "cut short or damaged", "at most 50 megapixels"

REFUSED: Mapping[str, Refused] = {
    "no bytes": Refused(lambda: b"", "got no bytes"),
    "noise": Refused(partial(_noise, 5000), "JPEG, PNG, WebP, BMP or TIFF"),
    **{
        f"not a picture: {name}": Refused(lambda encoded=encoded: encoded, says)
        for name, (encoded, says) in pictures.NOT_PICTURES.items()
    },
    "XML bomb": Refused(_svg_bomb, "SVG drawing"),
    "GIF": Refused(lambda: pictures.encode(pictures.corners(), "GIF"), "GIF"),
    "GIF bomb": Refused(partial(_gif_bomb, 4), "GIF"),
    **{
        f"JPEG cut at {100 * share:.0f} %": Refused(partial(_cut, "JPEG", share), _DAMAGED)
        for share in (0.1, 0.5, 0.9, 0.99)
    },
    **{f"{kind} cut": Refused(partial(_cut, kind, 0.5), _DAMAGED) for kind in ("PNG", "WEBP", "TIFF", "BMP")},
    "progressive JPEG cut": Refused(partial(_cut, "JPEG", 0.7, progressive=True), _DAMAGED),
    "JPEG cut, end marker glued on": Refused(lambda: _cut("JPEG", 0.7) + b"\xff\xd9", "premature end"),
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
        f"{kind} without width": Refused(partial(_zero_sized, kind), "IMAGE") for kind in ("JPEG", "PNG", "BMP", "TIFF")
    },
    "PNG bomb": Refused(partial(_solid_bomb, "PNG", 20000), _PIXELS),
    "TIFF bomb": Refused(partial(_solid_bomb, "TIFF", 20000), _PIXELS),
    "JPEG bomb": Refused(lambda: pictures.flat_jpeg(8000, 8000, 2, 2), _PIXELS),
    "JPEG of a thousand scans": Refused(partial(pictures.progressive_with_scans, 1000), "more than 64 scans"),
    "JPEG of 12 bits": Refused(_twelve_bits, "8 bits a sample"),
    "TIFF of floats": Refused(
        lambda: pictures.plain_tiff(np.ones((4, 4), np.float32), sample_format=3), "whose range nobody states"
    ),
    "TIFF whose tile is a text": Refused(pictures.tiff_whose_tile_is_a_text, "no whole numbers"),
    "TIFF of a million strips": Refused(partial(pictures.tiff_of_strips, 1 << 20), "has 1048576 values"),
    "TIFF in LAB": Refused(lambda: pictures.encode(Image.new("LAB", (4, 4)), "TIFF"), "LAB"),
    "65 MiB of a JPEG": Refused(
        lambda: pictures.encode(pictures.corners(), "JPEG") + bytes(65 << 20), "expected at most 64 MiB"
    ),
}
"""Each has to be answered INVALID_ARGUMENT."""

_CORNERS = (160, 120)


def _photo() -> Any:
    return pictures.photo_like(*_CORNERS)


SERVED: Mapping[str, Served] = {
    "CMYK JPEG, Adobe's": Served(lambda: pictures.cmyk_jpeg(_photo(), adobe=True), *_CORNERS),
    "CMYK JPEG": Served(lambda: pictures.cmyk_jpeg(_photo(), adobe=False), *_CORNERS),
    "16-bit grey PNG": Served(lambda: pictures.grey16_png(np.full((40, 50), 30000, np.uint16)), 50, 40),
    "16-bit RGB PNG": Served(lambda: pictures.rgb16_png(np.full((40, 50, 3), 30000, np.uint16)), 50, 40),
    "palette PNG": Served(lambda: pictures.encode(Image.fromarray(_photo()).quantize(16)), *_CORNERS),
    "PNG with alpha": Served(lambda: pictures.encode(Image.new("RGBA", (50, 40), (9, 99, 199, 0))), 50, 40),
    "1-bit PNG": Served(lambda: pictures.encode(Image.new("1", (50, 40))), 50, 40),
    **{
        f"EXIF orientation {orientation}": Served(partial(pictures.oriented, _photo(), orientation), *_CORNERS)
        for orientation in range(1, 9)
    },
    **{
        f"hostile EXIF: {name}": Served(lambda block=block: pictures.encode(_photo(), "JPEG", exif=block), *_CORNERS)
        for name, block in pictures.HOSTILE_EXIF.items()
        if "orientation" not in name  # what they say of the orientation has tests of its own
    },
    "one pixel": Served(lambda: pictures.encode(Image.new("RGB", (1, 1), (200, 10, 10))), 1, 1),
    "1 x 10000": Served(lambda: pictures.encode(Image.new("RGB", (1, 10000))), 1, 10000),
    "10000 x 1": Served(lambda: pictures.encode(Image.new("RGB", (10000, 1)), "JPEG"), 10000, 1),
    "animated WebP": Served(lambda: pictures.animated_webp([pictures.corners(), pictures.ramp(160, 120)]), *_CORNERS),
    "animated PNG": Served(lambda: pictures.animated_png([pictures.corners(), pictures.ramp(160, 120)]), *_CORNERS),
    "TIFF of two pages": Served(lambda: pictures.pages_tiff([pictures.corners(), pictures.corners()]), *_CORNERS),
    "JPEG that is a ZIP": Served(_polyglot, *_CORNERS),
    "trailing bytes": Served(lambda: pictures.encode(_photo()) + _noise(5000), *_CORNERS),
    "PNG with a text bomb": Served(pictures.png_with_text_bomb, *_CORNERS),
    "PNG with a profile bomb": Served(pictures.png_with_profile_bomb, *_CORNERS),
}
"""Each has to be answered, with the size that a viewer shows."""


def request(picture: bytes, **changes: Any) -> Any:
    """A good ``ModelInferRequest``, changed.

    Args:
        picture: An encoded picture.
        changes: ``model``, ``version``; ``name``, ``datatype``, ``shape`` of the one input; ``raw``, the list of its
            contents; ``outputs``, names.
    """
    made = service_pb2.ModelInferRequest(
        model_name=changes.get("model", ENSEMBLE), model_version=changes.get("version", "")
    )
    made.inputs.add(
        name=changes.get("name", "IMAGE"),
        datatype=changes.get("datatype", "BYTES"),
        shape=changes.get("shape", [1, 1]),
    )
    made.raw_input_contents.extend(changes.get("raw", [element(picture)]))
    for name in changes.get("outputs", ["RESULT"]):
        made.outputs.add(name=name)
    return made


def element(data: bytes) -> bytes:
    """One element of a BYTES tensor on the wire."""
    return struct.pack("<I", len(data)) + data


def _without_input(picture: bytes) -> Any:
    made = request(picture)
    del made.inputs[:], made.raw_input_contents[:]
    return made


def _input_twice(picture: bytes) -> Any:
    made = request(picture, raw=[element(picture)] * 2)
    made.inputs.add().CopyFrom(made.inputs[0])
    return made


def _spare_input(picture: bytes) -> Any:
    made = request(picture, raw=[element(picture)] * 2)
    made.inputs.add(name="OTHER", datatype="BYTES", shape=[1, 1])
    return made


def _both_kinds_of_contents(picture: bytes) -> Any:
    made = request(picture)
    made.inputs[0].contents.bytes_contents.append(picture)
    return made


def _with_parameter(picture: bytes, name: str) -> Any:
    made = request(picture)
    made.parameters[name].bool_param = True
    return made


def _from_shared_memory(picture: bytes) -> Any:
    made = request(picture, raw=[])
    made.inputs[0].parameters["shared_memory_region"].string_param = "somebody's"
    made.inputs[0].parameters["shared_memory_byte_size"].int64_param = 64
    return made


_INVALID, _NOT_FOUND = "INVALID_ARGUMENT", "NOT_FOUND"

BAD_REQUESTS: Mapping[str, BadRequest] = {
    "wrong dtype": BadRequest(partial(request, datatype="UINT8", raw=[b"\0"]), _INVALID, "data-type"),
    "unknown dtype": BadRequest(partial(request, datatype="PICTURE"), _INVALID, ""),
    "no batch dimension": BadRequest(partial(request, shape=[1]), _INVALID, "shape"),
    "too many dimensions": BadRequest(partial(request, shape=[1, 1, 1]), _INVALID, "shape"),
    "two elements where one is told": BadRequest(lambda p: request(p, raw=[element(p) * 2]), _INVALID, ""),
    "one element where two are told": BadRequest(partial(request, shape=[2, 1]), _INVALID, ""),
    "empty batch": BadRequest(partial(request, shape=[0, 1], raw=[b""]), _INVALID, ""),
    "batch of 9": BadRequest(lambda p: request(p, shape=[9, 1], raw=[element(p) * 9]), _INVALID, "batch-size"),
    "negative batch": BadRequest(partial(request, shape=[-1, 1]), _INVALID, ""),
    "negative dimension": BadRequest(partial(request, shape=[1, -1]), _INVALID, ""),
    "enormous dimensions": BadRequest(partial(request, shape=[1 << 40, 1 << 40]), _INVALID, ""),
    "wrong name": BadRequest(partial(request, name="PHOTO"), _INVALID, "PHOTO"),
    "no input": BadRequest(_without_input, _INVALID, "expected"),
    "an input twice": BadRequest(_input_twice, _INVALID, ""),
    "an input too many": BadRequest(_spare_input, _INVALID, ""),
    "no contents": BadRequest(partial(request, raw=[]), _INVALID, ""),
    "contents twice": BadRequest(_both_kinds_of_contents, _INVALID, ""),
    "a length past the end": BadRequest(partial(request, raw=[struct.pack("<I", 1 << 30) + b"x"]), _INVALID, ""),
    "half a length": BadRequest(partial(request, raw=[b"\1\0"]), _INVALID, ""),
    "unknown model": BadRequest(partial(request, model="tridnet"), _NOT_FOUND, "tridnet"),
    "unknown version": BadRequest(partial(request, version="77"), _NOT_FOUND, "77"),
    "a version that is no number": BadRequest(partial(request, version="latest"), _INVALID, "latest"),
    "unknown output": BadRequest(partial(request, outputs=["ANSWER"]), _INVALID, "ANSWER"),
    "shared memory that is not there": BadRequest(_from_shared_memory, _NOT_FOUND, "somebody's"),
    **{
        f"reserved parameter {name}": BadRequest(partial(_with_parameter, name=name), _INVALID, "")
        for name in ("sequence_id", "priority", "timeout")
    },
}
"""Each has to be answered with its code. Parameters are given a type that they do not have."""
