"""What fuzzing starts from: small inputs of every kind, made by code, and the words that its mutations are offered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import pictures
from tests.bad_inputs import REFUSED, SERVED
from tests.fuzz.tensors import bytes_of

LARGEST = 8192
"""Bytes of an input. Larger ones reach no other code and cost time."""

_COSTLY = ("bomb", "million", "MiB", "10000", "thousand", "unpacks to much", "spare data")
"""In the names of those whose making takes long or which are far too large."""


def seeds(target: str) -> dict[str, bytes]:
    """Inputs by what they are; none larger than ``LARGEST``."""
    return {name: data for name, data in _SEEDS[target]() if len(data) <= LARGEST}


def write_seeds(target: str, folder: Path) -> None:
    """One file an input."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(target).values()):
        (folder / f"{number:04d}").write_bytes(data)


def write_words(target: str, file: Path) -> None:
    """The target's words in libFuzzer's form."""
    lines = ('"' + "".join(f"\\x{byte:02X}" for byte in word) + '"\n' for word in _WORDS[target])
    file.write_text("".join(lines), encoding="ascii")


def _pictures() -> Iterator[tuple[str, bytes]]:
    for kind, corpus in (("refused", REFUSED), ("served", SERVED)):
        for name, one in corpus.items():
            if not any(word in name for word in _COSTLY):
                yield f"{kind}: {name}", one.make()
    small, odd = pictures.corners(40, 30), pictures.photo_like(23, 17)
    for name, pixels in (("plain", small), ("noisy", odd)):
        for kind in pictures.FORMATS:
            yield f"{kind}, {name}", pictures.encode(pixels, kind)
        yield f"lossy WebP, {name}", pictures.encode(pixels, "WEBP", lossless=False, exif=pictures.exif(6))
        yield f"progressive JPEG, {name}", pictures.encode(pixels, "JPEG", progressive=True, quality=60)
        yield f"subsampled JPEG, {name}", pictures.encode(pixels, "JPEG", subsampling=2, quality=60)
        for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"):
            yield f"TIFF {compression}, {name}", pictures.encode(pixels, "TIFF", compression=compression)
        yield f"TIFF in strips, {name}", pictures.strips_tiff(pixels, 7)
        yield f"TIFF in tiles, {name}", pictures.tiles_tiff(pixels, 16)
        yield f"TIFF in planes, {name}", pictures.planes_tiff(pixels)
        tiles_as_well = {"t322": ("L", [16]), "t323": ("L", [16])}
        yield f"TIFF in strips that speaks of tiles, {name}", pictures.plain_tiff(pixels, **tiles_as_well)
        yield f"BigTIFF, {name}", pictures.encode(pixels, "TIFF", big_tiff=True)
        yield f"TIFF, most significant first, {name}", pictures.plain_tiff(pixels, "MM")
    grey16 = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50
    yield "16-bit TIFF", pictures.plain_tiff(grey16)
    yield "16-bit PNG", pictures.grey16_png(grey16)
    yield "interlaced PNG", pictures.png_of_filtered_rows(40, 30, 8, 2, pictures.adam7_rows(small), interlaced=True)
    yield "CMYK JPEG", pictures.cmyk_jpeg(small, adobe=False)
    yield "CMYK TIFF", pictures.encode(Image.new("CMYK", (20, 10), (10, 200, 30, 40)), "TIFF")
    palette = Image.fromarray(small).quantize(4)
    for kind in ("PNG", "BMP", "TIFF"):
        yield f"palette {kind}", pictures.encode(palette, kind)
        yield f"1-bit {kind}", pictures.encode(Image.new("1", (20, 10), 1), kind)
    yield "palette with a colour that is transparent", pictures.encode(palette, "PNG", transparency=1)
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"alpha {kind}", pictures.encode(Image.new("RGBA", (20, 10), (9, 99, 199, 77)), kind)
    for orientation in range(1, 9):
        yield f"orientation {orientation}", pictures.oriented(odd, orientation, "PNG")
    yield "animated WebP", pictures.animated_webp([small, small[::-1]])
    yield "animated PNG", pictures.animated_png([small, small[::-1]])


def _branch_answers() -> Iterator[tuple[str, bytes]]:
    place = [50.0, 60.0, 300.0, 400.0, 0.0, 0.0, 640.0, 480.0, 200.0, 100.0, 260.0, 220.0]
    whole: dict[str, Any] = {
        "probabilities": [0.6, 0.001, 0.0],
        "scores": [0.9, 0.4, 0.04],
        "places": place,
        "classes": [0, 2, 79],
    }
    entities = json.dumps([face(0.9, [90, 90, 130, 140]), plate(0.8, [210, 150, 250, 170])]).encode()
    yield "nothing found", bytes_of()
    yield "no pictures", bytes_of(pictures=0)
    yield "everything", bytes_of(boxes=3, entities=entities, **whole)
    yield "two pictures", bytes_of(pictures=2, boxes=2, entities=entities, **whole)
    yield "as many boxes as can be", bytes_of(boxes=100, entities=entities, **whole)
    yield "a box too many", bytes_of(boxes=101, **whole)
    yield "fewer than no boxes", bytes_of(boxes=-1, **whole)
    yield "one pixel", bytes_of(size=(1, 1), boxes=3, **whole)
    yield "an enormous picture", bytes_of(size=(2**31 - 1, 1), boxes=3, entities=entities, **whole)
    yield "no size", bytes_of(size=(0, 0))
    for name, value in (("nan", np.nan), ("infinity", np.inf), ("huge", 3e38), ("negative", -1.0), ("tiny", 1e-45)):
        for run in ("probabilities", "scores", "places"):
            yield f"{name} among the {run}", bytes_of(boxes=3, **{**whole, run: [value, 0.5, 0.25, 0.125]})
    yield "a category that is none", bytes_of(boxes=3, **{**whole, "classes": [80]})
    yield "a class below the first", bytes_of(boxes=3, **{**whole, "classes": [-1]})
    for name, changes in ENTITY_FLAWS.items():
        yield f"entity with {name}", bytes_of(boxes=3, entities=json.dumps([face(0.9) | changes]).encode(), **whole)
    for name, text in BAD_JSON.items():
        yield f"entities: {name}", bytes_of(entities=text)


def face(score: float, box: list[float] | None = None) -> dict[str, object]:
    """A face as the entity recognizer gives it."""
    known = {"name": "Eileen Collins", "similarity": 0.83}
    box = [10, 20, 30, 40] if box is None else box
    return {"type": "face", "score": score, "box": box, "landmarks": [[1.5, 2]] * 5, "identity": known}


def plate(score: float, box: list[float]) -> dict[str, object]:
    """A plate, likewise."""
    return {"type": "plate", "score": score, "box": box, "corners": [[1, 2]] * 4, "text": "皖A06725", "text_score": 0.9}


ENTITY_FLAWS: Mapping[str, dict[str, object]] = {
    "a score above 1": {"score": 1.5},
    "a score below 0": {"score": -0.1},
    "a score that is none": {"score": float("nan")},
    "a score that is true": {"score": True},
    "a score beyond every float": {"score": 10**400},
    "an infinite box": {"box": [0, 0, float("inf"), 1]},
    "a box turned inside out": {"box": [9, 9, 1, 1]},
    "a box beyond every float": {"box": [0, 0, 10**400, 1]},
    "no landmarks": {"landmarks": None},
    "a landmark that is none": {"landmarks": [[float("nan"), 0]] * 5},
    "too few landmarks": {"landmarks": [[0, 0]] * 4},
    "an identity without a name": {"identity": {"similarity": 1}},
    "a name that is a number": {"identity": {"name": 5, "similarity": 1}},
    "half a character in its name": {"identity": {"name": "\ud800", "similarity": 1}},
    "an unknown field that is infinite": {"age": float("inf")},
    "a type that is a list": {"type": ["face"]},
}
"""Changes of a face after which no sound ``RESULT`` can hold it."""

BAD_JSON: Mapping[str, bytes] = {
    "nothing": b"",
    "an object": b"{}",
    "a number": b"1" * 30,
    "a number of too many digits": b"[" + b"1" * 5000 + b"]",
    "an exponent too large": b'[{"type":"face","score":1e999,"box":[0,0,1,1]}]',
    "brackets without end": b"[" * 3000,
    "nested without end": b"[" * 3000 + b"]" * 3000,
    "half a character": b"[\xe7\x9a",
    "UTF-16": '[{"type": "face"}]'.encode("utf-16"),
    "a zero at the end": b"[]\0",
}


def _results() -> Iterator[tuple[str, bytes]]:
    linked = [face(0.9) | {"object": 0}, plate(0.8, [0, 0, 5, 5]) | {"object": None}]
    thing = {"category": "person", "score": 0.9, "box": [0, 0, 9, 9.5], "fine_label": None, "entities": [0]}
    document: dict[str, object] = {
        "schema": 1,
        "image": {"width": 640, "height": 480},
        "scene": [{"label": "minivan", "wnid": "n03770679", "score": 0.6}],
        "categories": [{"name": "person", "score": 0.9, "evidence": {"classifier": 0.7, "detector": None}}],
        "objects": [thing],
        "entities": linked,
        "models": {"classifier": {"version": 1, "digest": "sha256:" + "ab" * 32}},
    }
    yield "everything", json.dumps(document).encode()
    empty: dict[str, object] = {key: [] for key in ("scene", "categories", "objects", "entities")}
    yield "nothing found", json.dumps(document | empty).encode()
    yield "another schema", json.dumps(document | {"schema": 2}).encode()
    for key in document:
        yield f"no {key}", json.dumps({name: value for name, value in document.items() if name != key}).encode()
    for name, changes in ENTITY_FLAWS.items():
        yield f"entity with {name}", json.dumps(document | {"entities": [linked[0] | changes, linked[1]]}).encode()
    yield "a link to nothing", json.dumps(document | {"objects": [thing | {"entities": [7]}]}).encode()
    yield from BAD_JSON.items()


_SEEDS: Mapping[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    "decode": _pictures,
    "fusion": _branch_answers,
    "answer": _results,
}

_JSON_WORDS = [
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"true", b"\\ud800", b"[", b"{}", b'"object":0', b'"score":'),
    *(b'"type":"plate"', b'"box":[0,0,1,1]', b'"landmarks":', b'"corners":', b'"text":"A1"', b'"text_score":1'),
    *(b'"identity":{"name":"","similarity":1}', b'"identity":null'),
]
_TIFF_TAGS = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 320, 322, 323, 324, 325, 338, 339)
_WORDS: Mapping[str, list[bytes]] = {
    "decode": [
        *(b"\xff\xd8\xff", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdd", b"\xff\xee", b"\xff\xd9"),
        *(b"Exif\0\0", b"Adobe", b"\x89PNG\r\n\x1a\n", b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL"),
        *(b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"BM", b"II*\0", b"MM\0*"),
        *(b"II+\0\x08\0\0\0", b"\xff\xff\xff\xff"),
        # A tag, one of the types that it may be given, and how many values.
        *(tag.to_bytes(2, "little") + bytes([kind, 0, 1, 0, 0, 0]) for tag in _TIFF_TAGS for kind in (1, 2, 4)),
    ],
    "fusion": [*_JSON_WORDS, *(np.float32(value).tobytes() for value in (np.nan, np.inf, 3e38, -1, 0.5, 640))],
    "answer": [*_JSON_WORDS, b'"schema":1', b'"entities":[0]', b'"evidence":{}', b'"fine_label":""', b'"version":1'],
}
