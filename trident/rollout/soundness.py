"""Whether an answer is one at all: complete, of the contract's types and shapes, and with values that can be.

What is wrong is said without any text of the answer, which may be a name or a plate: it goes into the journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from trident.contract import (
    ENTITY_PROVENANCE_ORDER,
    MAX_BOXES,
    MAX_CHARACTERS,
    MODELS,
    NUM_CATEGORIES,
    PROVENANCE_BYTES,
    DType,
    TensorSpec,
)
from trident.provenance import unpack
from trident_client.errors import AnswerError
from trident_client.results import parse, parse_entities

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array | None]

_DTYPES = {DType.UINT8: np.dtype(np.uint8), DType.INT32: np.dtype(np.int32), DType.FP32: np.dtype(np.float32)}
_TEXT_KINDS = "OSU"
"""Text may come as bytes or as ``str``, in an array of objects or of fixed lengths: on the wire it is all the same."""
_SCORES = frozenset(
    {
        *("SCORES", "PROBABILITIES", "TOP_SCORES", "CHARACTER_SCORES"),
        *("BOX_SCORES", "CLASS_PROBABILITIES", "CATEGORY_SCORES"),
    }
)
_MOST: dict[str, int] = {
    "NUM_BOXES": MAX_BOXES,
    "NUM_CHARACTERS": MAX_CHARACTERS,
    "CLASSES": NUM_CATEGORIES - 1,
    "BOX_CLASSES": NUM_CATEGORIES - 1,
}
_SLACK = 1e-3
"""Room for rounding."""
_COUNTED = {"NUM_BOXES": "SCORES", "NUM_CHARACTERS": "CHARACTERS"}
"""Counts of used rows, with a tensor whose unused rows are 0."""


def unsound(model: str, answer: Tensors, batch: int, *, only: Collection[str] | None = None) -> str:
    """What is wrong with an answer, each tensor looked at by itself, in a few words; empty if nothing is.

    Args:
        model: Which model of the contract answered.
        answer: Its outputs by name; None for one that did not come.
        batch: How many items were asked about.
        only: The outputs that were asked for; None for all.
    """
    for spec in MODELS[model].outputs:
        if only is not None and spec.name not in only:
            continue
        array = answer.get(spec.name)
        if array is None:
            return f"{spec.name}: expected it among the outputs, got none"
        if wrong := _wrong_form(spec, array, batch):
            return f"{spec.name}: {wrong}"
        if spec.name in _READ:
            if wrong := _unread(spec.name, array):
                return wrong
        elif wrong := _wrong_values(spec, array):
            return f"{spec.name}: {wrong}"
    return ""


def inconsistencies(answer: Mapping[str, Array]) -> list[str]:
    """What does not fit in a network's answer whose every tensor is sound by itself.

    Args:
        answer: Its outputs by name, batch first.

    Returns:
        One sentence a problem: the tensor, what was expected, what it holds.
    """
    problems = []
    if "PROBABILITIES" in answer:
        problems += _wrong_classes(answer)
    if "EMBEDDING" in answer:
        lengths = np.linalg.norm(answer["EMBEDDING"].astype(np.float64), axis=-1)
        if np.abs(lengths - 1).max() > _SLACK:
            problems.append(f"EMBEDDING: expected vectors of length 1, got {lengths.min():.4g} to {lengths.max():.4g}")
    for count, rows in _COUNTED.items():
        if count in answer:
            used = np.arange(answer[rows].shape[1]) < answer[count]
            if np.any(answer[rows][~used] != 0):
                problems.append(f"{rows}: expected 0 in the rows that {count} does not count, got other values")
    if "SCORES" in answer and np.any(np.diff(answer["SCORES"], axis=1) > _SLACK):
        problems.append("SCORES: expected the best first, got another order")
    if "BOXES" in answer:
        x1, y1, x2, y2 = np.moveaxis(answer["BOXES"], -1, 0)
        if np.any(x2 < x1 - _SLACK) or np.any(y2 < y1 - _SLACK):
            problems.append("BOXES: expected x1 ≤ x2 and y1 ≤ y2, got boxes with their corners exchanged")
    return problems


def versions_of(model: str, answer: Mapping[str, Array]) -> dict[str, int]:
    """Which versions name themselves in an answer, by component; what was not called is not named.

    Fusion and the ensemble name them in ``RESULT``, the others in ``PROVENANCE``.
    """
    if "RESULT" in answer:
        models = json.loads(answer["RESULT"].reshape(-1)[0])["models"]
        return {name: int(one["version"]) for name, one in models.items()}
    named: dict[str, int] = {}
    rows = answer["PROVENANCE"].astype(np.uint8).reshape(len(answer["PROVENANCE"]), -1, PROVENANCE_BYTES)
    names = ENTITY_PROVENANCE_ORDER if rows.shape[1] > 1 else (model,)
    for item in rows:
        for name, row in zip(names, item, strict=True):
            made_by = unpack(row)
            if made_by is not None:
                named[name] = made_by.version
    return named


def _wrong_form(spec: TensorSpec, array: Array, batch: int) -> str:
    right = array.dtype.kind in _TEXT_KINDS if spec.dtype is DType.STRING else array.dtype == _DTYPES[spec.dtype]
    if not right:
        return f"expected {spec.dtype}, got {array.dtype}"
    shape = (batch, *spec.dims)
    if len(array.shape) != len(shape) or any(
        wanted not in (-1, got) for wanted, got in zip(shape, array.shape, strict=True)
    ):
        return f"expected shape {shape}, got {array.shape}"
    return ""


def _wrong_values(spec: TensorSpec, array: Array) -> str:
    if not array.size:
        return ""
    if spec.dtype is DType.FP32 and not np.isfinite(array).all():
        return f"expected numbers, got {int((~np.isfinite(array)).sum())} that are NaN or infinite"
    lowest, highest = array.min(), array.max()
    most = 1 + _SLACK if spec.name in _SCORES else _MOST.get(spec.name, np.inf)
    if most < np.inf and not (lowest >= -_SLACK and highest <= most):
        return f"expected {'scores in [0, 1]' if spec.name in _SCORES else f'0 to {most}'}, got {lowest} to {highest}"
    if spec.name == "EMBEDDING" and not (np.linalg.norm(array, axis=1) > 0).all():
        return "expected a length above 0, got 0"
    return ""


def _unread(name: str, array: Array) -> str:
    """What is wrong with the JSON in an array; empty if it can be read."""
    for text in array.reshape(-1):
        if not isinstance(text, bytes | str):
            return f"{name}: expected text, got {type(text).__name__}"
        try:
            _READ[name](text)
        except AnswerError as error:
            return str(error)
    return ""


_READ: dict[str, Callable[[bytes | str], object]] = {"RESULT": parse, "ENTITIES": parse_entities}


def _wrong_classes(answer: Mapping[str, Array]) -> list[str]:
    probabilities, best, scores = (answer[name] for name in ("PROBABILITIES", "TOP_CLASSES", "TOP_SCORES"))
    sums = probabilities.sum(axis=-1, dtype=np.float64)
    if np.abs(sums - 1).max() > 10 * _SLACK:
        return [f"PROBABILITIES: expected a sum of 1, got {sums.min():.4g} to {sums.max():.4g}"]
    classes = probabilities.shape[-1]
    if best.min() < 0 or best.max() >= classes:
        return [f"TOP_CLASSES: expected 0 to {classes - 1}, got {best.min()} to {best.max()}"]
    if np.abs(np.take_along_axis(probabilities, best.astype(np.int64), axis=-1) - scores).max() > _SLACK:
        return ["TOP_SCORES: expected the PROBABILITIES of TOP_CLASSES, got other values"]
    if np.abs(probabilities.max(axis=-1) - scores[:, 0]).max() > _SLACK:
        return ["TOP_CLASSES: expected the most probable class first, got another"]
    return []
