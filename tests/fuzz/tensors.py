"""Bytes to the inputs of fusion, and good inputs to bytes: how the fuzzer reaches tensors.

Any bytes give inputs of the contract's shapes and types, as Triton guarantees them; only their values are arbitrary::

    pictures u8 | width i32 | height i32 | boxes i16 | four lengths u8 | numbers of four runs | ENTITIES, to the end

A run is repeated until its tensors are full. Numbers are float32; those of classes are int8, which holds both right and
wrong ones.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import MODELS, DType

MOST_PICTURES = 2

_HEAD = struct.Struct("<B2ih4B")
_FLOAT_BYTES = 4


def tensors_of(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The inputs of ``MODELS["fusion"]`` that the bytes stand for, 0 to 2 pictures."""
    head, rest = data[: _HEAD.size].ljust(_HEAD.size, b"\0"), data[_HEAD.size :]
    pictures, width, height, boxes, *lengths = _HEAD.unpack(head)
    sizes = [_FLOAT_BYTES * lengths[0], _FLOAT_BYTES * lengths[1], _FLOAT_BYTES * lengths[2], lengths[3]]
    runs = []
    for size in sizes:
        runs.append(rest[:size])
        rest = rest[size:]
    probabilities, scores, places = (np.frombuffer(run[: len(run) // 4 * 4], "<f4") for run in runs[:3])
    classes = np.frombuffer(runs[3], np.int8)
    values = {
        "IMAGE_SIZE": np.array([width, height]),
        "CLASS_PROBABILITIES": probabilities,
        "TOP_CLASSES": classes,
        "TOP_SCORES": probabilities,
        "DETECTOR_BOXES": places,
        "DETECTOR_SCORES": scores,
        "DETECTOR_CLASSES": classes,
        "DETECTOR_NUM_BOXES": np.array([boxes]),
    }
    made: dict[str, npt.NDArray[Any]] = {}
    for spec in MODELS["fusion"].inputs:
        shape = (pictures % (MOST_PICTURES + 1), *spec.dims)
        if spec.dtype is DType.STRING:
            made[spec.name] = np.empty(shape, dtype=np.object_)
            for row in made[spec.name]:
                row[0] = rest  # one by one: numpy would drop zeros at the end of bytes
        elif spec.dtype is DType.UINT8:  # who answered: any bytes will do
            made[spec.name] = np.resize(np.frombuffer(head, np.uint8), shape)
        else:
            dtype = np.float32 if spec.dtype is DType.FP32 else np.int32
            made[spec.name] = np.resize(values[spec.name], shape).astype(dtype)
    return made


def bytes_of(
    *,
    pictures: int = 1,
    size: tuple[int, int] = (640, 480),
    boxes: int = 0,
    probabilities: Sequence[float] = (),
    scores: Sequence[float] = (),
    places: Sequence[float] = (),
    classes: Sequence[int] = (),
    entities: bytes = b"[]",
) -> bytes:
    """The bytes that ``tensors_of`` makes these inputs of, each run of at most 255 numbers."""
    lengths = (len(probabilities), len(scores), len(places), len(classes))
    floats = b"".join(np.array(run, "<f4").tobytes() for run in (probabilities, scores, places))
    return _HEAD.pack(pictures, *size, boxes, *lengths) + floats + np.array(classes, np.int8).tobytes() + entities
